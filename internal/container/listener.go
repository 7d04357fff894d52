package container

import (
	"encoding/json"
	"fmt"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/birth"
)

// patience is how long a receiver may take to be connected to and to take one message, in seconds.
const patience = 10

// listen hands the listener of a child's seccomp filter to the agent that the spec names, with the state of the child
// and of its container (config-linux.md, "The Container Process State"). An exec without noNewPrivileges loads its filter
// before it enters the PID namespace: its PID here is that of the process whose child it will be.
func (c *Container) listen(child *birth.Child, status specs.ContainerState) error {
	fd, err := child.Listener()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	profile := c.spec.Linux.Seccomp
	data, err := json.Marshal(specs.ContainerProcessState{
		Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: child.Pid, Metadata: profile.ListenerMetadata, State: c.State(status),
	})
	if err == nil {
		err = Deliver(profile.ListenerPath, data, fd)
	}
	if err != nil {
		return fmt.Errorf("linux.seccomp.listenerPath: cannot hand the listener to %s: %w", profile.ListenerPath, err)
	}
	return nil
}

// Deliver sends data, and a descriptor with its first byte, to whoever listens on a stream socket, and closes the
// connection: a seccomp agent, or the receiver of a terminal.
func Deliver(path string, data []byte, fd int) error {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(s), path)
	defer f.Close()
	if err := unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: patience}); err != nil {
		return err
	}
	if err := unix.Connect(s, &unix.SockaddrUnix{Name: path}); err != nil {
		return err
	}
	n, err := unix.SendmsgN(s, data, unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL)
	for err == nil && n < len(data) {
		data = data[n:]
		n, err = unix.SendmsgN(s, data, nil, nil, unix.MSG_NOSIGNAL)
	}
	return err
}

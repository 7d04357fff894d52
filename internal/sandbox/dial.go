package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// dialTime bounds how long a connection into a Pod takes, in seconds.
const dialTime = 10

// Dial connects to a TCP port on the loopback of the Pod's network namespace, IPv4 before IPv6.
func (s *Sandbox) Dial(port uint16) (net.Conn, error) {
	conn, err := s.dial(port)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to port %d in Pod %s: %w", port, s, err)
	}
	return conn, nil
}

func (s *Sandbox) dial(port uint16) (net.Conn, error) {
	client, err := s.Keeper()
	if err != nil {
		return nil, err
	}
	var ns *os.File
	if !s.Pod.Spec.HostNetwork {
		if ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", client.Hello().Pause.Pid)); err != nil {
			return nil, err
		}
		defer ns.Close()
	}
	four := &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}}
	conn, err := connect(ns, unix.AF_INET, four)
	if errors.Is(err, unix.ECONNREFUSED) {
		six := &unix.SockaddrInet6{Port: int(port), Addr: [16]byte{15: 1}}
		if other, failed := connect(ns, unix.AF_INET6, six); failed == nil {
			return other, nil
		}
	}
	return conn, err
}

// connect connects a socket of a network namespace, or of the host's. A socket stays in the namespace that it was made in.
func connect(ns *os.File, family int, to unix.Sockaddr) (net.Conn, error) {
	fd, err := socketIn(ns, family)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: dialTime}); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Connect(fd, to); err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	return net.FileConn(f) // a copy of the descriptor
}

// socketIn makes a socket on a thread that joins the namespace for it alone, and ends with it.
func socketIn(ns *os.File, family int) (fd int, err error) {
	const kind = unix.SOCK_STREAM | unix.SOCK_CLOEXEC
	if ns == nil {
		return unix.Socket(family, kind, 0)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the runtime ends the thread
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			fd, err = unix.Socket(family, kind, 0)
		}
	}()
	<-done
	return fd, os.NewSyscallError("socket", err)
}

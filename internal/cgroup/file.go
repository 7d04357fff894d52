package cgroup

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Bounds on what is read, in bytes. A cgroup's files are written by the kernel, but how long they get is up to
// whoever may make cgroups and processes.
const (
	smallFile = 64 << 10
	listFile  = 8 << 20
)

// readFile reads a control file whole, without the runtime's poller: these files never block.
func readFile(name string, limit int) (string, error) { return readAt(unix.AT_FDCWD, name, limit) }

func readAt(dirfd int, name string, limit int) (string, error) {
	fd, err := retry(func() (int, error) { return unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	buf := make([]byte, 0, 4096)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := retry(func() (int, error) { return unix.Read(fd, buf[len(buf):cap(buf)]) })
		if err != nil {
			return "", &fs.PathError{Op: "read", Path: name, Err: err}
		}
		if n == 0 {
			return string(buf), nil
		}
		if buf = buf[:len(buf)+n]; len(buf) > limit {
			return "", fmt.Errorf("read %s: more than %d bytes", name, limit)
		}
	}
}

// writeFile writes one value in one write, as the kernel wants it. A limit that has to reclaim memory first is
// interrupted by any signal, the Go runtime's own among them: hence retry.
func writeFile(name, value string) error {
	fd, err := retry(func() (int, error) { return unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	if _, err := retry(func() (int, error) { return unix.Write(fd, []byte(value)) }); err != nil {
		return &fs.PathError{Op: "write", Path: name, Err: err}
	}
	return nil
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

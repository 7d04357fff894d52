package network

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// netNS is an open network namespace.
type netNS struct {
	*os.File
	inode uint64
}

// openNetNS opens a Pod's network namespace. What is no network namespace, or is the host's own, is refused: in the
// host's a Pod's addresses and default route would cut the host off.
func openNetNS(path string) (*netNS, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open network namespace: %w", err)
	}
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		f.Close()
		return nil, fmt.Errorf("%w: %s is not a network namespace", ErrBadRequest, path)
	}
	var target, own unix.Stat_t
	if err := errors.Join(unix.Fstat(int(f.Fd()), &target), unix.Stat("/proc/thread-self/ns/net", &own)); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot open network namespace %s: %w", path, err)
	}
	if target.Ino == own.Ino && target.Dev == own.Dev {
		f.Close()
		return nil, fmt.Errorf("%w: %s is the host's own network namespace", ErrBadRequest, path)
	}
	return &netNS{f, target.Ino}, nil
}

// inodeOf is the number of the namespace at path, 0 when there is none.
func inodeOf(path string) uint64 {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0
	}
	return st.Ino
}

// inside runs f on a thread that is in the namespace. The thread is f's alone: one that could not come back is ended with
// its goroutine, not given to others.
func (n *netNS) inside(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("cannot open the host's network namespace: %w", err)
			return
		}
		defer home.Close()
		if err := unix.Setns(int(n.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("cannot join network namespace %s: %w", n.Name(), err)
			return
		}
		err = f()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"tripod/internal/birth"
	"tripod/internal/container"
)

// forwarder passes this process's signals on to a process of a container.
type forwarder struct{ caught int }

// catch holds signals from now on, so that none is lost while the process is being made.
func catch() (*forwarder, error) {
	fd, err := birth.Catch()
	return &forwarder{fd}, err
}

// attend passes signals on, what was held first, until the process has ended. A change of size of our terminal is one of
// the process's.
func (f *forwarder) attend(p *container.Process, tty *session) (container.Exit, error) {
	poll := []unix.PollFd{{Fd: int32(f.caught), Events: unix.POLLIN}, {Fd: int32(p.PidFD.Fd()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(poll, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return container.Exit{}, fmt.Errorf("cannot wait for process %d: %w", p.Pid, err)
		}
		if poll[0].Revents != 0 {
			f.forward(p, tty)
		}
		if poll[1].Revents != 0 {
			return p.Wait()
		}
	}
}

func (f *forwarder) forward(p *container.Process, tty *session) {
	var list [64]byte
	n, _ := unix.Read(f.caught, list[:])
	for _, number := range list[:max(n, 0)] {
		if sig := unix.Signal(number); sig == unix.SIGWINCH {
			tty.resize()
		} else {
			_ = p.Signal(sig)
		}
	}
}

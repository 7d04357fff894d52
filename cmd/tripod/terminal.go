package main

import (
	"context"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"tripod/internal/keeper"
)

// terminal is our end of a process in a container.
type terminal struct {
	streams keeper.Streams
	size    keeper.Size
	restore func()          // puts our own terminal back; may be called twice
	left    context.Context // ends when the detach keys are typed, or with leave
	leave   context.CancelFunc
}

// terminal makes our streams ready. With a terminal of its own for the process, ours becomes raw, its changes of size are
// passed on, and typing keys ends t.left.
func (a *app) terminal(stdin, tty bool, keys []byte) (*terminal, error) {
	t := &terminal{streams: keeper.Streams{Stdout: a.out, Stderr: a.err}, restore: func() {}}
	left, leave := context.WithCancel(context.Background())
	t.left, t.leave = left, leave
	if stdin {
		t.streams.Stdin = a.in
	}
	if !tty {
		return t, nil
	}
	t.streams.Stderr = nil
	if !isTerminal(a.in) {
		return t, nil
	}
	back, err := raw(a.in)
	if err != nil {
		return nil, err
	}
	resize := make(chan keeper.Size, 1)
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH)
	go func() {
		for range changed {
			if size, ok := sizeOf(a.in); ok {
				resize <- size
			}
		}
	}()
	t.size, _ = sizeOf(a.in)
	resize <- t.size
	t.streams.Resize = resize
	if stdin && len(keys) > 0 {
		t.streams.Stdin = &detachReader{in: a.in, keys: keys, detached: t.leave}
	}
	t.restore = sync.OnceFunc(func() {
		signal.Stop(changed)
		back()
	})
	return t, nil
}

func sizeOf(f *os.File) (keeper.Size, bool) {
	w, h, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return keeper.Size{}, false
	}
	return keeper.Size{Width: uint16(w), Height: uint16(h)}, true
}

package sandbox

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Changes tells when Pods may have come, gone or been handed over, until ctx ends: what happens while nobody listens is
// told once. It costs nothing while nothing happens.
func (h Host) Changes(ctx context.Context) (<-chan struct{}, error) {
	if err := h.prepare(); err != nil {
		return nil, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err == nil {
		const what = unix.IN_CREATE | unix.IN_DELETE | unix.IN_ATTRIB | unix.IN_ONLYDIR
		if _, err = unix.InotifyAddWatch(fd, h.Pods(), what); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot watch Pods: %w", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	context.AfterFunc(ctx, func() { events.Close() })
	told := make(chan struct{}, 1)
	go func() {
		defer close(told)
		buf := make([]byte, 16<<10)
		for {
			if _, err := events.Read(buf); err != nil {
				return
			}
			select {
			case told <- struct{}{}:
			default:
			}
		}
	}()
	return told, nil
}

// lookAgain is how long a change can stay unseen when inotify does not tell it, as where a file system cannot.
const lookAgain = 250 * time.Millisecond

// changes tells when something in a folder has changed.
type changes struct{ events *os.File }

// watch begins to look at a folder. Without inotify it looks by the clock.
func watch(dir string) *changes {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return &changes{}
	}
	const what = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_CLOSE_WRITE
	if _, err := unix.InotifyAddWatch(fd, dir, what); err != nil {
		unix.Close(fd)
		return &changes{}
	}
	return &changes{os.NewFile(uintptr(fd), "inotify")}
}

// wait returns at the next change, or after lookAgain, or with ctx.
func (c *changes) wait(ctx context.Context) {
	if c.events == nil {
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
		}
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = c.events.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if ctx.Err() == nil {
		_ = c.events.SetReadDeadline(time.Now().Add(lookAgain))
		var buf [4096]byte
		_, _ = c.events.Read(buf[:])
	}
}

func (c *changes) close() {
	if c.events != nil {
		c.events.Close()
	}
}

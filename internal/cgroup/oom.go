package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// OOM tells of every time that the group ran out of memory: on v1 when it hits its limit with nothing left to
// reclaim, whether or not something is killed then (memory.rst, "OOM control"); on v2 when something in it or below
// it was killed (cgroup-v2.rst, memory.events). The channel is closed when ctx ends or the group goes: on v2, where
// nothing tells of a removal, when its last process is gone.
func (g *Group) OOM(ctx context.Context) (<-chan struct{}, error) {
	var events <-chan struct{}
	err := ErrNoController
	if y, ok := g.host.v1("memory"); ok {
		events, err = oomV1(ctx, g.Dir(y))
	} else if y, ok := g.host.unified(); ok {
		events, err = g.oomV2(ctx, g.Dir(y))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot watch the memory of cgroup %s: %w", g.path, err)
	}
	return events, nil
}

// oomV1 ties an eventfd to memory.oom_control.
func oomV1(ctx context.Context, dir string) (<-chan struct{}, error) {
	control, err := os.Open(dir + "/memory.oom_control")
	if err != nil {
		return nil, err
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(err, control.Close())
	}
	event := os.NewFile(uintptr(fd), "eventfd")
	err = writeFile(dir+"/cgroup.event_control", fmt.Sprintf("%d %d", fd, control.Fd()))
	if cerr := control.Close(); err == nil { // the kernel needs it no longer
		err = cerr
	}
	if err != nil {
		return nil, errors.Join(err, event.Close())
	}
	return watch(ctx, event, func() (bool, error) {
		_, err := event.Read(make([]byte, 8))
		if err == nil { // it comes once more when the group is removed
			err = unix.Access(dir+"/cgroup.event_control", unix.F_OK)
		}
		return err == nil, err
	}), nil
}

// oomV2 watches two files that the kernel says to have changed when they have (cgroup-v2.rst).
func (g *Group) oomV2(ctx context.Context, dir string) (<-chan struct{}, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	changes := os.NewFile(uintptr(fd), "inotify")
	for _, file := range [...]string{"memory.events", "cgroup.events"} {
		if _, err := unix.InotifyAddWatch(fd, dir+"/"+file, unix.IN_MODIFY); err != nil {
			if errors.Is(err, fs.ErrNotExist) && unix.Access(dir, unix.F_OK) == nil {
				err = noController("memory")
			}
			return nil, errors.Join(err, changes.Close())
		}
	}
	seen, err := g.OOMKills()
	if err != nil {
		return nil, errors.Join(err, changes.Close())
	}
	return watch(ctx, changes, func() (bool, error) {
		if _, err := changes.Read(make([]byte, 4096)); err != nil {
			return false, err
		}
		now, err := g.OOMKills()
		if err != nil {
			return false, err
		}
		more := now > seen
		seen = now
		state, err := readFile(dir+"/cgroup.events", smallFile)
		if err == nil && strings.Contains(state, "populated 0") {
			err = fs.ErrNotExist
		}
		return more, err
	}), nil
}

// watch passes on what next finds, which may be the last that it does, until it fails or ctx ends. Then it closes the
// file that next reads from.
func watch(ctx context.Context, from *os.File, next func() (bool, error)) <-chan struct{} {
	events := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { from.Close() }) // wakes the read
	go func() {
		defer close(events)
		defer from.Close()
		defer stop()
		for {
			happened, err := next()
			if happened {
				select {
				case events <- struct{}{}:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return events
}

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Remove removes the group and everything below it, children first, from every hierarchy. A cgroup that is busy,
// because its last process is still leaving, is tried again for up to 10 s; errors.Is(err, ErrPopulated) when a
// process stays. Ancestors are left: see Prune. A group that does not exist is removed.
func (g *Group) Remove() error {
	if err := g.removeUnit(); err != nil {
		return err
	}
	left := make([]string, 0, len(g.host.Hierarchies))
	for _, y := range g.host.Hierarchies {
		left = append(left, g.Dir(y))
	}
	var failure error
	gone, err := eventually(func() (bool, error) {
		busy := left[:0]
		for _, dir := range left {
			err := removeTree(dir)
			switch {
			case errors.Is(err, unix.EBUSY):
				busy, failure = append(busy, dir), err
			case err != nil:
				return false, err
			}
		}
		left = busy
		return len(left) == 0, nil
	})
	if err == nil && !gone {
		err = failure
		if pids, perr := g.Procs(); perr == nil && len(pids) > 0 {
			err = fmt.Errorf("%w: %s", ErrPopulated, listed(pids))
		}
	}
	if err != nil {
		return fmt.Errorf("cannot remove cgroup %s: %w", g.path, err)
	}
	g.pruneSlices()
	return nil
}

// Prune removes the group where it has neither children nor processes, and leaves it where it has. It is for the
// ancestors that Make made; Make beside it begins again when it loses its parent. Gone says that Remove would find
// nothing more to do.
func (g *Group) Prune() (gone bool, err error) {
	gone = g.unit.Name == "" // systemd's is stopped by Remove
	for _, y := range g.host.Hierarchies {
		switch err := unix.Rmdir(g.Dir(y)); {
		case errors.Is(err, unix.EBUSY):
			gone = false
		case err != nil && !errors.Is(err, unix.ENOENT):
			return false, fmt.Errorf("cannot remove cgroup %s: %w", g.path, &fs.PathError{Op: "rmdir", Path: g.Dir(y), Err: err})
		}
	}
	return gone, nil
}

// removeTree removes one directory, with what is below it only if it must: most cgroups have no children.
func removeTree(dir string) error {
	err := unix.Rmdir(dir)
	if errors.Is(err, unix.EBUSY) {
		return walk(dir, nil, func(parent int, name string) error {
			if err := unix.Unlinkat(parent, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
				return &fs.PathError{Op: "rmdir", Path: name, Err: err}
			}
			return nil
		})
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// walk visits the cgroup at dir and those below it: enter with each one's descriptor before its children, leave
// with its parent's and its name after them. It goes by descriptors, since a container that may make cgroups can
// make paths longer than the kernel takes. Cgroups that vanish are skipped.
func walk(dir string, enter func(fd int) error, leave func(parent int, name string) error) error {
	err := walkAt(unix.AT_FDCWD, dir, enter, leave)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

func walkAt(parent int, name string, enter func(int) error, leave func(int, string) error) error {
	fd, err := retry(func() (int, error) {
		return unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if enter != nil {
		if err := enter(fd); err != nil {
			return err
		}
	}
	children, err := subdirs(f)
	if err != nil {
		return err
	}
	for _, child := range children {
		err := walkAt(fd, child, enter, leave)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
			return err
		}
	}
	if leave != nil {
		return leave(parent, name)
	}
	return nil
}

// subdirs lists a cgroup's children. The link count of a directory in cgroupfs is 2 and its children, so one
// without any costs no listing.
func subdirs(f *os.File) ([]string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err == nil && st.Nlink == 2 {
		return nil, nil
	}
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

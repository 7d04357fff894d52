package birth

import (
	"errors"
	"fmt"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// openAll opens what a plan wants of the host and was not given. What it opened is in own, to be closed by the caller,
// also when it fails.
func openAll(list []plan.Open, given, fds map[string]int, own *[]int) error {
	for _, o := range list {
		if _, ok := given[o.Name]; ok {
			continue
		}
		fd, err := open(o, fds)
		if err != nil {
			return &StepError{Step: -1, Name: "open " + o.Path, Origin: o.Origin, Errno: err}
		}
		*own = append(*own, fd)
		fds[o.Name] = fd
	}
	return nil
}

// open opens one file of the host for a plan.
func open(o plan.Open, fds map[string]int) (int, error) {
	switch o.Kind {
	case plan.Tree:
		return tree(o, fds)
	case plan.Namespace:
		return namespace(o)
	case plan.Mapping:
		return UserNamespace(o.UIDs, o.GIDs)
	case plan.Tmpfs:
		return tmpfs(o)
	case plan.Procfs:
		return procfs(o.Path)
	}
	return -1, fmt.Errorf("nobody handed in %s", o.Name)
}

// tree is a detached clone of the mount at o.Path, changed as o says: nothing appears in the host's mount table.
func tree(o plan.Open, fds map[string]int) (_ int, err error) {
	how := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if o.Recursive {
		how |= unix.AT_RECURSIVE
	}
	at, path := unix.AT_FDCWD, o.Path
	if o.NoFollow {
		if at, err = nofollow(o.Path); err != nil {
			return -1, err
		}
		defer unix.Close(at)
		path, how = "", how|unix.AT_EMPTY_PATH
	}
	fd, err := unix.OpenTree(at, path, how)
	if err != nil {
		return -1, fmt.Errorf("open_tree: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err := attributes(fd, o); err != nil {
		return -1, err
	}
	if o.Device != 0 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Rdev != o.Device {
			return -1, fmt.Errorf("%s is not the device %d:%d on the host: %w", o.Path, unix.Major(o.Device), unix.Minor(o.Device), errors.Join(err, unix.ENODEV))
		}
	}
	if o.Idmap != "" {
		flags := uint(unix.AT_EMPTY_PATH)
		if o.IdmapAll {
			flags |= unix.AT_RECURSIVE
		}
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(fds[o.Idmap])}
		if err := unix.MountSetattr(fd, "", flags, &attr); err != nil {
			return -1, fmt.Errorf("map owners of %s (needs an idmappable file system, Linux 5.19 for overlays' layers, 6.3 for tmpfs): %w", o.Path, err)
		}
	}
	return fd, nil
}

// attributes changes a detached mount as o says.
func attributes(fd int, o plan.Open) error {
	for _, change := range []struct {
		flags uint
		attr  unix.MountAttr
	}{
		{unix.AT_RECURSIVE, unix.MountAttr{Propagation: o.Propagation}},
		{0, unix.MountAttr{Attr_set: o.Set, Attr_clr: o.Clear}},
		{unix.AT_RECURSIVE, unix.MountAttr{Attr_set: o.RSet, Attr_clr: o.RClear}},
	} {
		if change.attr == (unix.MountAttr{}) {
			continue
		}
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|change.flags, &change.attr); err != nil {
			return fmt.Errorf("mount_setattr: %w", err)
		}
	}
	return nil
}

// nofollow opens a path that has no symbolic link in it.
func nofollow(path string) (int, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, fmt.Errorf("open without following links: %w", err)
	}
	return fd, nil
}

// procfs opens the root of a procfs. What is written below it would go astray if something lay over /proc.
func procfs(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, err
	}
	var fs unix.Statfs_t
	var st unix.Stat_t
	const rootInode = 1 // PROC_ROOT_INO
	if err := errors.Join(unix.Fstatfs(fd, &fs), unix.Fstat(fd, &st)); err != nil || fs.Type != unix.PROC_SUPER_MAGIC || st.Ino != rootInode {
		unix.Close(fd)
		return -1, errors.Join(fmt.Errorf("%s is not the root of a procfs", path), err)
	}
	return fd, nil
}

// namespace opens a namespace file and sees that it is one of the right type.
func namespace(o plan.Open) (int, error) {
	fd, err := unix.Open(o.Path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	typ, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("%s is no namespace", o.Path)
	}
	kind := strings.TrimPrefix(o.Name, "ns:")
	if flag := plan.NamespaceFlag(specs.LinuxNamespaceType(kind)); flag != 0 && uintptr(typ) != flag {
		unix.Close(fd)
		return -1, fmt.Errorf("%s is no %s namespace", o.Path, kind)
	}
	return fd, nil
}

package birth

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// tmpfs is a detached tmpfs that begins with what lies below o.Path at o.Copy ("tmpcopyup"). Nothing there is nothing
// to copy. Links of the image are resolved inside o.Path, and copied as links.
func tmpfs(o plan.Open) (_ int, err error) {
	fd, err := mountTmpfs(o)
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	root, err := unix.Open(o.Path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	from, err := unix.Openat2(root, strings.TrimLeft(o.Copy, "/"), &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOENT) {
		return fd, attributes(fd, o)
	}
	if err != nil {
		return -1, err
	}
	to, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, errors.Join(err, unix.Close(from))
	}
	if err := copyDir(os.NewFile(uintptr(from), o.Copy), os.NewFile(uintptr(to), o.Copy), !strings.Contains(o.Data, "mode="), 0); err != nil {
		return -1, fmt.Errorf("copy it into a tmpfs: %w", err)
	}
	return fd, attributes(fd, o)
}

func mountTmpfs(o plan.Open) (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fs)
	for word := range strings.SplitSeq(o.Data, ",") {
		key, value, ok := strings.Cut(word, "=")
		switch {
		case key == "":
			continue
		case ok:
			err = unix.FsconfigSetString(fs, key, strings.Trim(value, `"`))
		default:
			err = unix.FsconfigSetFlag(fs, key)
		}
		if err != nil {
			return -1, fmt.Errorf("option %s: %w", word, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("make tmpfs: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("fsmount: %w", err)
	}
	return fd, nil
}

// maxCopyDepth bounds how deep directories are copied: each level holds two descriptors.
const maxCopyDepth = 200

// copyDir copies what is in from into to, and closes both. top says that to gets from's mode too.
func copyDir(from, to *os.File, mode bool, depth int) (err error) {
	defer from.Close()
	defer func() { err = errors.Join(err, to.Close()) }()
	if depth > maxCopyDepth {
		return fmt.Errorf("%s: deeper than %d directories", from.Name(), maxCopyDepth)
	}
	for {
		names, err := from.Readdirnames(256)
		for _, name := range names {
			if err := copyEntry(from, to, name, depth); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return err
	}
	if err := unix.Fchown(int(to.Fd()), int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if mode {
		if err := unix.Fchmod(int(to.Fd()), st.Mode&0o7777); err != nil {
			return err
		}
	}
	return futimes(int(to.Fd()), "", st, unix.AT_EMPTY_PATH)
}

func futimes(dir int, name string, st unix.Stat_t, flags int) error {
	return unix.UtimesNanoAt(dir, name, []unix.Timespec{st.Atim, st.Mtim}, flags|unix.AT_SYMLINK_NOFOLLOW)
}

func copyEntry(from, to *os.File, name string, depth int) error {
	var st unix.Stat_t
	src, dst := int(from.Fd()), int(to.Fd())
	if err := unix.Fstatat(src, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return copySub(src, dst, name, depth)
	case unix.S_IFREG:
		err = copyFile(src, dst, name)
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		var n int
		if n, err = unix.Readlinkat(src, name, buf); err == nil {
			err = unix.Symlinkat(string(buf[:n]), dst, name)
		}
	default:
		err = unix.Mknodat(dst, name, st.Mode, int(st.Rdev))
	}
	if err != nil {
		return err
	}
	if err := unix.Fchownat(dst, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Fchmodat(dst, name, st.Mode&0o7777, 0); err != nil {
			return err
		}
	}
	return futimes(dst, name, st, 0)
}

func copySub(src, dst int, name string, depth int) error {
	if err := unix.Mkdirat(dst, name, 0o700); err != nil {
		return err
	}
	const dir = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	a, err := unix.Openat(src, name, dir, 0)
	if err != nil {
		return err
	}
	b, err := unix.Openat(dst, name, dir, 0)
	if err != nil {
		return errors.Join(err, unix.Close(a))
	}
	return copyDir(os.NewFile(uintptr(a), name), os.NewFile(uintptr(b), name), true, depth+1)
}

func copyFile(src, dst int, name string) error {
	a, err := unix.Openat(src, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	in := os.NewFile(uintptr(a), name)
	defer in.Close()
	b, err := unix.Openat(dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(b), name)
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"path"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// resolve opens a directory of the layer; its symbolic links lead inside the layer. The caller closes it.
func (u *unpacker) resolve(dir string) (int, error) {
	if dir == "" {
		dir = "."
	}
	return unix.Openat2(u.root, dir, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
}

// open is resolve, and makes what is missing. The descriptor is u's: it is valid until the next open.
func (u *unpacker) open(dir string) (int, error) {
	if dir == "." {
		dir = ""
	}
	if u.parent >= 0 && u.parentPath == dir {
		return u.parent, nil
	}
	u.forget()
	fd, err := u.resolve(dir)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		if fd, err = u.makeParents(dir); err != nil {
			return -1, fmt.Errorf("cannot make parent %.200q: %w", dir, err)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("parent %.200q: %w", dir, err)
	}
	u.parent, u.parentPath = fd, dir
	return fd, nil
}

func (u *unpacker) forget() {
	if u.parent >= 0 {
		unix.Close(u.parent)
	}
	u.parent = -1
}

// makeParents walks to dir one component at a time. A directory that is missing is made and remembered as implied, a
// whiteout of this layer becomes an opaque directory, a link is walked inside the layer, also when it dangles: its target
// may lie in a layer below.
func (u *unpacker) makeParents(dir string) (int, error) {
	todo := strings.Split(dir, "/")
	var done []string
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = done[:max(0, len(done)-1)]
			continue
		}
		at, err := u.resolve(path.Join(done...))
		if err != nil {
			return -1, err
		}
		target, err := u.step(at, part, path.Join(append(done, part)...))
		unix.Close(at)
		if err != nil {
			return -1, err
		}
		if target == "" {
			done = append(done, part)
			continue
		}
		if links++; links > maxLinks {
			return -1, unix.ELOOP
		}
		if path.IsAbs(target) {
			done = nil
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return u.resolve(path.Join(done...))
}

// step makes sure that base below dir is a directory, or returns the target of the link that it is.
func (u *unpacker) step(dir int, base, full string) (target string, err error) {
	var st unix.Stat_t
	err = unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch kind := st.Mode & unix.S_IFMT; {
	case errors.Is(err, unix.ENOENT):
		return "", u.imply(dir, base, full)
	case err != nil:
		return "", err
	case kind == unix.S_IFDIR:
		return "", nil
	case kind == unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, base, buf)
		return string(buf[:max(n, 0)]), err
	case kind == unix.S_IFCHR && st.Rdev == 0:
		if err := unix.Unlinkat(dir, base, 0); err != nil {
			return "", err
		}
		if err := u.imply(dir, base, full); err != nil {
			return "", err
		}
		return "", u.setOpaque(dir, base)
	}
	return "", unix.ENOTDIR
}

func (u *unpacker) imply(dir int, base, full string) error {
	if err := unix.Mkdirat(dir, base, 0o755); err != nil {
		return err
	}
	u.out.implied[full] = true
	return unix.Fchmodat(dir, base, 0o755, 0) // whatever the umask; it was just made, so it is no link
}

// directoryMeta sets owner, mode and attributes of a directory. Its times come at the end: what is made in it changes them.
func (u *unpacker) directoryMeta(name string, dir int, base string, hdr *tar.Header) error {
	fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchown(fd, hdr.Uid, hdr.Gid); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, permissions(hdr)); err != nil {
		return err
	}
	delete(u.out.implied, name)
	u.times[name] = hdr.ModTime
	return setXattrs(fmt.Sprintf("/proc/self/fd/%d", fd), true, hdr)
}

// meta sets what a link or special file has. The name was made by the call before, in a directory that nobody else
// writes to, so it still is what was made.
func (u *unpacker) meta(at target, hdr *tar.Header, mode bool) error {
	if err := unix.Fchownat(at.dir, at.base, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if mode {
		if err := unix.Fchmodat(at.dir, at.base, permissions(hdr), 0); err != nil {
			return err
		}
	}
	if err := setXattrs(fmt.Sprintf("/proc/self/fd/%d/%s", at.dir, at.base), false, hdr); err != nil {
		return err
	}
	return unix.UtimesNanoAt(at.dir, at.base, timespecs(hdr.ModTime), unix.AT_SYMLINK_NOFOLLOW)
}

// setTimes sets the times of directories, deepest first. One that a later entry replaced is passed over.
func (u *unpacker) setTimes() error {
	names := make([]string, 0, len(u.times))
	for name := range u.times {
		names = append(names, name)
	}
	sort.Sort(sort.Reverse(sort.StringSlice(names)))
	for _, name := range names {
		fd, err := u.resolve(name)
		if err != nil {
			continue
		}
		err = unix.UtimesNanoAt(fd, ".", timespecs(u.times[name]), 0)
		unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}

const paxXattr = "SCHILY.xattr."

// setXattrs sets the extended attributes that an image may bring: the user's own, file capabilities and ACLs. Those of
// overlayfs would let a layer speak for the kernel, labels of the builder's security modules mean nothing here: both stay out.
func setXattrs(file string, follow bool, hdr *tar.Header) error {
	for key, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok || !wantedXattr(name) {
			continue
		}
		set := unix.Lsetxattr
		if follow { // a descriptor's magic link
			set = unix.Setxattr
		}
		err := set(file, name, []byte(value), 0)
		if name != "security.capability" && (errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM)) {
			err = nil // not every file system and file type has them, and docker goes on too
		}
		if err != nil {
			return fmt.Errorf("cannot set attribute %.100q: %w", name, err)
		}
	}
	return nil
}

func wantedXattr(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

// removeAt removes a name and all below it, following no link.
func removeAt(dir int, base string) error {
	err := unix.Unlinkat(dir, base, 0)
	if !errors.Is(err, unix.EISDIR) {
		return err
	}
	fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	d := os.NewFile(uintptr(fd), base)
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := removeAt(fd, name); err != nil {
			return err
		}
	}
	return unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
}

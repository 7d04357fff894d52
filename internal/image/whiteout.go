package image

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// The extended attributes by which overlayfs marks what a layer deletes (kernel: filesystems/overlayfs.rst).
const (
	opaqueXattr   = "trusted.overlay.opaque"   // on a directory: "y" hides all below, "x" says that it holds whiteouts of the second form
	whiteoutXattr = "trusted.overlay.whiteout" // on an empty file: a whiteout, on file systems where no device 0:0 can be made
)

// isWhiteout tells whether path, of which info was read, says that the name is deleted.
func isWhiteout(path string, info fs.FileInfo) bool {
	if info.Mode()&fs.ModeCharDevice != 0 {
		var st unix.Stat_t
		return unix.Lstat(path, &st) == nil && st.Rdev == 0
	}
	if !info.Mode().IsRegular() || info.Size() != 0 {
		return false
	}
	_, err := unix.Lgetxattr(path, whiteoutXattr, nil)
	return err == nil
}

// isOpaque tells whether the directory hides the one of the same name in the layers below.
func isOpaque(dir string) bool {
	var value [2]byte
	n, err := unix.Lgetxattr(dir, opaqueXattr, value[:])
	return err == nil && n == 1 && value[0] == 'y'
}

// whiteout spends an entry whose name begins with .wh.: it deletes something of the layers below.
func (u *unpacker) whiteout(dir string, parent int, base string) error {
	if base == whiteoutOpaque {
		if dir == "" {
			u.out.opaqueRoot = true
			return nil
		}
		return u.setOpaque(parent, ".")
	}
	if strings.HasPrefix(base, whiteoutMeta) {
		return nil
	}
	name := strings.TrimPrefix(base, whiteoutPrefix)
	if name == "" || name == "." || name == ".." {
		return errEscape
	}
	var st unix.Stat_t
	err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return u.putWhiteout(parent, name)
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return u.setOpaque(parent, name) // the layer deletes the old directory and brings a new one
	}
	return nil
}

// putWhiteout makes a whiteout. Where the file system refuses the device (it is itself an overlay), the second form is
// used, which Linux knows since 6.7.
func (u *unpacker) putWhiteout(dir int, base string) error {
	err := unix.Mknodat(dir, base, unix.S_IFCHR, 0)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	fd, err := unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	unix.Close(fd)
	at := fmt.Sprintf("/proc/self/fd/%d", dir)
	if err = unix.Lsetxattr(at+"/"+base, whiteoutXattr, []byte("y"), 0); err == nil && !isOpaque(at+"/.") {
		err = unix.Setxattr(at+"/.", opaqueXattr, []byte("x"), 0)
	}
	if err != nil {
		return fmt.Errorf("this file system cannot hold a whiteout: %w", err)
	}
	return nil
}

func (u *unpacker) setOpaque(dir int, base string) error {
	path := fmt.Sprintf("/proc/self/fd/%d/%s", dir, base)
	if err := unix.Lsetxattr(path, opaqueXattr, []byte("y"), 0); err != nil {
		return fmt.Errorf("cannot mark directory opaque: %w", err)
	}
	return nil
}

package image

import (
	"io/fs"

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

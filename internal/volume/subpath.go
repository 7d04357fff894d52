package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrSubPath says that a subPath does not stay inside its volume.
var ErrSubPath = errors.New("subPath leaves its volume")

// SubPath gives where a subPath of a volume is, relative to the volume and free of links. What is missing of it is made:
// directories with the mode and owner of the volume's top, as kubelet makes them. The dir is the volume as the caller
// reaches it: its Path, or for a memory volume the same below /proc/KEEPER/root.
//
// Links are followed as if the volume were the root of all files, so none leads out.
func SubPath(dir, sub string) (string, error) {
	if filepath.IsAbs(sub) || slices.Contains(strings.Split(sub, "/"), "..") || strings.ContainsRune(sub, 0) {
		return "", fmt.Errorf("%w: %q", ErrSubPath, sub)
	}
	top, err := os.OpenFile(dir, os.O_RDONLY, 0)
	if err != nil {
		return "", fmt.Errorf("cannot open volume: %w", err)
	}
	defer func() { _ = top.Close() }()
	info, err := top.Stat()
	if err != nil {
		return "", fmt.Errorf("cannot open volume: %w", err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%w: the volume is a file and has no %q in it", ErrSubPath, sub)
	}
	at, path := top, ""
	for part := range strings.SplitSeq(filepath.Clean(sub), "/") {
		path = filepath.Join(path, part)
		next, err := open(top, path)
		if errors.Is(err, fs.ErrNotExist) {
			next, err = makeDir(at, part, info)
		}
		if err != nil {
			return "", fmt.Errorf("cannot make subPath %q: %w", sub, err)
		}
		defer func() { _ = next.Close() }()
		at = next
	}
	return relative(top, at)
}

// open opens a path whose links are followed inside top.
func open(top *os.File, path string) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for range 100 {
		fd, err := unix.Openat2(int(top.Fd()), path, &how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR): // something was renamed meanwhile (openat2(2))
		default:
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: unix.EAGAIN}
}

// makeDir makes a directory with the mode and owner of another one.
func makeDir(parent *os.File, name string, like fs.FileInfo) (*os.File, error) {
	if err := unix.Mkdirat(int(parent.Fd()), name, 0o700); err != nil {
		return nil, &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	if owner, ok := like.Sys().(*syscall.Stat_t); ok {
		err = f.Chown(int(owner.Uid), int(owner.Gid))
	}
	if err == nil {
		err = f.Chmod(like.Mode())
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// relative tells where a file is below a directory, by what the kernel calls both.
func relative(top, at *os.File) (string, error) {
	above, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", top.Fd()))
	if err != nil {
		return "", err
	}
	below, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", at.Fd()))
	if err != nil {
		return "", err
	}
	if above == below {
		return ".", nil
	}
	rel, ok := strings.CutPrefix(below, strings.TrimSuffix(above, "/")+"/")
	if !ok || strings.HasSuffix(rel, " (deleted)") {
		return "", fmt.Errorf("%w: it is at %s", ErrSubPath, below)
	}
	return rel, nil
}

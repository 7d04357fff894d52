package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxLinks bounds the symbolic links of one lookup, as the kernel does (path_resolution(7)).
const maxLinks = 40

// ReadFile reads one regular file of the image, such as /etc/passwd, as a container without a writable layer would see
// it: whiteouts hide, upper layers win, symbolic links stay inside the image. A file larger than limit bytes, a fifo or
// a device is an error, a file that is not there one that errors.Is fs.ErrNotExist.
//
// Sources of CVEs: 2024-9676 (passwd is a fifo or a link to a device), 2026-47262 (unbounded passwd).
func (s *Store) ReadFile(img *Image, name string, limit int64) ([]byte, error) {
	root, _, err := s.root(img)
	if err != nil {
		return nil, err
	}
	data, err := readMerged(root, name, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s of image %s: %w", name, img.name(), err)
	}
	return data, nil
}

func readMerged(root Root, name string, limit int64) ([]byte, error) {
	dir, rel, err := root.find(name)
	if err != nil {
		return nil, err
	}
	f, err := openBeneath(dir, rel)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("larger than %d bytes", limit)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// openBeneath opens a path that holds no symbolic link. In dir: images somebody may be changing the tree meanwhile; a link
// that appeared since is an error, never followed.
func openBeneath(dir, rel string) (*os.File, error) {
	parent, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	fd, err := unix.Openat2(int(parent.Fd()), rel, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: rel, Err: err}
	}
	return os.NewFile(uintptr(fd), rel), nil
}

// place is one directory of the merged tree: the directories that make it up, topmost first.
type place []string

// find walks the merged tree and returns the directory that holds the file, and the file's path below it.
func (r Root) find(name string) (dir, rel string, err error) {
	todo := strings.Split(path.Clean("/"+name), "/")[1:]
	var done []string // components resolved so far, free of links
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done, rel = done[:max(0, len(done)-1)], ""
			continue
		}
		at := r.place(done)
		full, info, err := at.lookup(part)
		if err != nil {
			return "", "", err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			if links++; links > maxLinks {
				return "", "", unix.ELOOP
			}
			target, err := os.Readlink(full)
			if err != nil {
				return "", "", err
			}
			if path.IsAbs(target) {
				done = nil
			}
			rel = ""
			todo = append(strings.Split(target, "/"), todo...)
			continue
		}
		if !info.IsDir() && len(todo) > 0 {
			return "", "", unix.ENOTDIR
		}
		done = append(done, part)
		dir, rel = filepath.Dir(full), part
	}
	if rel == "" {
		return "", "", unix.EISDIR
	}
	return dir, rel, nil
}

// place finds the directories that make up a directory of the merged tree. A bind of host:/ hides what lies below it.
func (r Root) place(parts []string) place {
	at := place(r.Lower)
	for i, part := range parts {
		if len(r.Mounts) > 0 {
			dest := "/" + path.Join(parts[:i+1]...)
			if j := slices.IndexFunc(r.Mounts, func(m specs.Mount) bool { return m.Destination == dest }); j >= 0 {
				at = place{r.Mounts[j].Source}
				continue
			}
		}
		at = at.below(part)
	}
	return at
}

// lookup finds what the merged directory holds under one name. A whiteout ends the search: what is below is deleted.
func (p place) lookup(name string) (string, fs.FileInfo, error) {
	for _, dir := range p {
		full := filepath.Join(dir, name)
		info, err := os.Lstat(full)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err == nil && isWhiteout(full, info) {
			break
		}
		return full, info, err
	}
	return "", nil, fs.ErrNotExist
}

// below is the merged directory under one name: from the topmost layer down to the first that does not merge.
func (p place) below(name string) place {
	var out place
	for _, dir := range p {
		full := filepath.Join(dir, name)
		info, err := os.Lstat(full)
		if err != nil {
			continue
		}
		if !info.IsDir() {
			break
		}
		out = append(out, full)
		if isOpaque(full) {
			break
		}
	}
	return out
}

// Lower is what Root gives, without a lease: what an image's root file system would stand on.
func (s *Store) Lower(img *Image) ([]string, []specs.Mount, error) {
	root, _, err := s.root(img)
	return root.Lower, root.Mounts, err
}

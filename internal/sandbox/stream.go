package sandbox

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Send writes a file or directory, with all below it, as a tar. As docker cp: it has its own name in it, except when the
// source ends in "/.", which has what is in it. Owners are those that the tree's own users see.
func Send(from *Tree, source string, w io.Writer, o CopyOptions) error {
	s := sender{CopyOptions: o, tree: from, w: tar.NewWriter(w)}
	err := s.source(source)
	if err == nil {
		err = s.w.Close()
	}
	if err != nil {
		return fmt.Errorf("cannot copy %s: %w", source, err)
	}
	return nil
}

type sender struct {
	CopyOptions
	tree *Tree
	w    *tar.Writer
}

func (s *sender) source(source string) error {
	name := path.Base(path.Clean("/" + source))
	contents := name == "/" || strings.HasSuffix(source, "/.")
	flags := unix.O_PATH
	if !s.Follow && !contents && !strings.HasSuffix(source, "/") {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := s.tree.open(source, flags, 0)
	if err != nil {
		return naming(source, err)
	}
	defer unix.Close(fd)
	if contents {
		name = "."
	}
	return s.node(fd, name)
}

// node writes one thing, opened by O_PATH, and what is below it.
func (s *sender) node(fd int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return naming(name, err)
	}
	h := &tar.Header{
		Format: tar.FormatPAX, Name: name, Mode: int64(st.Mode & 0o7777),
		Uid: inside(st.Uid, s.tree.uid), Gid: inside(st.Gid, s.tree.gid), ModTime: time.Unix(st.Mtim.Unix()),
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		if err = s.w.WriteHeader(h); err == nil {
			return eachChild(fd, name, s.node)
		}
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
		err = s.file(fd, h)
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = readlink(fd); err == nil {
			err = s.w.WriteHeader(h)
		}
	default:
		if s.Skipped != nil {
			s.Skipped(name)
		}
	}
	if err != nil {
		return naming(name, err)
	}
	return nil
}

// file writes a regular file as long as it was when it was looked at; one that became shorter meanwhile is an error.
func (s *sender) file(fd int, h *tar.Header) error {
	in, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd)) // our own descriptor: leads to no other file
	if err != nil {
		return err
	}
	defer in.Close()
	if err := s.w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(s.w, in, h.Size)
	return err
}

// inside is what a host id is in a tree whose user 0 is the host's root.
func inside(id uint32, root int) int {
	if n := int(id) - root; n >= 0 {
		return n
	}
	return int(id)
}

// Receive puts what a tar has into a directory of the tree. Names that lead out of the directory are refused; links, those
// of the tar too, lead to places in the tree.
func Receive(r io.Reader, to *Tree, target string, o CopyOptions) error {
	err := onThread(to, func() error {
		fd, err := to.open(target, unix.O_DIRECTORY|unix.O_RDONLY, 0)
		if err != nil {
			return naming(target, err)
		}
		unix.Close(fd)
		rec := receiver{copier: copier{o, to.uid, to.gid}, tree: to, target: target}
		return rec.all(tar.NewReader(r))
	})
	if err != nil {
		return fmt.Errorf("cannot copy to %s: %w", target, err)
	}
	return nil
}

type receiver struct {
	copier
	tree   *Tree
	target string
	dirs   []*tar.Header // their times are set when nothing more is put into them
}

func (r *receiver) all(in *tar.Reader) error {
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return r.settle()
		}
		if err != nil {
			return fmt.Errorf("not a tar: %w", err)
		}
		name := path.Clean(strings.TrimLeft(h.Name, "/"))
		if !filepath.IsLocal(name) {
			return fmt.Errorf("entry %.200q: its name leads out", h.Name)
		}
		if h.Name = name; h.Typeflag == tar.TypeXGlobalHeader || name == "." {
			continue
		}
		if err := r.entry(h, in); err != nil {
			return fmt.Errorf("entry %.200q: %w", h.Name, err)
		}
	}
}

func (r *receiver) entry(h *tar.Header, content io.Reader) error {
	dir, base := path.Split(h.Name)
	place, err := r.parent(dir)
	if err != nil {
		return err
	}
	defer unix.Close(place)
	switch h.Typeflag {
	case tar.TypeDir:
		if err := unix.Mkdirat(place, base, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		r.dirs = append(r.dirs, h)
		return nil
	case tar.TypeReg:
		made, err := r.create(place, base)
		if err != nil {
			return err
		}
		return r.pour(made, content, r.stat(h))
	case tar.TypeSymlink:
		return r.symlink(h.Linkname, r.stat(h), place, base)
	case tar.TypeLink:
		return r.hard(h, place, base)
	}
	if r.Skipped != nil {
		r.Skipped(h.Name)
	}
	return nil
}

// parent opens the directory of an entry, and makes those that the tar does not have.
func (r *receiver) parent(dir string) (int, error) {
	const flags = unix.O_DIRECTORY | unix.O_RDONLY
	fd, err := r.tree.open(path.Join(r.target, dir), flags, 0)
	if !errors.Is(err, unix.ENOENT) || dir == "" {
		return fd, err
	}
	above, name := path.Split(strings.TrimRight(dir, "/"))
	if fd, err = r.parent(above); err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	if err := unix.Mkdirat(fd, name, 0o755); err != nil {
		return -1, err // a link that leads nowhere has the name
	}
	return r.tree.open(path.Join(r.target, dir), flags, 0)
}

// hard makes another name of a file that the tar has.
func (r *receiver) hard(h *tar.Header, place int, base string) error {
	if !filepath.IsLocal(strings.TrimLeft(h.Linkname, "/")) {
		return fmt.Errorf("hard link to %.200q: the name leads out", h.Linkname)
	}
	fd, err := r.tree.open(path.Join(r.target, h.Linkname), unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("hard link to %.200q: %w", h.Linkname, err)
	}
	defer unix.Close(fd)
	if err := unix.Unlinkat(place, base, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), place, base, unix.AT_SYMLINK_FOLLOW)
}

// settle gives directories their owner, mode and times, the innermost first.
func (r *receiver) settle() error {
	for i := len(r.dirs) - 1; i >= 0; i-- {
		fd, err := r.tree.open(path.Join(r.target, r.dirs[i].Name), unix.O_DIRECTORY|unix.O_RDONLY, 0)
		if err == nil {
			err = errors.Join(r.finish(fd, r.stat(r.dirs[i])), unix.Close(fd))
		}
		if err != nil {
			return fmt.Errorf("entry %.200q: %w", r.dirs[i].Name, err)
		}
	}
	return nil
}

// stat is what a header says of a file.
func (r *receiver) stat(h *tar.Header) *unix.Stat_t {
	at := unix.NsecToTimespec(h.ModTime.UnixNano())
	return &unix.Stat_t{Mode: uint32(h.Mode & 0o7777), Uid: uint32(h.Uid), Gid: uint32(h.Gid), Atim: at, Mtim: at}
}

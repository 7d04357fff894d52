package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is a root directory and what is below it, mounts included. Every path is resolved below it: a symbolic link in
// it, absolute or not, leads to a place in it and never out of it (openat2(2), RESOLVE_IN_ROOT), so a container cannot
// lead its host to a file of the host.
type Tree struct {
	root *os.File
	uid  int // host id of the tree's user 0, who owns what is made; 0 in the first user namespace
	gid  int
}

// CopyOptions says how to copy. The zero value copies as docker cp does: files belong to root at their new place.
type CopyOptions struct {
	Archive bool         // keep owner and group
	Follow  bool         // copy what a symbolic link given as the source leads to
	Skipped func(string) // told of each file that is none and cannot be copied (a device, a socket); may be nil
}

// HostTree is the host's own root.
func HostTree() (*Tree, error) {
	f, err := os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open /: %w", err)
	}
	return &Tree{root: f}, nil
}

// Close ends the use of the tree.
func (t *Tree) Close() { t.root.Close() }

// Copy copies a file or directory with all below it. As docker cp: a destination that is a directory receives the
// source under its own name, except when the source ends in "/.", which copies what is in it. Mode and modification
// time are kept.
func Copy(from *Tree, source string, to *Tree, target string, o CopyOptions) error {
	err := onThread(to, func() error { return copyTree(from, source, to, target, o) })
	if err != nil {
		return fmt.Errorf("cannot copy %s to %s: %w", source, target, err)
	}
	return nil
}

// onThread runs do as the tree's own root: what it makes in a user namespace must belong to a user who exists there.
func onThread(to *Tree, do func() error) error {
	if to.uid == 0 && to.gid == 0 {
		return do()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread's ids end with it
		if err := errors.Join(unix.Setfsgid(to.gid), unix.Setfsuid(to.uid), effective()); err != nil {
			done <- err
			return
		}
		done <- do()
	}()
	return <-done
}

// effective gives the thread back what another file system user id took from it: the files of others, and their owners.
func effective() error {
	h := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(h, &data[0]); err != nil {
		return err
	}
	for i := range data {
		data[i].Effective = data[i].Permitted
	}
	return unix.Capset(h, &data[0])
}

func copyTree(from *Tree, source string, to *Tree, target string, o CopyOptions) error {
	contents := source == "." || strings.HasSuffix(source, "/.")
	flags := unix.O_PATH
	if !o.Follow && !contents && !strings.HasSuffix(source, "/") {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := from.open(source, flags, 0)
	if err != nil {
		return naming(source, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return naming(source, err)
	}
	place, name, into, err := to.destination(target, path.Base(path.Clean("/"+source)), contents, st.Mode&unix.S_IFMT == unix.S_IFDIR)
	if err != nil {
		return naming(target, err)
	}
	defer unix.Close(place)
	c := copier{CopyOptions: o, uid: to.uid - from.uid, gid: to.gid - from.gid}
	if into {
		return c.children(fd, place, source)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		// A file that is named is written over where it lies, through links too, as a person who names it means.
		if err := to.plain(target); err != nil {
			return naming(target, err)
		}
		made, err := to.open(target, createFile, 0o600)
		if err == nil {
			return c.fill(made, fd, &st)
		}
		if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.ETXTBSY) {
			return naming(target, err)
		}
	}
	return c.node(fd, &st, place, name, source)
}

// plain refuses what is no file: a container can make the node of a disk of the host's, and may not open it; we may.
func (t *Tree) plain(name string) error {
	fd, err := t.open(name, unix.O_PATH, 0)
	if err != nil {
		return nil // it is to be made
	}
	defer unix.Close(fd)
	return regular(fd)
}

func regular(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return errors.New("it is neither file nor directory")
	}
	return nil
}

// destination opens the directory that receives the copy, and says under which name; into says that the copied
// directory's children go right into it.
func (t *Tree) destination(target, base string, contents, isDir bool) (place int, name string, into bool, err error) {
	const dir = unix.O_DIRECTORY | unix.O_RDONLY
	fd, err := t.open(target, dir, 0)
	switch {
	case err == nil && contents:
		return fd, "", true, nil
	case err == nil:
		return fd, base, false, nil
	case errors.Is(err, unix.ENOTDIR) && isDir:
		return -1, "", false, errors.New("it is a file, the source is a directory")
	case strings.HasSuffix(target, "/") && !isDir:
		return -1, "", false, err
	}
	parent, name := path.Split(strings.TrimRight(target, "/"))
	if fd, err = t.open(parent, dir, 0); err != nil {
		return -1, "", false, err
	}
	return fd, name, false, nil
}

// open resolves a path below the root of the tree.
func (t *Tree) open(name string, flags int, mode uint64) (int, error) {
	how := &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Mode: mode, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(int(t.root.Fd()), "./"+strings.TrimLeft(name, "/"), how)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue // somebody renames while we look (openat2(2))
		}
		return fd, err
	}
}

func naming(name string, err error) error { return fmt.Errorf("%s: %w", name, err) }

// copier copies below two directories that are open. Names are single, and links are never followed.
type copier struct {
	CopyOptions
	uid, gid int // what is added to owners: both trees' users keep their numbers
}

// children copies all that is in one directory into another.
func (c *copier) children(from, to int, name string) error {
	return eachChild(from, name, func(fd int, full string) error {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return naming(full, err)
		}
		return c.node(fd, &st, to, path.Base(full), full)
	})
}

// eachChild opens, by O_PATH, each thing in a directory; full is the directory's name with its own behind it.
func eachChild(from int, name string, each func(fd int, full string) error) error {
	fd, err := unix.Openat(from, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return naming(name, err)
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(256)
		for _, child := range names {
			if err := openChild(fd, child, path.Join(name, child), each); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return naming(name, err)
		}
	}
}

func openChild(dir int, name, full string, each func(fd int, full string) error) error {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil // gone since it was listed
	}
	if err != nil {
		return naming(full, err)
	}
	defer unix.Close(fd)
	return each(fd, full)
}

// node copies one thing, opened by O_PATH, to a name in a directory.
func (c *copier) node(fd int, st *unix.Stat_t, to int, name, full string) error {
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.directory(fd, st, to, name, full)
	case unix.S_IFREG:
		err = c.file(fd, st, to, name)
	case unix.S_IFLNK:
		err = c.link(fd, st, to, name)
	default:
		if c.Skipped != nil {
			c.Skipped(full)
		}
	}
	if err != nil {
		return naming(full, err)
	}
	return nil
}

func (c *copier) directory(fd int, st *unix.Stat_t, to int, name, full string) error {
	if err := unix.Mkdirat(to, name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return naming(full, err)
	}
	made, err := unix.Openat(to, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return naming(full, err)
	}
	defer unix.Close(made)
	if err := c.children(fd, made, full); err != nil {
		return err
	}
	if err := c.finish(made, st); err != nil {
		return naming(full, err)
	}
	return nil
}

// createFile opens what a copy of a regular file is written to. Non-blocking: a fifo that has the name does not hold us.
const createFile = unix.O_WRONLY | unix.O_CREAT | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC

// file copies a regular file to a name in a directory. What has the name now is removed first: it may be a link, or a
// program that runs. Only what something is mounted on is written over.
func (c *copier) file(fd int, st *unix.Stat_t, to int, name string) error {
	made, err := c.create(to, name)
	if err != nil {
		return err
	}
	return c.fill(made, fd, st)
}

func (c *copier) create(to int, name string) (int, error) {
	if err := unix.Unlinkat(to, name, 0); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) {
		return -1, err
	}
	return unix.Openat(to, name, createFile|unix.O_NOFOLLOW, 0o600)
}

// fill writes the copy of the file fd to made, and closes made.
func (c *copier) fill(made, fd int, st *unix.Stat_t) error {
	in, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd)) // our own descriptor: leads to no other file
	if err != nil {
		return errors.Join(err, unix.Close(made))
	}
	defer in.Close()
	return c.pour(made, in, st)
}

// pour writes what is read to made, and closes made.
func (c *copier) pour(made int, in io.Reader, st *unix.Stat_t) error {
	out := os.NewFile(uintptr(made), "")
	// It may have been exchanged since it was looked at.
	err := regular(made)
	if err == nil {
		err = unix.Ftruncate(made, 0)
	}
	if err == nil {
		_, err = io.Copy(out, in)
	}
	if err == nil {
		err = c.finish(made, st)
	}
	return errors.Join(err, out.Close())
}

func (c *copier) link(fd int, st *unix.Stat_t, to int, name string) error {
	leadsTo, err := readlink(fd)
	if err != nil {
		return err
	}
	return c.symlink(leadsTo, st, to, name)
}

// readlink is what a link that was opened by O_PATH says.
func readlink(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	return string(buf[:max(n, 0)]), err
}

func (c *copier) symlink(leadsTo string, st *unix.Stat_t, to int, name string) error {
	if err := unix.Unlinkat(to, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if err := unix.Symlinkat(leadsTo, to, name); err != nil {
		return err
	}
	if c.Archive {
		if err := unix.Fchownat(to, name, int(st.Uid)+c.uid, int(st.Gid)+c.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	return unix.UtimesNanoAt(to, name, times, unix.AT_SYMLINK_NOFOLLOW)
}

// finish gives a copy its owner, mode and times: the owner first, since chown takes setuid bits away.
func (c *copier) finish(fd int, st *unix.Stat_t) error {
	if c.Archive {
		if err := unix.Fchown(fd, int(st.Uid)+c.uid, int(st.Gid)+c.gid); err != nil {
			return err
		}
	}
	mode := st.Mode & 0o7777
	if !c.Archive {
		mode &^= unix.S_ISUID | unix.S_ISGID // they would speak of another owner
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), []unix.Timespec{st.Atim, st.Mtim}, 0)
}

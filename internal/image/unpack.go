package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits bound what one layer may become on disk. The zero value is DefaultLimits.
type Limits struct {
	Bytes   int64 // of file content, holes of sparse files counted
	Entries int64
	Reserve int64 // bytes that stay free on the file system
}

// DefaultLimits are wide enough for every real image and end a decompression bomb.
var DefaultLimits = Limits{Bytes: 128 << 30, Entries: 8 << 20, Reserve: 64 << 20}

func (l Limits) orDefault() Limits {
	if l.Bytes == 0 {
		l.Bytes = DefaultLimits.Bytes
	}
	if l.Entries == 0 {
		l.Entries = DefaultLimits.Entries
	}
	if l.Reserve == 0 {
		l.Reserve = DefaultLimits.Reserve
	}
	return l
}

// unpacked is what a layer left that its parent must complete.
type unpacked struct {
	bytes      int64
	implied    map[string]bool // directories that the tar has only as parents of others; "" is the root
	opaqueRoot bool            // the layer deletes everything below it
}

// The names by which a layer deletes (OCI image-spec, layer.md, "Whiteouts").
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh." // aufs' own files, of no meaning but for the opaque marker
	whiteoutOpaque = ".wh..wh..opq"
)

// unpacker writes one layer below a directory that nobody else writes to.
//
// Every path of the tar is resolved by the kernel with the layer's directory as root (openat2 RESOLVE_IN_ROOT), so a
// symbolic link of the layer leads nowhere else; the last component is never followed; and every change of owner, mode,
// times or attributes goes to a file that was just made here, never through a name (CVE-2021-32760, CVE-2025-47290).
type unpacker struct {
	root    int // O_PATH descriptor
	limits  Limits
	out     unpacked
	entries int64
	checked int64 // bytes at the last look at the free space
	times   map[string]time.Time

	parent     int // cached: the directory of the entry before
	parentPath string
	buf        []byte
}

// unpack reads a tar to its end into the existing directory dir.
func unpack(r io.Reader, dir string, limits Limits) (*unpacked, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot unpack layer: %w", err)
	}
	defer unix.Close(root)
	u := &unpacker{
		root: root, limits: limits.orDefault(), parent: -1, buf: make([]byte, 256<<10),
		out: unpacked{implied: map[string]bool{"": true}}, times: map[string]time.Time{},
	}
	defer u.forget()
	if err := u.free(); err != nil {
		return nil, err
	}
	for tr := tar.NewReader(r); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("cannot unpack layer: bad tar: %w", err)
		}
		if err := u.entry(hdr, tr); err != nil {
			return nil, fmt.Errorf("cannot unpack layer: entry %.200q: %w", hdr.Name, err)
		}
	}
	if err := u.setTimes(); err != nil {
		return nil, fmt.Errorf("cannot unpack layer: %w", err)
	}
	return &u.out, nil
}

// errEscape is for names that lead out of the layer. A link that does is no error: it leads nowhere.
var errEscape = errors.New("name leads out of the layer")

// local turns a tar name into a path below the root: "" is the root itself.
func local(name string) (string, error) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == "." {
		return "", nil
	}
	if !filepath.IsLocal(clean) || strings.ContainsRune(clean, 0) {
		return "", errEscape
	}
	return clean, nil
}

func (u *unpacker) entry(hdr *tar.Header, content io.Reader) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if u.entries++; u.entries > u.limits.Entries {
		return fmt.Errorf("layer has more than %d entries", u.limits.Entries)
	}
	if hdr.Uid < 0 || hdr.Gid < 0 || int64(hdr.Uid) >= math.MaxUint32 || int64(hdr.Gid) >= math.MaxUint32 {
		return fmt.Errorf("owner %d:%d is no user and group", hdr.Uid, hdr.Gid)
	}
	name, err := local(hdr.Name)
	if err != nil {
		return err
	}
	if name == "" {
		if hdr.Typeflag != tar.TypeDir {
			return errors.New("root of the layer is no directory")
		}
		return u.directoryMeta(name, u.root, ".", hdr)
	}
	dir, base := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	switch {
	case strings.HasPrefix(dir, whiteoutMeta) || strings.Contains(dir, "/"+whiteoutMeta):
		return nil
	case strings.HasPrefix(dir, whiteoutPrefix) || strings.Contains(dir, "/"+whiteoutPrefix):
		return errors.New("name below a whiteout")
	}
	parent, err := u.open(dir)
	if err != nil {
		return err
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(dir, parent, base)
	}
	return u.make(target{name, parent, base}, hdr, content)
}

// target is where an entry goes: its path in the layer, its opened directory and its name there.
type target struct {
	path string
	dir  int
	base string
}

func (u *unpacker) make(at target, hdr *tar.Header, content io.Reader) error {
	err := u.create(at, hdr, content)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(at.dir, at.base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	isDir, wantDir := st.Mode&unix.S_IFMT == unix.S_IFDIR, hdr.Typeflag == tar.TypeDir
	if isDir && wantDir {
		return u.directoryMeta(at.path, at.dir, at.base, hdr)
	}
	// A later entry of one name replaces the earlier, as tar does.
	deleted := st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
	u.forget()
	if at.dir, err = u.open(path.Dir(at.path)); err != nil {
		return err
	}
	if err := removeAt(at.dir, at.base); err != nil {
		return err
	}
	if err := u.create(at, hdr, content); err != nil {
		return err
	}
	if deleted && wantDir { // the whiteout was for what lies below, which must not shine through the new directory
		return u.setOpaque(at.dir, at.base)
	}
	return nil
}

// create makes what is not there. EEXIST is for make to solve, and told before any content is read.
func (u *unpacker) create(at target, hdr *tar.Header, content io.Reader) error {
	switch hdr.Typeflag {
	case tar.TypeDir:
		if err := unix.Mkdirat(at.dir, at.base, 0o700); err != nil {
			return err
		}
		return u.directoryMeta(at.path, at.dir, at.base, hdr)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return u.file(at, hdr, content)
	case tar.TypeLink:
		return u.hardlink(at, hdr.Linkname)
	case tar.TypeSymlink:
		if err := unix.Symlinkat(hdr.Linkname, at.dir, at.base); err != nil {
			return err
		}
		return u.meta(at, hdr, false)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return u.special(at, hdr)
	}
	return fmt.Errorf("unknown entry type %q", hdr.Typeflag)
}

func (u *unpacker) file(at target, hdr *tar.Header, content io.Reader) error {
	if hdr.Size > u.limits.Bytes-u.out.bytes {
		return fmt.Errorf("layer unpacks to more than %d bytes", u.limits.Bytes)
	}
	fd, err := unix.Openat(at.dir, at.base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := u.write(fd, hdr, content); err != nil {
		return err
	}
	if err := unix.Fchown(fd, hdr.Uid, hdr.Gid); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, permissions(hdr)); err != nil {
		return err
	}
	if err := setXattrs(fmt.Sprintf("/proc/self/fd/%d", fd), true, hdr); err != nil {
		return err
	}
	return unix.UtimesNanoAt(fd, "", timespecs(hdr.ModTime), unix.AT_EMPTY_PATH)
}

// write copies the content of a regular file; the zeros of a sparse one become holes.
func (u *unpacker) write(fd int, hdr *tar.Header, content io.Reader) error {
	sparse := hdr.Typeflag == tar.TypeGNUSparse || hdr.PAXRecords["GNU.sparse.major"] != "" || hdr.PAXRecords["GNU.sparse.map"] != ""
	if sparse {
		if err := unix.Ftruncate(fd, hdr.Size); err != nil {
			return err
		}
	}
	for off := int64(0); ; {
		n, err := io.ReadFull(content, u.buf[:min(int64(len(u.buf)), hdr.Size-off)])
		if hole := sparse && allZero(u.buf[:n]); !hole && n > 0 {
			if err := writeAll(fd, u.buf[:n], off); err != nil {
				return err
			}
		}
		off += int64(n)
		u.out.bytes += int64(n)
		if off == hdr.Size {
			return u.free()
		}
		if err != nil {
			return err
		}
		if err := u.free(); err != nil {
			return err
		}
	}
}

// free looks at the free space of the file system, once for each 16 MiB written.
func (u *unpacker) free() error {
	const step = 16 << 20
	if u.checked != 0 && u.out.bytes-u.checked < step {
		return nil
	}
	u.checked = max(u.out.bytes, 1)
	var st unix.Statfs_t
	if err := unix.Fstatfs(u.root, &st); err != nil {
		return err
	}
	if left := int64(st.Bavail) * st.Bsize; left < u.limits.Reserve {
		return fmt.Errorf("%w: only %d bytes free, %d are kept in reserve", unix.ENOSPC, left, u.limits.Reserve)
	}
	return nil
}

func writeAll(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, off)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		p, off = p[max(n, 0):], off+int64(max(n, 0))
	}
	return nil
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// hardlink links to a file of this layer. The target is not followed if it is a symbolic link: the link itself has a second name then.
func (u *unpacker) hardlink(at target, to string) error {
	name, err := local(to)
	if err == nil && name == "" {
		err = errEscape
	}
	if err != nil {
		return fmt.Errorf("hard link to %.200q: %w", to, err)
	}
	if name == at.path {
		return errors.New("hard link to itself")
	}
	dir, err := u.resolve(path.Dir(name))
	if err != nil {
		return fmt.Errorf("hard link to %.200q: %w", to, err)
	}
	defer unix.Close(dir)
	if err := unix.Linkat(dir, path.Base(name), at.dir, at.base, 0); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return err
		}
		return fmt.Errorf("hard link to %.200q: %w", to, err)
	}
	return nil
}

func (u *unpacker) special(at target, hdr *tar.Header) error {
	if hdr.Devmajor < 0 || hdr.Devmajor >= 1<<12 || hdr.Devminor < 0 || hdr.Devminor >= 1<<20 {
		return fmt.Errorf("device %d:%d is out of range", hdr.Devmajor, hdr.Devminor)
	}
	var kind uint32
	var dev uint64
	switch hdr.Typeflag {
	case tar.TypeChar:
		kind, dev = unix.S_IFCHR, unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))
	case tar.TypeBlock:
		kind, dev = unix.S_IFBLK, unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))
	case tar.TypeFifo:
		kind = unix.S_IFIFO
	}
	if kind == unix.S_IFCHR && dev == 0 {
		return u.putWhiteout(at.dir, at.base) // overlayfs' own form of a whiteout, as some builders write it
	}
	if err := unix.Mknodat(at.dir, at.base, kind|0o600, int(dev)); err != nil {
		return err
	}
	return u.meta(at, hdr, true)
}

// permissions are the nine bits of rwx and setuid, setgid and sticky.
func permissions(hdr *tar.Header) uint32 { return uint32(hdr.Mode) & 0o7777 }

func timespecs(t time.Time) []unix.Timespec {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	ts := unix.NsecToTimespec(t.UnixNano())
	if t.Year() < 1678 || t.Year() > 2261 { // beyond what fits into 64 bits of nanoseconds
		ts = unix.Timespec{Sec: t.Unix()}
	}
	return []unix.Timespec{ts, ts}
}

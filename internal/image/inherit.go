package image

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// inherit gives the directories that a layer only implies (it has their children, not them) the owner, mode, times and
// attributes that they have below: in an overlay the topmost directory's count, and a layer that only adds /tmp/x must not
// take the sticky bit from /tmp.
func inherit(top string, out *unpacked, below Root) error {
	if out.opaqueRoot {
		if err := hideAll(top, below); err != nil {
			return err
		}
	}
	implied := make([]string, 0, len(out.implied))
	for name := range out.implied {
		implied = append(implied, name)
	}
	sort.Sort(sort.Reverse(sort.StringSlice(implied))) // children before parents: they change their parents' times
	known := places{"": below.Lower}
	for _, name := range implied {
		at := known.find(name)
		if len(at) == 0 {
			continue
		}
		if err := copyMeta(at[0], filepath.Join(top, name)); err != nil {
			return err
		}
	}
	return nil
}

// places remembers merged directories by their path: those of one layer have most of their parents in common.
type places map[string]place

func (p places) find(name string) place {
	if at, ok := p[name]; ok {
		return at
	}
	dir, base := path.Split(name)
	p[name] = p.find(strings.TrimSuffix(dir, "/")).below(base)
	return p[name]
}

// hideAll makes a layer whose root is opaque delete what is below: overlayfs knows no opaque root.
func hideAll(top string, below Root) error {
	u := &unpacker{}
	for _, lower := range below.Lower {
		entries, err := os.ReadDir(lower)
		if err != nil {
			return err
		}
		dir, err := os.Open(top)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := u.whiteout("", int(dir.Fd()), whiteoutPrefix+e.Name()); err != nil {
				dir.Close()
				return err
			}
		}
		dir.Close()
	}
	return nil
}

// copyMeta copies owner, mode, times and attributes of one directory to another. Both are of the store, and neither path
// goes through a link.
func copyMeta(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return err
	}
	if err := unix.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmodat(unix.AT_FDCWD, to, st.Mode&0o7777, 0); err != nil {
		return err
	}
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(from, list)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(list[:max(n, 0)]), "\x00"), "\x00") {
		if !wantedXattr(name) {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(from, name, value)
		if err != nil {
			return err
		}
		if err := unix.Lsetxattr(to, name, value[:n], 0); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

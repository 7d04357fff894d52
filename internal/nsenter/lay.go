package nsenter

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/ns"
)

// maxEntries is how many names of a directory are taken into a view.
const maxEntries = 4096

// lay makes what the view of --tools is put together from: file systems in memory that are mounted nowhere yet.
func (v *view) lay(o Options) error {
	if o.Tools == "" {
		return nil
	}
	switch {
	case !o.All && !o.Spaces[ns.Mnt].Wanted:
		return wrong("--tools needs --mount: there is nothing to lay them over")
	case o.Root.Wanted || o.Dir.Wanted || o.MountProc:
		return wrong("--tools goes with none of --root, --wd, --mount-proc")
	case !v.Admin:
		return errors.New("cannot lay tools over the target: it takes CAP_SYS_ADMIN of whoever calls")
	}
	root, err := v.target.open("root", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	v.given["tools:root"] = root
	t := &Tools{}
	var links map[string]string
	if info, err := os.Stat(o.Tools); err == nil && info.Mode().IsRegular() {
		t.Under = true
		if err := v.busybox(o.Tools, t); err != nil {
			return fmt.Errorf("cannot use %s as tools: %w", o.Tools, err)
		}
	} else {
		if err := v.layers(o.Tools, t); err != nil {
			return err
		}
		if links, err = v.links(t); err != nil {
			return fmt.Errorf("cannot use %s as tools: %w", o.Tools, err)
		}
	}
	mounts, err := v.target.read("mountinfo", 16<<20)
	if err != nil {
		return err
	}
	read := func(tools bool, dir string) []entry {
		var list []entry
		if !tools {
			list, err = entries(root, dir, err)
			return list
		}
		for i := range t.Layers {
			var more []entry
			more, err = entries(v.given[fmt.Sprint("tools:", i)], dir, err)
			for _, e := range more {
				if to := links[path.Join(dir, e.Name)]; to != "" {
					e.Link = to
				}
				if toolsOf(list, e.Name).Name == "" && (dir != "" || slices.Contains(programs[:], e.Name)) {
					list = append(list, e)
				}
			}
		}
		return list
	}
	t.Entries = lays("", "", mountpoints(mounts), read)
	if err != nil {
		return fmt.Errorf("cannot read the root of process %d: %w", v.PID, err)
	}
	for _, e := range t.Entries {
		t.Paths = append(t.Paths, paths(e.Name)...)
	}
	if err := v.skeleton(t); err != nil {
		return fmt.Errorf("cannot lay tools: %w", err)
	}
	v.Tools = t
	return nil
}

// paths are where programs are below a directory of the root.
func paths(name string) []string {
	switch name {
	case "bin", "sbin":
		return []string{"/" + name}
	case "usr":
		return []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"}
	}
	return nil
}

// entries are the names in a directory below a root, which may be anybody's. A directory that is not there has none.
func entries(root int, dir string, before error) ([]entry, error) {
	if before != nil {
		return nil, before
	}
	fd, err := unix.Openat2(root, path.Join(".", dir), &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "/"+dir)
	defer f.Close()
	names, err := f.Readdirnames(maxEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(names) > maxEntries {
		return nil, fmt.Errorf("more than %d names in /%s", maxEntries, printable(dir))
	}
	slices.Sort(names)
	var all []entry
	for _, name := range names {
		if e, ok := entryAt(fd, name); ok {
			all = append(all, e)
		}
	}
	return all, nil
}

func entryAt(dir int, name string) (entry, bool) {
	var st unix.Stat_t
	if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return entry{}, false
	}
	e := entry{Name: name, Mode: st.Mode}
	if e.is(unix.S_IFLNK) {
		var buf [unix.PathMax]byte
		n, err := unix.Readlinkat(dir, name, buf[:])
		if err != nil {
			return entry{}, false
		}
		e.Link = string(buf[:n])
	}
	return e, true
}

// layers opens directories of the host, topmost first, and finds what programs they have.
func (v *view) layers(list string, t *Tools) error {
	found := false
	for i, dir := range strings.Split(list, ":") {
		fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return fmt.Errorf("cannot use %s as tools: %s", dir, text(err))
		}
		v.given[fmt.Sprint("tools:", i)] = fd
		t.Layers++
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
			return fmt.Errorf("cannot use %s as tools: %s", dir, text(err))
		}
		for _, name := range programs {
			_, ok := entryAt(fd, name)
			found = found || ok
		}
	}
	if !found {
		return fmt.Errorf("cannot use %s as tools: it has neither bin nor usr", list)
	}
	return nil
}

// busybox makes a file system with one program that is many: its own list says which.
func (v *view) busybox(file string, t *Tools) error {
	list, err := exec.Command(file, "--list").Output()
	if err != nil {
		return fmt.Errorf("%s --list: %w", file, err)
	}
	fd, err := tmpfs("0755")
	if err != nil {
		return err
	}
	v.given["tools:0"], t.Layers = fd, 1
	if err := unix.Mkdirat(fd, "bin", 0o755); err != nil {
		return os.NewSyscallError("mkdir", err)
	}
	if err := copyInto(fd, "bin/busybox", file); err != nil {
		return err
	}
	for _, name := range strings.Fields(string(list)) {
		if strings.Contains(name, "/") || name == "busybox" {
			continue
		}
		if err := unix.Symlinkat("busybox", fd, "bin/"+name); err != nil && !errors.Is(err, unix.EEXIST) {
			return os.NewSyscallError("symlink", err)
		}
	}
	return nil
}

// alternatives is where Debian and others keep links that choose between programs: awk, vi, nc. /etc is the target's in
// the view, so what leads there is made to lead on.
const alternatives = "/etc/alternatives/"

// links makes a file system of the links among the tools that lead to alternatives, each to where it ends, and returns
// them by their paths.
func (v *view) links(t *Tools) (map[string]string, error) {
	found := map[string]string{}
	for i := range t.Layers {
		root := v.given[fmt.Sprint("tools:", i)]
		for _, dir := range []string{"usr/bin", "usr/sbin", "bin", "sbin"} {
			if e, ok := entryAt(root, dir); !ok || !e.is(unix.S_IFDIR) {
				continue
			}
			for name, to := range linksTo(root, dir) {
				if found[dir+"/"+name] == "" {
					found[dir+"/"+name] = to
				}
			}
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	fd, err := tmpfs("0755")
	if err != nil {
		return nil, err
	}
	v.given["tools:links"] = fd
	for file, to := range found {
		for dir := path.Dir(file); dir != "." && !slices.Contains(t.Links, dir); dir = path.Dir(dir) {
			t.Links = append(t.Links, dir)
		}
		if err := mkdirs(fd, path.Dir(file)); err != nil {
			return nil, err
		}
		if err := unix.Symlinkat(to, fd, file); err != nil {
			return nil, os.NewSyscallError("symlink", err)
		}
	}
	return found, nil
}

func mkdirs(root int, dir string) error {
	if up := path.Dir(dir); up != "." {
		if err := mkdirs(root, up); err != nil {
			return err
		}
	}
	if err := unix.Mkdirat(root, dir, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return os.NewSyscallError("mkdir", err)
	}
	return nil
}

// linksTo are the links of a directory that lead to alternatives, and where those lead.
func linksTo(root int, dir string) map[string]string {
	fd, err := unix.Openat2(root, dir, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	list, _ := f.ReadDir(-1)
	found := map[string]string{}
	for _, e := range list {
		if e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		at, ok := entryAt(fd, e.Name())
		if !ok || !strings.HasPrefix(at.Link, alternatives) {
			continue
		}
		if to, ok := entryAt(root, strings.TrimPrefix(at.Link, "/")); ok && path.IsAbs(to.Link) {
			found[e.Name()] = to.Link
		}
	}
	return found
}

func copyInto(dir int, name, file string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o755)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	out := os.NewFile(uintptr(fd), name)
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(0o755), out.Close())
}

// tmpfs is a file system in memory that is mounted nowhere.
func tmpfs(mode string) (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "mode", mode); err != nil {
		return -1, os.NewSyscallError("fsconfig", err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, os.NewSyscallError("fsconfig", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	return fd, os.NewSyscallError("fsmount", err)
}

// skeleton makes the scratch and the empty view: what is bound needs something to be bound on.
func (v *view) skeleton(t *Tools) error {
	var err error
	for _, name := range []string{"tools:scratch", "tools:view"} {
		if v.given[name], err = tmpfs("0755"); err != nil {
			delete(v.given, name)
			return err
		}
	}
	scratch, at := v.given["tools:scratch"], v.given["tools:view"]
	dirs := []string{"view", "tools", "toolslinks"}
	for i := range t.Layers {
		dirs = append(dirs, fmt.Sprint("tools", i))
	}
	for _, d := range dirs {
		if err := unix.Mkdirat(scratch, d, 0o755); err != nil {
			return os.NewSyscallError("mkdir", err)
		}
	}
	for _, l := range t.Entries {
		switch l.Kind {
		case Symlink:
			err = unix.Symlinkat(l.Link, at, l.Name)
		case SameFile, ToolFile:
			err = unix.Mknodat(at, l.Name, unix.S_IFREG|0o644, 0)
		default:
			err = unix.Mkdirat(at, l.Name, 0o755)
		}
		if err != nil {
			return fmt.Errorf("cannot make %s: %w", printable(l.Name), err)
		}
	}
	return nil
}

// mountpoints are the mount points in /proc/PID/mountinfo.
func mountpoints(mountinfo string) []string {
	var found []string
	for line := range strings.Lines(mountinfo) {
		if f := strings.Fields(line); len(f) > 4 {
			found = append(found, path.Clean(unescape(f[4])))
		}
	}
	return found
}

// unescape undoes what the kernel does to blanks in mountinfo (proc(5)): \040 is a space.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

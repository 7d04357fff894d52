package nsenter

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// Tools is how programs that the target does not have are laid over its root.
//
// The program gets a mount namespace of its own, a copy of the target's, with a new root, the view: an empty read-only
// file system with the target's own directories and files bound into it one by one, so that what is written there
// reaches the target, if it may be written. Directories of programs and libraries alone are overlays of the tools' and
// the target's. Where the kernel refuses such an overlay (file systems may be stacked two deep), the tools' directory
// covers the target's. All of it is in memory and in that namespace, and ends with the program.
type Tools struct {
	Layers  int      // how many given files "tools:0" … are the tools' file systems, topmost first
	Under   bool     // the target's own files come before the tools' of the same name
	Links   []string // directories of the given file "tools:links", which is laid over the tools'
	Entries []Lay    // of the view, a directory before what is in it
	Paths   []string // where the tools' programs are, added to PATH
}

// Lay is what one name of the view is.
type Lay struct {
	Name string // a path without a slash before it
	Kind LayKind
	Link string // of a Symlink: what it says; of a Merge and of the tools' own: where the tools have it
}

// LayKind is what a name of the view is.
type LayKind uint8

// The kinds of names of a view.
const (
	Same     LayKind = iota // the target's directory, with all that is mounted below it
	SameFile                // the target's file
	Symlink
	TheTools // the tools' directory
	ToolFile // the tools' file
	Merge    // an overlay of both directories
	Apart    // a directory of the view's own, whose names follow
)

// programs are the directories of a root file system that hold programs and libraries: those that the image host:/ takes
// of the host.
var programs = [...]string{"bin", "lib", "lib32", "lib64", "libx32", "sbin", "usr"}

// entry is a name in the root directory of the target or of the tools.
type entry struct {
	Name string
	Mode uint32 // st_mode
	Link string // of a symbolic link
}

func (e entry) is(format uint32) bool { return e.Mode&unix.S_IFMT == format }

// lays decides what each name below a directory of the view is, "" for its root. read has the names of a directory of
// the target or of the tools; mounts are the target's mount points. An overlay of a directory would hide what is mounted
// below it, and the kernel refuses it where those mounts are locked, as they are for a target with a user namespace: such
// a directory is taken apart.
func lays(dir, toolsDir string, mounts []string, read func(tools bool, dir string) []entry) []Lay {
	target, tools := read(false, dir), read(true, toolsDir)
	var out []Lay
	seen := map[string]bool{}
	for _, e := range target {
		seen[e.Name] = true
		l := lay(e, toolsOf(tools, e.Name), toolsDir)
		l.Name = path.Join(dir, e.Name)
		if l.Kind == Merge && e.is(unix.S_IFDIR) && holds(mounts, l.Name) {
			out = append(out, Lay{Name: l.Name, Kind: Apart})
			out = append(out, lays(l.Name, l.Link, mounts, read)...)
			continue
		}
		out = append(out, l)
	}
	for _, t := range tools {
		name, at := path.Join(dir, t.Name), path.Join(toolsDir, t.Name)
		switch {
		case seen[t.Name]:
		case t.is(unix.S_IFDIR):
			out = append(out, Lay{name, TheTools, at})
		case t.is(unix.S_IFREG):
			out = append(out, Lay{name, ToolFile, at})
		case t.is(unix.S_IFLNK):
			out = append(out, Lay{name, Symlink, t.Link})
		}
	}
	return out
}

// holds says that something is mounted below a directory.
func holds(mounts []string, dir string) bool {
	for _, m := range mounts {
		if strings.HasPrefix(m, "/"+dir+"/") {
			return true
		}
	}
	return false
}

func toolsOf(tools []entry, name string) entry {
	for _, t := range tools {
		if t.Name == name {
			return t
		}
	}
	return entry{}
}

// lay is for a name that the target has. The tools may have /bin as a link into /usr where the target has a directory,
// and the other way round.
func lay(e, t entry, toolsDir string) Lay {
	switch {
	case t.is(unix.S_IFDIR) && (e.is(unix.S_IFDIR) || e.is(unix.S_IFLNK)):
		return Lay{Kind: Merge, Link: path.Join(toolsDir, t.Name)}
	case t.is(unix.S_IFLNK) && e.is(unix.S_IFDIR) && toolsDir == "":
		return Lay{Kind: Merge, Link: strings.TrimPrefix(path.Clean("/"+t.Link), "/")}
	case e.is(unix.S_IFLNK):
		return Lay{Kind: Symlink, Link: e.Link}
	case e.is(unix.S_IFDIR):
		return Lay{Kind: Same}
	}
	return Lay{Kind: SameFile}
}

const (
	cloneTree = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE | unix.AT_SYMLINK_NOFOLLOW
	attached  = unix.MOVE_MOUNT_F_EMPTY_PATH
)

// view changes to the view. It is done when the target's mount namespace is joined, and with the caller's own rights.
func (p *program) view(t *Tools) {
	p.origin = "--tools"
	// A target that has changed its root is seen as it sees itself.
	p.do("go to the target's root", "cannot lay tools: fchdir: ", plan.Fchdir, plan.File("tools:root"))
	p.do("make it /", "cannot lay tools: chroot: ", plan.Chroot, plan.Text("."))
	p.do("own mount namespace", "cannot lay tools: unshare: ", plan.Unshare, plan.Int(unix.CLONE_NEWNS))
	// A target whose / is no mount has it as a directory of one.
	p.do("keep mounts private", "cannot lay tools: ", plan.Mount, plan.Text("none"), plan.Text("/"), null, plan.Int(unix.MS_REC|unix.MS_PRIVATE), null).
		On = []plan.Branch{{Errno: unix.EINVAL}}
	attach := func(file, to string, at plan.Arg) {
		p.do("attach "+file, "cannot lay tools: cannot attach "+file+": ", plan.MoveMount, plan.File(file), empty, at, plan.Text(to), plan.Int(attached))
	}
	scratch := plan.File("tools:scratch")
	attach("tools:scratch", "/", cwd)
	attach("tools:view", "view", scratch)
	for _, file := range t.files() {
		attach(file, strings.Replace(file, ":", "", 1), scratch)
	}
	p.do("go to the scratch", "cannot lay tools: fchdir: ", plan.Fchdir, scratch)
	if t.Layers > 1 {
		lower := make([]string, t.Layers)
		for i := range lower {
			lower[i] = fmt.Sprint("tools", i)
		}
		p.overlay("tools", lower...)
	}
	for _, l := range t.Entries {
		p.lay(l, t)
	}
	var attr [32]byte
	attr[0] = unix.MOUNT_ATTR_RDONLY
	p.do("make the view read-only", "cannot lay tools: mount_setattr: ", plan.MountSetattr, plan.File("tools:view"), empty, plan.Int(unix.AT_EMPTY_PATH), plan.Bytes(attr[:]), plan.Int(len(attr)))
	p.do("go to the view", "cannot lay tools: fchdir: ", plan.Fchdir, plan.File("tools:view"))
	s := p.do("make it /", "cannot lay tools: pivot_root: ", plan.PivotRoot, plan.Text("."), plan.Text("."))
	s.On = []plan.Branch{{Errno: unix.EINVAL, Skip: 2}}
	p.do("let go of the target's root", "cannot lay tools: umount: ", plan.Umount2, plan.Text("."), plan.Int(unix.MNT_DETACH))
	p.do("go on", "", plan.Prctl, plan.Int(unix.PR_GET_DUMPABLE), plan.Int(0), plan.Int(0), plan.Int(0), plan.Int(0)).Skip = 1
	p.do("make it /, since / is no mount", "cannot lay tools: chroot: ", plan.Chroot, plan.Text("."))
	p.do("enter /", "cannot lay tools: chdir: ", plan.Chdir, plan.Text("/"))
}

// files are the names of the tools' file systems as given files.
func (t *Tools) files() (names []string) {
	if len(t.Links) > 0 {
		names = append(names, "tools:links")
	}
	for i := range t.Layers {
		names = append(names, fmt.Sprint("tools:", i))
	}
	return names
}

// at is where the tools are below the scratch.
func (t *Tools) at() string {
	if t.Layers == 1 {
		return "tools0"
	}
	return "tools"
}

func (p *program) lay(l Lay, t *Tools) {
	switch l.Kind {
	case Same, SameFile:
		p.bind("the target's /"+l.Name, cwd, "/"+l.Name, l.Name)
	case TheTools, ToolFile, Merge:
		// What is tried, one after another: all that there is, the tools alone, the tools without links of their own.
		at := t.at() + "/" + l.Link
		tools := []string{at}
		if slices.Contains(t.Links, l.Link) {
			tools = []string{"toolslinks/" + l.Link, at}
		}
		var tries [][]string
		switch {
		case l.Kind == Merge && t.Under:
			tries = append(tries, append([]string{"/" + l.Name}, tools...))
		case l.Kind == Merge:
			tries = append(tries, append(slices.Clone(tools), "/"+l.Name))
		}
		if len(tools) > 1 {
			tries = append(tries, tools)
		}
		for i, lower := range tries {
			s := p.overlay("view/"+l.Name, lower...)
			s.Any, s.Skip = true, uint8(len(tries)-1-i+3)
		}
		p.bind("the tools' /"+l.Name, plan.File("tools:scratch"), at, l.Name)
	}
}

func (p *program) overlay(at string, lower ...string) *plan.Step {
	data := "lowerdir=" + strings.Join(lower, ":")
	return p.do("overlay of "+strings.Join(lower, " and ")+" at "+at, "cannot lay tools: overlay at "+at+": ", plan.Mount,
		plan.Text("overlay"), plan.Text(at), plan.Text("overlay"), plan.Int(unix.MS_RDONLY|unix.MS_NODEV), plan.Text(data))
}

// bind puts a clone of what is at a path into the view. What has gone since, or may not be bound, is left out.
func (p *program) bind(what string, dir plan.Arg, from, to string) {
	s := p.do("clone "+what, "cannot lay tools: cannot clone "+from+": ", plan.OpenTree, dir, plan.Text(from), plan.Int(uint(cloneTree)))
	s.Save, s.On = rFile, []plan.Branch{{Errno: unix.ENOENT, Skip: 2}, {Errno: unix.EINVAL, Skip: 2}}
	p.do("attach it at /"+to, "cannot lay tools: cannot attach "+to+": ", plan.MoveMount, plan.Result(rFile), empty, plan.File("tools:view"), plan.Text(to), plan.Int(attached)).Any = true
	p.do("close it", "", plan.Close, plan.Result(rFile))
}

// withPaths is an environment whose PATH has the directories of the tools too, behind the target's.
func withPaths(env, dirs []string) []string {
	has := lookup(env, "PATH")
	list := strings.Split(has, ":")
	if has == "" {
		list = nil
	}
	for _, d := range dirs {
		found := false
		for _, l := range list {
			found = found || l == d
		}
		if !found {
			list = append(list, d)
		}
	}
	out := make([]string, 0, len(env)+1)
	for _, e := range env {
		if !strings.HasPrefix(e, "PATH=") {
			out = append(out, e)
		}
	}
	return append(out, "PATH="+strings.Join(list, ":"))
}

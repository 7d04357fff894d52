// Package cgroup makes, limits, reads, kills and removes control groups on cgroup v1, hybrid and v2 hosts.
//
// A Hierarchy is one mounted tree of cgroups with the controllers bound to it: v1 has several, v2 has one, the
// unified hierarchy, and a hybrid host has both kinds. A Group is one path taken in every hierarchy of a Host.
// A Setting is one value for one file; Settings, a pure function, compiles OCI resources into them in the
// dialect of the hierarchy that holds each controller, so a hybrid host may mix both.
//
// The kernel's own words: cgroups(7), Documentation/admin-guide/cgroup-v1/ and cgroup-v2.rst.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Mode tells which kinds of hierarchy a host has mounted.
type Mode int

// The three modes. Controllers are looked up one by one, whatever the mode.
const (
	V1     Mode = iota + 1 // v1 hierarchies only
	Hybrid                 // v1 hierarchies beside a unified one
	V2                     // the unified hierarchy only
)

// String returns the mode as people write it: v1, hybrid or v2.
func (m Mode) String() string {
	switch m {
	case V1:
		return "v1"
	case Hybrid:
		return "hybrid"
	case V2:
		return "v2"
	}
	return fmt.Sprintf("mode %d", int(m))
}

// Unified is the Name of the cgroup v2 hierarchy.
const Unified = "unified"

// Host is what a host offers, as Detect found it.
type Host struct {
	Mode        Mode
	Hierarchies []Hierarchy // v1 sorted by Name, the unified one last
	Systemd     *Systemd    // not nil: groups are units of systemd; see UseSystemd
}

// Hierarchy is one mounted tree of cgroups.
type Hierarchy struct {
	Name        string   // as in /proc/self/cgroup ("cpu,cpuacct", "name=systemd"), or "unified"
	Controllers []string // none for a named v1 hierarchy
	Mountpoint  string   // absolute
	Unified     bool
}

// unified returns the v2 hierarchy.
func (h Host) unified() (Hierarchy, bool) {
	if n := len(h.Hierarchies); n > 0 && h.Hierarchies[n-1].Unified {
		return h.Hierarchies[n-1], true
	}
	return Hierarchy{}, false
}

// v1 returns the v1 hierarchy that holds a controller.
func (h Host) v1(controller string) (Hierarchy, bool) {
	for _, y := range h.Hierarchies {
		if !y.Unified && slices.Contains(y.Controllers, controller) {
			return y, true
		}
	}
	return Hierarchy{}, false
}

// ErrPath is a cgroup path that is not a plain relative one.
var ErrPath = errors.New("not a relative path of plain names")

// CheckPath refuses a path that is empty, absolute, longer than the kernel takes, or has a part that is empty,
// "." or "..", holds a control character, or could be the name of a control file. errors.Is(err, ErrPath).
func CheckPath(p string) error {
	if len(p) > unix.PathMax/2 {
		return fmt.Errorf("cannot use a cgroup path of %d bytes: %w", len(p), ErrPath)
	}
	for part := range strings.SplitSeq(p, "/") {
		bad := part == "" || part == "." || part == ".." || len(part) > unix.NAME_MAX || strings.HasPrefix(part, "cgroup.")
		if bad || strings.ContainsFunc(part, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("cannot use cgroup path %q: %w", p, ErrPath)
		}
	}
	return nil
}

// Group is one cgroup: the same path in every hierarchy of a host.
type Group struct {
	host Host
	path string
	unit Unit   // of systemd, if it has one
	hold func() // ends the process that keeps a fresh unit; nil when there is none
}

// Open returns the group at a path, which must satisfy CheckPath, or with systemd of a unit that Make has taken. It
// touches nothing: the group need not exist.
func Open(h Host, path string) *Group {
	if h.Systemd != nil {
		if g, err := openUnit(h, path); err == nil {
			return g
		}
	}
	return &Group{host: h, path: path}
}

// Path returns the group's path below each mount point.
func (g *Group) Path() string { return g.path }

// Below is a cgroup below g. It touches nothing.
func (g *Group) Below(path string) (*Group, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	return Open(g.host, g.path+"/"+path), nil
}

// Exists says whether the group is there, in whichever hierarchy.
func (g *Group) Exists() bool {
	return slices.ContainsFunc(g.host.Hierarchies, func(y Hierarchy) bool { return unix.Access(g.Dir(y), unix.F_OK) == nil })
}

// Dir returns the group's directory in one hierarchy.
func (g *Group) Dir(y Hierarchy) string { return y.Mountpoint + "/" + g.path }

// Make makes the group and its missing ancestors in every hierarchy; one that is there already is taken as it is.
// v1 cpusets inherit their parent's CPUs and nodes, without which no process can join. On a v2 host the ancestors
// hand down every controller they may; one that they may not is told by Limit, when it is asked for.
// When Make fails, what it made is removed again.
//
// With systemd the path is SLICE:PREFIX:NAME, and the group is a new scope; one that is there already is an error.
func Make(h Host, p string) (_ *Group, err error) {
	if h.Systemd != nil {
		return makeUnit(h, p)
	}
	if err := CheckPath(p); err != nil {
		return nil, err
	}
	g := Open(h, p)
	var made []string
	defer func() {
		if err != nil {
			for _, dir := range slices.Backward(made) {
				_ = unix.Rmdir(dir)
			}
			err = fmt.Errorf("cannot make cgroup %s: %w", p, err)
		}
	}()
	for _, y := range h.Hierarchies {
		// Another process may prune an ancestor meanwhile: begin again, a bounded number of times.
		for range 100 {
			var fresh []string
			fresh, err = mkdirs(g.Dir(y), y)
			made = append(made, fresh...)
			if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
				break
			}
		}
		if err != nil {
			return nil, err
		}
		if h.Mode == V2 {
			delegate(y, path.Dir(p))
		}
	}
	return g, nil
}

// mkdirs makes dir and what is missing above it, and returns what it made, outermost first.
func mkdirs(dir string, y Hierarchy) (made []string, err error) {
	err = os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) && path.Dir(dir) != y.Mountpoint {
		if made, err = mkdirs(path.Dir(dir), y); err != nil {
			return made, err
		}
		err = os.Mkdir(dir, 0o755)
	}
	switch {
	case err == nil:
		made = append(made, dir)
	case errors.Is(err, fs.ErrExist):
		// A control file of that name is no cgroup.
		st, serr := os.Lstat(dir)
		if serr != nil {
			return made, serr
		}
		if !st.IsDir() {
			return made, err
		}
	default:
		return made, err
	}
	if !y.Unified && slices.Contains(y.Controllers, "cpuset") {
		return made, inheritCPUSet(dir, y.Mountpoint)
	}
	return made, nil
}

// inheritCPUSet copies cpuset.cpus and cpuset.mems from the parent where they are empty, and asks the kernel to do
// so for cgroups made below (cpusets.rst, cgroup.clone_children).
func inheritCPUSet(dir, top string) error {
	inherited := false
	for _, file := range [...]string{"cpuset.cpus", "cpuset.mems"} {
		have, err := readValue(dir + "/" + file)
		if err != nil {
			return err
		}
		if have != "" {
			continue
		}
		parent := path.Dir(dir)
		want, err := readValue(parent + "/" + file)
		if err == nil && want == "" && parent != top {
			// Whoever is making the parent is not done with it.
			if err = inheritCPUSet(parent, top); err == nil {
				want, err = readValue(parent + "/" + file)
			}
		}
		if err != nil {
			return err
		}
		if err := writeFile(dir+"/"+file, want); err != nil {
			return err
		}
		inherited = true
	}
	if inherited {
		return writeFile(dir+"/cgroup.clone_children", "1")
	}
	return nil
}

// readValue reads a file of one line.
func readValue(name string) (string, error) {
	text, err := readFile(name, smallFile)
	return strings.TrimSpace(text), err
}

// delegate enables, in every cgroup from the mount point down to p, all controllers that it has itself, as far as it
// may. What it may not is told when it is asked for.
func delegate(y Hierarchy, p string) {
	for _, dir := range lineage(y.Mountpoint, p) {
		have, err := readValue(dir + "/cgroup.controllers")
		if err != nil {
			return
		}
		controllers := strings.Fields(have)
		err = handDown(dir, controllers)
		if errors.Is(err, unix.EBUSY) {
			return
		}
		if err != nil { // one of them is the obstacle: the others can go without it
			for _, c := range controllers {
				_ = handDown(dir, []string{c})
			}
		}
	}
}

// enable makes one controller of the unified hierarchy available in the group.
func (g *Group) enable(y Hierarchy, controller string) error {
	for _, dir := range lineage(y.Mountpoint, path.Dir(g.path)) {
		if err := handDown(dir, []string{controller}); err != nil {
			return err
		}
	}
	return nil
}

// handDown enables controllers for the children of a v2 cgroup. Only the root may have processes of its own beside
// (cgroup-v2.rst, no internal process constraint): EBUSY. The kernel would let cpu, cpuset and pids through, but turn
// the children into threaded ones, which no process can join.
func handDown(dir string, controllers []string) error {
	file := dir + "/cgroup.subtree_control"
	on, err := readValue(file)
	if err != nil {
		return err
	}
	enabled, value := strings.Fields(on), ""
	for _, c := range controllers {
		if !slices.Contains(enabled, c) {
			value += " +" + c
		}
	}
	if value == "" {
		return nil
	}
	// The root has no cgroup.events.
	if _, err := readValue(dir + "/cgroup.events"); err == nil {
		if procs, err := readFile(dir+"/cgroup.procs", listFile); err == nil && procs != "" {
			return fmt.Errorf("processes live in the cgroup %s above it, which then can hand down no controller: %w", dir, unix.EBUSY)
		}
	}
	if err := writeFile(file, value[1:]); err != nil {
		return fmt.Errorf("the cgroup %s above it cannot hand down the controller: %w", dir, errors.Unwrap(err))
	}
	return nil
}

// lineage returns the directories from the mount point down to p, "." being the mount point alone.
func lineage(mountpoint, p string) []string {
	dirs := []string{mountpoint}
	if p == "." {
		return dirs
	}
	for part := range strings.SplitSeq(p, "/") {
		dirs = append(dirs, dirs[len(dirs)-1]+"/"+part)
	}
	return dirs
}

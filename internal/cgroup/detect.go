package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNone is a host with no cgroup hierarchy mounted.
var ErrNone = errors.New("no cgroup hierarchy is mounted")

// Detect finds the cgroup hierarchies that the caller sees, from /proc/self/mountinfo and /proc/self/cgroup.
// Paths of groups are below their mount points: inside a container or a cgroup namespace that is below the
// caller's own part of the tree.
func Detect() (Host, error) {
	mounts, err := readFile("/proc/self/mountinfo", listFile)
	if err != nil {
		return Host{}, fmt.Errorf("cannot find cgroup hierarchies: %w", err)
	}
	self, err := readFile("/proc/self/cgroup", listFile)
	if err != nil {
		return Host{}, fmt.Errorf("cannot find cgroup hierarchies: %w", err)
	}
	h, err := detect(mounts, self)
	if err != nil {
		return Host{}, fmt.Errorf("cannot find cgroup hierarchies: %w", err)
	}
	if y, ok := h.unified(); ok {
		controllers, err := readFile(y.Mountpoint+"/cgroup.controllers", smallFile)
		if err != nil {
			return Host{}, fmt.Errorf("cannot find the controllers of cgroup v2: %w", err)
		}
		h.Hierarchies[len(h.Hierarchies)-1].Controllers = strings.Fields(controllers)
	}
	return h, nil
}

// detect matches mounts to hierarchies. /proc/self/cgroup names each hierarchy's controllers exactly; a mount's
// options hold them among others (proc_pid_mountinfo(5), cgroups(7)).
func detect(mountinfo, self string) (Host, error) {
	var h Host
	names := parseSelf(self)
	for _, m := range parseMounts(mountinfo) {
		y := Hierarchy{Mountpoint: m.point}
		switch m.fstype {
		case "cgroup2":
			y.Name, y.Unified = Unified, true
		case "cgroup":
			i := slices.IndexFunc(names, func(name string) bool { return hasAll(m.options, name) })
			if i < 0 {
				continue
			}
			y.Name = names[i]
			if !strings.HasPrefix(y.Name, "name=") {
				y.Controllers = strings.Split(y.Name, ",")
			}
		default:
			continue
		}
		// The first mount of a hierarchy is the host's usual one; later ones are containers' binds.
		if !slices.ContainsFunc(h.Hierarchies, func(o Hierarchy) bool { return o.Name == y.Name }) {
			h.Hierarchies = append(h.Hierarchies, y)
		}
	}
	slices.SortFunc(h.Hierarchies, func(a, b Hierarchy) int {
		if a.Unified != b.Unified {
			if a.Unified {
				return 1
			}
			return -1
		}
		return strings.Compare(a.Name, b.Name)
	})
	_, unified := h.unified()
	switch {
	case len(h.Hierarchies) == 0:
		return Host{}, ErrNone
	case !unified:
		h.Mode = V1
	case len(h.Hierarchies) > 1:
		h.Mode = Hybrid
	default:
		h.Mode = V2
	}
	return h, nil
}

// hasAll tells whether the comma list options has every part of the comma list name.
func hasAll(options, name string) bool {
	have := strings.Split(options, ",")
	for part := range strings.SplitSeq(name, ",") {
		if !slices.Contains(have, part) {
			return false
		}
	}
	return true
}

// parseSelf returns the names of the v1 hierarchies in /proc/PID/cgroup: lines of ID:CONTROLLERS:PATH, the v2 one
// with no controllers.
func parseSelf(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		_, rest, ok := strings.Cut(line, ":")
		name, _, ok2 := strings.Cut(rest, ":")
		if ok && ok2 && name != "" {
			names = append(names, name)
		}
	}
	return names
}

type mountLine struct{ point, fstype, options string }

// parseMounts reads the lines of a mountinfo file that concern cgroups and skips what it cannot read:
// ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - TYPE SOURCE SUPEROPTIONS.
func parseMounts(text string) []mountLine {
	var mounts []mountLine
	for line := range strings.Lines(text) {
		mount, super, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		if !ok || !strings.HasPrefix(super, "cgroup") {
			continue
		}
		m, s := strings.Split(mount, " "), strings.Split(super, " ")
		if len(m) < 6 || len(s) < 3 || !strings.HasPrefix(m[4], "/") {
			continue
		}
		mounts = append(mounts, mountLine{point: unescape(m[4]), fstype: s[0], options: s[len(s)-1]})
	}
	return mounts
}

// unescape turns the kernel's \040 forms back into bytes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) bool { return '0' <= c && c <= '7' }

package cgroup

import (
	"fmt"
	"strings"
)

// Unit is the systemd unit, a scope, whose cgroup is a container's.
type Unit struct {
	Slice string // "machine-pods.slice"
	Name  string // "libpod-4f1c….scope"
}

// ParseUnit reads "SLICE:PREFIX:NAME", which linux.cgroupsPath is when systemd makes the cgroups, as runc and crun have
// it: the scope PREFIX-NAME.scope in the slice. An empty slice is the usual one, user.slice of a user's own systemd and
// system.slice otherwise; an empty prefix is none.
func ParseUnit(s string, user bool) (Unit, error) {
	part := strings.Split(s, ":")
	if len(part) != 3 {
		return Unit{}, fmt.Errorf("cannot use cgroup path %q: with systemd it is SLICE:PREFIX:NAME", s)
	}
	u := Unit{Slice: part[0], Name: part[2] + ".scope"}
	if part[1] != "" {
		u.Name = part[1] + "-" + u.Name
	}
	if u.Slice == "" {
		u.Slice = "system.slice"
		if user {
			u.Slice = "user.slice"
		}
	}
	if part[2] == "" || !unitName(u.Name) {
		return Unit{}, fmt.Errorf("cannot use cgroup path %q: %q is no unit of systemd: letters, digits and : - _ . \\ @ only, 255 bytes at most", s, u.Name)
	}
	if _, err := expandSlice(u.Slice); err != nil {
		return Unit{}, fmt.Errorf("cannot use cgroup path %q: %w", s, err)
	}
	return u, nil
}

// unitName tells whether systemd takes a name, and has the cgroup under that very name: what begins like a file of the
// kernel's is escaped there (systemd.unit(5); cg_escape).
func unitName(s string) bool {
	rest := strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")
	return rest == "" && len(s) <= 255 && s[0] != '.' && s[0] != '_' && !strings.HasPrefix(s, "cgroup.")
}

// expandSlice returns the path of a slice: "a-b.slice" lies in "a.slice" (systemd.slice(5)).
func expandSlice(slice string) (string, error) {
	name, ok := strings.CutSuffix(slice, ".slice")
	if name == "-" && ok {
		return "", nil // the root of all slices
	}
	if !ok || !unitName(slice) {
		return "", fmt.Errorf("%q is no slice of systemd, such as machine.slice", slice)
	}
	dir := ""
	for i, c := range name + "-" {
		if c != '-' {
			continue
		}
		if i == 0 || name[i-1] == '-' {
			return "", fmt.Errorf("%q is no slice of systemd: a dash stands between two names", slice)
		}
		dir += "/" + name[:i] + ".slice"
	}
	return dir[1:], nil
}

// path returns where the unit's cgroup is, below that of the systemd whose unit it is.
func (u Unit) path(base string) (string, error) {
	dir, err := expandSlice(u.Slice)
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(strings.Trim(base, "/")+"/"+strings.TrimPrefix(dir+"/"+u.Name, "/"), "/"), nil
}

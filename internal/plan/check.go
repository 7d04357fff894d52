package plan

import (
	"fmt"
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// checkProcess names what of a process makes no sense, before anything is done.
func checkProcess(proc *specs.Process) error {
	u := proc.User
	switch {
	case len(proc.Args) == 0 || proc.Args[0] == "":
		return fmt.Errorf("process.args: no command")
	case !path.IsAbs(proc.Cwd):
		return fmt.Errorf("process.cwd: %q is not an absolute path", clip(proc.Cwd))
	case u.UID == noID:
		return fmt.Errorf("process.user.uid: %d is no user", u.UID)
	case u.GID == noID:
		return fmt.Errorf("process.user.gid: %d is no group", u.GID)
	case u.Umask != nil && *u.Umask > 0o777:
		return fmt.Errorf("process.user.umask: %#o is more than 0777", *u.Umask)
	case len(u.AdditionalGids) > maxGroups:
		return fmt.Errorf("process.user.additionalGids: %d groups, and the kernel takes %d", len(u.AdditionalGids), maxGroups)
	}
	for i, g := range u.AdditionalGids {
		if g == noID {
			return fmt.Errorf("process.user.additionalGids[%d]: %d is no group", i, g)
		}
	}
	if b := proc.ConsoleSize; proc.Terminal && b != nil && (b.Height > maxSize || b.Width > maxSize) {
		return fmt.Errorf("process.consoleSize: %d lines of %d is more than a terminal has", b.Height, b.Width)
	}
	return checkStrings("process.args", proc.Args, "process.env", proc.Env)
}

const (
	maxGroups = 65536       // NGROUPS_MAX
	maxSize   = 1<<16 - 1   // of a terminal: struct winsize
	maxString = 32*4096 - 1 // of execve(2): MAX_ARG_STRLEN with its NUL
)

// checkStrings is for what execve(2) is given: it takes no string that is longer, and one with a NUL would be cut short.
func checkStrings(field string, args []string, field2 string, env []string) error {
	for _, f := range []struct {
		name string
		list []string
	}{{field, args}, {field2, env}} {
		for i, s := range f.list {
			switch {
			case strings.ContainsRune(s, 0):
				return fmt.Errorf("%s[%d]: there is a NUL byte in it", f.name, i)
			case len(s) > maxString:
				return fmt.Errorf("%s[%d]: %d bytes are more than execve takes", f.name, i, len(s))
			}
		}
	}
	return nil
}

// maxMappings is how many ranges a user namespace takes (user_namespaces(7)).
const maxMappings = 340

// checkMappings says what of ranges the kernel would refuse, by its place.
func checkMappings(field string, list []specs.LinuxIDMapping) error {
	if len(list) > maxMappings {
		return fmt.Errorf("%s: %d ranges, and the kernel takes %d", field, len(list), maxMappings)
	}
	for i, m := range list {
		switch {
		case m.Size == 0:
			return fmt.Errorf("%s[%d].size: 0", field, i)
		case uint64(m.ContainerID)+uint64(m.Size) > noID || uint64(m.HostID)+uint64(m.Size) > noID:
			return fmt.Errorf("%s[%d]: %d ids from %d and %d go beyond the last id", field, i, m.Size, m.ContainerID, m.HostID)
		}
		for j, o := range list[:i] {
			if overlap(m.ContainerID, o.ContainerID, m.Size, o.Size) || overlap(m.HostID, o.HostID, m.Size, o.Size) {
				return fmt.Errorf("%s[%d]: ids of it are in [%d] too", field, i, j)
			}
		}
	}
	return nil
}

func overlap(a, b, sizeA, sizeB uint32) bool {
	return uint64(a) < uint64(b)+uint64(sizeB) && uint64(b) < uint64(a)+uint64(sizeA)
}

// has says that the container has an id.
func has(list []specs.LinuxIDMapping, id uint32) bool {
	for _, m := range list {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return true
		}
	}
	return false
}

// checkUser says what is wrong with the user namespace, its mappings, and the ids that they must have.
func checkUser(spec *specs.Spec, s spaces, root Rootfs, unprivileged bool) error {
	l := spec.Linux
	mapped := len(l.UIDMappings)+len(l.GIDMappings) > 0
	switch {
	case !s.user && unprivileged:
		return fmt.Errorf("linux.namespaces: no user namespace, and the caller has no privileges to do without")
	case !s.user && mapped:
		return fmt.Errorf("linux.uidMappings, linux.gidMappings: there is no user namespace to map ids of")
	case !s.user, s.userPath != "" && !mapped && root.Owned:
		return nil
	case len(l.UIDMappings) == 0 || len(l.GIDMappings) == 0:
		return fmt.Errorf("linux.uidMappings, linux.gidMappings: missing, but there is a user namespace")
	}
	if err := checkMappings("linux.uidMappings", l.UIDMappings); err != nil {
		return err
	}
	if err := checkMappings("linux.gidMappings", l.GIDMappings); err != nil {
		return err
	}
	u := spec.Process.User
	switch {
	case !has(l.UIDMappings, 0) || !has(l.GIDMappings, 0):
		return fmt.Errorf("linux.uidMappings, linux.gidMappings: id 0 is not mapped: the user namespace has no root to make a container")
	case !has(l.UIDMappings, u.UID):
		return fmt.Errorf("process.user.uid: %d is not in linux.uidMappings", u.UID)
	case !has(l.GIDMappings, u.GID):
		return fmt.Errorf("process.user.gid: %d is not in linux.gidMappings", u.GID)
	}
	for i, g := range u.AdditionalGids {
		if !has(l.GIDMappings, g) {
			return fmt.Errorf("process.user.additionalGids[%d]: %d is not in linux.gidMappings", i, g)
		}
	}
	return nil
}

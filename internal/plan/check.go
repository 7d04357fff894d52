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

package nsenter

import (
	"fmt"
	"strings"

	"tripod/internal/ns"
)

// String is the Joining for people, as --explain prints it: what is joined in which order and why, then the system
// calls.
func (j *Joining) String() string {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s "+format+"\n", append([]any{what}, args...)...)
	}
	f, o := j.Facts, j.Options
	if f.PID != 0 {
		line("target", "process %d %s", f.PID, printable(f.Comm))
	}
	for _, n := range f.Joins {
		line("pass 1", "%-6s %s%s", n.Type, n.told(), owned(n, f.Self))
	}
	for i, u := range f.Users {
		why := ""
		if i < len(f.Users)-1 {
			why = ": on the way, it owns what is joined next"
		}
		line("pass 2", "%-6s %s%s", ns.User, u.told(), why)
	}
	if len(f.Joins) > 0 {
		line("pass 2", "what pass 1 was not permitted to join")
	}
	if f.Root {
		line("root", "%s", pathOr(o.Root, "the target's"))
	}
	switch {
	case f.Inside != "":
		line("directory", "%s, opened inside", f.Inside)
	case f.Dir:
		line("directory", "%s, opened outside", pathOr(o.Dir, "the target's"))
	}
	if o.Env {
		line("environ", "the target's, %s", plural(len(f.Env), "variable"))
	}
	if f.Cgroups > 0 {
		line("cgroup", "the target's, in %s", pluralHierarchies(f.Cgroups))
	}
	if uid, gid := j.ids(); uid.Set || gid.Set {
		who := []string{}
		if uid.Set {
			who = append(who, fmt.Sprint("user ", uid.N))
		}
		if gid.Set {
			who = append(who, fmt.Sprint("group ", gid.N))
		}
		line("identity", "%s", strings.Join(who, ", "))
	}
	if f.Like != nil {
		line("like", "the target's capabilities, limits, groups, no_new_privs and label; no seccomp filter")
	}
	switch {
	case !j.Fork:
		line("execute", "%s, in the place of nsenter", j.Args[0])
	case j.entersPID():
		line("execute", "%s, as a child: only a child is born into the PID namespace", j.Args[0])
	default:
		line("execute", "%s, as a child", j.Args[0])
	}
	b.WriteString("\n")
	// The last steps try one file after another; an environment is nobody's business.
	shown := *j.Plan
	shown.Steps = shown.Steps[:j.Tries]
	b.WriteString(shown.String())
	for i, file := range candidates(j.Args[0], j.Env) {
		fmt.Fprintf(&b, "%3d   execute %s\n", j.Tries+i, printable(file))
	}
	return b.String()
}

func (n Join) told() string { return fmt.Sprintf("%s (%s:[%d])", n.File, n.Type, n.ID) }

func owned(n Join, self uint64) string {
	switch n.Owner {
	case 0:
		return ""
	case self:
		return ", owned by your user namespace"
	}
	return fmt.Sprintf(", owned by user namespace %d", n.Owner)
}

func pathOr(c Choice, or string) string {
	if c.Given {
		return c.Path
	}
	return or
}

func pluralHierarchies(n int) string {
	if n == 1 {
		return "1 hierarchy"
	}
	return fmt.Sprintf("%d hierarchies", n)
}

// printable keeps a process's own name for itself from driving the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '�' {
			return '?'
		}
		return r
	}, s)
}

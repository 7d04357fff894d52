package nsenter

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"tripod/internal/ns"
	"tripod/internal/plan"
)

// Join is one namespace that is joined.
type Join struct {
	Type  ns.Type
	File  string // where it was found, for people: /proc/7/ns/net
	ID    uint64 // its inode number
	Owner uint64 // the inode number of the user namespace that it belongs to; 0 when it is not known
}

// file is the name of its descriptor.
func (j Join) file() string { return fmt.Sprintf("ns:%s:%d", j.Type, j.ID) }

// fails is what is said when it cannot be joined.
func (j Join) fails() string { return fmt.Sprintf("reassociate to namespace 'ns/%s' failed: ", j.Type) }

// Facts is what a Joining depends on and the command line does not say: read once, plain data here.
type Facts struct {
	PID      int    // of the target; 0 without
	Comm     string // of the target
	Joins    []Join // all but user namespaces, as they are joined
	Users    []Join // user namespaces, outermost first; the last is the one that was asked for
	Self     uint64 // the inode number of the caller's user namespace
	Admin    bool   // the caller holds CAP_SYS_ADMIN there
	Groups   bool   // the caller may set groups there
	Root     bool   // the given file "root" is there
	Dir      bool   // the given file "cwd" is there
	Inside   string // a path that is entered when everything is joined, or ""
	UID, GID ID     // as they are inside
	Cgroups  int    // the given files "cgroup:0" … are there, to write 0 to
	Env      []string
	Shell    string   // of the user in the passwd of the new root, or ""
	Label    string   // the target's SELinux context or AppArmor profile as it is written, or ""
	LabelTo  string   // the file that takes it
	Like     *Likened // the target's limits
	LastCap  int
	Mask     [8]byte // the signal mask of the caller
	Keeps    bool    // an execve of a file without capabilities takes none from the caller
	Born     bool    // the caller may have children born into the PID namespace, with no second clone
	Leaf     bool    // a cgroup was made for the program, to be removed behind it
	NoFile   plan.Rlimit
	Tools    *Tools
}

// Joining is what is to be done, decided.
type Joining struct {
	Options Options
	Facts   Facts
	Args    []string // the program
	Argv0   string   // what it is called
	Env     []string
	Plan    *plan.Plan
	// Hints say, by the number of a step, what a user can do when the step is not permitted.
	Hints map[int]string
	Fork  bool
	Tries int // the number of the first step that tries to execute the program
}

// name is how messages begin, as nsenter's do.
const name = "nsenter: "

// program collects the steps of a Joining. The origin of each is the option that asked for it.
type program struct {
	steps  []plan.Step
	origin string
	hints  map[int]string
	alone  bool // nobody reads the status pipe: what is to be said on a failure is part of the plan
}

// do adds a step. fails is what is said when it cannot be done, without the errno's text.
func (p *program) do(what, fails string, call plan.Call, args ...plan.Arg) *plan.Step {
	p.steps = append(p.steps, plan.Step{Name: what, Origin: p.origin, Call: call, Args: args, Fails: name + fails, Exit: 1})
	return &p.steps[len(p.steps)-1]
}

// sayAndEnd prints a line and ends with an exit code.
func (p *program) sayAndEnd(line string, exit int) {
	line = name + line + "\n"
	p.do("tell it", "cannot write: ", plan.Write, plan.Int(2), plan.Text(line), plan.Int(len(line)))
	p.do("end", "cannot end: ", plan.ExitGroup, plan.Int(exit))
}

// Decide turns options and facts into what is done. It asks nothing of the machine.
func Decide(o Options, f Facts) (*Joining, error) {
	j := &Joining{Options: o, Facts: f, Fork: o.Forks() || f.Leaf || !f.Keeps, Env: f.Env}
	if f.Tools != nil {
		j.Env = withPaths(f.Env, f.Tools.Paths)
	}
	j.Args, j.Argv0 = command(o.Args, f)
	p := &program{hints: map[int]string{}, alone: !j.Fork}
	p.start(j)
	p.join(j)
	p.places(j)
	if f.Cgroups > 0 {
		p.origin = "--join-cgroup"
		for i := range f.Cgroups {
			p.do(fmt.Sprint("join cgroup ", i), "cannot join cgroup: ", plan.Write, plan.File(fmt.Sprint("cgroup:", i)), plan.Text("0"), plan.Int(1))
		}
	}
	if j.Fork {
		p.fork(j)
	}
	p.mountProc(o)
	p.identity(j)
	p.last(j)
	j.Tries = len(p.steps)
	p.execute(j)
	// What comes into a container as one of its own has nothing of the caller's open.
	j.Plan, j.Hints = &plan.Plan{Steps: p.steps, Inherit: !o.LikeContainer}, p.hints
	j.Plan.Lend = j.Fork && j.Plan.Inherit && (f.Born || !j.entersPID()) &&
		!slices.ContainsFunc(f.Joins, func(n Join) bool { return n.Type == ns.Time })
	if f.Born {
		j.Plan.Birthplace = f.Joins[slices.IndexFunc(f.Joins, func(n Join) bool { return n.Type == ns.PID })].file()
	}
	return j, nil
}

// setsUser says that joining makes the program another user: a user namespace does, unless its credentials are kept.
func (j *Joining) setsUser() bool { return len(j.Facts.Users) > 0 && !j.Options.Preserve }

// ids are who the program is to be.
func (j *Joining) ids() (uid, gid ID) {
	uid, gid = j.Facts.UID, j.Facts.GID
	if j.setsUser() {
		uid.Set, gid.Set = true, true
	}
	return uid, gid
}

// join has both passes. A namespace that the first pass joined is closed, so that the second one finds nothing to join
// (EBADF): that is how a plan without variables remembers.
func (p *program) join(j *Joining) {
	f := j.Facts
	if j.setsUser() && f.Groups {
		// Inside it may be denied (user_namespaces(7)); what is left of the groups is then left again below.
		p.origin = "--user"
		p.do("leave all groups", "setgroups failed: ", plan.Setgroups, plan.Int(0), plan.Arg{}).Any = true
	}
	left := []Join{}
	for _, n := range f.Joins {
		if f.Born && n.Type == ns.PID {
			continue
		}
		left = append(left, n)
		p.origin = option(n.Type)
		try := p.do(fmt.Sprintf("pass 1: join %s namespace", n.Type), n.fails(), plan.Setns, plan.File(n.file()), plan.Int(n.Type.Flag()))
		try.Any, try.Skip = true, 1
		p.do("not permitted yet", "", plan.Prctl, plan.Int(unix.PR_GET_DUMPABLE), plan.Int(0), plan.Int(0), plan.Int(0), plan.Int(0)).Skip = 1
		p.do("joined: done with it", "", plan.Close, plan.File(n.file()))
	}
	if f.Tools != nil {
		p.view(f.Tools)
	}
	for i, u := range f.Users {
		p.origin = "--user"
		s := p.do("pass 2: join user namespace", u.fails(), plan.Setns, plan.File(u.file()), plan.Int(u.Type.Flag()))
		if i < len(f.Users)-1 {
			// It is only on the way: what cannot be joined without it will say so.
			s.Any = true
			s.Name += " on the way"
		}
		p.hint(s, j, u)
		// What belongs to this user namespace can be joined from now on, and not from the next one.
		left = slices.DeleteFunc(left, func(n Join) bool {
			if i == len(f.Users)-1 || n.Owner != u.ID {
				return false
			}
			p.again(j, n)
			return true
		})
	}
	for _, n := range left {
		p.again(j, n)
	}
}

// again is a join of the second pass.
func (p *program) again(j *Joining, n Join) {
	p.origin = option(n.Type)
	s := p.do(fmt.Sprintf("pass 2: join %s namespace", n.Type), n.fails(), plan.Setns, plan.File(n.file()), plan.Int(n.Type.Flag()))
	s.On = append(s.On, plan.Branch{Errno: ebadf})
	p.hint(s, j, n)
}

// option is the option that joins a type.
func option(t ns.Type) string {
	if t == ns.Mnt {
		return "--mount"
	}
	return "--" + t.String()
}

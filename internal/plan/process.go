package plan

import (
	"encoding/binary"
	"fmt"
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/seccomp"
)

// defaultPath is searched for a command when the process has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// tail is what the end of a birth takes beside the process itself.
type tail struct {
	file   string // the program, where args[0] does not name it
	filter *seccomp.Filter
	facts  Facts
	// gated and latched: those are behind the filter.
	gated, latched bool
	enter          func() // adds what is done last, with the container's identity
}

// process is the tail that a container's init and an exec share: from the gate to execve, in the container's root.
func (p *program) process(proc *specs.Process, t tail) error {
	f, filter := t.facts, t.filter
	p.origin = "process.user"
	mask := uint32(0o022)
	if proc.User.Umask != nil {
		mask = *proc.User.Umask
	}
	p.add(fmt.Sprintf("umask %04o", mask), Umask, Int(mask)).sh(fmt.Sprintf("umask %04o", mask))
	for i, name := range []string{"stdin", "stdout", "stderr"} {
		if f.ChownStd[i] || proc.Terminal {
			p.add("give "+name+" to the user", Fchown, Int(i), Int(proc.User.UID), Int(int32(-1))).on(unix.EPERM, 0).on(unix.EINVAL, 0)
		}
	}
	var caps capSets
	if proc.Capabilities != nil {
		p.origin = "process.capabilities"
		caps = p.capSetsOf(proc.Capabilities, f)
		p.bound(caps, f.LastCap)
	}
	// Without no_new_privs a filter takes CAP_SYS_ADMIN, which goes away below.
	if filter != nil && !proc.NoNewPrivileges {
		p.filter(t)
	}
	p.identity(proc.User)
	if proc.Capabilities != nil {
		p.origin = "process.capabilities"
		p.limit(caps)
	}
	if proc.NoNewPrivileges {
		p.origin = "process.noNewPrivileges"
		p.add("no new privileges", Prctl, Int(unix.PR_SET_NO_NEW_PRIVS), Int(1), Int(0), Int(0), Int(0))
	}
	p.origin = "process.cwd"
	dir := proc.Cwd
	// Nothing of the host's is open any more but the status pipe, so no name leads out (CVE-2024-21626).
	p.add("enter "+dir, Chdir, Text(dir))
	if t.enter != nil {
		t.enter()
	}
	p.origin = "process"
	p.signals(f.Ignored)
	p.add("unblock signals", RtSigprocmask, Int(unix.SIG_SETMASK), Bytes(make([]byte, 8)), null, Int(8))
	if filter != nil && proc.NoNewPrivileges {
		p.filter(t)
	}
	p.exec(proc, t.file)
	var sets *capSets
	if proc.Capabilities != nil {
		sets = &caps
	}
	find, line := p.final(proc, sets, f.LastCap)
	p.steps[len(p.steps)-1].Script = "mount --move . /\n" + find + line
	return nil
}

// allot gives the process its share of the host. It comes before the gate: what cannot be had is an error of create.
func (p *program) allot(proc *specs.Process, f Facts) error {
	if err := p.rlimits(proc.Rlimits, f.NoFile); err != nil {
		return err
	}
	if err := p.scheduler(proc.Scheduler); err != nil {
		return err
	}
	return p.ioPriority(proc.IOPriority)
}

// rlimitOf is the number of a limit (getrlimit(2)), or -1.
func rlimitOf(name string) int {
	for i, n := range []string{
		"RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC", "RLIMIT_NOFILE",
		"RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
	} {
		if n == name {
			return i
		}
	}
	return -1
}

func (p *program) rlimits(list []specs.POSIXRlimit, nofile Rlimit) error {
	seen := map[string]bool{}
	for i, r := range list {
		p.origin = fmt.Sprintf("process.rlimits[%d]", i)
		nr := rlimitOf(r.Type)
		switch {
		case nr < 0:
			return fmt.Errorf("%s.type: no limit %q", p.origin, r.Type)
		case seen[r.Type]:
			return fmt.Errorf("%s.type: %s named twice", p.origin, r.Type)
		case r.Soft > r.Hard:
			return fmt.Errorf("%s: soft limit %d above hard limit %d", p.origin, r.Soft, r.Hard)
		}
		seen[r.Type] = true
		p.rlimit(r.Type, nr, Rlimit{r.Soft, r.Hard})
	}
	// The Go runtime raised the soft limit for itself; the container gets what it would have had.
	if !seen["RLIMIT_NOFILE"] && nofile.Hard > 0 {
		p.origin = ""
		p.rlimit("RLIMIT_NOFILE", unix.RLIMIT_NOFILE, nofile)
	}
	return nil
}

func (p *program) rlimit(name string, nr int, r Rlimit) {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[0:], r.Soft)
	binary.NativeEndian.PutUint64(b[8:], r.Hard)
	p.add(fmt.Sprintf("limit %s to %d:%d", name, int64(r.Soft), int64(r.Hard)), Prlimit64, Int(0), Int(nr), Bytes(b[:]), null).
		sh(shellLimit(name, r))
}

// identity becomes the container's user: groups first, while that is allowed.
func (p *program) identity(u specs.User) {
	p.origin = "process.user"
	groups := make([]byte, 4*len(u.AdditionalGids))
	for i, g := range u.AdditionalGids {
		binary.NativeEndian.PutUint32(groups[4*i:], g)
	}
	s := p.add(fmt.Sprint("be in groups ", u.AdditionalGids), Setgroups, Int(len(u.AdditionalGids)), Bytes(groups))
	if len(u.AdditionalGids) == 0 {
		// A user namespace may deny setgroups; there is nothing to take away then either.
		s.on(unix.EPERM, 0)
	}
	p.add(fmt.Sprint("be group ", u.GID), Setresgid, Int(u.GID), Int(u.GID), Int(u.GID))
	p.add(fmt.Sprint("be user ", u.UID), Setresuid, Int(u.UID), Int(u.UID), Int(u.UID))
}

// signals gives the program the dispositions that it expects. CLONE_CLEAR_SIGHAND reset every handler; what the parent
// ignores is still ignored.
func (p *program) signals(ignored uint64) {
	for n := 1; n <= 64; n++ {
		if ignored&(1<<(n-1)) != 0 {
			p.add(fmt.Sprint("default for signal ", n), RtSigaction, Int(n), Bytes(make([]byte, 32)), null, Int(8))
		}
	}
}

// maxSocket is how long the path of a socket is (unix(7)).
const maxSocket = 107

// compileFilter turns the spec's seccomp profile into a program; nil stays nil.
func compileFilter(profile *specs.LinuxSeccomp) (*seccomp.Filter, error) {
	if profile == nil {
		return nil, nil
	}
	f, err := seccomp.Compile(profile)
	if err != nil {
		return nil, fmt.Errorf("linux.seccomp: %w", err)
	}
	if at := profile.ListenerPath; f.Notify && (!path.IsAbs(at) || len(at) > maxSocket) {
		return nil, fmt.Errorf("linux.seccomp.listenerPath: %q is not an absolute path of a socket, %d bytes at most", clip(at), maxSocket)
	}
	return f, nil
}

// filter loads the seccomp program. The listener of one that asks is handed over at once, for the next system call may be
// one that it answers; write(2), by which the child tells of it, never is.
func (p *program) filter(t tail) {
	p.origin = "linux.seccomp"
	s := p.add(fmt.Sprintf("load seccomp filter of %d instructions", len(t.filter.Program)), Seccomp,
		Int(unix.SECCOMP_SET_MODE_FILTER), Int(t.filter.Flags), Arg{Kind: FilterArg, S: string(t.filter.Instructions())}).
		sh("# a seccomp filter, which no shell can load")
	if t.filter.Notify {
		s.save(rListener)
		p.halt(Listening)
		if t.gated {
			p.gate()
		}
		if t.latched {
			p.latch()
		}
	}
}

// exec searches the command as execvp(3) does, in the container's root, by execve itself. A file is executed as it is.
func (p *program) exec(proc *specs.Process, file string) {
	p.origin = "process.args"
	argv, envv := Strings(proc.Args), Strings(proc.Env)
	name := proc.Args[0]
	if file != "" {
		name = file
	}
	if strings.Contains(name, "/") {
		p.add("execute "+name, Execve, Text(name), argv, envv)
		return
	}
	dirs := strings.Split(lookup(proc.Env), ":")
	for i, dir := range dirs {
		if dir == "" {
			dir = "."
		}
		s := p.add("execute "+path.Join(dir, name), Execve, Text(dir+"/"+name), argv, envv)
		if i < len(dirs)-1 {
			s.on(unix.ENOENT, 0).on(unix.ENOTDIR, 0)
			continue
		}
		s.Name = "execute " + name + " of PATH " + strings.Join(dirs, ":")
	}
}

// find sees that there is a program to execute, for a container that is created now and started later: callers want to hear
// of it when they create (runc and crun do the same). It decides nothing: execve searches anew.
func (p *program) find(proc *specs.Process) {
	p.origin = "process.args"
	name := proc.Args[0]
	var places []string
	if strings.Contains(name, "/") {
		places = []string{inDir(proc.Cwd, name)}
	} else {
		for dir := range strings.SplitSeq(lookup(proc.Env), ":") {
			places = append(places, path.Join(inDir(proc.Cwd, dir), name))
		}
	}
	for i, at := range places {
		s := p.add("find "+at, Faccessat, cwd, Text(at), Int(unix.X_OK))
		if i < len(places)-1 {
			s.on(unix.ENOENT, 0).on(unix.ENOTDIR, 0)
			s.Skip = uint8(min(len(places)-1-i, 255))
			continue
		}
		s.Name = "find " + name + " in PATH " + lookup(proc.Env)
		if strings.Contains(name, "/") {
			s.Name = "find " + name
		}
	}
}

// inDir is a path as it is seen from a directory.
func inDir(dir, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join(dir, name)
}

// lookup is the PATH of an environment: the last one counts, as in execve's new program.
func lookup(env []string) string {
	found := defaultPath
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok && v != "" {
			found = v
		}
	}
	return found
}

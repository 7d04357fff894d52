package nsenter

import (
	"encoding/binary"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/ns"
	"tripod/internal/plan"
)

const ebadf = unix.EBADF

// Registers of a Joining.
const (
	rDir plan.Reg = iota + 1
	rFile
)

var (
	null  = plan.Arg{}
	empty = plan.Text("")
	cwd   = plan.Int(unix.AT_FDCWD)
)

// start is what is done as the caller, where /proc is still the caller's.
func (p *program) start(j *Joining) {
	f := j.Facts
	if j.Fork {
		// The target may look into what comes into its PID namespace (CVE-2016-9962), and write to the file that it
		// executes (CVE-2019-5736).
		p.hide()
	}
	if f.Like != nil {
		p.limits(f.Like)
	}
	if f.Label != "" {
		p.origin = "--follow-context"
		p.do("open "+f.LabelTo, "cannot open "+f.LabelTo+": ", plan.Openat, cwd, plan.Text(f.LabelTo), plan.Int(unix.O_WRONLY|unix.O_CLOEXEC)).Save = rFile
		p.do("execute as "+f.Label, "failed to set exec context to '"+f.Label+"': ", plan.Write, plan.Result(rFile), plan.Text(f.Label), plan.Int(len(f.Label)))
	}
}

func (p *program) hide() {
	p.do("hide from the target", "cannot hide: ", plan.Prctl, plan.Int(unix.PR_SET_DUMPABLE), plan.Int(0), plan.Int(0), plan.Int(0), plan.Int(0))
}

// places changes root and working directory.
func (p *program) places(j *Joining) {
	f := j.Facts
	dir := plan.File("cwd")
	if f.Root {
		p.origin = "--root"
		if !f.Dir {
			p.do("remember the working directory", "cannot open current working directory: ", plan.Openat, cwd, plan.Text("."), plan.Int(unix.O_PATH|unix.O_CLOEXEC)).Save = rDir
			dir = plan.Result(rDir)
		}
		p.do("go to the root", "change directory by root file descriptor failed: ", plan.Fchdir, plan.File("root"))
		p.do("make it /", "chroot failed: ", plan.Chroot, plan.Text("."))
		p.do("enter /", "cannot change directory to /: ", plan.Chdir, plan.Text("/"))
	}
	switch {
	case f.Inside != "":
		p.origin = "--wdns"
		p.do("enter "+f.Inside, "cannot open current working directory: ", plan.Chdir, plan.Text(f.Inside))
	case f.Dir || f.Root:
		if f.Dir {
			p.origin = "--wd"
		}
		p.do("go to the working directory", "change directory by working directory file descriptor failed: ", plan.Fchdir, dir)
	}
}

// fork leaves the rest to a second clone, which is born into the PID namespace and is a child of nsenter's like the
// first. Nothing that leads to the caller's side is open in it.
func (p *program) fork(j *Joining) {
	f := j.Facts
	p.origin = ""
	close := func(file string) {
		s := p.do("close "+file, "", plan.Close, plan.File(file))
		s.Any = true
	}
	for _, n := range append(append([]Join{}, f.Joins...), f.Users...) {
		close(n.file())
	}
	for i := range f.Cgroups {
		close(fmt.Sprint("cgroup:", i))
	}
	if f.Root {
		close("root")
	}
	if f.Dir {
		close("cwd")
	}
	if t := f.Tools; t != nil {
		for _, file := range append([]string{"tools:root", "tools:scratch", "tools:view"}, t.files()...) {
			close(file)
		}
	}
	if j.entersPID() && !f.Born {
		p.origin = "--pid"
		s := p.do("fork", "fork failed: ", plan.Clone, plan.Int(uint64(unix.CLONE_PARENT|unix.CLONE_PARENT_SETTID|int(unix.SIGCHLD))),
			plan.Int(0), plan.Arg{Kind: plan.InnerArg}, plan.Int(0), plan.Int(0))
		s.Skip, s.When = 1, plan.Zero
		p.do("leave it to the second clone", "", plan.ExitGroup, plan.Int(0))
	}
	if j.Options.PTY {
		p.origin = "--pty"
		p.do("new session", "setsid failed: ", plan.Setsid)
		for i := range 3 {
			p.do(fmt.Sprint("terminal as descriptor ", i), "cannot use terminal: ", plan.Dup3, plan.File("pty"), plan.Int(i), plan.Int(0))
		}
		p.do("control the terminal", "cannot use terminal: ", plan.Ioctl, plan.Int(0), plan.Int(uint64(unix.TIOCSCTTY)), plan.Int(0))
		s := p.do("close pty", "", plan.Close, plan.File("pty"))
		s.Any = true
	}
}

// entersPID says that a PID namespace is joined, and the program is to be in it.
func (j *Joining) entersPID() bool {
	for _, n := range j.Facts.Joins {
		if n.Type == ns.PID {
			return !j.Options.NoFork
		}
	}
	return false
}

func (p *program) mountProc(o Options) {
	if !o.MountProc {
		return
	}
	p.origin = "--mount-proc"
	p.do("own mount namespace", "unshare failed: ", plan.Unshare, plan.Int(unix.CLONE_NEWNS))
	p.do("keep mounts private", "cannot change root filesystem propagation: ", plan.Mount, plan.Text("none"), plan.Text("/"), null, plan.Int(unix.MS_REC|unix.MS_PRIVATE), null)
	p.do("mount /proc", "mount /proc failed: ", plan.Mount, plan.Text("proc"), plan.Text("/proc"), plan.Text("proc"), plan.Int(unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC), null)
}

// identity becomes the user of the program: groups first, while that is allowed.
func (p *program) identity(j *Joining) {
	f, o := j.Facts, j.Options
	uid, gid := j.ids()
	p.origin = "--like-container"
	if f.Like != nil {
		p.bound(f.Like, f.LastCap)
		p.do("keep capabilities", "cannot keep capabilities: ", plan.Prctl, plan.Int(unix.PR_SET_KEEPCAPS), plan.Int(1), plan.Int(0), plan.Int(0), plan.Int(0))
	}
	if o.KeepCaps && len(f.Users) > 0 {
		p.origin = "--keep-caps"
		p.do("keep capabilities", "cannot keep capabilities: ", plan.Prctl, plan.Int(unix.PR_SET_KEEPCAPS), plan.Int(1), plan.Int(0), plan.Int(0), plan.Int(0))
	}
	if gid.Set {
		p.origin = "--setgid"
		groups := []uint32{}
		if f.Like != nil {
			groups = f.Like.Groups
		}
		s := p.do("be in "+plural(len(groups), "group"), "setgroups failed: ", plan.Setgroups, plan.Int(len(groups)), plan.Bytes(words32(groups)))
		// They were left before the user namespace was joined, or it is told now that they cannot be.
		s.Any = j.setsUser() && f.Groups && len(groups) == 0
		p.do(fmt.Sprint("be group ", gid.N), "setgid failed: ", plan.Setresgid, plan.Int(gid.N), plan.Int(gid.N), plan.Int(gid.N))
	}
	if uid.Set {
		p.origin = "--setuid"
		p.do(fmt.Sprint("be user ", uid.N), "setuid failed: ", plan.Setresuid, plan.Int(uid.N), plan.Int(uid.N), plan.Int(uid.N))
	}
	if j.Fork && (uid.Set || gid.Set) {
		// A change of identity makes a process dumpable anew.
		p.origin = ""
		p.hide()
	}
	if f.Like != nil {
		p.origin = "--like-container"
		p.capabilities(f.Like.Permitted, f.Like.Effective, f.Like.Inherit, f.Like.Ambient)
	} else if o.KeepCaps && len(f.Users) > 0 {
		p.origin = "--keep-caps"
		all := uint64(1)<<(f.LastCap+1) - 1
		p.capabilities(all, all, all, all)
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func words32(list []uint32) []byte {
	b := make([]byte, 4*len(list))
	for i, n := range list {
		binary.NativeEndian.PutUint32(b[4*i:], n)
	}
	return b
}

// capabilities sets the sets of a process. An ambient one that cannot be raised is one that it does not hold.
func (p *program) capabilities(permitted, effective, inheritable, ambient uint64) {
	var head [8]byte
	binary.NativeEndian.PutUint32(head[:], unix.LINUX_CAPABILITY_VERSION_3)
	var sets [24]byte
	for i, v := range []uint64{effective, permitted, inheritable} {
		binary.NativeEndian.PutUint32(sets[4*i:], uint32(v))
		binary.NativeEndian.PutUint32(sets[12+4*i:], uint32(v>>32))
	}
	p.do("set capabilities", "capset failed: ", plan.Capset, plan.Bytes(head[:]), plan.Bytes(sets[:]))
	for i := range 64 {
		if ambient&permitted&inheritable&(1<<i) != 0 {
			p.do("raise ambient "+capability(i), "cannot raise ambient capability: ", plan.Prctl,
				plan.Int(unix.PR_CAP_AMBIENT), plan.Int(unix.PR_CAP_AMBIENT_RAISE), plan.Int(i), plan.Int(0), plan.Int(0)).Any = true
		}
	}
}

// last is what must not be undone by anything else.
func (p *program) last(j *Joining) {
	if l := j.Facts.Like; l != nil && l.NoNewPrivs {
		p.origin = "--like-container"
		p.do("no new privileges", "cannot set no_new_privs: ", plan.Prctl, plan.Int(unix.PR_SET_NO_NEW_PRIVS), plan.Int(1), plan.Int(0), plan.Int(0), plan.Int(0))
	}
	if n := j.Options.KillChild; n != 0 {
		p.origin = "--kill-child"
		p.do(fmt.Sprintf("die by signal %d with nsenter", n), "prctl failed: ", plan.Prctl, plan.Int(unix.PR_SET_PDEATHSIG), plan.Int(n), plan.Int(0), plan.Int(0), plan.Int(0))
	}
	if j.Fork {
		p.origin = ""
		if n := j.Facts.NoFile; n.Hard > 0 && (j.Facts.Like == nil) {
			// The Go runtime raised its soft limit.
			p.rlimit("open files", unix.RLIMIT_NOFILE, n)
		}
		p.do("signal mask of the caller", "sigprocmask failed: ", plan.RtSigprocmask, plan.Int(unix.SIG_SETMASK), plan.Bytes(j.Facts.Mask[:]), null, plan.Int(8))
	}
}

func (p *program) rlimit(what string, nr int, r plan.Rlimit) *plan.Step {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[0:], r.Soft)
	binary.NativeEndian.PutUint64(b[8:], r.Hard)
	return p.do(fmt.Sprintf("limit %s to %d:%d", what, int64(r.Soft), int64(r.Hard)), "cannot limit "+what+": ", plan.Prlimit64, plan.Int(0), plan.Int(nr), plan.Bytes(b[:]), null)
}

// command is what is executed, and its name: a login shell when there is nothing else.
func command(args []string, f Facts) ([]string, string) {
	if len(args) > 0 {
		return args, args[0]
	}
	shell := lookup(f.Env, "SHELL")
	if shell == "" {
		shell = f.Shell
	}
	if shell == "" {
		shell = "/bin/sh"
	}
	return []string{shell}, "-" + path.Base(shell)
}

// lookup is the value of a variable, the first of its name as getenv(3) has it.
func lookup(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

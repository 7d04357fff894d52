package plan

import (
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/seccomp"
)

// ExecInput is what the Plan of a further process in a running container is compiled from.
type ExecInput struct {
	Process *specs.Process
	Path    string // of the program, instead of what Process.Args[0] names; or ""
	Seccomp *specs.LinuxSeccomp
	// Filter is what Seccomp is compiled to, where that is known.
	Filter *seccomp.Filter
	// Personality is the container's.
	Personality *specs.LinuxPersonality
	// Namespaces is the CLONE_NEW* flags of those that the container's init does not share with the caller. They are
	// joined at once by the Given file "init", its pidfd.
	Namespaces uintptr
	Facts      Facts
	// Unprivileged is as in Input.
	Unprivileged bool
}

// InitFile is the name of the pidfd of a container's init.
const InitFile = "init"

// CompileExec makes the Plan of a further process of a running container.
func CompileExec(in ExecInput) (*Plan, error) {
	proc := in.Process
	if err := checkProcess(proc); err != nil {
		return nil, err
	}
	inner := in.Namespaces&(unix.CLONE_NEWPID|unix.CLONE_NEWTIME) != 0
	if s := proc.Scheduler; inner && s != nil && (s.Policy == specs.SchedDeadline || slices.Contains(s.Flags, specs.SchedFlagResetOnFork)) {
		// Its process is a child of the one that the host's rights are left to.
		return nil, fmt.Errorf("process.scheduler: %s with flags %v does not outlive the fork into the container's PID namespace", s.Policy, s.Flags)
	}
	filter := in.Filter
	if filter == nil {
		var err error
		if filter, err = compileFilter(in.Seccomp); err != nil {
			return nil, err
		}
	}
	p := &program{unprivileged: in.Unprivileged}
	if err := p.enterCgroup(in.Facts, proc); err != nil {
		return nil, err
	}
	if err := p.score(proc.OOMScoreAdj); err != nil {
		return nil, err
	}
	if err := p.labels(proc, in.Facts.Labels); err != nil {
		return nil, err
	}
	if err := p.personality(in.Personality); err != nil {
		return nil, err
	}
	p.origin = "linux.namespaces"
	p.add("join the container's namespaces", Setns, File(InitFile), Int(in.Namespaces)).sh("nsenter --all --target $init")
	if in.Namespaces&unix.CLONE_NEWUSER != 0 {
		p.becomeRoot()
	}
	p.origin = "root"
	p.add("enter /", Chdir, Text("/"))
	if proc.Terminal {
		p.add("open /", Openat, cwd, Text("/"), Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).save(rRoot)
		p.terminal(false)
		// The parent takes the master before it lets the child close it.
		p.halt(Terminal)
	}
	if filter != nil && filter.Notify {
		p.forget(in.Facts.Extra, Gate)
	} else {
		p.forget(in.Facts.Extra)
	}
	if err := p.allot(proc, in.Facts); err != nil {
		return nil, err
	}
	// The container sees its PID namespace's processes, and one with CAP_SYS_PTRACE may look into them and change them
	// (CVE-2016-9962). What comes into it has the container's identity already, and nothing of the host's.
	enter := func() {
		if inner {
			p.inner(0)
		}
		if proc.Terminal {
			p.control()
		}
	}
	if err := p.process(proc, tail{file: in.Path, filter: filter, facts: in.Facts, enter: enter}); err != nil {
		return nil, err
	}
	done, err := p.plan(0, in.Facts)
	if err == nil && initial(proc) != "" {
		done.IntoCgroup = ""
	}
	return done, err
}

func initial(proc *specs.Process) string {
	if proc.ExecCPUAffinity == nil {
		return ""
	}
	return proc.ExecCPUAffinity.Initial
}

// enterCgroup begins an exec. Its first CPUs are for the time before it is in the container's cgroup, so it cannot be
// born there then (config.md, "Linux Process").
func (p *program) enterCgroup(f Facts, proc *specs.Process) error {
	a := proc.ExecCPUAffinity
	if a == nil {
		p.begin(f, proc)
		return nil
	}
	if err := p.affinity("initial", a.Initial); err != nil {
		return err
	}
	p.origin = ""
	p.begin(f, proc)
	if f.Cgroup.Into && a.Initial != "" {
		p.origin = "linux.cgroupsPath"
		p.add("open cgroup", Openat, File("cgroup:into"), Text("cgroup.procs"), Int(unix.O_WRONLY|unix.O_CLOEXEC)).save(rFile)
		p.add("join cgroup", Write, Result(rFile), Text("0"), Int(1))
	}
	return p.affinity("final", a.Final)
}

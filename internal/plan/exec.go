package plan

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ExecInput is what the Plan of a further process in a running container is compiled from.
type ExecInput struct {
	Process *specs.Process
	Path    string // of the program, instead of what Process.Args[0] names; or ""
	Seccomp *specs.LinuxSeccomp
	// Namespaces is the CLONE_NEW* flags of those that the container's init does not share with the caller. They are
	// joined at once by the Given file "init", its pidfd.
	Namespaces uintptr
	Facts      Facts
}

// InitFile is the name of the pidfd of a container's init.
const InitFile = "init"

// CompileExec makes the Plan of a further process of a running container.
func CompileExec(in ExecInput) (*Plan, error) {
	proc := in.Process
	if proc.ApparmorProfile != "" || proc.SelinuxLabel != "" {
		return nil, fmt.Errorf("process.apparmorProfile, process.selinuxLabel: not implemented")
	}
	filter, err := compileFilter(in.Seccomp)
	if err != nil {
		return nil, err
	}
	p := &program{}
	p.begin(in.Facts, proc.Terminal)
	p.score(proc.OOMScoreAdj)
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
	p.forget()
	// The container sees its PID namespace's processes, and one with CAP_SYS_PTRACE may look into them and change them
	// (CVE-2016-9962). What comes into it has the container's identity already, and nothing of the host's.
	enter := func() {
		if in.Namespaces&(unix.CLONE_NEWPID|unix.CLONE_NEWTIME) != 0 {
			p.inner(0)
		}
		if proc.Terminal {
			p.control()
		}
	}
	if err := p.process(proc, in.Path, filter, in.Facts, enter); err != nil {
		return nil, err
	}
	return p.plan(0, in.Facts)
}

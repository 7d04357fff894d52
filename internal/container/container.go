// Package container is one OCI container's life: create, start, exec, signal, kill, delete.
//
// A container is created when its cgroup, its namespaces, its root file system and its first process are there and
// wait at the gate; it runs from Start until that process ends; it is gone after Delete. Whoever creates a container
// is the parent of its processes and waits for them: a keeper for a Pod's, the OCI command line for one of its own.
//
// Words: the ID is the caller's name for the container. Init is its first process. An exec is any later one.
package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/birth"
	"tripod/internal/cgroup"
	"tripod/internal/plan"
	"tripod/internal/seccomp"
)

// Config is what a container is created from.
type Config struct {
	ID   string
	Spec *specs.Spec
	Root plan.Rootfs
	Host Host
	// CgroupPath is the container's own, below each hierarchy's mount point, or SLICE:PREFIX:NAME where the host has
	// systemd make cgroups; "" leaves it in the caller's.
	CgroupPath string
	// Namespaces are held descriptors, used instead of the spec's paths.
	Namespaces map[specs.LinuxNamespaceType]*os.File
	// Stdio are the standard streams; nil is /dev/null. With a terminal they are not used.
	Stdio [3]*os.File
	// OwnStdio says which of them are the caller's own pipes: they are given to the container's user, so that it can
	// open /dev/stdout anew. Never so for a file that others use, such as /dev/null.
	OwnStdio [3]bool
	// Extra are at most MaxExtra descriptors that the process gets from 3 on.
	Extra []*os.File
	// KeepKeyring leaves the container in the caller's session keyring.
	KeepKeyring bool
	// Bundle is the directory that the spec is from, "" for none: hooks are told of it.
	Bundle string
	// Rootless says whether a container that needs no limits may do without a cgroup that this process may not make:
	// true, false, or auto for "when this process is not the host's root".
	Rootless string
	// Warn, if any, is told what is to be logged and ends nothing.
	Warn func(error)
	// Trace, if any, is told of each step of the birth that was made (see plan.Plan).
	Trace func(plan.Spent)

	latch *birth.Latch
}

// Container is a created container. Its methods are for one goroutine.
type Container struct {
	Process
	ID     string
	Bundle string        // directory of its config.json, or ""
	Group  *cgroup.Group // nil without a cgroup of its own
	Warn   func(error)   // told what is to be logged and ends nothing; or nil

	spec   *specs.Spec
	filter *seccomp.Filter // what spec.Linux.Seccomp was compiled to, if that is known and asks no supervisor
	host   Host
	child  *birth.Child
	latch  *birth.Latch // where child will wait
	dir    *Dir         // of a loaded container

	hooked  bool // hooks were begun: those of the end are due
	deleted bool
}

// Process is a process of a container.
type Process struct {
	Pid     int
	PidFD   *os.File
	Console *os.File // master of its terminal, or nil; the caller's to close
}

// ErrStarted says that a container has left its gate already.
var ErrStarted = errors.New("already started")

// ErrEnding says that a container's first process is at its end. Its text is what callers of runc look for.
var ErrEnding = errors.New("container not running")

// Create makes the container and leaves its first process at the gate. On error nothing of it is left.
func Create(cfg Config) (*Container, error) { return create(cfg, true) }

// Run makes the container and starts it at once: Create and Start without the stop at the gate between them, two
// changes of process less. Hooks of the start need that stop.
func Run(cfg Config) (*Container, error) {
	h := cfg.Spec.Hooks
	gated := h != nil && len(h.StartContainer)+len(h.Poststart) > 0
	c, err := create(cfg, gated)
	if err != nil || !gated {
		return c, err
	}
	if err := c.Start(); err != nil {
		_, _ = c.Wait()
		c.undo()
		return nil, err
	}
	return c, nil
}

func create(cfg Config, gated bool) (_ *Container, err error) {
	c := &Container{ID: cfg.ID, Bundle: cfg.Bundle, Warn: cfg.Warn, spec: cfg.Spec, host: cfg.Host}
	defer func() {
		if err != nil {
			c.undo()
		}
	}()
	given := newFiles()
	defer given.close()
	facts := cfg.Host.facts(cfg.Spec, cfg.Bundle)
	facts.ChownStd = own(cfg.Stdio, cfg.OwnStdio)
	facts.Extra, facts.Keyring = given.extra(cfg.Extra), cfg.KeepKeyring
	in := plan.Input{Root: cfg.Root, Facts: facts, Bundle: cfg.Bundle, Unprivileged: cfg.Host.Unprivileged(), Gated: gated, Latched: cfg.latch != nil}
	if err := plan.Check(cfg.Spec, in); err != nil {
		return nil, err
	}
	if cfg.Spec, err = mapped(cfg.Spec); err != nil {
		return nil, err
	}
	if c.Group, err = group(cfg); err != nil {
		return nil, err
	}
	facts.Cgroup = cfg.Host.cgroupFacts(c.Group)
	if err := given.cgroup(c.Group, &facts); err != nil {
		return nil, err
	}
	if err := given.namespaces(cfg); err != nil {
		return nil, err
	}
	if err := given.stdio(cfg.Stdio, cfg.Spec.Process); err != nil {
		return nil, err
	}
	if r := cfg.Root.Path; r != "" && kind(r, unix.Lstat) != plan.Dir {
		return nil, fmt.Errorf("root.path: %s is no directory, or a symbolic link to one", r)
	}
	in.Facts = facts
	p, err := plan.Compile(cfg.Spec, in)
	if err != nil {
		return nil, err
	}
	p.Trace = cfg.Trace
	if f := p.Filter; f != nil && !f.Notify {
		c.filter = f
	}
	c.warn(p.Warnings)
	if c.child, err = birth.StartLatched(p, given.fds, cfg.latch); err != nil {
		return nil, err
	}
	if err := c.halts(p.Halts); err != nil {
		return nil, err
	}
	if !gated {
		if err := c.child.Run(); err != nil {
			return nil, err
		}
		c.take()
		c.child = nil
	}
	return c, nil
}

// group makes and limits the container's cgroup. Limits come before the first process: there is no moment without them.
func group(cfg Config) (*cgroup.Group, error) {
	if cfg.CgroupPath == "" {
		return nil, nil
	}
	host := cfg.Host.Cgroup
	if host.Systemd != nil {
		s := *host.Systemd
		s.Annotations, s.Hold = cfg.Spec.Annotations, birth.Hold
		host.Systemd = &s
	}
	g, err := cgroup.Make(host, cfg.CgroupPath)
	switch {
	case err != nil && forbidden(err) && !limited(cfg.Spec) && (cfg.Rootless == "true" || cfg.Rootless != "false" && cfg.Host.Unprivileged()):
		// Without rights on the host, and with nothing to be limited by it, a container does without a cgroup.
		return nil, nil
	case err != nil:
		return nil, err
	}
	if cfg.Spec.Linux != nil {
		if err := g.Limit(cfg.Spec.Linux.Resources); err != nil {
			return nil, errors.Join(err, g.Remove())
		}
	}
	return g, nil
}

func forbidden(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS)
}

// limited says that a spec has a limit beside the device rules that every configuration has.
func limited(spec *specs.Spec) bool {
	if spec.Linux == nil || spec.Linux.Resources == nil {
		return false
	}
	r := *spec.Linux.Resources
	r.Devices = nil
	return !reflect.DeepEqual(r, specs.LinuxResources{})
}

// undo removes what a failed Create made.
func (c *Container) undo() {
	if c.child != nil {
		c.child.Abort()
	}
	for _, f := range []*os.File{c.PidFD, c.Console} {
		if f != nil {
			f.Close()
		}
	}
	if c.Group != nil {
		_ = c.Group.Kill()
		_ = c.Group.Remove()
	}
	if c.hooked {
		c.poststop()
	}
}

// Start opens the gate and returns when the first process has become the container's program. If it cannot, the
// process is gone, and the error is a *birth.StepError or a hook's; ExitCode has the exit code for it. The process is
// to be waited for after a poststart hook's error, as after every success.
func (c *Container) Start() error {
	if c.child == nil && c.dir != nil {
		return c.lift()
	}
	if c.child == nil {
		return fmt.Errorf("cannot start container %s: %w", c.ID, ErrStarted)
	}
	child := c.child
	if err := c.startHooks(); err != nil {
		child.Abort()
		c.child = nil
		return err
	}
	c.child = nil
	if err := child.Go(); err != nil {
		return err
	}
	if err := c.poststart(); err != nil {
		return errors.Join(err, c.Kill())
	}
	return nil
}

// ExecConfig is what a further process of a container is made from.
type ExecConfig struct {
	Process  *specs.Process
	Path     string      // of its program, instead of what Process.Args[0] names; or ""
	Stdio    [3]*os.File // nil is /dev/null
	OwnStdio [3]bool
	Extra    []*os.File // at most MaxExtra descriptors that the process gets from 3 on
	Cgroup   string     // one below the container's, which is there; "" is the container's own
	// Unconfined leaves the container's seccomp filter out.
	Unconfined bool
}

// Exec runs a further process in the running container c: in all of its namespaces and its cgroup. The process is the
// caller's child, to be waited for before the container's init, or the PID namespace never ends.
func (c *Container) Exec(cfg ExecConfig) (_ *Process, err error) {
	given := newFiles()
	defer given.close()
	facts := plan.Facts{LastCap: c.host.LastCap, Ignored: c.host.Ignored, NoFile: c.host.NoFile, ChownStd: own(cfg.Stdio, cfg.OwnStdio)}
	facts.Extra = given.extra(cfg.Extra)
	group := c.Group
	if group == nil && cfg.Cgroup != "" {
		return nil, fmt.Errorf("cannot use cgroup %s: the container has none of its own that it could be below", cfg.Cgroup)
	}
	if cfg.Cgroup != "" {
		if group, err = group.Below(cfg.Cgroup); err != nil {
			return nil, err
		}
	}
	if err := given.cgroup(group, &facts); err != nil {
		return nil, err
	}
	if err := given.stdio(cfg.Stdio, cfg.Process); err != nil {
		return nil, err
	}
	given.fds[plan.InitFile] = int(c.PidFD.Fd())
	apart, err := apart(c.Pid)
	if errors.Is(err, fs.ErrNotExist) {
		// It has no namespaces any more; whoever made its processes has not waited for all of them.
		return nil, ErrEnding
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look at container %s: %w", c.ID, err)
	}
	facts.Labels = labels(cfg.Process, "")
	if apart&unix.CLONE_NEWUSER == 0 {
		facts.Caps = c.host.Caps
	}
	in := plan.ExecInput{Process: cfg.Process, Path: cfg.Path, Namespaces: apart, Facts: facts, Unprivileged: c.host.Unprivileged()}
	if c.spec.Process != nil && cfg.Process.ExecCPUAffinity == nil {
		proc := *cfg.Process
		proc.ExecCPUAffinity = c.spec.Process.ExecCPUAffinity
		in.Process = &proc
	}
	if c.spec.Linux != nil {
		in.Personality = c.spec.Linux.Personality
		if !cfg.Unconfined {
			in.Seccomp, in.Filter = c.spec.Linux.Seccomp, c.filter
		}
	}
	p, err := plan.CompileExec(in)
	if err != nil {
		return nil, err
	}
	c.warn(p.Warnings)
	child, err := birth.Start(p, given.fds)
	if err != nil {
		return nil, err
	}
	proc := &Process{}
	if err := c.halted(p.Halts, child, proc, cfg.Process.ConsoleSize); err != nil {
		child.Abort()
		if proc.Console != nil {
			proc.Console.Close()
		}
		return nil, err
	}
	proc.Pid, proc.PidFD = child.Pid, os.NewFile(uintptr(child.PidFD), "pidfd")
	return proc, nil
}

// halted meets the child of an exec where it waits, and returns when it has become its program.
func (c *Container) halted(list []plan.Halt, child *birth.Child, proc *Process, size *specs.Box) error {
	for _, h := range list {
		err := child.Ready()
		switch {
		case err != nil:
		case h == plan.Terminal:
			proc.Console, err = takeConsole(child, size)
		case h == plan.Listening:
			err = c.listen(child, specs.StateRunning)
		}
		if err != nil {
			return err
		}
		if err := child.Proceed(); err != nil {
			return err
		}
	}
	return child.Run()
}

// apart are the flags of the namespaces that a process does not share with the caller.
func apart(pid int) (flags uintptr, err error) {
	for _, n := range []struct {
		name string
		flag uintptr
	}{
		{"user", unix.CLONE_NEWUSER},
		{"mnt", unix.CLONE_NEWNS},
		{"pid", unix.CLONE_NEWPID},
		{"net", unix.CLONE_NEWNET},
		{"ipc", unix.CLONE_NEWIPC},
		{"uts", unix.CLONE_NEWUTS},
		{"cgroup", unix.CLONE_NEWCGROUP},
		{"time", unix.CLONE_NEWTIME},
	} {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, n.name))
		if err != nil {
			if n.name == "time" && errors.Is(err, os.ErrNotExist) {
				continue
			}
			return 0, err
		}
		if ours, err := os.Readlink("/proc/self/ns/" + n.name); err != nil || ours != theirs {
			flags |= n.flag
		}
	}
	return flags, nil
}

// Signal sends a signal to the process. One that has ended is os.ErrProcessDone.
func (p *Process) Signal(sig unix.Signal) error {
	err := unix.PidfdSendSignal(int(p.PidFD.Fd()), sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// Kill kills every process of the container's cgroup, or only its init when it has none of its own.
func (c *Container) Kill() error {
	if c.Group == nil {
		if err := c.Signal(unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		return nil
	}
	return c.Group.Kill()
}

// Delete removes what is left of a container whose init has been waited for: it kills stragglers and removes the
// cgroup. It may be called again.
func (c *Container) Delete() error {
	if c.child != nil {
		c.child.Abort()
		c.child = nil
	}
	if c.PidFD != nil {
		c.PidFD.Close()
		c.PidFD = nil
	}
	if err := c.ungroup(); err != nil {
		return err
	}
	if !c.deleted {
		c.deleted = true
		c.poststop()
	}
	return nil
}

// ungroup removes the container's cgroup. Most are empty by now, and looking for stragglers costs more than removing.
func (c *Container) ungroup() error {
	if c.Group == nil {
		return nil
	}
	if gone, err := c.Group.Prune(); gone || err != nil {
		return err
	}
	if err := c.Group.Kill(); err != nil {
		return err
	}
	return c.Group.Remove()
}

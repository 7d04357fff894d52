package keeper

import (
	"errors"
	"fmt"
	"os"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/container"
	"tripod/internal/plan"
)

// exec runs a process in a container for a connection. It is made on a goroutine of its own. Its stdio is the client's
// pipes, or a terminal whose master the client gets: the keeper takes no part in what is said.
func (k *keep) exec(conn *conn, name string, e *execution, stdio [3]int) error {
	c := k.child(name)
	switch {
	case e == nil || len(e.Args) == 0:
		return errors.New("cannot exec: no command")
	case k.life != nil && k.record(name) == nil:
		return fmt.Errorf("cannot exec in container %s: there is no such container", name)
	case c == nil || !c.alive:
		return fmt.Errorf("cannot exec in container %s: it does not run", name)
	}
	// The process is made beside the loop, and the container may end meanwhile: it has a descriptor of its own.
	pidfd, err := unix.FcntlInt(c.box.PidFD.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	cfg := container.ExecConfig{Unconfined: e.Privileged}
	for i, fd := range stdio {
		if fd >= 0 {
			cfg.Stdio[i], cfg.OwnStdio[i] = os.NewFile(uintptr(fd), "pipe"), true
		}
	}
	conn.busy = true
	conn.settle()
	k.making++
	rise()
	in := place{c.id(), c.box.Pid, os.NewFile(uintptr(pidfd), "pidfd"), c.group(), c.ground.host, c.def.Bundle}
	go func() {
		p, err := in.exec(cfg, e)
		k.loop.post(func() {
			k.making--
			k.executed(conn, name, p, err, e.Kill)
			k.strays()
		})
	}()
	return nil
}

// place is where an exec's process goes: what is needed of a container beside the loop.
type place struct {
	id     string
	pid    int
	pidfd  *os.File
	cgroup string
	host   container.Host
	bundle string
}

// exec makes the process, and closes what it was given.
func (in *place) exec(cfg container.ExecConfig, e *execution) (*container.Process, error) {
	defer func() {
		for _, f := range append(cfg.Stdio[:], in.pidfd) {
			if f != nil {
				f.Close()
			}
		}
	}()
	spec, err := readSpec(in.bundle)
	if err != nil {
		return nil, err
	}
	cfg.Process = e.process(spec.Process)
	return container.Adopt(in.id, in.pid, in.pidfd, in.cgroup, in.host, spec).Exec(cfg)
}

// executed tells a client of its process, and later of its end.
func (k *keep) executed(conn *conn, name string, p *container.Process, err error, kill bool) {
	if err != nil {
		conn.reply(reply{Error: fmt.Sprintf("cannot exec in container %s: %v", name, err), Code: container.ExitCode(err)})
		conn.answered()
		return
	}
	pidfd, err := unix.FcntlInt(p.PidFD.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		err = k.adopt(p.Pid, pidfd, func(exit Exit) {
			p.PidFD.Close()
			conn.reply(reply{Exit: &exit})
			conn.answered()
			k.tidy()
		})
	}
	if err != nil {
		_ = p.Signal(unix.SIGKILL)
		_, _ = p.Wait()
		p.PidFD.Close()
		conn.fail(fmt.Errorf("cannot watch process %d: %w", p.Pid, err))
		conn.answered()
	}
	if err == nil {
		conn.signal = func(n int) error { return p.Signal(unix.Signal(n)) }
		conn.gone = func() {
			if kill {
				_ = p.Signal(unix.SIGKILL)
			}
		}
		if conn.done {
			conn.gone()
		}
		if p.Console != nil {
			conn.reply(reply{Pid: p.Pid}, int(p.Console.Fd()))
		} else {
			conn.reply(reply{Pid: p.Pid})
		}
	}
	if p.Console != nil {
		p.Console.Close()
	}
}

// process is what e runs: the container's own process, changed where e says something.
func (e *execution) process(own *specs.Process) *specs.Process {
	p := *own
	p.Args, p.CommandLine, p.Terminal, p.ConsoleSize = e.Args, "", e.TTY, nil
	if e.Width > 0 && e.Height > 0 {
		p.ConsoleSize = &specs.Box{Width: uint(e.Width), Height: uint(e.Height)}
	}
	p.Env = mergeEnv(own.Env, e.Env)
	if e.Cwd != "" {
		p.Cwd = e.Cwd
	}
	if e.User != nil {
		p.User = *e.User
	}
	if e.Capabilities != nil {
		p.Capabilities = e.Capabilities
	}
	if e.Privileged {
		all := ownCapabilities()
		p.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
		p.NoNewPrivileges = false
	}
	return &p
}

// ownCapabilities are the names of those that this process may give.
func ownCapabilities() []string {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&head, &data[0]) != nil {
		return nil
	}
	var names []string
	for i, name := range plan.Capabilities() {
		if data[i/32].Permitted&(1<<(i%32)) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// mergeEnv puts more in the place of what has the same name, and behind the rest.
func mergeEnv(env, more []string) []string {
	out := make([]string, 0, len(env)+len(more))
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		replaced := false
		for _, m := range more {
			replaced = replaced || strings.HasPrefix(m, name+"=")
		}
		if !replaced {
			out = append(out, e)
		}
	}
	return append(out, more...)
}

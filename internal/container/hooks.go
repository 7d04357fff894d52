package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/birth"
	"tripod/internal/plan"
)

// ErrTimeout says that a hook ran longer than its timeout, and was killed.
var ErrTimeout = errors.New("killed: it ran longer than its timeout")

// place is where a kind of hook is found and run.
type place uint8

const (
	outside place = iota // both on the host
	between              // found on the host, run in the container's namespaces
	inside               // found and run in the container
)

// halts meets the child at each place where it waits, does what is to be done there, and leaves it at the last if that
// is the gate.
func (c *Container) halts(list []plan.Halt) error {
	for _, h := range list {
		if err := c.child.Ready(); err != nil {
			return err
		}
		c.take()
		var err error
		switch h {
		case plan.Created:
			return nil
		case plan.Mounted:
			c.hooked = true
			err = c.createHooks()
		case plan.Terminal:
			c.Console, err = takeConsole(c.child, c.spec.Process.ConsoleSize)
		case plan.Listening:
			err = c.listen(c.child, specs.StateCreating)
		}
		if err != nil {
			return err
		}
		if err := c.child.Proceed(); err != nil {
			return err
		}
	}
	return nil
}

// take makes the child's process the container's.
func (c *Container) take() {
	if c.PidFD == nil {
		c.Pid, c.PidFD = c.child.Pid, os.NewFile(uintptr(c.child.Take()), "pidfd")
	}
}

func (c *Container) warn(list []string) {
	for _, w := range list {
		if c.Warn != nil {
			c.Warn(errors.New(w))
		}
	}
}

// createHooks runs the hooks that come before the pivot: the container's first process waits there.
func (c *Container) createHooks() error {
	h := c.spec.Hooks
	//lint:ignore SA1019 prestart is deprecated, and still to be run
	if err := c.hooks("prestart", h.Prestart, specs.StateCreating, outside); err != nil {
		return err
	}
	if err := c.hooks("createRuntime", h.CreateRuntime, specs.StateCreating, outside); err != nil {
		return err
	}
	return c.hooks("createContainer", h.CreateContainer, specs.StateCreating, between)
}

// startHooks runs the hooks that come between the gate and the container's program.
func (c *Container) startHooks() error {
	if c.spec == nil || c.spec.Hooks == nil {
		return nil
	}
	return c.hooks("startContainer", c.spec.Hooks.StartContainer, specs.StateCreated, inside)
}

// Poststart runs the hooks that come when the container's program runs. Start calls it; a caller that opens the gate by
// other means does so itself. An error stops the container (runtime.md, "Lifecycle", step 9): that is the caller's.
func (c *Container) poststart() error {
	if c.spec == nil || c.spec.Hooks == nil {
		return nil
	}
	return c.hooks("poststart", c.spec.Hooks.Poststart, specs.StateRunning, outside)
}

// poststop runs the hooks that come when all of the container is gone. One that fails is told to Warn, and the next
// runs (runtime.md, "Lifecycle", step 13).
func (c *Container) poststop() {
	if c.spec == nil || c.spec.Hooks == nil {
		return
	}
	for i, h := range c.spec.Hooks.Poststop {
		if err := c.hook(fmt.Sprintf("hooks.poststop[%d]", i), h, specs.StateStopped, outside); err != nil && c.Warn != nil {
			c.Warn(err)
		}
	}
}

// hooks runs hooks in their order, to the first that fails.
func (c *Container) hooks(kind string, list []specs.Hook, status specs.ContainerState, at place) error {
	for i, h := range list {
		if err := c.hook(fmt.Sprintf("hooks.%s[%d]", kind, i), h, status, at); err != nil {
			return err
		}
	}
	return nil
}

// hook runs one hook with the container's state on its standard input, and waits for its end.
func (c *Container) hook(origin string, h specs.Hook, status specs.ContainerState, at place) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: cannot run %s: %w", origin, h.Path, err)
		}
	}()
	stdin, err := c.stateFile(status, at)
	if err != nil {
		return err
	}
	defer stdin.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	p, err := c.startHook(origin, h, at, [3]*os.File{stdin, w, w})
	w.Close()
	if err != nil {
		return err
	}
	defer p.PidFD.Close()
	said, err := attend(p, r, h.Timeout)
	if err != nil {
		// A hook leads a session of its own: what it started ends with it.
		_ = unix.Kill(-p.Pid, unix.SIGKILL)
		_ = p.Signal(unix.SIGKILL)
		_, werr := p.Wait()
		return errors.Join(err, werr)
	}
	exit, err := p.Wait()
	switch {
	case err != nil:
		return err
	case exit.Signal != 0:
		return fmt.Errorf("ended by signal %s%s", unix.SignalName(exit.Signal), said)
	case exit.Code != 0:
		return fmt.Errorf("exit code %d%s", exit.Code, said)
	}
	return nil
}

func (c *Container) startHook(origin string, h specs.Hook, at place, stdio [3]*os.File) (*Process, error) {
	if at == inside {
		return c.hookInside(h, stdio)
	}
	given := newFiles()
	defer given.close()
	if err := given.stdio(stdio, nil); err != nil {
		return nil, err
	}
	in := plan.HookInput{Hook: h, Origin: origin, Dir: "/", Facts: plan.Facts{Ignored: c.host.Ignored, NoFile: c.host.NoFile}}
	if at == between {
		var err error
		if in.Namespaces, err = apart(c.Pid); err != nil {
			return nil, err
		}
		given.fds[plan.InitFile] = int(c.PidFD.Fd())
	} else if c.Bundle != "" && status(c.Bundle) == plan.Dir {
		in.Dir = c.Bundle
	}
	p, err := plan.CompileHook(in)
	if err != nil {
		return nil, err
	}
	child, err := birth.Start(p, given.fds)
	if err != nil {
		return nil, err
	}
	if err := child.Run(); err != nil {
		return nil, err
	}
	return &Process{Pid: child.Pid, PidFD: os.NewFile(uintptr(child.PidFD), "pidfd")}, nil
}

func status(dir string) plan.Kind { return kind(dir, unix.Stat) }

// hookInside runs a hook whose program is the container's own. Nothing of the image runs with more than the container's
// program may do: it has the same user, capabilities and seccomp filter.
func (c *Container) hookInside(h specs.Hook, stdio [3]*os.File) (*Process, error) {
	proc := *c.spec.Process
	proc.Args, proc.Env, proc.Cwd, proc.Terminal = h.Args, h.Env, "/", false
	if len(proc.Args) == 0 {
		proc.Args = []string{h.Path}
	}
	return c.Exec(ExecConfig{Process: &proc, Path: h.Path, Stdio: stdio})
}

// stateFile is the container's state as a sealed file in memory: a hook that does not read it blocks nobody.
func (c *Container) stateFile(status specs.ContainerState, at place) (*os.File, error) {
	st := c.State(status)
	if at != outside && c.Pid > 0 {
		var err error
		if st.Pid, err = innerPid(c.Pid); err != nil {
			return nil, err
		}
	}
	data, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("state", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("cannot make a file for its state: %w", err)
	}
	f := os.NewFile(uintptr(fd), "state")
	if _, err = f.WriteAt(data, 0); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot make a file for its state: %w", err)
	}
	return f, nil
}

// State is the container's state as runtime.md, "State", has it.
func (c *Container) State(status specs.ContainerState) specs.State {
	st := specs.State{Version: specs.Version, ID: c.ID, Status: status, Pid: c.Pid, Bundle: c.Bundle}
	if status == specs.StateStopped {
		st.Pid = 0
	}
	if c.spec != nil {
		st.Annotations = c.spec.Annotations
	}
	return st
}

// innerPid is a process's number in its own PID namespace: hooks there know it by that (runtime.md, "State").
func innerPid(pid int) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if list, ok := strings.CutPrefix(line, "NSpid:"); ok {
			f := strings.Fields(list)
			return strconv.Atoi(f[len(f)-1])
		}
	}
	return pid, nil
}

// maxSaid is how much of what a hook prints is read for an error, in bytes.
const maxSaid = 64 << 10

// attend reads what a hook prints until it ends, and returns the last line of it for an error. A daemon that a hook
// leaves behind may keep the pipe open: its end is not waited for.
func attend(p *Process, out *os.File, timeout *int) (string, error) {
	var deadline time.Time
	if timeout != nil {
		deadline = time.Now().Add(time.Duration(*timeout) * time.Second)
	}
	fd := int(out.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		return "", err
	}
	var said []byte
	poll := []unix.PollFd{{Fd: int32(p.PidFD.Fd()), Events: unix.POLLIN}, {Fd: int32(fd), Events: unix.POLLIN}}
	for {
		wait := -1
		if !deadline.IsZero() {
			left := time.Until(deadline)
			if left <= 0 {
				return "", ErrTimeout
			}
			wait = int(left/time.Millisecond) + 1
		}
		if _, err := unix.Poll(poll, wait); err != nil && !errors.Is(err, unix.EINTR) {
			return "", err
		}
		if poll[1].Revents != 0 {
			more, ended := drain(fd)
			said = append(said, more...)
			said = said[max(0, len(said)-maxSaid):]
			if ended {
				poll[1].Fd = -1
			}
		}
		if poll[0].Revents != 0 {
			return lastLine(said), nil
		}
	}
}

// drain reads what is there of a pipe, and says whether there will be no more.
func drain(fd int) (data []byte, ended bool) {
	var b [4096]byte
	for len(data) < maxSaid {
		n, err := unix.Read(fd, b[:])
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return data, false
		case err != nil || n == 0:
			return data, true
		default:
			data = append(data, b[:n]...)
		}
	}
	return data, false
}

// lastLine is the last line of a hook's output, made fit for a terminal, or "".
func lastLine(said []byte) string {
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	line := lines[len(lines)-1]
	if line == "" {
		return ""
	}
	if len(line) > 300 {
		line = line[:300]
	}
	return ": it said " + strconv.QuoteToGraphic(line)
}

// Package birth brings processes into being: it clones a child that spends a plan.Plan, one system call after another, and ends as somebody's program.
//
// The child never runs Go code: an assembly loop spends the encoded Plan, so neither the runtime's threads and locks nor
// race and coverage instrumentation matter to it. Before that it has left the runtime's program for a file in memory that
// is only that loop (seed.go). The parent may have any number of threads and any size.
//
// Words. A halt is where a child waits for its parent's word; the gate, between created and running, is the last. The
// status pipe is where it tells that it is at one, or which step failed; execve closes it. Pause is the program of 300 bytes that holds a Pod's
// namespaces.
//
// The conversation:
//
//	parent                    child
//	clone3  ───────────────▶  spends steps …
//	Ready   ◀── status ─────  at a halt            or {step, errno} and exit 127
//	Go      ─── gate ──────▶  spends steps …
//	        ◀── status EOF ─  execve               or {step, errno} and exit 127
package birth

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// Child is a process that is being born. Its methods are for one goroutine.
type Child struct {
	// Pid is the child's number, for the caller to wait for with PidFD.
	Pid int
	// PidFD is the caller's to close once it has waited, or once it has called Take.
	PidFD int

	plan   *plan.Plan
	arena  *arena
	status int // read end
	gate   int // write end
	// settled says that Pid and PidFD are of the second clone, if the plan has one.
	settled bool
	taken   bool
	began   clock
}

// StepError is a step of a plan that failed.
type StepError struct {
	Step         int // its number; -1 is the clone, or what the parent does before
	Name, Origin string
	Call         plan.Call
	Errno        error
}

// Error is one line: which step, what it was to do, which field asked for it, and the kernel's reason.
func (e *StepError) Error() string {
	s := e.Name
	if e.Step >= 0 {
		s = fmt.Sprintf("step %d, %s", e.Step, e.Name)
	}
	if e.Origin != "" {
		s += " (" + e.Origin + ")"
	}
	return s + ": " + e.Errno.Error()
}

// Unwrap is the kernel's reason, a unix.Errno.
func (e *StepError) Unwrap() error { return e.Errno }

// ErrDied says that a child was killed before it became its program: by the OOM killer when its memory limit is too
// small for a birth, or by somebody.
var ErrDied = errors.New("killed before it could start: is the memory limit too small?")

// Start opens what p asks for, clones the child and lets it go to its gate, or to execve if p has no gate. given has
// the descriptors of p's Given files and of stdin, stdout and stderr; they stay the caller's. The caller must call
// Ready or Abort.
func Start(p *plan.Plan, given map[string]int) (*Child, error) { return StartLatched(p, given, nil) }

// StartLatched is Start for a child that may outlive this process: behind its gate it waits at the latch, which others
// lift. A nil latch is none.
func StartLatched(p *plan.Plan, given map[string]int, latch *Latch) (*Child, error) {
	fds := make(map[string]int, len(given)+len(p.Opens)+2)
	var names []string
	for name, fd := range given {
		fds[name] = fd
		names = append(names, name)
	}
	if latch != nil {
		fds[plan.Latch] = latch.wait
		names = append(names, plan.Latch)
	}
	if err := p.Verify(append(names, plan.Status, plan.Gate)...); err != nil {
		return nil, err
	}
	var own []int
	defer func() {
		for _, fd := range own {
			unix.Close(fd)
		}
	}()
	if err := openAll(p.Opens, given, fds, &own); err != nil {
		return nil, err
	}
	return start(p, fds, latch, &own, !p.Inherit)
}

// start clones the child. Without leave it stays in this program, which is for one that executes nothing and that no
// container sees.
func start(p *plan.Plan, fds map[string]int, latch *Latch, own *[]int, leave bool) (_ *Child, err error) {
	c := &Child{Pid: -1, PidFD: -1, plan: p, status: -1, gate: -1}
	defer func() {
		if err != nil {
			c.release()
		}
	}()
	var status, gate [2]int
	if latch != nil {
		status = latch.status
		latch.status = [2]int{-1, -1}
	} else if err := unix.Pipe2(status[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot make status pipe: %w", err)
	}
	c.status = status[0]
	*own = append(*own, status[1])
	if err := unix.Pipe2(gate[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot make gate: %w", err)
	}
	c.gate = gate[1]
	*own = append(*own, gate[0])
	fds[plan.Status], fds[plan.Gate] = status[1], gate[0]
	var seed *seedling
	if leave {
		if seed, err = sow(fds, own); err != nil {
			return nil, err
		}
	}
	if err := lift(fds, own); err != nil {
		return nil, err
	}
	if err := above(fds, own); err != nil {
		return nil, err
	}
	if leave {
		seed.program, seed.memory = fds[seedProgram], fds[seedMemory]
		delete(fds, seedProgram)
		delete(fds, seedMemory)
	}
	if c.arena, err = newArena(p, fds, 0, seed); err != nil {
		return nil, err
	}
	if p.Trace != nil {
		c.arena.measure()
	}
	begin := c.arena.state
	if leave {
		c.arena.leap(seed)
		begin = seed.hop
	}
	c.began = now()
	if err := c.clone(fds, begin); err != nil {
		return nil, err
	}
	return c, nil
}

// second waits for the end of a first clone that left its work to a second one, which is ours from then on.
func (c *Child) second() error {
	if c.settled || !c.twice() {
		return nil
	}
	c.settled = true
	wait(c.PidFD)
	unix.Close(c.PidFD)
	c.PidFD, c.Pid = -1, int(c.arena.inner)
	if c.Pid == 0 {
		c.Pid = -1
		return nil
	}
	fd, err := unix.PidfdOpen(c.Pid, 0)
	if err != nil {
		return fmt.Errorf("cannot open second clone %d: %w", c.Pid, err)
	}
	c.PidFD = fd
	return nil
}

// early says that the plan's second clone, if any, comes before its gate.
func (c *Child) early() bool {
	for _, s := range c.plan.Steps {
		if s.Call == plan.Clone {
			return true
		}
		if s.Call == plan.Read && s.Args[0].S == plan.Gate {
			return false
		}
	}
	return false
}

func (c *Child) twice() bool {
	for _, s := range c.plan.Steps {
		if s.Call == plan.Clone {
			return true
		}
	}
	return false
}

// Ready waits until the child is at its next halt. If it does not get there the child is gone, and the error is a
// *StepError or ErrDied.
func (c *Child) Ready() error {
	if c.early() {
		if err := c.second(); err != nil {
			c.Abort()
			return err
		}
	}
	told, err := c.listen()
	if err == nil && !told {
		err = ErrDied
	}
	if err != nil {
		c.Abort()
	}
	return err
}

// Proceed lets a child that is Ready go on, to its next halt or to its program. If it cannot the child is gone.
func (c *Child) Proceed() error {
	if _, err := unix.Write(c.gate, []byte{1}); err != nil && !errors.Is(err, unix.EPIPE) {
		c.Abort()
		return fmt.Errorf("cannot open the gate: %w", err)
	}
	return nil
}

// Go opens the gate and waits until the child has become its program. If it cannot the child is gone, and the error is
// a *StepError or ErrDied.
func (c *Child) Go() error {
	if err := c.Proceed(); err != nil {
		return err
	}
	return c.Run()
}

// Run waits until a child without a gate, or behind it, has become its program.
func (c *Child) Run() error {
	if err := c.second(); err != nil {
		c.Abort()
		return err
	}
	told, err := c.listen()
	if err == nil && told {
		err = errors.New("internal error: the child came to a gate that nobody opens")
	}
	if err == nil && !c.executed() {
		err = ErrDied
	}
	if err != nil {
		c.Abort()
		return err
	}
	c.release()
	return nil
}

// executed says whether the status pipe closed in an execve, not by a death before it.
func (c *Child) executed() bool {
	at := c.arena.step(uint64(c.arena.at))
	return at >= 0 && (c.plan.Steps[at].Call == plan.Execve || c.plan.Steps[at].Call == plan.Execveat)
}

// listen reads one word of the child: true for "ready", an error for a step that failed, false at the end.
func (c *Child) listen() (bool, error) {
	var b [16]byte
	n, err := retry(func() (int, error) { return unix.Read(c.status, b[:]) })
	switch {
	case err != nil:
		return false, fmt.Errorf("cannot read status of process %d: %w", c.Pid, err)
	case n < len(b):
		return false, nil
	case b == plan.Ready:
		return true, nil
	}
	if c.arena.shift != 0 && c.arena.born == 0 {
		return false, &StepError{Step: -1, Name: "execute a program in memory", Errno: unix.Errno(binary.NativeEndian.Uint64(b[8:]))}
	}
	at := c.arena.step(binary.NativeEndian.Uint64(b[:8]))
	e := &StepError{Step: at, Name: "close descriptors", Errno: unix.Errno(binary.NativeEndian.Uint64(b[8:]))}
	if at >= 0 {
		s := c.plan.Steps[at]
		e.Name, e.Origin, e.Call = s.Name, s.Origin, s.Call
	}
	return false, e
}

// Console takes the master of the terminal from a child that is ready. The descriptor is the caller's.
func (c *Child) Console() (int, error) {
	fd, err := unix.PidfdGetfd(c.PidFD, plan.ConsoleFD, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot take terminal of process %d: %w", c.Pid, err)
	}
	unix.CloseOnExec(fd)
	return fd, nil
}

// Listener takes the listener of the seccomp filter from a child that is ready and has one. The descriptor is the caller's.
func (c *Child) Listener() (int, error) {
	fd, err := unix.PidfdGetfd(c.PidFD, int(c.arena.regs[plan.Listener]), 0)
	if err != nil {
		return -1, fmt.Errorf("cannot take seccomp listener of process %d: %w", c.Pid, err)
	}
	unix.CloseOnExec(fd)
	return fd, nil
}

// Abort kills a child that has not become its program, waits for its end, and lets go of everything.
func (c *Child) Abort() {
	if c.PidFD >= 0 {
		_ = unix.PidfdSendSignal(c.PidFD, unix.SIGKILL, nil, 0)
		wait(c.PidFD)
		if !c.taken {
			unix.Close(c.PidFD)
		}
		c.PidFD = -1
	}
	c.release()
}

// Take hands PidFD of a child that is at a halt over to the caller, who closes it even if it calls Abort.
func (c *Child) Take() int {
	c.taken = true
	return c.PidFD
}

func (c *Child) release() {
	for _, fd := range []*int{&c.status, &c.gate} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
	if c.arena != nil {
		if c.plan.Trace != nil {
			for _, s := range c.arena.spent(c.plan, c.began) {
				c.plan.Trace(s)
			}
		}
		c.arena.free()
		c.arena = nil
	}
}

// wait reaps the child behind a pidfd.
func wait(pidfd int) {
	_, _ = retry(func() (int, error) { return 0, unix.Waitid(unix.P_PIDFD, pidfd, nil, unix.WEXITED, nil) })
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

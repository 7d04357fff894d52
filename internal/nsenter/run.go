package nsenter

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/birth"
	"tripod/internal/ns"
	"tripod/internal/owner"
	"tripod/internal/plan"
)

// Config is what Run is told beside the options.
type Config struct {
	// Find is the process that a name means; nil when only PIDs are understood.
	Find    func(name string) (owner.Target, error)
	Version string
}

// Exit codes, as nsenter(1) has them.
const (
	ExitFailure      = 1
	ExitCannotInvoke = 126
	ExitNotFound     = 127
)

// Error is a step that failed, in nsenter's words, with the exit code for it.
type Error struct {
	Text string
	Code int
	hint string
}

func (e *Error) Error() string { return e.Text }

// Hint says why the step was not permitted, and what would help; "" when that is not known.
func (e *Error) Hint() string { return e.hint }

// Run does what the options say. Where nsenter(1) would execute the program in its own place it does not return; else
// the exit code is the program's, and a program that was killed takes this process with it by the same signal. An error
// is about the words (*UsageError), about a step (*Error), or about what could not be looked at.
func Run(o Options, cfg Config) (int, error) {
	t, err := find(o, cfg)
	if err != nil {
		return ExitFailure, err
	}
	v, err := look(o, t)
	if err != nil {
		return ExitFailure, err
	}
	defer v.close()
	defer v.remove()
	v.Keeps = o.Forks() || keepsRights()
	v.Born = v.bears(o)
	j, err := Decide(o, v.Facts)
	if err != nil {
		return ExitFailure, err
	}
	if o.Explain {
		_, err := io.WriteString(os.Stdout, j.String())
		return 0, err
	}
	if !j.Fork {
		return ExitFailure, birth.Become(j.Plan, v.given)
	}
	if o.KillChild != 0 {
		// The signal comes when the thread dies that was the parent.
		runtime.LockOSThread()
	}
	// What the target may look into has nothing of the caller's to show from its first instruction on.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	return j.run(v)
}

// bears says whether the program is to be born in its PID namespace at once, which is one clone less: where the caller is
// likely to be permitted. A program that is to be like the container's comes in last, with its identity.
func (v *view) bears(o Options) bool {
	return v.Admin && o.Forks() && !o.NoFork && !o.LikeContainer &&
		slices.ContainsFunc(v.Joins, func(n Join) bool { return n.Type == ns.PID })
}

// remove takes away the cgroups that were made for the program. One that still has processes stays with them.
func (v *view) remove() {
	for _, dir := range v.groups {
		_ = unix.Rmdir(dir)
	}
}

// find is the process that -t means.
func find(o Options, cfg Config) (owner.Target, error) {
	if o.Target == "" {
		return owner.Target{}, nil
	}
	t, ok := parsePID(o.Target)
	if ok {
		t.Start = o.Start
		return t, nil
	}
	said := fmt.Sprintf("failed to parse pid: '%s'", printable(o.Target))
	if o.Operand {
		said = "no namespace specified"
	}
	if cfg.Find == nil {
		return t, wrong("%s", said)
	}
	t, err := cfg.Find(o.Target)
	if errors.Is(err, owner.ErrNotFound) && !strings.Contains(o.Target, "/") {
		// A word that nsenter(1) would not have understood either.
		err = &Error{Text: said, hint: err.Error()}
	}
	return t, err
}

// run has the program as a child, and ends as it does.
func (j *Joining) run(v *view) (int, error) {
	term, err := j.terminal(v)
	if err != nil {
		return ExitFailure, err
	}
	defer term.restore()
	forward := j.catch()
	c, err := birth.Start(j.Plan, v.given)
	if j.Facts.Born && errors.Is(err, unix.EPERM) {
		// It takes the target's user namespace first.
		f := j.Facts
		f.Born = false
		if j, err = Decide(j.Options, f); err == nil {
			c, err = birth.Start(j.Plan, v.given)
		}
	}
	if err == nil {
		err = c.Run()
	}
	if err != nil {
		return j.failed(err)
	}
	term.serve()
	defer unix.Close(c.PidFD)
	stop := forward(c.PidFD)
	ws, err := wait(c.Pid, c.PidFD, term)
	stop()
	term.finish()
	if err != nil {
		return ExitFailure, err
	}
	if !ws.Signaled() {
		return ws.ExitStatus(), nil
	}
	term.restore()
	v.remove()
	birth.Die(ws.Signal())
	return 128 + int(ws.Signal()), nil
}

// wait waits for the program. When it stops this process stops too, so that a shell's job control sees it; when this
// one goes on, so does the program. With a terminal of its own nobody here could continue it: it is continued.
func wait(pid, pidfd int, term *terminal) (ws unix.WaitStatus, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		_, err := unix.Wait4(pid, &ws, unix.WUNTRACED, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return ws, fmt.Errorf("waitpid failed: %s", text(err))
		case ws.Stopped():
			if term == nil {
				// To this thread, which has stopped before the call returns; another might stop some moments later.
				_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGSTOP)
			}
			_ = unix.PidfdSendSignal(pidfd, unix.SIGCONT, nil, 0)
		default:
			return ws, nil
		}
	}
}

// catch prepares for signals to this process while the program runs. Without --forward-signals they do what they do to
// any program. Those that end this process are caught before the program is made: none is lost in between.
func (j *Joining) catch() func(pidfd int) (stop func()) {
	list := []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGPIPE, unix.SIGABRT}
	if !j.Options.ForwardSignals {
		birth.Default(list...)
		return func(int) func() { return func() {} }
	}
	got := make(chan os.Signal, 64)
	for _, s := range list {
		signal.Notify(got, s)
	}
	return func(pidfd int) func() {
		done := make(chan struct{})
		go func() {
			for {
				select {
				case s := <-got:
					n, ok := s.(unix.Signal)
					if ok && !(typed(n) && !j.Options.PTY && foreground()) {
						_ = unix.PidfdSendSignal(pidfd, n, nil, 0)
					}
				case <-done:
					return
				}
			}
		}()
		return func() { signal.Stop(got); close(done) }
	}
}

// typed says that a terminal sends this signal, to everybody in the foreground.
func typed(n unix.Signal) bool { return n == unix.SIGINT || n == unix.SIGQUIT }

// foreground says that this process is in the foreground of its terminal, and the program with it: what is typed has
// reached it already.
func foreground() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// failed turns a birth's error into nsenter's words.
func (j *Joining) failed(err error) (int, error) {
	var step *birth.StepError
	if !errors.As(err, &step) || step.Step < 0 {
		return ExitFailure, err
	}
	s := j.Plan.Steps[step.Step]
	e := &Error{Text: s.Fails[len(name):] + text(step.Errno), Code: max(int(s.Exit), 1)}
	if errors.Is(step.Errno, unix.EPERM) {
		e.hint = j.Hints[step.Step]
	}
	if s.Call == plan.Execve && errors.Is(step.Errno, unix.ENOENT) {
		e.Code = ExitNotFound
	}
	return e.Code, e
}

package container

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/birth"
	"tripod/internal/plan"
)

// Exit is how a process ended.
type Exit struct {
	Code   int         // its exit code, or 128 plus the signal
	Signal unix.Signal // that ended it, or 0
}

// Wait waits for the process, a child of the caller.
func (p *Process) Wait() (Exit, error) {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(p.Pid, &ws, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return Exit{}, fmt.Errorf("cannot wait for process %d: %w", p.Pid, err)
		}
		return ExitOf(ws), nil
	}
}

// ExitOf reads a wait status.
func ExitOf(ws unix.WaitStatus) Exit {
	if ws.Signaled() {
		return Exit{Code: 128 + int(ws.Signal()), Signal: ws.Signal()}
	}
	return Exit{Code: ws.ExitStatus()}
}

// The exit codes of a container that could not be started, as docker has them.
const (
	ExitTool         = 125 // the runtime could not
	ExitCannotInvoke = 126 // the command is there and cannot be executed
	ExitNotFound     = 127 // there is no such command
)

// ExitCode is the exit code that tells an error of Start or Exec.
func ExitCode(err error) int {
	var step *birth.StepError
	if !errors.As(err, &step) || step.Call != plan.Execve && step.Call != plan.Faccessat {
		return ExitTool
	}
	if errors.Is(step.Errno, unix.ENOENT) || errors.Is(step.Errno, unix.ENOTDIR) {
		return ExitNotFound
	}
	return ExitCannotInvoke
}

// CheckID refuses a name that cannot be a container's: it becomes part of paths and of log lines.
func CheckID(id string) error {
	if id == "" || len(id) > 1024 || id == "." || id == ".." ||
		strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.") != "" {
		return fmt.Errorf("cannot name a container %q: letters, digits and _ + - . only", id)
	}
	return nil
}

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/container"
)

const killHelp = `Usage: tripod-oci kill [OPTIONS] ID [SIGNAL]

Sends a signal, TERM unless another is named, to a container's first process.

Options:
  -a, --all  to all processes of the container

Examples:
  tripod-oci kill web
  tripod-oci kill -a web KILL
  tripod-oci kill web 10
`

func kill(g *globals, args []string) (int, error) {
	var all bool
	operands, err := words(killHelp, []option{flag(&all, 'a', "all")}, args, 1, 2)
	if err != nil {
		return 0, err
	}
	sig := unix.SIGTERM
	if len(operands) == 2 {
		if sig, err = parseSignal(operands[1]); err != nil {
			return 0, err
		}
	}
	if all {
		return 0, g.killAll(operands[0], sig)
	}
	d, r, err := g.find(operands[0])
	if err != nil {
		return 0, err
	}
	p, err := r.Process()
	if err == nil {
		err = p.Signal(sig)
	}
	if errors.Is(err, os.ErrProcessDone) {
		return 0, wrongState("kill", d.ID, specs.StateStopped)
	}
	if err != nil {
		return 0, fmt.Errorf("cannot kill container %s: %w", d.ID, err)
	}
	if sig == unix.SIGKILL && d.Status(&r) == container.StatePaused {
		// The v1 freezer keeps what it holds from dying.
		c, _, _, err := g.load(d.ID)
		if err != nil {
			return 0, err
		}
		return 0, c.Group.Freeze(false)
	}
	return 0, nil
}

// killAll signals all that is in the container's cgroup. A stopped container may still have processes there, when it has
// no PID namespace of its own.
func (g *globals) killAll(id string, sig unix.Signal) error {
	c, r, d, err := g.load(id)
	if err != nil {
		return err
	}
	stopped := d.Status(&r) == specs.StateStopped
	switch {
	case c.Group == nil && stopped:
		return wrongState("kill", id, specs.StateStopped)
	case c.Group == nil:
		return c.Signal(sig)
	case sig == unix.SIGKILL:
		return c.Group.Kill()
	}
	n, err := c.Group.Signal(sig)
	if err == nil && n == 0 && stopped {
		return wrongState("kill", id, specs.StateStopped)
	}
	return err
}

// parseSignal reads a signal's number or name, with SIG or without.
func parseSignal(word string) (unix.Signal, error) {
	if n, err := strconv.Atoi(word); err == nil {
		if n < 0 || n > 64 {
			return 0, fmt.Errorf("no signal %d: they are 1 to 64", n)
		}
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(word)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("no signal %q", word)
}

package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"tripod/internal/container"
	"tripod/internal/plan"
)

const runHelp = `Usage: tripod-oci run [OPTIONS] ID

Makes a container of a bundle, runs its program, and removes the container when that has ended. Signals that tripod-oci
gets go to the program; its exit code is tripod-oci's.

Options:
  -d, --detach              return when the program runs, and leave the container
      --keep                leave the stopped container
      --trace               print each step of the birth, how long it took, and its errno
` + birthHelp + `
Examples:
  tripod-oci run --bundle /srv/web web
  tripod-oci run -d -b /srv/web web
  tripod-oci --cgroup-manager=disabled run -b /srv/job job-1
`

// traced prints one step: its number, how long it took, what it was, and the errno that came of it.
func traced(s plan.Spent) {
	result := ""
	if s.Errno != 0 {
		result = fmt.Sprintf(" = %s (%v)", unix.ErrnoName(s.Errno), s.Errno)
	}
	fmt.Fprintf(os.Stderr, "%4d %9.1fus  %-12s %s%s\n", s.Step, float64(s.Took.Nanoseconds())/1e3, s.Call, s.Name, result)
}

// run makes and starts a container, and stays with it unless told otherwise.
func run(g *globals, args []string) (_ int, err error) {
	var o birthOptions
	var detach, keep, trace bool
	options := append(o.options(), flag(&detach, 'd', "detach"), flag(&keep, 0, "keep"), flag(&trace, 0, "trace"))
	operands, err := words(runHelp, options, args, 1, 1)
	if err != nil {
		return 0, err
	}
	id := operands[0]
	b, err := o.read(detach)
	if err != nil {
		return 0, err
	}
	cfg, err := g.configuration(&o, b, id)
	if err != nil {
		return 0, err
	}
	if trace {
		cfg.Trace = traced
	}
	d, err := container.Claim(g.root, id)
	if err != nil {
		return 0, err
	}
	var signals *forwarder
	if !detach {
		if signals, err = catch(); err != nil {
			return 0, errors.Join(err, d.Remove())
		}
		ownSize(b.spec.Process)
	}
	c, err := d.Run(cfg, b.config)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("cannot run container %s: %w", id, err), d.Remove())
	}
	var tty *session
	if detach || o.console != "" {
		err = sendConsole(o.console, c.Console)
	} else if c.Console != nil {
		tty, err = attend(c.Console)
	}
	if err == nil {
		err = writePID(o.pidFile, c.Pid)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("cannot run container %s: %w", id, err), c.Kill(), waited(c), c.Delete(), d.Remove())
	}
	// Others may change the container from here on.
	d.Unlock()
	if detach {
		g.debug("container %s runs, its first process is %d", id, c.Pid)
		return 0, nil
	}
	exit, err := signals.attend(&c.Process, tty)
	tty.end()
	if keep {
		return exit.Code, err
	}
	if err := errors.Join(err, finish(d, c)); err != nil {
		return 0, err
	}
	return exit.Code, nil
}

// waited waits for a container that was killed.
func waited(c *container.Container) error {
	_, err := c.Wait()
	return err
}

// finish removes a container that has ended, unless another command has done so meanwhile.
func finish(d *container.Dir, c *container.Container) error {
	if err := d.Lock(); errors.Is(err, container.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return errors.Join(c.Delete(), d.Remove())
}

package keeper

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// serve does what a request asks and answers it, at once or later. The descriptors are the request's; with an error
// they stay the caller's.
func (k *keep) serve(c *conn, r *request, stdio [3]int) error {
	if r.Op != opAttach && r.Op != opExec && stdio != [3]int{-1, -1, -1} {
		return fmt.Errorf("cannot %s: it takes no descriptors", r.Op)
	}
	switch r.Op {
	case opHello:
		h := &Hello{Identity: k.id, Sandbox: k.sandbox}
		if k.pause != nil {
			h.Pause = k.pause.process
		}
		c.reply(reply{Version: Version, Hello: h})
		return nil
	case opStatus:
		c.reply(reply{Status: k.status()})
		return nil
	case opWatch:
		k.watch(c)
		return nil
	case opOwn:
		c.owner = true
		c.settle()
		c.reply(reply{})
		return nil
	case opDisown:
		c.owner = false
		c.wait()
		c.reply(reply{})
		return nil
	case opExec:
		return k.exec(c, r.Container, r.Exec, stdio)
	case opAttach:
		return k.attach(c, r.Container, stdio)
	case opQuit:
		return k.quit(c)
	case opStop:
		if r.Container == "" {
			k.watch(c)
			k.stop(k.graceOf(r))
			return nil
		}
	}
	err := k.change(r)
	if err == nil {
		c.reply(reply{})
	}
	return err
}

// change does the requests that are answered by nothing but that they were done.
func (k *keep) change(r *request) error {
	switch r.Op {
	case opLife:
		if r.Life == nil {
			return errors.New("cannot apply: no life")
		}
		return k.apply(r.Life)
	case opReopen:
		for _, c := range k.children {
			if c.log != nil {
				if err := c.log.reopen(); err != nil {
					return fmt.Errorf("cannot reopen log of container %s: %w", c.def.Name, err)
				}
			}
		}
		return nil
	case opResize, opSignal, opKill, opStop:
	default:
		return fmt.Errorf("no request is called %q", r.Op)
	}
	c := k.child(r.Container)
	if c == nil || !c.alive {
		return fmt.Errorf("cannot %s container %q: it does not run", r.Op, r.Container)
	}
	switch r.Op {
	case opResize:
		if !c.def.TTY || c.out[0].fd < 0 {
			return fmt.Errorf("cannot resize container %s: it has no terminal", r.Container)
		}
		return unix.IoctlSetWinsize(c.out[0].fd, unix.TIOCSWINSZ, &unix.Winsize{Col: r.Width, Row: r.Height})
	case opSignal:
		if r.Signal < 0 || r.Signal > 64 {
			return fmt.Errorf("cannot signal container %s: %d is no signal", r.Container, r.Signal)
		}
		if err := c.box.Signal(unix.Signal(r.Signal)); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("cannot signal container %s: %w", r.Container, err)
		}
	case opKill:
		k.kill(c)
	case opStop:
		k.stopChild(c, k.graceOf(r))
	}
	return nil
}

// graceOf is the grace that a stop asks for, or the Life's.
func (k *keep) graceOf(r *request) time.Duration {
	const most = float64(1 << 32) // seconds; more would not fit
	switch {
	case r.Grace != nil:
		return time.Duration(min(max(*r.Grace, 0), most) * float64(time.Second))
	case k.life != nil:
		return k.life.Grace
	}
	return 0
}

// watch has a connection told of the status, now and at each change.
func (k *keep) watch(c *conn) {
	c.watching = true
	c.settle()
	c.tell()
}

// quit ends a keeper that has nothing to keep.
func (k *keep) quit(c *conn) error {
	for _, x := range k.children {
		return fmt.Errorf("cannot quit: container %s runs", x.def.Name)
	}
	k.watch(c)
	k.stop(0)
	return nil
}

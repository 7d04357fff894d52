package keeper

import "fmt"

// attachment is one client's share in a container's input and output. It waits for a container that has not begun.
type attachment struct {
	conn  *conn
	name  string
	stdio [3]int // the client's pipes, owned until joined
	child *child
	sinks [3]*sink
}

// attach begins one. What it cannot have is told before anything is done.
func (k *keep) attach(conn *conn, name string, stdio [3]int) error {
	c := k.child(name)
	if k.life != nil {
		r := k.record(name)
		switch {
		case r == nil:
			return fmt.Errorf("cannot attach to container %s: there is no such container", name)
		case c == nil && (r.State != "" || k.want.Stop || k.finished):
			return fmt.Errorf("cannot attach to container %s: it does not run", name)
		}
	}
	a := &attachment{conn: conn, name: name, stdio: stdio}
	k.attached = append(k.attached, a)
	conn.busy, conn.gone = true, a.end
	conn.settle()
	if c != nil && c.alive {
		a.join(c)
	}
	conn.reply(reply{})
	return nil
}

// join connects the client to a container that runs.
func (a *attachment) join(c *child) {
	a.child = c
	for i, o := range c.out {
		// An output may have ended before the container: then there is nothing to wait for.
		if fd := a.stdio[i+1]; fd >= 0 && o.fd >= 0 {
			a.sinks[i+1] = o.attach(fd)
			a.stdio[i+1] = -1
		}
	}
	if fd := a.stdio[0]; fd >= 0 && c.in.target() >= 0 {
		c.in.attach(fd)
	} else if fd >= 0 {
		c.k.loop.closeFD(fd)
		a.stdio[0] = -1
	}
	// A terminal has no second output: its end tells so.
	for i := 1; i < 3; i++ {
		c.k.loop.closeFD(a.stdio[i])
		a.stdio[i] = -1
	}
}

// tell says how the container ended. What the client has not read yet stays in its pipes, or follows.
func (a *attachment) tell(exit Exit) {
	a.conn.reply(reply{Exit: &exit})
	a.forget()
	a.conn.answered()
}

// end is called when the client has gone.
func (a *attachment) end() {
	for i, s := range a.sinks {
		if s != nil {
			a.child.out[i-1].detach(s)
		}
	}
	if a.child != nil && a.stdio[0] >= 0 {
		a.child.in.detach(a.stdio[0])
		if a.child.in.once && a.child.in.fd >= 0 {
			a.child.in.close()
		}
		a.stdio[0] = -1
	}
	a.forget()
}

func (a *attachment) forget() {
	k := a.conn.k
	for i := range k.attached {
		if k.attached[i] == a {
			k.attached = append(k.attached[:i], k.attached[i+1:]...)
			break
		}
	}
	if a.child == nil {
		closeAll(a.stdio[:])
	}
}

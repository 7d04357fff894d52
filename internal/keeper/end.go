package keeper

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"tripod/internal/cgroup"
	"tripod/internal/life"
)

// exitTime bounds how long a container's end waits for the end of its output.
const exitTime = 2 * time.Second

// maxMessage is how many bytes of why a container ended are kept, as kubelet's MaxContainerTerminationMessageLength.
const maxMessage = 4 << 10

// died is called when the container's first process has ended. What it left dies with its PID namespace; without one
// of its own, with its cgroup.
func (c *child) died(exit Exit) {
	c.exit, c.alive, c.dying = exit, false, true
	r := c.k.record(c.def.Name)
	r.FinishedAt = time.Now()
	if !c.own {
		c.k.note(c.box.Kill())
	}
	c.in.close()
	c.late = c.k.loop.after(exitTime, func() {
		for _, o := range c.out {
			o.close()
		}
	})
	for _, o := range c.out {
		o.drain()
	}
	c.finish()
}

// finish records the container's end when its outputs have ended too, or have had their time.
func (c *child) finish() {
	for _, o := range c.out {
		if o.fd >= 0 {
			return
		}
	}
	if !c.dying {
		return
	}
	c.dying = false
	c.k.loop.cancel(c.late)
	c.k.loop.cancel(c.grace)
	c.k.making++ // its cgroup and layers are taken apart on a goroutine
	created := c.k.record(c.def.Name).CreatedAt
	go func() {
		usage, kills, uerr := usageOf(c.box.Group, created)
		err := errors.Join(uerr, c.box.Delete())
		message := c.message()
		c.k.loop.post(func() {
			c.k.making--
			c.k.note(err)
			c.k.record(c.def.Name).Usage = usage
			c.bury(kills, message)
			c.k.strays()
		})
	}()
}

// maxVictims is how many processes killed for want of memory are kept by name.
const maxVictims = 16

// usageOf looks at a container's cgroup before it is removed, and counts whom the kernel killed for want of memory. What
// cannot be read stays zero.
func usageOf(g *cgroup.Group, created time.Time) (u *life.Usage, kills uint64, err error) {
	t, err := g.Toll()
	u = &life.Usage{
		MemoryPeak: t.MemoryPeak, MemoryLimit: t.MemoryLimit, MemoryHits: t.MemoryHits, PidsLimit: t.PidsLimit, PidsHits: t.PidsHits,
		CPUNanos: t.CPUNanos, Periods: t.Periods, Throttled: t.Throttled,
	}
	if t.OOMKills == 0 {
		return u, 0, err
	}
	victims, verr := g.Victims(created)
	for _, v := range victims[:min(len(victims), maxVictims)] {
		u.Victims = append(u.Victims, life.Victim(v))
	}
	return u, t.OOMKills, errors.Join(err, verr)
}

// bury writes the record of a container that is gone.
func (c *child) bury(kills uint64, message string) {
	r := c.k.record(c.def.Name)
	r.State, r.ExitCode, r.Signal, r.Message, r.OOMKills = life.Exited, c.exit.Code, c.exit.Signal, message, kills
	switch {
	case kills > 0 && c.exit.Code == 128+int(unix.SIGKILL):
		r.OOMKilled, r.Reason = true, life.ReasonOOMKilled
	case c.exit.Code == 0:
		r.Reason = life.ReasonCompleted
	default:
		r.Reason = life.ReasonError
	}
	c.k.ended(c, c.exit)
}

// ended puts a container's end on record, durably, and only then tells it and goes on.
func (k *keep) ended(c *child, exit Exit) {
	for i := range k.children {
		if k.children[i] == c {
			k.children = append(k.children[:i], k.children[i+1:]...)
			break
		}
	}
	k.changed(true)
	for _, a := range append([]*attachment(nil), k.attached...) {
		if a.child == c || a.child == nil && a.name == c.def.Name {
			a.tell(exit)
		}
	}
	if c.log != nil {
		c.log.close()
		c.log = nil
	}
	k.mendPause()
	k.step()
}

// message is what the container said of its end: its termination log, or the end of its log if it failed and may speak
// so.
func (c *child) message() string {
	if c.def.TerminationLog != "" {
		if text, err := readEnd(unix.AT_FDCWD, c.def.TerminationLog, maxMessage); err == nil && text != "" {
			return text
		}
	}
	if c.def.LogsOnError && c.exit.Code != 0 && c.log != nil {
		return c.log.lastLines()
	}
	return ""
}

func clip(s string) string { return s[:min(len(s), maxMessage)] }

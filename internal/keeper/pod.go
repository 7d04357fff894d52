package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"tripod/internal/container"
	"tripod/internal/life"
	"tripod/internal/record"
)

// apply takes a Life: the first, or one in the place of the last. Containers that are alive must be in it.
func (k *keep) apply(l *life.Life) error {
	if err := l.Check(); err != nil {
		return err
	}
	if k.finished {
		return errors.New("the Pod has finished")
	}
	for _, c := range k.children {
		if find(l, c.def.Name) < 0 {
			return fmt.Errorf("container %s runs and is not in the new life", c.def.Name)
		}
	}
	if err := record.PutFast(filepath.Join(k.dir, lifeFile), l); err != nil {
		return err
	}
	old := k.records
	if k.life == nil {
		// What a keeper before this one left.
		old = life.Reset(*l, old)
		k.loop.cancel(k.idle)
	}
	k.life, k.records = l, nil
	for i := range l.Containers {
		r := life.Record{Name: l.Containers[i].Name}
		for _, o := range old {
			if o.Name == r.Name {
				r = o
			}
		}
		k.records = append(k.records, r)
	}
	for _, c := range k.children {
		if c.alive { // one that is being made is made as it was to be
			c.def = l.Containers[find(l, c.def.Name)]
		}
	}
	k.step()
	k.changed(false)
	return nil
}

func find(l *life.Life, name string) int {
	for i := range l.Containers {
		if l.Containers[i].Name == name {
			return i
		}
	}
	return -1
}

func (k *keep) record(name string) *life.Record {
	for i := range k.records {
		if k.records[i].Name == name {
			return &k.records[i]
		}
	}
	return nil
}

func (k *keep) child(name string) *child {
	for _, c := range k.children {
		if c.def.Name == name {
			return c
		}
	}
	return nil
}

// step takes all actions that are due.
func (k *keep) step() {
	k.loop.cancel(k.wait)
	k.wait = nil
	if k.life == nil || k.finished {
		return
	}
	for _, a := range life.Next(*k.life, k.records, k.want, time.Now()) {
		switch a.Kind {
		case life.Start:
			if k.pause != nil {
				k.start(a)
			}
		case life.Stop:
			k.term(k.child(a.Container))
		case life.Kill:
			k.kill(k.child(a.Container))
		case life.Wait:
			k.wait = k.loop.after(a.After, k.step)
		case life.Finish:
			k.finish()
		}
	}
}

// start makes an attempt at a container, on a goroutine of its own.
func (k *keep) start(a life.Action) {
	i := find(k.life, a.Container)
	c := &child{k: k, def: k.life.Containers[i], attempt: a.Attempt, ground: *k.ground}
	c.ground.held = k.pause.held
	r := life.Record{
		Name: a.Container, ID: c.id(), State: life.Creating, Attempt: a.Attempt, Crashes: a.Crashes, CreatedAt: time.Now(),
		Last: k.records[i].Last,
	}
	if k.records[i].State == life.Exited {
		last := k.records[i]
		last.Last = nil
		r.Last = &last
	}
	k.records[i] = r
	k.children = append(k.children, c)
	k.making++
	rise()
	go func() {
		err := c.make()
		k.loop.post(func() {
			k.making--
			k.made(c, err)
			k.strays()
		})
	}()
}

// made takes note of a container that runs, or that could not be made to.
func (k *keep) made(c *child, err error) {
	r := k.record(c.def.Name)
	if err == nil {
		for i, s := range []stream{1: stdout, 2: stderr} {
			if i > 0 && c.fds[i] >= 0 {
				c.out = append(c.out, &output{k: k, fd: c.fds[i], lines: lines{stream: s}})
			}
		}
		if err = c.begin(); err != nil {
			_ = c.box.Kill()
			_, _ = c.box.Wait()
			c.undo()
		}
	}
	if err != nil {
		code := container.ExitCode(err)
		r.State, r.FinishedAt, r.ExitCode, r.Message = life.Exited, time.Now(), code, clip(err.Error())
		r.Reason = life.ReasonStartError
		if code != container.ExitTool {
			r.Reason = life.ReasonCannotRun
		}
		k.ended(c, Exit{Code: code})
		return
	}
	p := processOf(c.box.Pid)
	r.State, r.StartedAt, r.Pid, r.PidStart = life.Running, time.Now(), p.Pid, p.Start
	for _, a := range k.attached {
		if a.child == nil && a.name == c.def.Name {
			a.join(c)
		}
	}
	k.step()
	k.changed(false)
	if c.layers != "" && c.attempt > 0 {
		go forgetLayers(c.layers, c.attempt)
	}
}

// begin watches a container that has just started.
func (c *child) begin() error {
	k := c.k
	pidfd, err := unix.FcntlInt(c.box.PidFD.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if err := k.adopt(c.box.Pid, pidfd, c.died); err != nil {
		return err
	}
	for _, o := range c.out {
		o.log, o.ended = c.log, c.finish
		if err := o.interest(); err != nil {
			return err
		}
		o.hold()
	}
	c.in = &input{k: k, fd: c.fds[0], once: c.def.StdinOnce}
	if c.def.TTY && c.def.Stdin {
		c.in.tty = c.out[0]
	}
	c.fds = [3]int{-1, -1, -1} // they are theirs now
	c.alive = true
	return nil
}

// term sends a container its stop signal.
func (k *keep) term(c *child) {
	n, err := life.Signal(c.def.StopSignal)
	if err == nil {
		err = c.box.Signal(unix.Signal(n))
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		k.note(err)
	}
	k.record(c.def.Name).TermAt = time.Now()
}

// kill kills all of a container. In a PID namespace of its own its first process takes the others along.
func (k *keep) kill(c *child) {
	if !c.alive {
		return
	}
	if err := c.box.Signal(unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		k.note(err)
	}
	k.note(c.box.Kill())
}

// stopChild stops one container: its signal now, SIGKILL when the grace is over.
func (k *keep) stopChild(c *child, grace time.Duration) {
	if grace <= 0 {
		k.kill(c)
		return
	}
	k.term(c)
	k.loop.cancel(c.grace)
	c.grace = k.loop.after(grace, func() { k.kill(c) })
}

// stop is the wish to end the Pod. A later one may only be sooner.
func (k *keep) stop(grace time.Duration) {
	now := time.Now()
	if !k.want.Stop || now.Add(grace).Before(k.want.At.Add(k.want.Grace)) {
		at := now
		if k.want.Stop {
			at = k.want.At
			grace += now.Sub(at)
		}
		k.want = life.Want{Stop: true, At: at, Grace: grace}
	}
	if k.life == nil {
		k.finish()
		return
	}
	k.step()
	k.changed(false)
}

// orphaned is called when an owner's connection closed unasked.
func (k *keep) orphaned() {
	if k.life == nil {
		k.stop(0)
	} else if k.life.OnOrphan == life.OrphanStop {
		k.stop(k.life.Grace)
	}
}

// status is how the Pod is now.
func (k *keep) status() *Status {
	s := &Status{
		Version: Version, BootID: k.id.BootID, UID: k.sandbox.UID, Phase: life.PhasePending, Finished: k.finished,
		Stopping: k.want.At, Containers: k.records,
	}
	if k.pause != nil {
		s.Pause = k.pause.process
	}
	if k.life != nil {
		s.Phase = life.Phase(*k.life, k.records, k.finished)
	}
	return s
}

// changed records the status and then tells it. An end is recorded durably, a beginning needs not be: after a power cut
// there is no process that it could speak of.
func (k *keep) changed(durable bool) {
	k.tidy()
	put := record.PutFast
	if durable {
		put = record.Put
	}
	k.note(put(filepath.Join(k.dir, statusFile), k.status()))
	for c := range k.conns {
		if c.watching {
			c.tell()
		}
	}
}

package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"tripod/internal/cgroup"
	"tripod/internal/life"
	"tripod/internal/ns"
	"tripod/internal/record"
)

// onFinishTime bounds the command that is run when a Pod is finished.
const onFinishTime = 30 * time.Second

// watchPause has pauseDied called when pause ends.
func (k *keep) watchPause() error {
	p := k.pause
	return k.adopt(p.process.Pid, p.pidfd, func(Exit) { k.pauseDied(p) })
}

// pauseDied is called when pause was killed. The Pod's namespaces live on by the descriptors of them, except a PID
// namespace: with it died all containers, and the Pod is made anew when the last is on record.
func (k *keep) pauseDied(p *pause) {
	if k.finished || k.pause != p {
		return
	}
	k.lostPause, k.pause = p, nil
	k.mendPause()
}

// pauseLeaves says whether pause is on its way out. The first process of a PID namespace is told dead only when all
// others have been waited for; until then a container that is started again cannot be made (ENOMEM).
func (k *keep) pauseLeaves() bool {
	const exiting = 0x4 // PF_EXITING
	p := ns.Process{PID: k.pause.process.Pid}
	return p.ReadStat("/proc") != nil || p.Flags&exiting != 0
}

// mendPause makes a new pause in the place of one that died.
func (k *keep) mendPause() {
	shared := k.ground.namespaces.PID == OfPod
	if shared && k.pause != nil && k.pauseLeaves() {
		k.lostPause, k.pause = k.pause, nil
	}
	p := k.lostPause
	if p == nil || k.finished {
		return
	}
	if shared && len(k.children) > 0 {
		return
	}
	if k.making > 0 {
		// A container that is being made joins the namespaces that are held now.
		k.loop.after(10*time.Millisecond, k.mendPause)
		return
	}
	if f := p.held["pid"]; f != nil {
		f.Close()
		delete(p.held, "pid")
	}
	next, err := startPause(k.sandbox, k.ground, p.held)
	if err != nil {
		k.note(err)
		k.loop.after(10*time.Second, k.mendPause)
		return
	}
	p.release()
	k.pause, k.lostPause = next, nil
	if err := k.watchPause(); err != nil {
		k.note(err)
	}
	if shared && k.life != nil {
		k.records = life.Reset(*k.life, k.records)
	}
	k.changed(false)
	k.step()
}

// finish is the end of the Pod: on record first, so that nobody brings it back; then everything it had goes; then it is
// told, and the keeper leaves.
func (k *keep) finish() {
	if k.finished {
		return
	}
	k.finished = true
	k.note(record.Put(filepath.Join(k.dir, statusFile), k.status()))
	for _, p := range []*pause{k.pause, k.lostPause} {
		if p != nil {
			p.kill()
		}
	}
	k.making++
	go func() {
		group := cgroup.Open(k.ground.host.Cgroup, k.sandbox.CgroupPath)
		err := group.Kill()
		if err == nil {
			err = group.Remove()
		}
		ran := k.runOnFinish()
		k.loop.post(func() {
			k.making--
			k.note(err)
			k.note(ran)
			k.leave()
		})
	}()
}

// leave tells everybody who listens and ends the loop.
func (k *keep) leave() {
	k.loop.closeFD(k.socket)
	_ = os.Remove(filepath.Join(k.dir, socketFile))
	k.clear()
	for c := range k.conns {
		c.watching, c.owner = false, false
		c.reply(reply{Status: k.status(), Done: true})
	}
	// Whoever has not taken what was sent to it gets a moment for it.
	if !k.owing() {
		k.loop.done = true
		return
	}
	k.loop.after(stallTime, func() { k.loop.done = true })
	k.linger()
}

// linger ends the loop when nobody is owed anything.
func (k *keep) linger() {
	if !k.owing() {
		k.loop.done = true
		return
	}
	k.loop.after(10*time.Millisecond, k.linger)
}

// owing says whether a client has not taken all that is its.
func (k *keep) owing() bool {
	for c := range k.conns {
		if len(c.out) > 0 {
			return true
		}
	}
	return k.sinks > 0
}

// runOnFinish runs the sandbox's command.
func (k *keep) runOnFinish() error {
	argv := k.sandbox.OnFinish
	if len(argv) == 0 {
		return nil
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Dir: "/", Env: []string{"PATH=" + searchPath}, Files: []*os.File{null, os.Stderr, os.Stderr}})
	if err != nil {
		return fmt.Errorf("cannot run command at the end of Pod %s: %w", k.sandbox.UID, err)
	}
	late := time.AfterFunc(onFinishTime, func() { _ = p.Kill() })
	defer late.Stop()
	state, err := p.Wait()
	if err == nil && !state.Success() {
		err = fmt.Errorf("command %s at the end of Pod %s: %s", argv[0], k.sandbox.UID, state)
	}
	return err
}

// clear removes what begin made beside the process itself. A process cannot remove the cgroup it is in, so it goes to
// the root for its last moment.
func (k *keep) clear() {
	if k.ground == nil {
		return
	}
	if k.pause != nil && !k.finished {
		k.pause.kill()
	}
	host := k.ground.host.Cgroup
	if !k.finished {
		group := cgroup.Open(host, k.sandbox.CgroupPath)
		_ = group.Kill()
		_ = group.Remove()
	}
	defer prune(host, k.sandbox.KeeperCgroup, k.sandbox.CgroupPath)
	if k.sandbox.KeeperCgroup == "" {
		return
	}
	for _, y := range host.Hierarchies {
		_ = os.WriteFile(y.Mountpoint+"/cgroup.procs", []byte("0"), 0)
	}
	_ = cgroup.Open(host, k.sandbox.KeeperCgroup).Remove()
	_ = unix.Unlink(filepath.Join(k.dir, identityFile))
}

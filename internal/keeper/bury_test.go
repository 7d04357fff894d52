package keeper

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"tripod/internal/life"
)

// A Pod whose folder is gone ends as a whole, with its keeper.
func TestBuryLost(t *testing.T) {
	p := newPod(t, func(s *Sandbox) { s.CgroupPath, s.KeeperCgroup = "tripod/"+s.UID, keeperGroups+s.UID }).spawn()
	p.container("a", "sleep 1000", nil).apply()
	s := p.running("a")
	pids := []int{p.Hello().Pid, s.Pause.Pid, s.Container("a").Pid}
	for _, uid := range []string{"keepers", "..", "", "a/../b"} {
		if err := BuryLost(uid); err == nil {
			t.Errorf("buried %q", uid)
		}
	}
	if !alive(pids[0]) {
		t.Fatal("the keeper of another died")
	}
	if err := os.RemoveAll(p.dir); err != nil {
		t.Fatal(err)
	}
	if err := BuryLost(p.box.UID); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		p.wait("it is gone", func() bool { return !alive(pid) })
	}
	if err := BuryLost(p.box.UID); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestBury(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.life.RestartPolicy = life.Always
	p.container("i1", "true", nil)
	p.container("a", "sleep 1000", nil).apply()
	s := p.running("a")
	if _, err := Bury(p.run, p.box.UID); err == nil {
		t.Fatal("buried a keeper that lives")
	}
	if err := unix.Kill(p.Hello().Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.wait("the keeper is dead", func() bool { return !Alive(p.dir) })
	buried, err := Bury(p.run, p.box.UID)
	if err != nil {
		t.Fatal(err)
	}
	if r := buried.Container("a"); r.State != life.Exited || r.ExitCode != 137 || r.Reason != life.ReasonStatusUnknown {
		t.Errorf("a: %+v", r)
	}
	for _, pid := range []int{s.Container("a").Pid, s.Pause.Pid} {
		if alive(pid) {
			t.Errorf("process %d lives", pid)
		}
	}
	// The next keeper goes on where the records end.
	p.spawn().apply()
	s = p.running("a")
	if r := s.Container("a"); r.Attempt != 1 || r.Last == nil || r.Last.ExitCode != 137 || s.Container("i1").Attempt != 1 {
		t.Errorf("after the burial: %+v", s.Containers)
	}
}

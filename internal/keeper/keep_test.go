package keeper

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/life"
)

func TestPodRuns(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "echo out $NAME; echo err >&2; exit 0", nil)
	p.container("b", "echo -n half; exit 3", nil)
	p.apply()
	s := p.finished()
	if s.Phase != life.PhaseFailed || len(s.Containers) != 2 {
		t.Errorf("status %+v", s)
	}
	for name, want := range map[string]struct {
		code   int
		reason string
		out    map[stream]string
	}{
		"a": {0, life.ReasonCompleted, map[stream]string{stdout: "out a\n", stderr: "err\n"}},
		"b": {3, life.ReasonError, map[stream]string{stdout: "half"}},
	} {
		r := s.Container(name)
		if r.State != life.Exited || r.ExitCode != want.code || r.Reason != want.reason || r.FinishedAt.Before(r.StartedAt) {
			t.Errorf("%s: record %+v", name, r)
		}
		for _, str := range []stream{stdout, stderr} {
			if got := p.log(name, 0)[str]; got != want.out[str] {
				t.Errorf("%s: %s %q, want %q", name, str, got, want.out[str])
			}
		}
	}
}

func TestPodSharesNamespaces(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "echo shared > /dev/shm/f; sleep 1000", nil)
	p.container("b", "hostname; while ! cat /dev/shm/f; do sleep 0.01; done 2>/dev/null; sleep 1000", nil)
	p.apply()
	s := p.running("a", "b")
	a, b := s.Container("a").Pid, s.Container("b").Pid
	for ns, same := range map[string]bool{"uts": true, "ipc": true, "net": true, "user": true, "mnt": false, "pid": false} {
		if (namespace(t, a, ns) == namespace(t, b, ns)) != same {
			t.Errorf("%s: the same: %t, want %t", ns, !same, same)
		}
		host := namespace(t, os.Getpid(), ns)
		if (namespace(t, a, ns) == host) != (ns == "user") {
			t.Errorf("%s: the host's: %t", ns, ns != "user")
		}
	}
	if namespace(t, s.Pause.Pid, "net") != namespace(t, a, "net") {
		t.Error("pause does not hold the network")
	}
	p.wait("b has read what a wrote", func() bool { return p.log("b", 0)[stdout] == "test\nshared\n" })
	if err := p.Stop(p.ctx, 0); err != nil {
		t.Fatal(err)
	}
	s, err := Read(p.dir)
	if err != nil || s.Container("a").ExitCode != 137 || s.Container("a").Signal != 9 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestPodInitAndRestart(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.life.RestartPolicy = life.OnFailure
	p.container("i1", "test -e /dev/shm/once && exit 0; touch /dev/shm/once; exit 1", nil)
	p.container("i2", "echo second; test -e /dev/shm/once", nil)
	// A file that is left in the root of one attempt is not there in the next.
	p.container("m", "n=$(cat /dev/shm/n 2>/dev/null); echo x$n > /dev/shm/n; test -e /mark && echo stale; touch /mark; test \"$n\" = xxx", nil)
	p.apply()
	s := p.finished()
	if s.Phase != life.PhaseSucceeded {
		t.Errorf("phase %s: %+v", s.Phase, s.Containers)
	}
	if r := s.Container("i1"); r.Attempt != 1 || r.Last == nil || r.Last.ExitCode != 1 {
		t.Errorf("i1: %+v", r)
	}
	if !s.Container("i2").StartedAt.After(s.Container("i1").FinishedAt) || s.Container("m").Last == nil {
		t.Errorf("order: %+v", s.Containers)
	}
	if r := s.Container("m"); r.Attempt != 3 || r.ExitCode != 0 {
		t.Errorf("m: %+v", r)
	}
	for i := range 4 {
		if out := p.log("m", i); out[stdout] != "" {
			t.Errorf("attempt %d said %q", i, out)
		}
	}
	left, _ := os.ReadDir(filepath.Join(p.run, "disk/m/upper"))
	if len(left) > 2 { // the one before may still be going when the Pod ends
		t.Errorf("upper layers left: %v", left)
	}
}

func TestPodCannotStart(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "", func(_ *life.Container, s *specs.Spec) { s.Process.Args = []string{"/no/such"} })
	p.container("b", "", func(_ *life.Container, s *specs.Spec) { s.Process.Args = []string{"/bin"} })
	p.container("c", "", func(_ *life.Container, s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Type: "nosuchfs", Source: "x"})
	})
	p.apply()
	s := p.finished()
	for name, want := range map[string]struct {
		code         int
		reason, part string
	}{
		"a": {127, life.ReasonCannotRun, "no such file"},
		"b": {126, life.ReasonCannotRun, "permission denied"},
		"c": {125, life.ReasonStartError, "nosuchfs"},
	} {
		r := s.Container(name)
		if r.ExitCode != want.code || r.Reason != want.reason || !strings.Contains(r.Message, want.part) || strings.Contains(r.Message, "\n") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestPodStops(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.life.RestartPolicy = life.Always
	p.container("kind", "trap 'echo bye; exit 4' USR1; echo up; while :; do sleep 0.01; done", func(c *life.Container, _ *specs.Spec) { c.StopSignal = "SIGUSR1" })
	p.container("deaf", "trap '' TERM; echo up; while :; do sleep 0.01; done", nil)
	p.apply()
	p.wait("both are up", func() bool {
		return p.running("kind", "deaf") != nil && p.log("kind", 0)[stdout] != "" && p.log("deaf", 0)[stdout] != ""
	})
	if err := p.Stop(p.ctx, 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	s := p.finished()
	if r := s.Container("kind"); r.ExitCode != 4 || r.Attempt != 0 || p.log("kind", 0)[stdout] != "up\nbye\n" {
		t.Errorf("kind: %+v", r)
	}
	if r := s.Container("deaf"); r.ExitCode != 137 || r.FinishedAt.Sub(r.TermAt) < 300*time.Millisecond {
		t.Errorf("deaf: %+v", r)
	}
	if s.Stopping.IsZero() {
		t.Error("no time of the stop on record")
	}
}

func TestPodOOM(t *testing.T) {
	p := newPod(t, nil).spawn()
	limit := int64(16 << 20)
	small := func(_ *life.Container, s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
	}
	hog := "x=0123456789abcdef; while :; do x=$x$x; done"
	p.container("init", "true", nil)
	p.container("hog", hog, small)
	p.container("parent", "sh -c '"+hog+"'; echo child $?; exit 5", small)
	p.apply()
	s := p.finished()
	if r := s.Container("hog"); !r.OOMKilled || r.Reason != life.ReasonOOMKilled || r.ExitCode != 137 || r.OOMKills == 0 {
		t.Errorf("hog: %+v", r)
	} else if u := r.Usage; u == nil || u.MemoryLimit != uint64(limit) || u.MemoryHits == 0 || len(u.Victims) == 0 || u.Victims[0].PID != r.Pid {
		t.Errorf("hog used %+v", u)
	}
	if r := s.Container("parent"); r.OOMKilled || r.Reason != life.ReasonError || r.ExitCode != 5 || r.OOMKills == 0 {
		t.Errorf("parent: %+v, %q", r, p.log("parent", 0))
	}
}

func TestPauseIsReplaced(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.life.RestartPolicy = life.Always
	p.container("a", "sleep 1000", nil)
	p.apply()
	s := p.running("a")
	old := s.Pause
	net, pid := namespace(t, s.Container("a").Pid, "net"), s.Container("a").Pid
	if err := unix.Kill(old.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s = p.until("another pause", func(s *Status) bool { return s.Pause.Pid != 0 && s.Pause != old })
	if namespace(t, s.Pause.Pid, "net") != net || s.Container("a").Pid != pid {
		t.Error("the network or the container is another one")
	}
	if err := p.Kill(p.ctx, "a"); err != nil {
		t.Fatal(err)
	}
	s = p.until("a runs again", func(s *Status) bool { r := s.Container("a"); return r.Attempt == 1 && r.State == life.Running })
	if namespace(t, s.Container("a").Pid, "net") != net {
		t.Error("the container came back with another network")
	}
}

func TestPauseOfSharedPID(t *testing.T) {
	p := newPod(t, func(s *Sandbox) { s.Namespaces.PID = OfPod }).spawn()
	p.life.RestartPolicy = life.Always
	p.container("i1", "echo init", nil)
	p.container("a", "cat /proc/1/comm; sleep 1000", nil)
	p.container("b", "sleep 1000", nil)
	p.apply()
	s := p.running("a", "b")
	if namespace(t, s.Container("a").Pid, "pid") != namespace(t, s.Container("b").Pid, "pid") {
		t.Error("the PID namespace is not shared")
	}
	if err := unix.Kill(s.Pause.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.until("all begins anew", func(s *Status) bool {
		a, b, i := s.Container("a"), s.Container("b"), s.Container("i1")
		return a.Attempt == 1 && a.State == life.Running && b.Attempt == 1 && b.State == life.Running && i.Attempt == 1
	})
	if p.log("i1", 1)[stdout] != "init\n" {
		t.Error("init did not run again")
	}
}

// With a shared PID namespace nothing but the cgroup says what belongs to a container.
func TestSharedPIDLeavesNothing(t *testing.T) {
	p := newPod(t, func(s *Sandbox) { s.Namespaces.PID = OfPod }).spawn()
	p.container("a", "sleep 1000 & echo gone", nil)
	p.container("b", "sleep 1000", nil)
	p.apply()
	s := p.until("a is over", func(s *Status) bool { return s.Container("a").State == life.Exited })
	if r := s.Container("a"); r.FinishedAt.Sub(r.StartedAt) > time.Minute || p.log("a", 0)[stdout] != "gone\n" {
		t.Errorf("a: %+v", r)
	}
	if procs, err := os.ReadDir("/proc"); err == nil {
		for _, e := range procs {
			text, _ := os.ReadFile("/proc/" + e.Name() + "/cgroup")
			if strings.Contains(string(text), p.box.CgroupPath+"/a\n") {
				t.Errorf("process %s of a lives", e.Name())
			}
		}
	}
}

func TestOwner(t *testing.T) {
	for _, tt := range []struct {
		name, orphan string
		release      bool
		stops        bool
	}{
		{"stop", life.OrphanStop, false, true},
		{"released", life.OrphanStop, true, false},
		{"keep", life.OrphanKeep, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPod(t, nil).spawn()
			p.life.OnOrphan = tt.orphan
			owner, err := p.Own()
			if err != nil {
				t.Fatal(err)
			}
			p.container("a", "trap 'exit 6' TERM; echo up; while :; do sleep 0.01; done", nil).apply()
			p.running("a")
			p.wait("a is up", func() bool { return p.log("a", 0)[stdout] == "up\n" })
			if tt.release {
				if err := owner.Release(); err != nil {
					t.Fatal(err)
				}
			} else {
				owner.l.close()
			}
			if tt.stops {
				p.finished()
				return
			}
			// A request after the close is served after it.
			if s, err := p.Status(p.ctx); err != nil || !s.Stopping.IsZero() || s.Container("a").State != life.Running {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

func TestOwnerDiesBeforeLife(t *testing.T) {
	p := newPod(t, nil).spawn()
	owner, err := p.Own()
	if err != nil {
		t.Fatal(err)
	}
	owner.l.close()
	p.finished()
}

func TestQuit(t *testing.T) {
	p := newPod(t, nil).spawn()
	if err := p.Quit(p.ctx); err != nil {
		t.Fatal(err)
	}
	p.finished()
	if _, err := Dial(p.dir); err == nil {
		t.Error("a keeper that has left answers")
	}
	again := newPod(t, func(s *Sandbox) { s.UID += "-2"; s.CgroupPath += "-2"; s.KeeperCgroup += "-2" }).spawn()
	again.container("a", "sleep 1000", nil).apply()
	again.running("a")
	if err := again.Quit(again.ctx); err == nil || !strings.Contains(err.Error(), "runs") {
		t.Errorf("quit with a container: %v", err)
	}
}

func TestSpawnFails(t *testing.T) {
	for name, change := range map[string]func(*Sandbox){
		"sysctl":  func(s *Sandbox) { s.Sysctls = map[string]string{"net.no.such": "1"} },
		"volumes": func(s *Sandbox) {},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t, nil)
			change(&p.box)
			if name == "volumes" {
				p.box.MemoryVolumes = []MemoryVolume{{Name: "v", Path: p.dir + "/volumes/v"}}
			}
			if err := WriteSandbox(p.dir, &p.box); err != nil {
				t.Fatal(err)
			}
			self, _ := os.Executable()
			_, err := Spawn(self, p.dir)
			if err == nil || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %v", err)
			}
			t.Log(err)
			p.wait("it is gone", func() bool { return !Alive(p.dir) })
			if err := os.Remove(filepath.Join(p.dir, logName)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSpawnTwice(t *testing.T) {
	p := newPod(t, nil).spawn()
	self, _ := os.Executable()
	if _, err := Spawn(self, p.dir); err == nil || !strings.Contains(err.Error(), "it has a keeper") {
		t.Errorf("a second keeper: %v", err)
	}
	if err := os.Remove(filepath.Join(p.dir, logName)); err != nil {
		t.Error(err)
	}
	if _, err := p.Status(p.ctx); err != nil {
		t.Errorf("the first one: %v", err)
	}
}

// A keeper's program can be opened by way of /proc, and kept after the keeper has ended: it must not be writable then. Seen
// to fail when the keeper's clone of its program is not read-only.
func TestCVE_2019_5736(t *testing.T) {
	p := newPod(t, nil)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	// This test runs its own program: only a copy is not busy.
	binary := filepath.Join(t.TempDir(), "keeper")
	if err := os.WriteFile(binary, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if p.Client, err = Spawn(binary, p.dir); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(p.Hello().Pid)+"/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := p.Quit(p.ctx); err != nil {
		t.Fatal(err)
	}
	p.wait("the keeper has left", func() bool { return !Alive(p.dir) && !alive(p.Hello().Pid) })
	if f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), os.O_WRONLY, 0); !errors.Is(err, unix.EROFS) {
		f.Close()
		t.Errorf("opening the program for writing: %v, want a read-only file system", err)
	}
}

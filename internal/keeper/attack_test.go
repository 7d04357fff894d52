package keeper

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/life"
)

// The attacks here bear the names of published faults of what stands between a container and those who watch it: containerd's shims,
// conmon, kubelet. TestCVE_2019_5736, TestCVE_2022_23471, TestCVE_2026_53489 and TestGHSA_7jxh_36q5_gcqv stand beside what they attack.

// containerd: a shim's socket had no place in the file system, so containers in the host's network could speak to it. Ours is a file
// of mode 0600 in a folder of mode 0700, and asks who is there (TestPeerIsChecked).
func TestCVE_2020_15257(t *testing.T) {
	p := newPod(t, func(s *Sandbox) { s.Namespaces.Net = OfHost }).spawn()
	p.container("a", "cat /proc/net/unix; sleep 1000", nil).apply()
	p.running("a")
	p.wait("a has looked", func() bool { return strings.Contains(p.log("a", 0)[stdout], "Inode Path") })
	for line := range strings.Lines(p.log("a", 0)[stdout]) {
		if strings.Contains(line, "@") && (strings.Contains(line, "tripod") || strings.Contains(line, p.box.UID)) {
			t.Errorf("reached without a path: %s", line)
		}
	}
	for path, want := range map[string]os.FileMode{filepath.Join(p.dir, socketFile): 0o600, p.dir: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %o", path, info.Mode(), err, want)
		}
	}
}

// containerd, CRI-O (CVE-2022-1708): the output of an exec was kept in memory, all of it.
func TestCVE_2022_31030(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "sleep 1000", nil).apply()
	p.running("a")
	const much = 1 << 28 // sixteen times what the keeper may have, and not more: machines are emulated, too
	var got int64
	w := writer(func(b []byte) {
		if got += int64(len(b)); got%(64<<20) < int64(len(b)) {
			time.Sleep(10 * time.Millisecond) // one who reads more slowly than is written
		}
	})
	before := rssAnon(t, os.Getpid())
	exit, err := p.Exec(p.ctx, ExecRequest{Container: "a", Args: []string{"head", "-c", fmt.Sprint(much), "/dev/zero"}, Streams: Streams{Stdout: w}})
	if err != nil || exit.Code != 0 || got != much {
		t.Errorf("%+v, %v, %d bytes", exit, err, got)
	}
	if kb := rssAnon(t, p.Hello().Pid); kb > 16<<10 {
		t.Errorf("the keeper has %d kB", kb)
	}
	if kb := rssAnon(t, os.Getpid()) - before; kb > 64<<10 {
		t.Errorf("the client has %d kB more", kb)
	}
}

// rssAnon is the memory of a process's own, in kB.
func rssAnon(t *testing.T, pid int) (kb int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "RssAnon:")
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		t.Fatal(err)
	}
	return kb
}

// containerd: an attach whose client reads nothing, and is gone in the end, left what served it behind.
func TestCVE_2025_64329(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "while :; do echo 0123456789012345678901234567890123456789012345678901234567890123456789; done", func(c *life.Container, _ *specs.Spec) {
		c.LogMaxBytes, c.LogMaxFiles = 1<<20, 2
	}).apply()
	p.running("a")
	pid := p.Hello().Pid
	before, threads := descriptors(t, pid), entries(t, pid, "task")
	for range 10 {
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				pipe := [2]int{}
				if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
					t.Error(err)
					return
				}
				fd, err := connect(p.dir)
				if err != nil {
					closeAll(pipe[:])
					t.Error(err)
					return
				}
				_, _ = send(fd, []byte(`{"version":1,"op":"attach","container":"a","stdio":[false,true,false]}`+"\n"), pipe[1])
				closeAll([]int{pipe[1]})
				time.Sleep(5 * time.Millisecond) // never read
				closeAll([]int{fd, pipe[0]})
			})
		}
		group.Wait()
	}
	p.wait("descriptors and threads are back", func() bool {
		return descriptors(t, pid) <= before && entries(t, pid, "task") <= threads+4
	})
	if kb := rssAnon(t, pid); kb > 16<<10 {
		t.Errorf("the keeper has %d kB", kb)
	}
}

func entries(t *testing.T, pid int, what string) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, what))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// kubelet: a container that was started again ran as the image's user, root, and not as the one that was asked for.
func TestCVE_2019_11245(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.life.RestartPolicy = life.OnFailure
	p.container("a", "id -u; id -g; echo x >>/dev/shm/n; test $(wc -l </dev/shm/n) = 4", func(_ *life.Container, s *specs.Spec) {
		s.Process.User = specs.User{UID: 1000, GID: 1001}
	})
	p.container("b", "chmod 777 /dev/shm 2>/dev/null; exit 0", nil)
	p.apply()
	if r := p.finished().Container("a"); r.Attempt != 3 || r.ExitCode != 0 {
		t.Errorf("%+v", r)
	}
	for attempt := range 4 {
		if got := p.log("a", attempt)[stdout]; got != "1000\n1001\n" {
			t.Errorf("attempt %d ran as %q", attempt, got)
		}
	}
}

// CRI-O: the monitor stood in its Pod's cgroup, where the Pod's want of memory killed it, and the container went on with nobody to
// watch. Seen to fail with the keeper in the Pod's cgroup.
func TestCVE_2019_14891(t *testing.T) {
	limit := int64(24 << 20)
	p := newPod(t, func(s *Sandbox) {
		s.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &limit}}
	}).spawn()
	pid := p.Hello().Pid
	for i := range 3 {
		p.container(fmt.Sprint("hog", i), "x=0123456789abcdef; while :; do x=$x$x; done", nil)
	}
	p.container("calm", "sleep 1000", nil).apply()
	p.until("the hogs are dead", func(s *Status) bool {
		for i := range 3 {
			if s.Container(fmt.Sprint("hog", i)).State != life.Exited {
				return false
			}
		}
		return true
	})
	if !alive(pid) || p.Hello().Pid != pid {
		t.Error("the keeper did not survive")
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || strings.Contains(string(groups), p.box.CgroupPath+"\n") || strings.Contains(string(groups), p.box.CgroupPath+"/") {
		t.Errorf("the keeper is in the Pod's cgroup:\n%s%v", groups, err)
	}
}

// containerd: with a user namespace of its own a Pod stood beside its cgroup, without limits.
func TestCVE_2025_47291(t *testing.T) {
	maps := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1 << 24, Size: 65536}}
	limit := int64(16 << 20)
	p := newPod(t, func(s *Sandbox) { s.UserNS, s.UIDMap, s.GIDMap = OfPod, maps, maps }).spawn()
	p.container("hog", "x=0123456789abcdef; while :; do x=$x$x; done", func(_ *life.Container, s *specs.Spec) {
		s.Linux.UIDMappings, s.Linux.GIDMappings = maps, maps
		s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
	})
	p.container("look", "sleep 1000", func(_ *life.Container, s *specs.Spec) { s.Linux.UIDMappings, s.Linux.GIDMappings = maps, maps })
	p.apply()
	s := p.running("look")
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", s.Container("look").Pid))
	if err != nil || !bytes.Contains(groups, []byte(p.box.CgroupPath+"/")) {
		t.Errorf("not below the Pod's cgroup:\n%s%v", groups, err)
	}
	p.until("the limit holds", func(s *Status) bool { return s.Container("hog").OOMKilled })
}

// containerd: state of containers, with their descriptions and sockets, could be searched by everybody.
func TestCVE_2024_25621(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "sleep 1000", nil).apply()
	p.running("a")
	for _, path := range []string{p.dir, filepath.Join(p.dir, socketFile), filepath.Join(p.dir, sandboxFile), filepath.Join(p.dir, statusFile)} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", path, info, err)
		}
	}
}

// CRI-O: a path in a log's name led to another folder. What becomes a path here is checked before the keeper obeys.
func TestCVE_2025_0750(t *testing.T) {
	p := newPod(t, nil).spawn()
	for _, bad := range []string{"..", "../x", "a/b", "", "a\nb", ".", "/etc"} {
		l := p.life
		l.Containers = []life.Container{{Name: bad, Bundle: filepath.Join(p.dir, "containers", "a"), Log: filepath.Join(p.run, "logs", "a")}}
		if err := p.Apply(p.ctx, l); err == nil {
			t.Errorf("a container named %q was taken", bad)
		}
	}
	for _, bad := range []string{"logs/a", "", "../a"} {
		l := p.life
		l.Containers = []life.Container{{Name: "a", Bundle: filepath.Join(p.dir, "containers", "a"), Log: bad}}
		if err := p.Apply(p.ctx, l); err == nil && bad != "" { // without a name there is no log
			t.Errorf("a log at %q was taken", bad)
		}
	}
}

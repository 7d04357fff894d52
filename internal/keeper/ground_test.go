package keeper

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/life"
)

func TestHostNamespaces(t *testing.T) {
	p := newPod(t, func(s *Sandbox) {
		s.Namespaces = Namespaces{Net: OfHost, IPC: OfHost, UTS: OfHost, PID: OfHost}
		s.Hostname = ""
	}).spawn()
	p.container("a", "sleep 1000", nil).apply()
	pid := p.running("a").Container("a").Pid
	for _, ns := range []string{"net", "ipc", "uts", "pid", "user"} {
		if namespace(t, pid, ns) != namespace(t, os.Getpid(), ns) {
			t.Errorf("%s is not the host's", ns)
		}
	}
	if namespace(t, pid, "mnt") == namespace(t, os.Getpid(), "mnt") {
		t.Error("the mounts are the host's")
	}
}

func TestUserNamespaceOfPod(t *testing.T) {
	maps := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1 << 24, Size: 65536}}
	p := newPod(t, func(s *Sandbox) { s.UserNS, s.UIDMap, s.GIDMap = OfPod, maps, maps }).spawn()
	own := func(_ *life.Container, s *specs.Spec) { s.Linux.UIDMappings, s.Linux.GIDMappings = maps, maps }
	p.container("a", "id -u; touch /dev/shm/f /f; stat -c %u /f; sleep 1000", own).container("b", "sleep 1000", own).apply()
	s := p.running("a", "b")
	a, b := s.Container("a").Pid, s.Container("b").Pid
	if namespace(t, a, "user") != namespace(t, b, "user") || namespace(t, a, "user") == namespace(t, os.Getpid(), "user") {
		t.Error("the user namespace is not the Pod's")
	}
	p.wait("a has looked", func() bool { return p.log("a", 0)[stdout] == "0\n0\n" })
	var st syscall.Stat_t
	if err := syscall.Stat("/proc/"+strconv.Itoa(a), &st); err != nil || st.Uid != 1<<24 {
		t.Errorf("a runs as user %d, %v", st.Uid, err)
	}
}

func TestMemoryVolumes(t *testing.T) {
	p := newPod(t, nil)
	path := filepath.Join(p.dir, "volumes/fast")
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	p.box.MemoryVolumes = []MemoryVolume{{Name: "fast", Path: path, Size: 1 << 20}}
	if err := WriteSandbox(p.dir, &p.box); err != nil {
		t.Fatal(err)
	}
	p.spawn()
	bind := func(_ *life.Container, s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/fast", Type: "bind", Source: path, Options: []string{"bind"}})
	}
	p.container("a", "dd if=/dev/zero of=/fast/big bs=1k count=2000 2>/dev/null; wc -c < /fast/big; echo x > /fast/x", bind)
	p.container("b", "until test -e /fast/x; do sleep 0.01; done; stat -c %a /fast", bind)
	p.apply()
	p.finished()
	if a, b := p.log("a", 0)[stdout], p.log("b", 0)[stdout]; a != "1048576\n" || b != "777\n" && b != "1777\n" {
		t.Errorf("a said %q, b %q", a, b)
	}
	if left, _ := os.ReadDir(path); len(left) > 0 {
		t.Errorf("the host sees %v", left)
	}
}

func TestOnFinish(t *testing.T) {
	p := newPod(t, nil)
	mark := filepath.Join(p.run, "mark")
	p.box.OnFinish = []string{"/bin/sh", "-c", "echo $0 > " + mark, p.box.UID}
	if err := WriteSandbox(p.dir, &p.box); err != nil {
		t.Fatal(err)
	}
	p.spawn().container("a", "exit 0", nil).apply()
	p.finished()
	if text, err := os.ReadFile(mark); err != nil || string(text) != p.box.UID+"\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestTerminationMessage(t *testing.T) {
	p := newPod(t, nil).spawn()
	file := func(name string) string { return filepath.Join(p.run, name) }
	own := func(log string, fall bool) func(*life.Container, *specs.Spec) {
		return func(c *life.Container, s *specs.Spec) {
			if err := os.WriteFile(log, nil, 0o666); err != nil {
				t.Fatal(err)
			}
			c.TerminationLog, c.LogsOnError = log, fall
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/dev/termination-log", Type: "bind", Source: log, Options: []string{"bind"}})
		}
	}
	p.container("said", "echo why > /dev/termination-log; exit 1", own(file("1"), true))
	p.container("fallback", "echo first; echo -n last; exit 1", own(file("2"), true))
	p.container("fine", "echo hello", own(file("3"), true))
	p.container("much", "head -c 9000 /dev/zero | tr '\\0' x > /dev/termination-log", own(file("4"), false))
	p.apply()
	s := p.finished()
	for name, want := range map[string]string{
		"said": "why\n", "fallback": "first\nlast", "fine": "", "much": strings.Repeat("x", maxMessage),
	} {
		if got := s.Container(name).Message; got != want {
			t.Errorf("%s: message %.80q, want %.80q", name, got, want)
		}
	}
}

// Only root and the keeper's own user are answered, even where the socket could be reached.
func TestPeerIsChecked(t *testing.T) {
	p := newPod(t, nil).spawn()
	for _, path := range []string{p.dir, filepath.Join(p.dir, socketFile), filepath.Dir(p.dir)} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(p.run, "dial")
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, program, 0o755); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[uint32]string{0: "answered <nil>", 65534: "has left"} {
		cmd := exec.Command(copied, "dial", p.dir)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("user %d: %q, %v", uid, out, err)
		}
	}
}

func TestSandboxCheck(t *testing.T) {
	dir := "/run/tripod/pods/u"
	good := Sandbox{Version: 1, UID: "u", CgroupPath: "tripod/u"}
	for name, change := range map[string]func(*Sandbox){
		"version":   func(s *Sandbox) { s.Version = 3 },
		"uid":       func(s *Sandbox) { s.UID = "a/b" },
		"cgroup":    func(s *Sandbox) { s.CgroupPath = "../x" },
		"keeper":    func(s *Sandbox) { s.KeeperCgroup = "/x" },
		"namespace": func(s *Sandbox) { s.Namespaces.Net = OfContainer },
		"user":      func(s *Sandbox) { s.UserNS = OfPod },
		"shm":       func(s *Sandbox) { s.Shm = -1 },
		"volume":    func(s *Sandbox) { s.MemoryVolumes = []MemoryVolume{{Path: "/etc"}} },
		"volume ..": func(s *Sandbox) { s.MemoryVolumes = []MemoryVolume{{Path: dir + "/../x"}} },
	} {
		s := good
		if err := s.check(dir); err != nil {
			t.Fatal(err)
		}
		change(&s)
		if err := s.check(dir); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDialNobody(t *testing.T) {
	if _, err := Dial(t.TempDir()); !errors.Is(err, ErrNoKeeper) {
		t.Errorf("%v, want %v", err, ErrNoKeeper)
	}
}

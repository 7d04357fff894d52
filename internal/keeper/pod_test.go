package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/cgroup"
	"tripod/internal/life"
	"tripod/internal/ns"
	"tripod/internal/plan"
	"tripod/internal/record"
)

// A keeper under test is this test's own binary, and so is one who dials as another user.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "keep" {
		if err := Keep(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == "dial" {
		_, err := Dial(os.Args[2])
		fmt.Println("answered", err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// patience is for what must happen but takes the kernel's time.
const patience = 60 * time.Second

// pod is a Pod with a real keeper, in a folder of the test.
type pod struct {
	*Client
	t    *testing.T
	run  string
	dir  string
	box  Sandbox
	life life.Life
	host cgroup.Host
	ctx  context.Context
}

// newPod makes a Pod's folder. Its end is checked: no cgroup, mount or process may be left.
func newPod(t *testing.T, change func(*Sandbox)) *pod {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("these tests make containers and must run as root")
	}
	host, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	uid := fmt.Sprintf("%d-%s", os.Getpid(), strings.NewReplacer("/", "-").Replace(t.Name()))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	p := &pod{t: t, run: t.TempDir(), host: host, ctx: ctx}
	p.dir = filepath.Join(p.run, "pods", uid)
	p.box = Sandbox{
		Version: 1, UID: uid, Namespace: "default", Name: "test", Hostname: "test", Shm: 1 << 20,
		CgroupPath: "tripod-test/" + uid, KeeperCgroup: "tripod-test/keepers/" + uid,
	}
	if change != nil {
		change(&p.box)
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for d := p.run; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteSandbox(p.dir, &p.box); err != nil {
		t.Fatal(err)
	}
	p.life = life.Life{Version: 1, RestartPolicy: life.Never, Grace: 5 * time.Second, Backoff: life.Backoff{Base: time.Millisecond}}
	t.Cleanup(func() {
		p.end()
		cancel()
	})
	return p
}

// spawn starts the keeper.
func (p *pod) spawn() *pod {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	if p.Client, err = Spawn(self, p.dir); err != nil {
		p.t.Fatal(err)
	}
	return p
}

// container adds one that runs a shell script.
func (p *pod) container(name, script string, change func(*life.Container, *specs.Spec)) *pod {
	p.t.Helper()
	bundle := filepath.Join(p.dir, "containers", name)
	disk := filepath.Join(p.run, "disk", name)
	low := filepath.Join(p.run, "low")
	for _, d := range []string{low + "/bin", disk + "/upper", disk + "/work", bundle} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := linkBusybox(low + "/bin"); err != nil {
		p.t.Fatal(err)
	}
	def := life.Container{Name: name, Init: name[0] == 'i', Bundle: bundle, Log: filepath.Join(p.run, "logs", name)}
	spec := &specs.Spec{
		Version: "1.3.0", Root: &specs.Root{},
		Process: &specs.Process{
			Args: []string{"sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin", "NAME=" + name}, NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/dev/shm", Type: "bind", Source: shmDir(p.dir), Options: []string{"bind", "rw"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.CgroupNamespace}}},
	}
	root := plan.Rootfs{Lower: []string{low}, Upper: disk + "/upper", Work: disk + "/work"}
	if change != nil {
		change(&def, spec)
	}
	for file, v := range map[string]any{"config.json": spec, "rootfs.json": root} {
		if err := record.PutFast(filepath.Join(bundle, file), v); err != nil {
			p.t.Fatal(err)
		}
	}
	p.life.Containers = append(p.life.Containers, def)
	return p
}

func linkBusybox(bin string) error {
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("busybox-static is needed: %w", err)
	}
	if _, err := os.Stat(bin + "/busybox"); err == nil {
		return nil
	}
	if err := os.WriteFile(bin+"/busybox", box, 0o755); err != nil {
		return err
	}
	for _, applet := range strings.Fields("sh cat ls id true false sleep stat touch tty stty hostname readlink kill grep yes head dd echo env pwd test wc ps seq tr") {
		if err := os.Symlink("busybox", filepath.Join(bin, applet)); err != nil {
			return err
		}
	}
	return nil
}

// apply gives the keeper the Life.
func (p *pod) apply() *pod {
	p.t.Helper()
	if err := p.Apply(p.ctx, p.life); err != nil {
		p.t.Fatal(err)
	}
	return p
}

var errSeen = errors.New("seen")

// until waits for a status that fits.
func (p *pod) until(what string, fits func(*Status) bool) *Status {
	p.t.Helper()
	var last *Status
	err := p.Watch(p.ctx, func(s *Status) error {
		last = s
		if fits(s) {
			return errSeen
		}
		return nil
	})
	if !errors.Is(err, errSeen) {
		text, _ := json.Marshal(last)
		p.t.Fatalf("never seen: %s (%v); the last was %s\n%s", what, err, text, p.keeperLog())
	}
	return last
}

func (p *pod) running(names ...string) *Status {
	p.t.Helper()
	return p.until(strings.Join(names, ", ")+" run", func(s *Status) bool {
		for _, n := range names {
			if r := s.Container(n); r == nil || r.State != life.Running {
				return false
			}
		}
		return true
	})
}

// finished waits for the Pod's end.
func (p *pod) finished() *Status {
	p.t.Helper()
	if err := p.Watch(p.ctx, func(*Status) error { return nil }); err != nil && !errors.Is(err, ErrNoKeeper) {
		p.t.Fatalf("the Pod did not finish: %v\n%s", err, p.keeperLog())
	}
	s, err := Read(p.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	if !s.Finished {
		p.t.Fatalf("the keeper left and the Pod has not finished: %+v\n%s", s, p.keeperLog())
	}
	return s
}

func (p *pod) keeperLog() string {
	text, _ := os.ReadFile(filepath.Join(p.dir, logName))
	return string(text)
}

// log is what a container's attempt said.
func (p *pod) log(name string, attempt int) map[stream]string {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.run, "logs", name, fmt.Sprint(attempt, ".log")))
	if err != nil {
		p.t.Fatal(err)
	}
	return readEntries(p.t, text)
}

// wait waits until something is so that nothing tells of.
func (p *pod) wait(what string, is func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("never so: %s\n%s", what, p.keeperLog())
		}
	}
}

// end stops the Pod and looks for what it left.
func (p *pod) end() {
	if p.Client != nil {
		if err := p.Stop(p.ctx, 0); err != nil && !errors.Is(err, ErrNoKeeper) {
			p.t.Errorf("stop: %v", err)
		}
	}
	p.wait("the keeper has left", func() bool { return !Alive(p.dir) })
	if log := p.keeperLog(); log != "" && !p.t.Failed() {
		p.t.Errorf("the keeper noted:\n%s", log)
	}
	for _, path := range []string{p.box.CgroupPath, p.box.KeeperCgroup} {
		for _, y := range p.host.Hierarchies {
			if _, err := os.Stat(y.Mountpoint + "/" + path); !errors.Is(err, fs.ErrNotExist) {
				p.t.Errorf("left: cgroup %s in %s", path, y.Name)
			}
		}
	}
	for _, parent := range []string{"tripod-test/keepers", "tripod-test"} {
		_, _ = cgroup.Open(p.host, parent).Prune()
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), p.run) {
		p.t.Errorf("left: a mount below %s", p.run)
	}
	if _, err := os.Stat(filepath.Join(p.dir, socketFile)); !errors.Is(err, fs.ErrNotExist) {
		p.t.Errorf("left: %s", socketFile)
	}
}

// namespace names a namespace of a process.
func namespace(t *testing.T, pid int, name string) string {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// alive says whether a process is there and no zombie.
func alive(pid int) bool {
	p := ns.Process{PID: pid}
	return p.ReadStat("/proc") == nil && p.State != 'Z'
}

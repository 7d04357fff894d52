package container

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/birth"
	"tripod/internal/plan"
)

// sample is a container's spec as podman or containerd would write it: private namespaces, the usual mounts.
func sample(args ...string) *specs.Spec {
	noDev := []string{"nosuid", "noexec", "nodev"}
	return &specs.Spec{
		Version:  "1.3.0",
		Root:     &specs.Root{},
		Hostname: "sample",
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/bin"}, NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{
				Bounding:  []string{"CAP_KILL", "CAP_CHOWN", "CAP_NET_BIND_SERVICE"},
				Effective: []string{"CAP_KILL", "CAP_CHOWN"}, Permitted: []string{"CAP_KILL", "CAP_CHOWN"},
			},
			Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 0, Hard: 0}},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: noDev},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: append(slices.Clone(noDev), "mode=1777", "size=65536k")},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: noDev},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: append(slices.Clone(noDev), "ro")},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: append(slices.Clone(noDev), "relatime", "ro")},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace},
				{Type: specs.NetworkNamespace},
				{Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace},
				{Type: specs.MountNamespace},
				{Type: specs.CgroupNamespace},
			},
			MaskedPaths:   []string{"/proc/kcore", "/proc/keys", "/proc/acpi", "/sys/firmware", "/etc/hidden", "/no/such"},
			ReadonlyPaths: []string{"/proc/sys", "/proc/bus", "/proc/sysrq-trigger"},
		},
	}
}

// layers makes a root of busybox as two overlay layers, with an upper one.
func layers(t testing.TB) plan.Rootfs {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"low/bin", "low/etc", "top/tmp", "rw/upper", "rw/work", "root"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("busybox-static is needed: %v", err)
	}
	write := func(name string, data []byte, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), data, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("low/bin/busybox", box, 0o755)
	write("low/etc/hidden", []byte("secret"), 0o644)
	for _, applet := range []string{"sh", "cat", "ls", "id", "true", "sleep", "stat", "touch", "tty", "stty", "hostname", "readlink", "kill", "grep", "mount"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "low/bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	// Every directory on the way to a layer must be open to the container's user.
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return plan.Rootfs{
		Lower: []string{filepath.Join(dir, "top"), filepath.Join(dir, "low")},
		Upper: filepath.Join(dir, "rw/upper"), Work: filepath.Join(dir, "rw/work"), Mountpoint: filepath.Join(dir, "root"),
	}
}

func look(t *testing.T) Host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("these tests make containers and must run as root")
	}
	h, err := Look()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func cgroupName(t *testing.T) string {
	return fmt.Sprintf("tripod-test-%d-%s", os.Getpid(), strings.NewReplacer("/", "-", "#", "-").Replace(t.Name()))
}

// runs creates, starts and waits for a container, and returns what it printed.
func runs(t *testing.T, cfg Config) (string, Exit, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cfg.Stdio[1], cfg.Stdio[2] = w, w
	cfg.ID, cfg.Host = "test", look(t)
	if cfg.Root.Lower == nil && cfg.Root.Path == "" {
		cfg.Root = layers(t)
	}
	if cfg.CgroupPath == "" {
		cfg.CgroupPath = cgroupName(t)
	}
	defer gone(t, cfg)
	c, err := Create(cfg)
	if err != nil {
		w.Close()
		return "", Exit{}, err
	}
	err = c.Start()
	w.Close()
	if err != nil {
		return "", Exit{}, errors.Join(err, c.Delete())
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	exit, err := c.Wait()
	return string(out), exit, errors.Join(err, c.Delete())
}

// gone proves that nothing of a container is left on the host.
func gone(t *testing.T, cfg Config) {
	t.Helper()
	for _, y := range cfg.Host.Cgroup.Hierarchies {
		if _, err := os.Stat(filepath.Join(y.Mountpoint, cfg.CgroupPath)); err == nil {
			t.Errorf("cgroup %s is left in %s", cfg.CgroupPath, y.Mountpoint)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if at := cfg.Root.Mountpoint; at != "" && bytes.Contains(mounts, []byte(at)) {
		t.Errorf("a mount is left at %s", cfg.Root.Mountpoint)
	}
}

func TestRun(t *testing.T) {
	for _, c := range []struct {
		name, script, want string
		code               int
	}{
		{"exit code", "exit 7", "", 7},
		{"signal", "kill -9 $$; sleep 9", "", 0}, // PID 1 is immune to its own SIGKILL; sleep is killed below
		{"pid 1", "echo $$", "1\n", 0},
		{"hostname", "hostname", "sample\n", 0},
		{"capabilities", "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | cat -A | grep -v ^$", "CapInh:^I0000000000000000$\nCapPrm:^I0000000000000021$\nCapEff:^I0000000000000021$\nCapBnd:^I0000000000000421$\nCapAmb:^I0000000000000000$\n", 0},
		{"no new privileges", "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n", 0},
		{"umask", "umask", "0022\n", 0},
		{"descriptors", "ls /proc/1/fd; true", "0\n1\n2\n", 0},
		{"masked file", "cat /proc/keys /etc/hidden", "", 0},
		{"masked directory", "ls /sys/firmware", "", 0},
		{"read-only path", "echo x 2>/dev/null >/proc/sys/kernel/hostname || echo refused", "refused\n", 0},
		{"devices", "stat -c '%n %t:%T %a' /dev/null /dev/full", "/dev/null 1:3 666\n/dev/full 1:7 666\n", 0},
		{"no devices", "ls /dev/vda /dev/mem 2>/dev/null || echo none", "none\n", 0},
		{"loopback", "cat /sys/class/net/lo/flags", "0x9\n", 0},
		{"write", "touch /x && stat -c %a /x", "644\n", 0},
		{"nothing of the host", "ls /host /root /usr 2>/dev/null || echo none", "none\n", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "signal" {
				c.script = "kill -TERM $$; exit 3"
				c.code = 3
			}
			out, exit, err := runs(t, Config{Spec: sample("sh", "-c", c.script)})
			if err != nil {
				t.Fatal(err)
			}
			if out != c.want || (c.code != 0 && exit.Code != c.code) {
				t.Errorf("%s: printed %q, exit %d; want %q, %d", c.script, out, exit.Code, c.want, c.code)
			}
		})
	}
}

func TestSignals(t *testing.T) {
	signal.Ignore(unix.SIGUSR1, unix.SIGHUP)
	defer signal.Reset(unix.SIGUSR1, unix.SIGHUP)
	out, _, err := runs(t, Config{Spec: sample("grep", "-E", "Sig(Blk|Ign|Cgt)", "/proc/self/status")})
	if want := "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n"; err != nil || out != want {
		t.Errorf("%q, %v", out, err)
	}
}

func TestReadonlyRoot(t *testing.T) {
	spec := sample("sh", "-c", "touch /x 2>/dev/null || echo refused")
	spec.Root.Readonly = true
	if out, _, err := runs(t, Config{Spec: spec}); err != nil || out != "refused\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestScratchRoot(t *testing.T) {
	root := layers(t)
	root.Scratch, root.Upper, root.Work = true, "", ""
	out, _, err := runs(t, Config{Spec: sample("sh", "-c", "touch /x && echo made"), Root: root})
	if err != nil || out != "made\n" {
		t.Errorf("%q, %v", out, err)
	}
	if left, _ := os.ReadDir(root.Mountpoint); len(left) > 0 {
		t.Errorf("the scratch root left %v on the host", left)
	}
}

// TestManyLayers has more layers than their names fit into one mount.
func TestManyLayers(t *testing.T) {
	root := layers(t)
	dir := t.TempDir()
	var list []string
	for i := range 200 {
		at := filepath.Join(dir, strings.Repeat("x", 60)+strconv.Itoa(i))
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, "layer"), []byte(strconv.Itoa(i)), 0o644); err != nil {
			t.Fatal(err)
		}
		list = append(list, at)
	}
	root.Lower = append(list, root.Lower...)
	out, _, err := runs(t, Config{Spec: sample("sh", "-c", "cat /layer; touch /x && echo .made"), Root: root})
	if err != nil || out != "0.made\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestUser(t *testing.T) {
	spec := sample("sh", "-c", "id; cat >/dev/null </dev/null; echo yes > /proc/self/fd/1")
	mask := uint32(0o077)
	spec.Process.User = specs.User{UID: 1000, GID: 2000, AdditionalGids: []uint32{2000, 3000}, Umask: &mask}
	out, _, err := runs(t, Config{Spec: spec, OwnStdio: [3]bool{false, true, false}})
	if want := "uid=1000 gid=2000 groups=2000,3000\nyes\n"; err != nil || out != want {
		t.Errorf("%q, %v, want %q", out, err, want)
	}
}

// userNamespace is a spec whose root is the host's 200000.
func userNamespace(args ...string) *specs.Spec {
	spec := sample(args...)
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 200000, Size: 65536}}
	spec.Linux.UIDMappings, spec.Linux.GIDMappings = ids, ids
	return spec
}

func TestUserNamespace(t *testing.T) {
	root := layers(t)
	out, _, err := runs(t, Config{
		Root: root,
		Spec: userNamespace("sh", "-c", "cat /proc/self/uid_map; touch /mine && stat -c '%u %n' /mine /bin/busybox; ls /sys/class/net; ls -d /dev/mqueue"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "0 /mine\n0 /bin/busybox\nlo\n/dev/mqueue\n"; !strings.HasSuffix(out, want) || !strings.Contains(out, "200000") {
		t.Errorf("printed %q, want …%q", out, want)
	}
	st, err := os.Stat(filepath.Join(root.Upper, "mine"))
	if err != nil {
		t.Fatal(err)
	}
	if uid := st.Sys().(*syscall.Stat_t).Uid; uid != 200000 {
		t.Errorf("on disk the container's file belongs to %d, want 200000", uid)
	}
}

func TestJoin(t *testing.T) {
	host := look(t)
	first := sample("sleep", "1000")
	cfg := Config{ID: "first", Spec: first, Host: host, Root: layers(t), CgroupPath: cgroupName(t) + "-first"}
	holder, err := Create(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = holder.Kill()
		_, _ = holder.Wait()
		if err := holder.Delete(); err != nil {
			t.Error(err)
		}
		gone(t, cfg)
	}()
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	inode := func(pid int, ns string) string {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	spec := sample("sh", "-c", "for n in pid net ipc uts mnt; do readlink /proc/self/ns/$n; done; echo $$")
	spec.Hostname = ""
	for i, n := range spec.Linux.Namespaces {
		name := map[specs.LinuxNamespaceType]string{"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts"}[n.Type]
		if name != "" {
			spec.Linux.Namespaces[i].Path = fmt.Sprintf("/proc/%d/ns/%s", holder.Pid, name)
		}
	}
	out, _, err := runs(t, Config{Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(out)
	for i, ns := range []string{"pid", "net", "ipc", "uts"} {
		if lines[i] != inode(holder.Pid, ns) {
			t.Errorf("%s namespace is %s, want the joined %s", ns, lines[i], inode(holder.Pid, ns))
		}
	}
	if lines[4] == inode(holder.Pid, "mnt") {
		t.Error("the mount namespace is shared")
	}
	if lines[5] == "1" {
		t.Error("PID 1 in a joined PID namespace")
	}
}

func TestExec(t *testing.T) {
	for _, spec := range []*specs.Spec{sample("sleep", "1000"), userNamespace("sleep", "1000")} {
		cfg := Config{ID: "x", Spec: spec, Host: look(t), Root: layers(t), CgroupPath: cgroupName(t)}
		c, err := Create(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		proc := *spec.Process
		proc.Args = []string{"sh", "-c", "readlink /proc/self/ns/mnt; grep -q sleep /proc/1/cmdline && echo sees init; cat /proc/self/cgroup | grep -c :/$; exit 5"}
		p, err := c.Exec(ExecConfig{Process: &proc, Stdio: [3]*os.File{nil, w, w}})
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		out, _ := io.ReadAll(r)
		exit, err := p.Wait()
		if err != nil || exit.Code != 5 {
			t.Errorf("exit %v, %v, want 5", exit, err)
		}
		ns, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", c.Pid))
		if !strings.HasPrefix(string(out), ns+"\nsees init\n") {
			t.Errorf("exec printed %q", out)
		}
		proc.Args = []string{"nonsense"}
		_, err = c.Exec(ExecConfig{Process: &proc})
		if ExitCode(err) != ExitNotFound {
			t.Errorf("exec of nothing: %v, exit code %d", err, ExitCode(err))
		}
		// The container's end waits for this one to be waited for.
		proc.Args = []string{"true"}
		p, err = c.Exec(ExecConfig{Process: &proc})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Kill(); err != nil {
			t.Error(err)
		}
		for err == nil {
			_, err = os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", c.Pid))
		}
		if _, err := c.Exec(ExecConfig{Process: &proc}); !errors.Is(err, ErrEnding) {
			t.Errorf("exec in a container at its end: %v, want %v", err, ErrEnding)
		}
		if _, err := p.Wait(); err != nil {
			t.Error(err)
		}
		if _, err := c.Wait(); err != nil {
			t.Error(err)
		}
		if err := c.Delete(); err != nil {
			t.Error(err)
		}
		gone(t, cfg)
	}
}

func TestTerminal(t *testing.T) {
	spec := sample("sh", "-c", "tty; stty size; ls -l /dev/console | cut -c1")
	spec.Process.Terminal = true
	spec.Process.ConsoleSize = &specs.Box{Height: 33, Width: 99}
	cfg := Config{ID: "x", Spec: spec, Host: look(t), Root: layers(t), CgroupPath: cgroupName(t)}
	c, err := Create(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(c.Console)
	if !strings.HasPrefix(string(out), "/dev/pts/0\r\n33 99\r\n") {
		t.Errorf("terminal printed %q", out)
	}
	c.Console.Close()
	if _, err := c.Wait(); err != nil {
		t.Error(err)
	}
	if err := c.Delete(); err != nil {
		t.Error(err)
	}
	gone(t, cfg)
}

func TestLimits(t *testing.T) {
	spec := sample("sh", "-c", "x=; while true; do x=$x$x.0123456789abcdef; done")
	limit := int64(16 << 20)
	spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
	_, exit, err := runs(t, Config{Spec: spec})
	if err != nil || exit.Signal != unix.SIGKILL {
		t.Errorf("a memory hog ended with %v, %v; want SIGKILL of the OOM killer", exit, err)
	}
}

// TestErrors are bundles that cannot become containers: each says which field or step, and leaves nothing.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*specs.Spec)
		want   string
		code   int
	}{
		{"no command", func(s *specs.Spec) { s.Process.Args = nil }, "process.args: no command", ExitTool},
		{"not found", func(s *specs.Spec) { s.Process.Args = []string{"/no"} }, "execute /no (process.args): no such file or directory", ExitNotFound},
		{"not executable", func(s *specs.Spec) { s.Process.Args = []string{"/etc/hidden"} }, "permission denied", ExitCannotInvoke},
		{"file system", func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Type: "nosuch"})
		}, "mount nosuch at /x (mounts[7]): no such device", ExitTool},
		{"source", func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Type: "bind", Source: "/no/such"})
		}, "mounts[7].source: /no/such does not exist", ExitTool},
		{"over proc", func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/proc/self/attr", Type: "tmpfs"})
		}, "lies inside /proc", ExitTool},
		{"host sysctl", func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"kernel.core_pattern": "x"} }, "it would change the host", ExitTool},
		{"cwd through a descriptor", func(s *specs.Spec) { s.Process.Cwd = "/proc/self/fd/7" }, "process.cwd", ExitTool},
		{"rlimit", func(s *specs.Spec) { s.Process.Rlimits[0].Soft = 1 }, "process.rlimits[0]: soft limit 1 above hard limit 0", ExitTool},
		{"hook", func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "x"}}} }, `hooks.poststop[0].path: "x" is not an absolute path`, ExitTool},
		{"no namespaces", func(s *specs.Spec) { s.Linux.Namespaces = nil }, "no mount namespace", ExitTool},
		{"hostname of the host", func(s *specs.Spec) {
			s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UTSNamespace })
		}, "it would rename the host", ExitTool},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := sample("true")
			c.change(spec)
			_, _, err := runs(t, Config{Spec: spec})
			if err == nil || !strings.Contains(err.Error(), c.want) || ExitCode(err) != c.code {
				t.Errorf("error %v, exit code %d; want …%s…, %d", err, ExitCode(err), c.want, c.code)
			}
		})
	}
}

// TestLinksLeadNowhere has an image whose directories are links out of it: to the host by /.., by /proc/self/fd and by
// an absolute path. Mount points below them must be made inside the root.
func TestLinksLeadNowhere(t *testing.T) {
	canary := t.TempDir()
	for _, link := range []string{"../../../../../../.." + canary, canary, "/proc/self/fd/5", "/proc/1/root" + canary} {
		root := layers(t)
		if err := os.Symlink(link, filepath.Join(root.Lower[0], "data")); err != nil {
			t.Fatal(err)
		}
		spec := sample("true")
		source := t.TempDir()
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/data/sub/deep", Type: "bind", Source: source, Options: []string{"rbind"}})
		_, _, err := runs(t, Config{Spec: spec, Root: root})
		t.Logf("%s: %v", link, err)
		if left, _ := os.ReadDir(canary); len(left) > 0 {
			t.Fatalf("link to %s led out: %v", link, left)
		}
	}
}

func TestStartTwice(t *testing.T) {
	c := &Container{ID: "x"}
	if err := c.Start(); !errors.Is(err, ErrStarted) {
		t.Error(err)
	}
}

// TestParentDies: a child at the gate ends when the gate closes.
func TestAbort(t *testing.T) {
	cfg := Config{ID: "x", Spec: sample("true"), Host: look(t), Root: layers(t), CgroupPath: cgroupName(t)}
	c, err := Create(cfg)
	if err != nil {
		t.Fatal(err)
	}
	pid := c.Pid
	if err := c.Delete(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err == nil {
		t.Errorf("process %d is left", pid)
	}
	gone(t, cfg)
}

func TestExitCode(t *testing.T) {
	for err, want := range map[error]int{
		&birth.StepError{Call: plan.Execve, Errno: unix.ENOENT}: 127,
		&birth.StepError{Call: plan.Execve, Errno: unix.EACCES}: 126,
		&birth.StepError{Call: plan.Mount, Errno: unix.ENOENT}:  125,
		errors.New("other"): 125,
	} {
		if got := ExitCode(fmt.Errorf("cannot start: %w", err)); got != want {
			t.Errorf("ExitCode(%v) = %d, want %d", err, got, want)
		}
	}
}

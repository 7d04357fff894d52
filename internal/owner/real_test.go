package owner

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// insideEnv says to the test's program that it is the one in a mount namespace of its own.
const insideEnv = "OWNER_TEST_INSIDE"

// TestRealRuntimes starts containers with the real podman, runc, crun, docker and containerd, where Debian's are installed, in a mount namespace where
// /run and their storage are empty, and finds each by its process, its name and its ID.
func TestRealRuntimes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("containers are made by root")
	}
	for _, program := range []string{"podman", "runc", "crun", "conmon", "unshare", "busybox"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	if os.Getenv(insideEnv) == "" {
		again := exec.Command("unshare", "-mn", "--propagation", "private", os.Args[0], "-test.run=^TestRealRuntimes$", "-test.v")
		again.Env = append(os.Environ(), insideEnv+"="+t.TempDir())
		out, err := again.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		t.Logf("%s", out)
		return
	}
	work := os.Getenv(insideEnv)
	for _, dir := range []string{"/run", "/var/lib"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	before := cgroups(t)
	t.Cleanup(func() {
		// podman, docker and containerd leave the parents of their cgroups; what else is new is a leak.
		for _, dir := range cgroups(t) {
			if parent := filepath.Base(dir); slices.Contains([]string{"libpod_parent", "docker", "owner-test"}, parent) && !slices.Contains(before, dir) {
				_ = os.Remove(dir)
			}
		}
		for _, dir := range cgroups(t) {
			if strings.Contains(dir, "owner-test-") && !slices.Contains(before, dir) {
				t.Errorf("left: %s", dir)
			}
		}
	})
	t.Run("runc", func(t *testing.T) { bareReal(t, work, "runc", Runc) })
	t.Run("crun", func(t *testing.T) { bareReal(t, work, "crun", Crun) })
	t.Run("podman", func(t *testing.T) { podmanReal(t, work) })
	t.Run("docker", func(t *testing.T) { dockerReal(t, work) })
}

// cgroups are the folders of all hierarchies, the deepest first.
func cgroups(t *testing.T) []string {
	t.Helper()
	var all []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			all = append(all, path)
		}
		return nil
	})
	slices.Reverse(all)
	return all
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// found is the container of a process, after it was found by each of the words too.
func found(t *testing.T, pid int, words ...string) Container {
	t.Helper()
	h := &Host{}
	c, ok, err := h.OfProcess(pid)
	if err != nil || !ok {
		t.Fatalf("process %d: %v, %v", pid, ok, err)
	}
	for _, word := range words {
		target, err := h.Find(word)
		if err != nil || target.PID != pid || target.Container.ID != c.ID {
			t.Errorf("%s: %+v, %v; want process %d", word, target, err, pid)
		}
	}
	return c
}

// bareReal runs a bundle with nobody above the runtime. A crun that refuses this host's hierarchies proves nothing.
func bareReal(t *testing.T, work, program, runtime string) {
	bundle := filepath.Join(work, program)
	for _, dir := range []string{"bin", "dev", "proc"} {
		if err := os.MkdirAll(filepath.Join(bundle, "rootfs", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	box, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(box)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "rootfs/bin/sleep"), text, 0o755); err != nil {
		t.Fatal(err)
	}
	config := map[string]any{
		"ociVersion": "1.0.2", "root": map[string]any{"path": "rootfs"},
		"process": map[string]any{"args": []string{"/bin/sleep", "600"}, "cwd": "/", "user": map[string]int{"uid": 0, "gid": 0}},
		"mounts":  []map[string]any{{"destination": "/proc", "type": "proc", "source": "proc"}},
		"linux":   map[string]any{"namespaces": []map[string]string{{"type": "pid"}, {"type": "mount"}}},
	}
	text, err = json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	id := "owner-test-" + program + "-" + strconv.Itoa(os.Getpid())
	// The container keeps these streams: a pipe would not end before it does.
	said, err := os.Create(filepath.Join(work, program+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	start := exec.Command(program, "run", "-d", "-b", bundle, id)
	start.Stdout, start.Stderr = said, said
	if err := start.Run(); err != nil {
		out, _ := os.ReadFile(said.Name())
		if strings.Contains(string(out), "hybrid") {
			t.Skipf("%s", out)
		}
		t.Fatalf("%v: %s", err, out)
	}
	defer run(t, program, "delete", "-f", id)
	var state struct{ Pid int }
	if err := json.Unmarshal([]byte(run(t, program, "state", id)), &state); err != nil {
		t.Fatal(err)
	}
	c := found(t, state.Pid, id, runtime+"://"+id)
	if c.Runtime != runtime || c.ID != id || c.Init != state.Pid || c.InitStart == 0 {
		t.Errorf("%+v", c)
	}
}

// podmanReal makes an image of busybox, a container and a Pod.
func podmanReal(t *testing.T, work string) {
	conf := filepath.Join(work, "containers.conf")
	// Debian's podman asks for more open files than the hard limit of many hosts.
	const text = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nruntime = \"runc\"\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTAINERS_CONF", conf)
	image := filepath.Join(work, "image.tar")
	if err := os.WriteFile(image, busyboxTar(t), 0o644); err != nil {
		t.Fatal(err)
	}
	podman := func(args ...string) string {
		t.Helper()
		return run(t, "podman", append([]string{"--storage-driver", "vfs"}, args...)...)
	}
	podman("import", image, "localhost/box:1")
	defer podman("rm", "-fa", "-t", "0")
	id := podman("run", "-d", "--name", "owner-web", "--network", "none", "localhost/box:1", "/bin/sleep", "600")
	pid, err := strconv.Atoi(podman("inspect", "-f", "{{.State.Pid}}", "owner-web"))
	if err != nil {
		t.Fatal(err)
	}
	c := found(t, pid, "owner-web", "podman://owner-web", id, id[:12], "podman://"+id[:12])
	if c.Runtime != Podman || c.ID != id || c.Name != "owner-web" || c.Image != "localhost/box:1" {
		t.Errorf("%+v", c)
	}
	conmon, err := strconv.Atoi(podman("inspect", "-f", "{{.State.ConmonPid}}", "owner-web"))
	if err != nil {
		t.Fatal(err)
	}
	if c, ok, err := (&Host{}).OfProcess(conmon); err != nil || ok && !c.Monitor {
		t.Errorf("conmon: %+v, %v", c, err)
	}
	pod := podman("pod", "create", "--name", "owner-shop", "--network", "none", "--infra-image", "localhost/box:1", "--infra-command", "/bin/sleep 600")
	defer podman("pod", "rm", "-f", "-t", "0", "owner-shop")
	podman("run", "-d", "--pod", "owner-shop", "--name", "owner-shop-cart", "localhost/box:1", "/bin/sleep", "600")
	if pid, err = strconv.Atoi(podman("inspect", "-f", "{{.State.Pid}}", "owner-shop-cart")); err != nil {
		t.Fatal(err)
	}
	c = found(t, pid, "owner-shop-cart", "owner-shop/owner-shop-cart", "owner-shop", "podman://"+pod[:12])
	if c.Pod != "owner-shop" || c.PodUID != pod || c.Sandbox {
		t.Errorf("%+v", c)
	}
	both, err := (&Host{}).Containers("owner-shop")
	if err != nil || len(both) != 2 || !both[0].Sandbox {
		t.Errorf("%+v, %v", both, err)
	}
}

// dockerReal has a daemon of its own, and asks the containerd below it for a container that docker knows nothing of.
func dockerReal(t *testing.T, work string) {
	for _, program := range []string{"dockerd", "docker", "ctr"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	log, err := os.Create(filepath.Join(work, "dockerd.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	daemon := exec.Command("dockerd", "--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--storage-driver", "vfs")
	daemon.Stdout, daemon.Stderr = log, log
	daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = daemon.Process.Signal(unix.SIGTERM)
		_ = daemon.Wait()
	}()
	for deadline := time.Now().Add(time.Minute); exec.Command("docker", "version").Run() != nil; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("docker's daemon does not answer: %s", said)
		}
	}
	image := filepath.Join(work, "image.tar")
	if err := os.WriteFile(image, busyboxTar(t), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "docker", "import", image, "box:1")
	id := run(t, "docker", "run", "-d", "--name", "owner-web", "--network", "none", "box:1", "/bin/sleep", "600")
	defer run(t, "docker", "rm", "-f", "owner-web")
	pid, err := strconv.Atoi(run(t, "docker", "inspect", "-f", "{{.State.Pid}}", "owner-web"))
	if err != nil {
		t.Fatal(err)
	}
	c := found(t, pid, "owner-web", "docker://owner-web", id, "docker://"+id[:12])
	if c.Runtime != Docker || c.ID != id || c.Name != "owner-web" || c.Image != "box:1" {
		t.Errorf("%+v", c)
	}

	root := filepath.Join(work, "runc", "rootfs") // made by bareReal
	ctr := func(args ...string) string {
		return run(t, "ctr", append([]string{"-a", "/run/docker/containerd/containerd.sock", "-n", "owner-test"}, args...)...)
	}
	ctr("run", "-d", "--rootfs", root, "owner-cart", "/bin/sleep", "600")
	defer func() {
		ctr("task", "rm", "-f", "owner-cart")
		ctr("container", "rm", "owner-cart")
	}()
	fields := strings.Fields(ctr("task", "ls")) // a header of three words, then a line of name, PID and state
	if len(fields) != 6 {
		t.Fatalf("%q", fields)
	}
	if pid, err = strconv.Atoi(fields[4]); err != nil {
		t.Fatal(err)
	}
	c = found(t, pid, "owner-cart", "containerd://owner-cart")
	if c.Runtime != Containerd || c.Name != "owner-cart" || c.Engine != "owner-test" {
		t.Errorf("%+v", c)
	}
}

func busyboxTar(t *testing.T) []byte {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "bin/sleep", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(text))}} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

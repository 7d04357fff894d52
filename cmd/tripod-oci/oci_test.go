package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// asProgram makes this test's binary be tripod-oci.
const asProgram = "TRIPOD_OCI_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Unsetenv(asProgram)
		os.Exit(command(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// ground is a root of containers and a bundle, of one test.
type ground struct {
	*testing.T
	dir string
	id  string // of containers here, and the name of their cgroups: no other test's
}

func newGround(t *testing.T, change func(*specs.Spec), script ...string) *ground {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("these tests make containers and must run as root")
	}
	g := &ground{T: t, dir: t.TempDir(), id: fmt.Sprintf("tripod-test-oci-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-"))}
	bin := filepath.Join(g.dir, "rootfs/bin")
	for _, d := range []string{bin, filepath.Join(g.dir, "rootfs/tmp")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("busybox-static is needed: %v", err)
	}
	if err := os.WriteFile(filepath.Join(bin, "busybox"), box, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, applet := range []string{"sh", "cat", "id", "true", "sleep", "tty", "stty", "env", "ls", "kill", "echo"} {
		if err := os.Symlink("busybox", filepath.Join(bin, applet)); err != nil {
			t.Fatal(err)
		}
	}
	s := example()
	s.Process.Terminal = false
	s.Process.Args = []string{"sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done"}
	if len(script) > 0 {
		s.Process.Args = script
	}
	s.Linux.CgroupsPath = "/" + g.id
	if change != nil {
		change(s)
	}
	g.config(s)
	t.Cleanup(func() { g.clean() })
	return g
}

func (g *ground) config(s *specs.Spec) {
	g.Helper()
	data, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(filepath.Join(g.dir, "config.json"), data, 0o644)
	}
	if err != nil {
		g.Fatal(err)
	}
}

func (g *ground) root() string { return filepath.Join(g.dir, "state") }

// command is tripod-oci with this ground's root.
func (g *ground) command(args ...string) *osexec.Cmd {
	g.Helper()
	self, err := os.Executable()
	if err != nil {
		g.Fatal(err)
	}
	cmd := osexec.Command(self, append([]string{"--root", g.root()}, args...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Dir = g.dir
	return cmd
}

// oci runs tripod-oci, and returns its exit code with what it printed and told.
func (g *ground) oci(args ...string) (code int, out, told string) {
	g.Helper()
	cmd := g.command(args...)
	var stdout, stderr bytes.Buffer
	if !slices.Contains(args, "create") && !slices.Contains(args, "-d") {
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
	} else {
		// What runs on keeps our pipe: it gets a file.
		f, err := os.CreateTemp(g.dir, "out")
		if err != nil {
			g.Fatal(err)
		}
		defer f.Close()
		cmd.Stdout, cmd.Stderr = f, f
		defer func() {
			data, _ := os.ReadFile(f.Name())
			told = string(data)
		}()
	}
	err := cmd.Run()
	var exit *osexec.ExitError
	if err != nil && !errors.As(err, &exit) {
		g.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

// must is oci that has to succeed.
func (g *ground) must(args ...string) string {
	g.Helper()
	code, out, told := g.oci(args...)
	if code != 0 {
		g.Fatalf("tripod-oci %s: exit code %d: %s", strings.Join(args, " "), code, told)
	}
	return out
}

// fails is oci that has to fail with a code, and to tell one line that holds these words.
func (g *ground) fails(code int, words string, args ...string) {
	g.Helper()
	got, _, told := g.oci(args...)
	if got != code || !strings.Contains(told, words) || strings.Count(told, "\n") != 1 {
		g.Errorf("tripod-oci %s: exit code %d, told %q; want %d, a line with %q", strings.Join(args, " "), got, told, code, words)
	}
}

func (g *ground) status(want specs.ContainerState) containerState {
	g.Helper()
	var s containerState
	if err := json.Unmarshal([]byte(g.must("state", g.id)), &s); err != nil {
		g.Fatal(err)
	}
	if s.Status != want {
		g.Fatalf("status %s, want %s", s.Status, want)
	}
	return s
}

// until waits for what is to come about.
func (g *ground) until(what string, done func() bool) {
	g.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			g.Fatal("it never came about that " + what)
		}
	}
}

func (g *ground) stopped() bool {
	var s containerState
	_, out, _ := g.oci("state", g.id)
	return json.Unmarshal([]byte(out), &s) == nil && s.Status == specs.StateStopped
}

// clean removes what is left, and proves that this is all.
func (g *ground) clean() {
	g.Helper()
	ids, _ := os.ReadDir(g.root())
	for _, id := range ids {
		g.must("delete", "-f", id.Name())
	}
	if left, _ := os.ReadDir(g.root()); len(left) > 0 {
		g.Errorf("%v is left in the root of containers", left)
	}
	g.noCgroup()
}

func (g *ground) noCgroup() {
	g.Helper()
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/" + g.id); len(left) > 0 {
		g.Errorf("cgroups are left: %v", left)
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/" + g.id); len(left) > 0 {
		g.Errorf("cgroups are left: %v", left)
	}
}

func TestLife(t *testing.T) {
	g := newGround(t, nil)
	pidFile := filepath.Join(g.dir, "pid")
	g.fails(1, "does not exist", "state", g.id)
	g.must("create", "--bundle", g.dir, "--pid-file", pidFile, g.id)
	s := g.status(specs.StateCreated)
	if data, err := os.ReadFile(pidFile); err != nil || string(data) != strconv.Itoa(s.Pid) {
		t.Errorf("PID file %q, %v; the state says %d", data, err, s.Pid)
	}
	g.fails(1, "a container of that name exists", "create", "-b", g.dir, g.id)
	g.fails(1, "that is not stopped: created", "delete", g.id)
	g.must("start", g.id)
	g.status(specs.StateRunning)
	g.fails(125, "it is running", "start", g.id)
	g.fails(1, "that is not stopped: running", "delete", g.id)
	if out := g.must("exec", "-e", "A=b", "--cwd", "/tmp", g.id, "sh", "-c", "echo $A $PWD"); out != "b /tmp\n" {
		t.Errorf("exec printed %q", out)
	}
	if code, _, _ := g.oci("exec", g.id, "sh", "-c", "exit 9"); code != 9 {
		t.Errorf("exec of exit 9: %d", code)
	}
	g.fails(127, "no such file or directory", "exec", g.id, "nosuch")
	g.fails(126, "permission denied", "exec", g.id, "/tmp")
	if out := g.must("ps", "-f", "json", g.id); !strings.Contains(out, strconv.Itoa(s.Pid)) {
		t.Errorf("ps printed %q, not %d", out, s.Pid)
	}
	if out := g.must("ps", g.id); !strings.HasPrefix(out, "UID") || !strings.Contains(out, "sh -c trap") {
		t.Errorf("ps printed %q", out)
	}
	g.must("pause", g.id)
	g.status("paused")
	g.fails(125, "it is paused", "exec", g.id, "true")
	g.must("resume", g.id)
	g.status(specs.StateRunning)
	g.fails(1, "it is running", "resume", g.id)
	g.must("kill", g.id)
	g.until("it stopped", g.stopped)
	g.status(specs.StateStopped)
	g.fails(1, "container not running", "kill", g.id)
	g.fails(125, "container not running", "exec", g.id, "true")
	g.must("delete", g.id)
	g.fails(1, "does not exist", "delete", g.id)
	g.must("delete", "-f", g.id)
	g.noCgroup()
}

func TestKillPaused(t *testing.T) {
	g := newGround(t, nil)
	g.must("run", "-d", "-b", g.dir, g.id)
	g.must("pause", g.id)
	g.must("kill", g.id, "SIGKILL")
	g.until("it stopped", g.stopped)
	g.must("delete", g.id)
	g.must("run", "-d", "-b", g.dir, g.id)
	g.must("pause", g.id)
	g.must("delete", "--force", g.id)
}

func TestKillAll(t *testing.T) {
	// Without a PID namespace of its own a container's processes outlive its first.
	g := newGround(t, func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[1:] }, "sh", "-c", "sleep 1000 & exit 0")
	g.must("run", "-d", "-b", g.dir, g.id)
	g.until("it stopped", g.stopped)
	left := func() (pids []int) {
		v1, _ := filepath.Glob("/sys/fs/cgroup/*/" + g.id + "/cgroup.procs")
		for _, p := range append(v1, "/sys/fs/cgroup/"+g.id+"/cgroup.procs") {
			data, _ := os.ReadFile(p)
			for _, f := range strings.Fields(string(data)) {
				pid, _ := strconv.Atoi(f)
				pids = append(pids, pid)
			}
		}
		return pids
	}
	if len(left()) == 0 {
		t.Fatal("nothing was left running")
	}
	g.must("kill", "-a", g.id, "TERM")
	g.until("all were killed", func() bool { return len(left()) == 0 })
	g.must("delete", g.id)
}

func TestRunExit(t *testing.T) {
	for _, c := range []struct {
		name, script string
		options      []string
		code         int
	}{
		{"code", "exit 7", nil, 7},
		{"cgroup disabled", "exit 8", []string{"--cgroup-manager=disabled"}, 8},
		{"killed", "kill -9 -1; exit 3", nil, 3}, // the init of a PID namespace is immune to that
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGround(t, nil, "sh", "-c", c.script)
			if code, _, told := g.oci(append(c.options, "run", "-b", g.dir, g.id)...); code != c.code {
				t.Errorf("exit code %d, want %d: %s", code, c.code, told)
			}
			if left, _ := os.ReadDir(g.root()); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
			g.noCgroup()
		})
	}
}

func TestKeep(t *testing.T) {
	g := newGround(t, nil, "true")
	g.must("run", "--keep", "-b", g.dir, g.id)
	g.status(specs.StateStopped)
	g.must("delete", g.id)
}

// What goes wrong behind the gate is known to the command that starts, by the step.
func TestStartFails(t *testing.T) {
	g := newGround(t, nil, "/bin/script")
	if err := os.WriteFile(filepath.Join(g.dir, "rootfs/bin/script"), []byte("#!/no/such\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	g.must("create", "-b", g.dir, g.id)
	g.fails(127, "execute /bin/script (process.args): no such file or directory", "start", g.id)
	g.status(specs.StateStopped)
	g.must("delete", g.id)
	g.config(func() *specs.Spec {
		s := example()
		s.Process.Terminal = false
		s.Process.Args = []string{"nosuch"}
		return s
	}())
	g.fails(1, "find nosuch in PATH", "create", "-b", g.dir, g.id)
	if left, _ := os.ReadDir(g.root()); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// TestSignalsAreForwarded: also those that a fault of the runtime's own would be, and those of real time, from the first moment on;
// and to an exec.
func TestSignalsAreForwarded(t *testing.T) {
	const script = "trap 'exit 5' TERM SEGV 64; echo up; while :; do sleep 0.05; done"
	g := newGround(t, nil, "sh", "-c", script)
	for _, c := range []struct {
		sig  unix.Signal
		args []string
	}{
		{unix.SIGTERM, []string{"run", "-b", g.dir, g.id}},
		{unix.SIGSEGV, []string{"run", "-b", g.dir, g.id}},
		{64, []string{"run", "-b", g.dir, g.id}},
		{unix.SIGSEGV, []string{"exec", g.id, "sh", "-c", script}},
	} {
		if c.args[0] == "exec" {
			g.must("run", "-d", "-b", g.dir, g.id)
		}
		cmd := g.command(c.args...)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(c.sig); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 5 {
			t.Errorf("%s, %s: exit code %d, want the 5 of the container's trap", c.args[0], unix.SignalName(c.sig), code)
		}
	}
}

func TestPreservedDescriptors(t *testing.T) {
	g := newGround(t, nil, "sh", "-c", "cat <&3; cat <&4; echo $LISTEN_FDS $LISTEN_PID; [ ! -e /proc/self/fd/5 ] || echo more; ls /proc/1/fd; true")
	cmd := g.command("run", "-b", g.dir, "--preserve-fds", "1", g.id)
	cmd.Env = append(cmd.Env, "LISTEN_FDS=1")
	for _, text := range []string{"three ", "four "} {
		name := filepath.Join(g.dir, text)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	if out, err := cmd.Output(); err != nil || string(out) != "three four 1 1\n0\n1\n2\n3\n4\n" {
		t.Errorf("%q, %v", out, err)
	}
	// Whoever started the test may have left descriptors open.
	for fd := 3; fd < 10; fd++ {
		unix.CloseOnExec(fd)
	}
	g.fails(125, "descriptor 3 is not open", "run", "-b", g.dir, "--preserve-fds", "1", g.id)
}

// Of many who create one container one does.
func TestOneWinner(t *testing.T) {
	g := newGround(t, nil)
	const many = 8
	codes := make(chan int, many)
	for range many {
		cmd := g.command("create", "-b", g.dir, g.id)
		go func() {
			_ = cmd.Run()
			codes <- cmd.ProcessState.ExitCode()
		}()
	}
	won := 0
	for range many {
		if <-codes == 0 {
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d of %d creates of one container had it", won, many)
	}
	g.status(specs.StateCreated)
	// And of many who start it.
	for range many {
		cmd := g.command("start", g.id)
		go func() {
			_ = cmd.Run()
			codes <- cmd.ProcessState.ExitCode()
		}()
	}
	won = 0
	for range many {
		if <-codes == 0 {
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d of %d starts of one container did", won, many)
	}
	g.status(specs.StateRunning)
}

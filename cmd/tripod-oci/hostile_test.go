package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// A state directory that is cut short anywhere is no reason to fall over, and delete -f removes the container with all of
// its processes.
func TestTruncatedState(t *testing.T) {
	g := newGround(t, nil)
	g.must("run", "-d", "-b", g.dir, g.id)
	file := filepath.Join(g.root(), g.id, "state.json")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	calm := func(args ...string) {
		t.Helper()
		code, _, told := g.oci(args...)
		if code != 0 && code != 1 && code != 125 || strings.Contains(told, "goroutine") {
			t.Fatalf("%v: exit code %d: %s", args, code, told)
		}
	}
	for n := range whole {
		if err := os.WriteFile(file, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		calm("state", g.id)
		if n%16 == 0 {
			calm("list")
			calm("kill", g.id, "0")
			calm("exec", g.id, "true")
			g.fails(1, "delete -f", "delete", g.id)
		}
		if n%64 == 0 {
			g.must("delete", "-f", g.id)
			g.noCgroup()
			g.must("run", "-d", "-b", g.dir, g.id)
		}
	}
	for _, name := range []string{"state.json", "config.json"} {
		if err := os.Remove(filepath.Join(g.root(), g.id, name)); err != nil {
			t.Fatal(err)
		}
		calm("state", g.id)
	}
	// Without any file the ID is all that tells the cgroup, which it is by default.
	if err := os.RemoveAll(filepath.Join(g.root(), g.id)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(g.root(), g.id), 0o700); err != nil {
		t.Fatal(err)
	}
	calm("list")
	g.must("delete", "-f", g.id)
	g.noCgroup()
}

// The runtime is killed at any of its system calls: what it leaves, the next delete -f removes. Every process that it made
// holds its standard output, which comes to its end then.
func TestKilledAnywhere(t *testing.T) {
	if _, err := osexec.LookPath("strace"); err != nil {
		t.Fatalf("strace is needed: %v", err)
	}
	for name, c := range map[string]struct {
		global, args []string
		created      bool // a container is there already
	}{
		"create":                {nil, []string{"create", "-b", "."}, false},
		"create without cgroup": {[]string{"--cgroup-manager=disabled"}, []string{"create", "-b", "."}, false},
		"run":                   {nil, []string{"run", "-d", "-b", "."}, false},
		"run without cgroup":    {[]string{"--cgroup-manager=disabled"}, []string{"run", "-d", "-b", "."}, false},
		"start":                 {nil, []string{"start"}, true},
		"delete":                {nil, []string{"delete", "-f"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGround(t, nil)
			kills := 0
			// Calls are counted by thread, and Go moves its work from one to another: three countings find more places.
			for _, of := range []struct {
				calls string
				step  int
			}{{"all", 7}, {"%file", 2}, {"%process", 1}} {
				for n := 1; ; n += of.step {
					if c.created {
						g.must("create", "-b", g.dir, g.id)
					}
					if whole := g.killedAt(of.calls, n, append(append(c.global, c.args...), g.id)); whole {
						break
					}
					kills++
				}
			}
			if kills < 20 {
				t.Errorf("it was killed at %d places only", kills)
			}
		})
	}
}

// killedAt runs tripod-oci, kills it with the n-th system call of any of its threads, or its child with that one's before
// that has left the runtime's program, removes what is left, and says whether it ended before.
func (g *ground) killedAt(calls string, n int, args []string) (whole bool) {
	g.Helper()
	inner := g.command(args...)
	cmd := osexec.Command("strace", append([]string{"-f", "-b", "execve", "-qq", "-o", "/dev/null", "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", calls, n)}, inner.Args...)...)
	cmd.Env, cmd.Dir = inner.Env, g.dir
	r, w, err := os.Pipe()
	if err != nil {
		g.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout = w
	ended := cmd.Run()
	w.Close()
	g.must("delete", "-f", g.id)
	if left, _ := os.ReadDir(g.root()); len(left) > 0 {
		g.Fatalf("killed at call %d of %s it left %v, which delete -f did not remove", n, calls, left)
	}
	g.noCgroup()
	if err := r.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		g.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		g.Fatalf("killed at call %d of %s it left a process: %v", n, calls, err)
	}
	return ended == nil
}

// What a bundle holds, or is, that is no bundle: one line, and nothing is made.
func TestBadBundles(t *testing.T) {
	for name, c := range map[string]struct {
		text, want string
	}{
		"empty":       {"", "unexpected end of JSON"},
		"no JSON":     {"{", "unexpected end of JSON"},
		"a list":      {"[]", "cannot unmarshal array"},
		"no version":  {"{}", `ociVersion: "" is not a version`},
		"version 2":   {`{"ociVersion":"2.0.0"}`, `ociVersion: "2.0.0"`},
		"nothing":     {`{"ociVersion":"1.0.0"}`, "missing"},
		"a wrong uid": {`{"ociVersion":"1.0.0","process":{"user":{"uid":-1}}}`, "process.user.uid: number -1"},
		"the root of cgroups": {
			`{"ociVersion":"1.0.0","process":{"args":["x"],"cwd":"/"},"root":{"path":"rootfs"},"linux":{"cgroupsPath":"/../"}}`,
			"the root of all cgroups",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGround(t, nil)
			if err := os.WriteFile(filepath.Join(g.dir, "config.json"), []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
			g.fails(125, c.want, "run", g.id)
			if left, _ := os.ReadDir(g.root()); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
	g := newGround(t, nil)
	g.fails(125, "cannot read bundle", "run", "-b", "/nosuch", g.id)
	if err := os.WriteFile(filepath.Join(g.dir, "big.json"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(g.dir, "big.json"), 1<<40); err != nil {
		t.Fatal(err)
	}
	g.fails(125, "larger than", "run", "-f", "big.json", g.id)
	for _, id := range []string{"", ".", "..", "a/b", "../x", "a b", strings.Repeat("x", 2000)} {
		g.fails(125, "cannot name a container", "run", id)
	}
}

// A bundle may go while its container runs.
func TestBundleRemoved(t *testing.T) {
	g := newGround(t, func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "cat >" + t.TempDir() + "/stopped"}}}}
	})
	bundle := filepath.Join(g.dir, "bundle")
	if err := os.Mkdir(bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"rootfs", "config.json"} {
		if err := os.Rename(filepath.Join(g.dir, name), filepath.Join(bundle, name)); err != nil {
			t.Fatal(err)
		}
	}
	g.must("run", "-d", "-b", bundle, g.id)
	if err := os.RemoveAll(bundle); err != nil {
		t.Fatal(err)
	}
	g.status(specs.StateRunning)
	g.must("kill", g.id, "KILL")
	g.until("it stopped", g.stopped)
	g.must("delete", g.id)
}

// Two containers in one cgroup would be limited and killed together.
func TestCgroupInUse(t *testing.T) {
	g := newGround(t, nil)
	g.must("run", "-d", "-b", g.dir, g.id)
	code, out, told := g.oci("run", "-b", g.dir, g.id+"-2")
	if code != 125 || !strings.Contains(told, "processes live in cgroup") {
		t.Errorf("exit code %d, %q, %q", code, out, told)
	}
	g.status(specs.StateRunning)
}

// What cannot be honoured is refused by its name.
func TestRefusedOptions(t *testing.T) {
	g := newGround(t, nil)
	for _, c := range []struct {
		want string
		args []string
	}{
		{"--no-pivot", []string{"create", "--no-pivot", g.id}},
		{"--criu", []string{"--criu", "/bin/criu", "list"}},
		{"--l3-cache-schema", []string{"update", "--l3-cache-schema", "x", g.id}},
		{"--kernel-memory", []string{"update", "--kernel-memory", "1", g.id}},
		{"choose one", []string{"--systemd-cgroup", "--cgroup-manager=disabled", "list"}},
		{"unrecognized option '--nosuch'", []string{"list", "--nosuch"}},
		{`no command "checkpoint"`, []string{"checkpoint", g.id}},
		{"--console-socket", []string{"create", "--console-socket", "/x", g.id}},
	} {
		g.fails(1, c.want, c.args...)
	}
}

// A host may leave a process few descriptors.
func TestFewDescriptors(t *testing.T) {
	g := newGround(t, func(s *specs.Spec) { s.Process.Rlimits = nil }, "sh", "-c", "exit 7")
	inner := g.command("run", g.id)
	cmd := osexec.Command("sh", append([]string{"-c", `ulimit -n 150 && exec "$@"`, "sh"}, inner.Args...)...)
	cmd.Env, cmd.Dir = inner.Env, inner.Dir
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("exit code %d: %s", cmd.ProcessState.ExitCode(), out)
	}
}

func TestLog(t *testing.T) {
	g := newGround(t, nil)
	log := filepath.Join(g.dir, "log")
	g.fails(1, "does not exist", "--log", log, "--log-format=json", "state", "nosuch")
	g.fails(1, "does not exist", "--log", log, "state", "nosuch")
	data, err := os.ReadFile(log)
	lines := bytes.Split(data, []byte("\n"))
	if err != nil || len(lines) != 3 {
		t.Fatalf("%q, %v", data, err)
	}
	if !bytes.HasPrefix(lines[0], []byte(`{"level":"error","msg":"container nosuch does not exist","time":"`)) {
		t.Errorf("as JSON: %s", lines[0])
	}
	if !bytes.Contains(lines[1], []byte(`level=error msg="container nosuch does not exist"`)) {
		t.Errorf("as text: %s", lines[1])
	}
}

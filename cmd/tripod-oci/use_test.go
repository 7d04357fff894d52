package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"
)

// limitOf reads a limit of this ground's cgroup, as v1 or v2 has it.
func (g *ground) limitOf(v1, v2 string) string {
	g.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/*/" + g.id + "/" + v1, "/sys/fs/cgroup/" + g.id + "/" + v2} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			data, err := os.ReadFile(found[0])
			if err != nil {
				g.Fatal(err)
			}
			return strings.TrimSpace(string(data))
		}
	}
	g.Fatalf("no %s and no %s of the container", v1, v2)
	return ""
}

func TestUpdate(t *testing.T) {
	g := newGround(t, nil)
	g.must("run", "-d", "-b", g.dir, g.id)
	g.must("update", "--memory", "64m", "--pids-limit", "77", g.id)
	if m, p := g.limitOf("memory.limit_in_bytes", "memory.max"), g.limitOf("pids.max", "pids.max"); m != "67108864" || p != "77" {
		t.Errorf("memory %s, pids %s", m, p)
	}
	cmd := g.command("update", "-r", "-", g.id)
	cmd.Stdin = strings.NewReader(`{"pids":{"limit":78}}`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	if p := g.limitOf("pids.max", "pids.max"); p != "78" {
		t.Errorf("pids %s, want 78", p)
	}
	g.fails(1, "cannot update container", "update", "--cpuset-cpus", "5000", g.id)
	g.must("kill", g.id, "KILL")
	g.until("it stopped", g.stopped)
	g.fails(1, "container not running", "update", "--pids-limit", "5", g.id)
}

func TestEvents(t *testing.T) {
	g := newGround(t, func(s *specs.Spec) {
		limit := int64(16 << 20)
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit}
	}, "sh", "-c", "sleep 1000")
	g.must("run", "-d", "-b", g.dir, g.id)
	var e struct {
		Type, ID string
		Data     struct {
			Pids   struct{ Current int }
			Memory struct{ Usage struct{ Limit uint64 } }
		}
	}
	if err := json.Unmarshal([]byte(g.must("events", "--stats", g.id)), &e); err != nil {
		t.Fatal(err)
	}
	if e.Type != "stats" || e.ID != g.id || e.Data.Pids.Current < 1 || e.Data.Memory.Usage.Limit != 16<<20 {
		t.Errorf("stats %+v", e)
	}
	cmd := g.command("events", "--interval", "20ms", g.id)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	// A shell keeps what it reads: this one runs out of memory.
	hungry := false
	seen := map[string]int{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		if seen[e.Type]++; seen["stats"] >= 2 && !hungry {
			hungry = true
			_, _, _ = g.oci("exec", g.id, "sh", "-c", "a=x; while :; do a=$a$a; done")
		}
		if seen["oom"] > 0 {
			break
		}
	}
	if seen["oom"] == 0 || seen["stats"] < 2 {
		t.Errorf("events %v", seen)
	}
	g.must("kill", g.id, "KILL")
	go func() { _, _ = bufio.NewReader(out).WriteTo(discard{}) }()
	if err := cmd.Wait(); err != nil {
		t.Errorf("events of a container that ended: %v", err)
	}
	for _, bad := range []string{"0", "x", "-1s"} {
		g.fails(1, "--interval", "events", "--interval", bad, g.id)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func TestList(t *testing.T) {
	g := newGround(t, nil)
	if out := g.must("list", "-f", "json"); out != "[]\n" {
		t.Errorf("nothing is listed as %q", out)
	}
	g.must("create", "-b", g.dir, g.id)
	var list []containerState
	if err := json.Unmarshal([]byte(g.must("list", "--format", "json")), &list); err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if s := list[0]; s.ID != g.id || s.Status != specs.StateCreated || s.Owner != "root" || s.Rootfs != filepath.Join(g.dir, "rootfs") || s.Bundle != g.dir {
		t.Errorf("%+v", s)
	}
	if out := g.must("list", "-q"); out != g.id+"\n" {
		t.Errorf("%q", out)
	}
	if out := g.must("list"); !strings.HasPrefix(out, "ID  ") || !strings.Contains(out, "created") {
		t.Errorf("%q", out)
	}
}

// The fields of a state are those of runc's.
func TestStateFields(t *testing.T) {
	g := newGround(t, func(s *specs.Spec) { s.Annotations = map[string]string{"a": "b"} })
	g.must("create", "-b", g.dir, g.id)
	var got map[string]any
	if err := json.Unmarshal([]byte(g.must("state", g.id)), &got); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range got {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := "[annotations bundle created id ociVersion owner pid rootfs status]"; fmt.Sprint(names) != want {
		t.Errorf("%v, want %s", names, want)
	}
}

// What spec writes, this runtime runs, and runc takes it for what it is.
func TestSpec(t *testing.T) {
	g := newGround(t, nil)
	if err := os.Remove(filepath.Join(g.dir, "config.json")); err != nil {
		t.Fatal(err)
	}
	g.must("spec")
	g.fails(1, "it is there already", "spec")
	data, err := os.ReadFile(filepath.Join(g.dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	s := &specs.Spec{}
	if err := json.Unmarshal(data, s); err != nil {
		t.Fatal(err)
	}
	s.Process.Terminal, s.Process.Args, s.Linux.CgroupsPath = false, []string{"echo", "works"}, "/"+g.id
	g.config(s)
	if out := g.must("run", g.id); out != "works\n" {
		t.Errorf("%q", out)
	}
	g.must("spec", "--rootless", "-b", g.dir, "-f", "rootless.json")
	data, err = os.ReadFile(filepath.Join(g.dir, "rootless.json"))
	if err != nil || !strings.Contains(string(data), `"uidMappings"`) || strings.Contains(string(data), `"type": "network"`) {
		t.Errorf("%s, %v", data, err)
	}
}

func TestFeatures(t *testing.T) {
	var f features.Features
	if err := json.Unmarshal([]byte(printed(t, func() int { return command([]string{"features"}) })), &f); err != nil {
		t.Fatal(err)
	}
	if f.OCIVersionMin != "1.0.0" || f.OCIVersionMax != specs.Version || len(f.Hooks) != 6 || !slices.Contains(f.MountOptions, "rro") || !slices.IsSorted(f.MountOptions) {
		t.Errorf("%+v", f)
	}
}

// Flags that podman's conmon, containerd's shim and Docker pass are taken where they stand.
func TestCallersWords(t *testing.T) {
	g := newGround(t, nil)
	log := filepath.Join(g.dir, "log.json")
	pid := filepath.Join(g.dir, "pid")
	process := filepath.Join(g.dir, "process.json")
	if err := os.WriteFile(process, []byte(`{"args":["sh","-c","exit 0"],"cwd":"/","env":["PATH=/bin"]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	g.must("--log", log, "--log-format", "json", "create", "--bundle", g.dir, "--no-new-keyring", "--no-subreaper", "--pid-file", pid, g.id)
	g.must("--log-format=json", "--log="+log, "start", g.id)
	g.must("--log", log, "exec", "--process", process, "--detach", "--pid-file", pid, g.id)
	g.must("exec", "--pid-file", pid, "--process", process, g.id)
	g.must("kill", "--all", g.id, "9")
	g.until("it stopped", g.stopped)
	g.must("delete", "--force", g.id)
	if data, err := os.ReadFile(log); len(data) > 0 && err == nil {
		t.Errorf("logged %s", data)
	}
}

// A process may go into a cgroup below the container's, if that is there.
func TestExecBelow(t *testing.T) {
	g := newGround(t, nil)
	g.must("run", "-d", "-b", g.dir, g.id)
	g.fails(125, "no such file or directory", "exec", "--cgroup", "sub", g.id, "true")
	g.fails(125, "cannot use cgroup path", "exec", "--cgroup", "../x", g.id, "true")
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + g.id)
	if len(groups) == 0 {
		groups = []string{"/sys/fs/cgroup/" + g.id}
	}
	for _, dir := range groups {
		if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // a new v1 cpuset has none, and takes no process then
			if text, err := os.ReadFile(filepath.Join(dir, file)); err == nil && len(text) > 1 {
				_ = os.WriteFile(filepath.Join(dir, "sub", file), text, 0)
			}
		}
	}
	g.must("exec", "--cgroup", "/sub", g.id, "sh", "-c", "exit 0")
}

// A session keyring is made or kept.
func TestKeyring(t *testing.T) {
	g := newGround(t, nil, "sh", "-c", "exit 0")
	calls := func(args ...string) string {
		t.Helper()
		inner := g.command(append(args, g.id)...)
		trace := filepath.Join(g.dir, "trace")
		cmd := osexec.Command("strace", append([]string{"-f", "-qq", "-e", "trace=keyctl", "-o", trace}, inner.Args...)...)
		cmd.Env, cmd.Dir = inner.Env, g.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s, %v", out, err)
		}
		data, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if !strings.Contains(calls("run"), "KEYCTL_JOIN_SESSION_KEYRING") || strings.Contains(calls("run", "--no-new-keyring"), "KEYCTL_JOIN_SESSION_KEYRING") {
		t.Error("--no-new-keyring makes no difference, or the wrong one")
	}
}

// A pipe is given to the container's user, /dev/null never (CVE-2026-88265).
func TestPipesAreGiven(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if got := pipes([3]*os.File{null, w, null}); got != [3]bool{false, true, false} {
		t.Errorf("%v", got)
	}
	g := newGround(t, func(s *specs.Spec) { s.Process.User = specs.User{UID: 1234, GID: 5} }, "sh", "-c", "echo anew >/dev/stdout")
	cmd := g.command("run", g.id)
	if out, err := cmd.Output(); err != nil || string(out) != "anew\n" {
		t.Errorf("%q, %v", out, err)
	}
	var st unix.Stat_t
	if err := unix.Stat("/dev/null", &st); err != nil || st.Uid != 0 {
		t.Errorf("/dev/null belongs to %d (%v)", st.Uid, err)
	}
}

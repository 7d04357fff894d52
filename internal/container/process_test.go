package container

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// applets adds busybox's to a root.
func applets(t *testing.T, root string, names ...string) {
	t.Helper()
	for _, n := range names {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", n)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestScheduler reads back from the kernel what each policy set: /proc/PID/stat has nice, priority and policy.
func TestScheduler(t *testing.T) {
	const stat = "set -- $(cat /proc/self/stat); shift 18; echo nice $1 priority ${22} policy ${23}"
	for _, c := range []struct {
		s    specs.Scheduler
		want string
	}{
		{specs.Scheduler{Policy: specs.SchedOther, Nice: 7}, "nice 7 priority 0 policy 0\n"},
		{specs.Scheduler{Policy: specs.SchedOther, Nice: -7}, "nice -7 priority 0 policy 0\n"},
		{specs.Scheduler{Policy: specs.SchedFIFO, Priority: 3}, "nice 0 priority 3 policy 1\n"},
		{specs.Scheduler{Policy: specs.SchedRR, Priority: 99}, "nice 0 priority 99 policy 2\n"},
		{specs.Scheduler{Policy: specs.SchedRR, Priority: 4, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}, "nice 0 priority 0 policy 0\n"},
		{specs.Scheduler{Policy: specs.SchedBatch, Nice: 2}, "nice 2 priority 0 policy 3\n"},
		{specs.Scheduler{Policy: specs.SchedIdle}, "nice 0 priority 0 policy 5\n"},
	} {
		spec := sample("sh", "-c", stat)
		spec.Process.Scheduler = &c.s
		if _, err := os.Stat("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"); err == nil && c.s.Policy != specs.SchedOther {
			// A kernel that shares realtime among groups gives a new one nothing.
			run, period := int64(10000), uint64(1000000)
			spec.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimeRuntime: &run, RealtimePeriod: &period}}
		}
		out, _, err := runs(t, Config{Spec: spec})
		if err != nil || out != c.want {
			t.Errorf("%+v: %q, %v; want %q", c.s, out, err, c.want)
		}
	}
	// A deadline's process may not fork: the shell's cat would fail.
	spec := sample("grep", "-o", "^policy.*6", "/proc/self/sched")
	spec.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 1e6, Deadline: 1e7, Period: 1e7}
	if out, _, err := runs(t, Config{Spec: spec}); err != nil || strings.Join(strings.Fields(out), "") != "policy:6" {
		t.Errorf("deadline: %q, %v", out, err)
	}
	spec.Process.Scheduler.Runtime = 1e9 // more than the deadline: the kernel's refusal names the field
	if _, _, err := runs(t, Config{Spec: spec}); err == nil || !strings.Contains(err.Error(), "process.scheduler") {
		t.Errorf("error %v", err)
	}
}

func TestIOPriority(t *testing.T) {
	for _, c := range []struct {
		class specs.IOPriorityClass
		level int
		want  string
	}{
		{specs.IOPRIO_CLASS_RT, 0, "realtime: prio 0\n"},
		{specs.IOPRIO_CLASS_BE, 5, "best-effort: prio 5\n"},
		{specs.IOPRIO_CLASS_IDLE, 4, "idle\n"},
	} {
		spec := sample("ionice", "-p", "0")
		spec.Process.IOPriority = &specs.LinuxIOPriority{Class: c.class, Priority: c.level}
		root := layers(t)
		applets(t, root.Lower[1], "ionice")
		if out, _, err := runs(t, Config{Spec: spec, Root: root}); err != nil || !strings.HasPrefix(out, strings.TrimSpace(c.want)) {
			t.Errorf("%s %d: %q, %v; want %q", c.class, c.level, out, err, c.want)
		}
	}
}

func TestPersonality(t *testing.T) {
	spec := sample("uname", "-m")
	spec.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
	root := layers(t)
	applets(t, root.Lower[1], "uname")
	out, _, err := runs(t, Config{Spec: spec, Root: root})
	if err != nil || out != "i686\n" && out != "armv8l\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestAmbientCapabilities(t *testing.T) {
	spec := sample("grep", "-E", "Cap(Inh|Prm|Eff|Amb)", "/proc/self/status")
	spec.Process.User.UID = 1000
	kill := []string{"CAP_KILL"}
	spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: kill, Permitted: kill, Effective: kill, Inheritable: kill, Ambient: kill}
	want := "CapInh:\t0000000000000020\nCapPrm:\t0000000000000020\nCapEff:\t0000000000000020\nCapAmb:\t0000000000000020\n"
	if out, _, err := runs(t, Config{Spec: spec}); err != nil || out != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
	var warned []string
	spec.Process.Capabilities.Inheritable = nil
	spec.Process.Capabilities.Bounding = append(kill, "CAP_FLY")
	out, _, err := runs(t, Config{Spec: spec, Warn: func(err error) { warned = append(warned, err.Error()) }})
	if err != nil || !strings.Contains(out, "CapAmb:\t0000000000000000\n") || len(warned) != 2 {
		t.Errorf("%q, %v, warnings %q", out, err, warned)
	}
}

// TestRlimits: every limit that Linux has, as the process sees it.
func TestRlimits(t *testing.T) {
	var want []string
	spec := sample("cat", "/proc/self/limits")
	spec.Process.Rlimits = nil
	for i, n := range []string{
		"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
	} {
		var r unix.Rlimit
		if err := unix.Getrlimit(i, &r); err != nil {
			t.Fatal(err)
		}
		hard := min(r.Max, 1<<30+uint64(i)) // without CAP_SYS_RESOURCE a limit only goes down
		soft := min(hard, 1<<29+uint64(i))
		spec.Process.Rlimits = append(spec.Process.Rlimits, specs.POSIXRlimit{Type: "RLIMIT_" + n, Soft: soft, Hard: hard})
		want = append(want, fmt.Sprintf("%d %d", soft, hard))
	}
	out, _, err := runs(t, Config{Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(out), "\n")[1:] {
		f := strings.Fields(line[len("Max realtime timeout      "):])
		if got := f[0] + " " + f[1]; got != want[i] {
			t.Errorf("%s: want %s", line, want[i])
		}
	}
}

func TestNoLabels(t *testing.T) {
	if l := labels(&specs.Process{ApparmorProfile: "x", SelinuxLabel: "x"}, "x"); l.AppArmor || l.SELinux {
		t.Skip("this host has a security module that takes labels; the machine's tests have the other half")
	}
	for field, change := range map[string]func(*specs.Spec){
		"process.apparmorProfile": func(s *specs.Spec) { s.Process.ApparmorProfile = "docker-default" },
		"process.selinuxLabel":    func(s *specs.Spec) { s.Process.SelinuxLabel = "a:b:c:s0" },
		"linux.mountLabel":        func(s *specs.Spec) { s.Linux.MountLabel = "a:b:c:s0" },
	} {
		spec := sample("true")
		change(spec)
		if _, _, err := runs(t, Config{Spec: spec}); err == nil || !strings.HasPrefix(err.Error(), field+": this host has no") {
			t.Errorf("error %v", err)
		}
	}
}

// TestExecAffinity: an exec runs where it is told to, its init does not.
func TestExecAffinity(t *testing.T) {
	spec := sample("sleep", "1000")
	spec.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "1"}
	cfg := Config{ID: "x", Spec: spec, Host: look(t), Root: layers(t), CgroupPath: cgroupName(t)}
	c, err := Create(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Kill()
		_, _ = c.Wait()
		if err := c.Delete(); err != nil {
			t.Error(err)
		}
		gone(t, cfg)
	}()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	cpus := func(a *specs.CPUAffinity) string {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		proc := *spec.Process
		proc.Args, proc.ExecCPUAffinity = []string{"grep", "-h", "Cpus_allowed_list\\|pids", "/proc/self/status", "/proc/self/cgroup"}, a
		p, err := c.Exec(ExecConfig{Process: &proc, Stdio: [3]*os.File{nil, w, w}})
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		out, _ := io.ReadAll(r)
		if _, err := p.Wait(); err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(string(out), "\n")
		return strings.TrimPrefix(line, "Cpus_allowed_list:\t")
	}
	if got := cpus(nil); got != "1" {
		t.Errorf("by the container's: %q, want 1", got)
	}
	// Without a last word it is the kernel's: before Linux 6.2 a cgroup v2 gives all of its CPUs to who enters.
	if got := cpus(&specs.CPUAffinity{Initial: "0"}); got != "0" && got != "0-1" {
		t.Errorf("by its own: %q, want 0", got)
	}
	if got := cpus(&specs.CPUAffinity{Final: "0"}); got != "0" {
		t.Errorf("by its own last: %q, want 0", got)
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Pid))
	if err != nil || !strings.Contains(string(data), "Cpus_allowed_list:\t0-") {
		t.Errorf("init: %s, %v", data, err)
	}
}

// TestReadSpec: a version that is not ours, and a value of the wrong type, are named.
func TestReadSpec(t *testing.T) {
	for text, want := range map[string]string{
		`{"ociVersion":"1.0.0"}`: "", `{"ociVersion":"1.0.2-dev"}`: "", `{"ociVersion":"1.1.0+dev"}`: "ociVersion", `{"ociVersion":"1.2.1"}`: "", `{"ociVersion":"1.3.7"}`: "",
		`{"ociVersion":"1.4.0"}`: `ociVersion: "1.4.0" is not a version from 1.0.0 to 1.3.x`, `{"ociVersion":"2.0.0"}`: "ociVersion", `{"ociVersion":"0.9.0"}`: "ociVersion",
		`{"ociVersion":"1"}`: "ociVersion", `{"ociVersion":"1.0.0x"}`: "ociVersion", `{}`: "ociVersion", `{"ociVersion":1}`: "ociVersion: number does not fit, it must be string",
		`{"ociVersion":"1.0.0","process":{"user":{"uid":-1}}}`:                            "process.user.uid: number -1 does not fit, it must be uint32",
		`{"ociVersion":"1.0.0","process":{"args":"sh"}}`:                                  "process.args: string does not fit, it must be []string",
		`{"ociVersion":"1.0.0","linux":{"uidMappings":[{"size":4294967296}]}}`:            "linux.uidMappings.size: number 4294967296 does not fit",
		`{"ociVersion":"1.0.0","annotations":{"a":1}}`:                                    "annotations",
		`{"ociVersion":"1.0.0"`:                                                           "unexpected end",
		`[]`:                                                                              "cannot unmarshal array",
		`{"ociVersion":"1.0.0","linux":{"resources":{"memory":{"limit":1e99}}}}`:          "linux.resources.memory.limit: number 1e99 does not fit",
		`{"ociVersion":"1.0.0","process":{"user":{"umask":-5}},"x":"unknown is ignored"}`: "process.user.umask",
		`{"ociVersion":"1.0.0","x":"what is unknown is ignored"}`:                         "",
		`{"ociVersion":"1.0.0","process":{"capabilities":["CAP_KILL"]}}`:                  "process.capabilities: array does not fit",
		`{"ociVersion":"` + strings.Repeat("1.", 40000) + `"}`:                            "ociVersion",
		`{"ociVersion":"1.0.0","process":` + strings.Repeat(`{"user":`, 20000) + `1` + strings.Repeat(`}`, 20000) + `}`: "exceeded max depth",
	} {
		_, _, err := ReadSpec(strings.NewReader(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 300) {
			t.Errorf("%.80s: %.300v, want %q", text, err, want)
		}
	}
}

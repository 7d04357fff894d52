package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// runtime is an OCI runtime's command line.
type runtime struct {
	name   string
	binary string
	flags  []string // before the verb
}

// runtimes are the contenders that run bundles, each with a state folder of its own. The first is ours.
func (f *Field) runtimes() []runtime {
	state := func(name string) []string { return []string{"--root", filepath.Join(f.dir, "state-"+name)} }
	return []runtime{{"tripod-oci", f.oci, state("ours")}, {"crun", "crun", state("crun")}, {"runc", "runc", state("runc")}}
}

// withoutCgroups are the contenders that can leave a container in the caller's cgroup. runc has no such way.
func (f *Field) withoutCgroups() []runtime {
	list := f.runtimes()[:2]
	for i := range list {
		list[i].flags = append(list[i].flags, "--cgroup-manager=disabled")
	}
	return list
}

var serialNumber atomic.Int64

// newID names a container as none was named before.
func newID() string { return "bench-" + strconv.FormatInt(serialNumber.Add(1), 10) }

// do runs one command of the runtime's. What it says goes to a file: of a pipe, the container that it may leave would keep the
// other end.
func (r runtime) do(words ...string) error {
	said, err := os.CreateTemp("", "bench-said")
	if err != nil {
		return err
	}
	defer said.Close()
	if err := os.Remove(said.Name()); err != nil {
		return err
	}
	cmd := exec.Command(r.binary, append(slices.Clone(r.flags), words...)...)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Run(); err != nil {
		text := make([]byte, 4096)
		n, _ := said.ReadAt(text, 0)
		return fmt.Errorf("%s: %w: %s", words[0], err, bytes.TrimSpace(text[:n]))
	}
	return nil
}

// run runs a bundle to its end.
func (r runtime) run(bundle string) error { return r.do("run", "--bundle", bundle, newID()) }

// bundles compares the run of a bundle whose program is true, from the start of the runtime to its end.
func bundles(f *Field) ([]Benchmark, error) {
	withCgroup, err := f.bundle("bundle", "/tripod-bench/one", "/bin/true")
	if err != nil {
		return nil, err
	}
	without, err := f.bundle("bundle-bare", "", "/bin/true")
	if err != nil {
		return nil, err
	}
	run := Benchmark{
		Name: "run a bundle of true, " + cgroupMode(), Unit: "ms", Rounds: 40,
		Targets: []Target{{"crun", atMost, 0.4}, {"runc", atMost, 0.25}},
		After:   removeCgroups,
	}
	for _, r := range f.runtimes() {
		run.Contenders = append(run.Contenders, Contender{Name: r.name, Measure: timed(func() error { return r.run(withCgroup) })})
	}
	bare := Benchmark{
		Name: "run a bundle of true, no cgroup (runc always makes one)", Unit: "ms", Rounds: 40,
		Targets: []Target{{"crun", atMost, 0.4}},
	}
	for _, r := range f.withoutCgroups() {
		bare.Contenders = append(bare.Contenders, Contender{Name: r.name, Measure: timed(func() error { return r.run(without) })})
	}
	return []Benchmark{run, bare}, nil
}

// parallel compares how many containers are started in a second, 200 of them, 8 at a time.
func parallel(f *Field) ([]Benchmark, error) {
	const containers, workers = 200, 8
	var dirs []string
	for w := range workers {
		dir, err := f.bundle("parallel-"+strconv.Itoa(w), "/tripod-bench/worker-"+strconv.Itoa(w), "/bin/true")
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	b := Benchmark{
		Name: "200 containers, 8 at a time, " + cgroupMode(), Unit: "starts/s", More: true, Rounds: 5,
		Targets: []Target{{"crun", timesMore, 3}},
		After:   removeCgroups,
	}
	for _, r := range f.runtimes() {
		b.Contenders = append(b.Contenders, Contender{Name: r.name, Measure: func() (float64, error) {
			took, err := together(containers, workers, func(worker, _ int) error { return r.run(dirs[worker]) })
			if err != nil {
				return 0, err
			}
			return containers / took.Seconds(), nil
		}})
	}
	return []Benchmark{b}, nil
}

// together has workers do n things, and returns how long that took.
func together(n, workers int, do func(worker, thing int) error) (time.Duration, error) {
	var next atomic.Int64
	errs := make([]error, workers)
	var wg sync.WaitGroup
	began := time.Now()
	for w := range workers {
		wg.Go(func() {
			for errs[w] == nil {
				thing := int(next.Add(1)) - 1
				if thing >= n {
					return
				}
				errs[w] = do(w, thing)
			}
		})
	}
	wg.Wait()
	return time.Since(began), errors.Join(errs...)
}

// cgroupMode names how this host has its cgroups, for figures of one mode are not those of another.
func cgroupMode() string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return "cgroup v2"
	}
	return "cgroup v1"
}

// removeCgroups takes away the parent cgroup that the bundles name.
func removeCgroups() error {
	dirs, err := filepath.Glob("/sys/fs/cgroup/*/tripod-bench")
	for _, dir := range append(dirs, "/sys/fs/cgroup/tripod-bench") {
		if rerr := os.Remove(dir); rerr != nil && !os.IsNotExist(rerr) {
			err = rerr
		}
	}
	return err
}

// bundle writes a bundle that asks for what docker run does by default: five namespaces and a cgroup one, Docker's mounts, its
// masked paths, capabilities and seccomp profile, limits on memory, CPU and processes. Without a cgroup there are no limits.
func (f *Field) bundle(name, cgroup string, command ...string) (string, error) {
	dir := filepath.Join(f.dir, name)
	root := filepath.Join(f.dir, "rootfs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := busyboxRoot(root); err != nil {
		return "", err
	}
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"}
	memory, pids, quota, period := int64(256<<20), int64(100), int64(100000), uint64(100000)
	spec := &specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: root, Readonly: true},
		Process: &specs.Process{
			Args: command, Cwd: "/", Env: []string{"PATH=/bin"}, NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}},
		},
		Hostname: "bench",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
		},
		Linux: &specs.Linux{
			CgroupsPath:   cgroup,
			Resources:     &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &memory}, Pids: &specs.LinuxPids{Limit: &pids}, CPU: &specs.LinuxCPU{Quota: &quota, Period: &period}},
			MaskedPaths:   []string{"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			Namespaces:    []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace}, {Type: specs.CgroupNamespace}},
		},
	}
	if cgroup == "" {
		spec.Linux.Resources = nil
	}
	profile, err := seccomp.GetDefaultProfile(spec)
	if err != nil {
		return "", fmt.Errorf("cannot make the seccomp profile: %w", err)
	}
	spec.Linux.Seccomp = profile
	text, err := json.MarshalIndent(spec, "", "\t")
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644)
}

// busyboxRoot makes a root file system of busybox alone.
func busyboxRoot(root string) error {
	if _, err := os.Stat(root); err == nil {
		return nil
	}
	for _, dir := range []string{"bin", "proc", "sys", "dev", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	binary, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return err
	}
	for _, name := range []string{"busybox", "true", "sh", "sleep"} {
		if err := os.WriteFile(filepath.Join(root, "bin", name), binary, 0o755); err != nil {
			return err
		}
	}
	return nil
}

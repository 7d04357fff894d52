package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

var serialNumber atomic.Int64

// run runs a bundle to its end.
func (r runtime) run(bundle string) error {
	id := "bench-" + strconv.FormatInt(serialNumber.Add(1), 10)
	cmd := exec.Command(r.binary, append(append([]string{}, r.flags...), "run", "--bundle", bundle, id)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// bundles compares the run of a bundle whose program is true, from the start of the runtime to its end.
func bundles(f *Field) ([]Benchmark, error) {
	withCgroup, err := f.bundle("bundle", "/tripod-bench/one")
	if err != nil {
		return nil, err
	}
	b := Benchmark{
		Name: "run a bundle of true, " + cgroupMode(), Unit: "ms", Rounds: 40,
		Targets: []Target{{"crun", atMost, 0.5}, {"runc", atMost, 0.25}},
		After:   removeCgroups,
	}
	for _, r := range f.runtimes() {
		b.Contenders = append(b.Contenders, Contender{Name: r.name, Measure: timed(func() error { return r.run(withCgroup) })})
	}
	return []Benchmark{b}, nil
}

// parallel compares how many containers are started in a second, 200 of them, 8 at a time.
func parallel(f *Field) ([]Benchmark, error) {
	const containers, workers = 200, 8
	var dirs []string
	for w := range workers {
		dir, err := f.bundle("parallel-"+strconv.Itoa(w), "/tripod-bench/worker-"+strconv.Itoa(w))
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
			var left atomic.Int64
			left.Store(containers)
			errs := make([]error, workers)
			var wg sync.WaitGroup
			began := time.Now()
			for w := range workers {
				wg.Go(func() {
					for errs[w] == nil && left.Add(-1) >= 0 {
						errs[w] = r.run(dirs[w])
					}
				})
			}
			wg.Wait()
			took := time.Since(began)
			for _, err := range errs {
				if err != nil {
					return 0, err
				}
			}
			return containers / took.Seconds(), nil
		}})
	}
	return []Benchmark{b}, nil
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
// masked paths, capabilities and seccomp profile, limits on memory, CPU and processes.
func (f *Field) bundle(name, cgroup string) (string, error) {
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
			Args: []string{"/bin/true"}, Cwd: "/", Env: []string{"PATH=/bin"}, NoNewPrivileges: true,
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

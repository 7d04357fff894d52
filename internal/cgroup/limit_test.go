package cgroup

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func ptr[T any](v T) *T { return &v }

func TestOOMKill(t *testing.T) {
	h := needHost(t)
	g := newGroup(t, h)
	err := g.Limit(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(32 << 20)), Swap: ptr(int64(32 << 20))}})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := g.OOMKills(); n != 0 || err != nil {
		t.Fatalf("OOMKills before: %d, %v", n, err)
	}
	p := start(t, g, "hog")
	err = p.Wait()
	if ws, ok := p.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		t.Errorf("the hog ended with %v", err)
	}
	until(t, "an OOM kill counted", func() (bool, error) {
		n, err := g.OOMKills()
		return n > 0, err
	})
	s, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	// Charges that must not fail (page tables, slab) may go past the limit by some pages on v2.
	if s.Memory.Usage.Limit != 32<<20 || s.Memory.Usage.Max < 16<<20 || s.Memory.Usage.Max > 33<<20 {
		t.Errorf("memory: %+v", s.Memory)
	}
}

func TestThrottle(t *testing.T) {
	h := needHost(t)
	g := newGroup(t, h)
	err := g.Limit(&specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(5000)), Period: ptr(uint64(100000))}})
	if err != nil {
		t.Fatal(err)
	}
	start(t, g, "spin")
	until(t, "throttling", func() (bool, error) {
		s, err := g.Stats()
		return s.CPU.Throttling.ThrottledPeriods > 2 && s.CPU.Throttling.ThrottledNanos > 0 && s.CPU.Usage.Total > 0 && s.CPU.Throttling.Periods >= s.CPU.Throttling.ThrottledPeriods, err
	})
}

// Memory and memory+swap are raised and lowered together, whichever the kernel wants first.
func TestLimitOrder(t *testing.T) {
	h := needHost(t)
	g := newGroup(t, h)
	for _, mib := range []int64{64, 256, 32, 512, -1, 64} {
		n := mib << 20
		if mib < 0 {
			n = -1
		}
		if err := g.Limit(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &n, Swap: &n}}); err != nil {
			t.Fatal(err)
		}
		if s, err := g.Stats(); err != nil || s.Memory.Usage.Bounded() != uint64(max(n, 0)) {
			t.Errorf("limit %d: %d, %v", n, s.Memory.Usage.Limit, err)
		}
	}
	for _, c := range []specs.LinuxCPU{
		{Quota: ptr(int64(50000)), Period: ptr(uint64(100000)), Burst: ptr(uint64(20000))},
		{Quota: ptr(int64(2000)), Period: ptr(uint64(4000)), Burst: ptr(uint64(2000))},
		{Quota: ptr(int64(400000)), Period: ptr(uint64(200000)), Burst: ptr(uint64(300000))},
		{Quota: ptr(int64(-1)), Burst: ptr(uint64(0))},
	} {
		if err := g.Limit(&specs.LinuxResources{CPU: &c}); err != nil {
			t.Error(err)
		}
	}
}

// A limit on the unified hierarchy enables the controller on the way down.
func TestLimitEnables(t *testing.T) {
	h := needHost(t)
	y, ok := h.unified()
	if !ok || !slices.Contains(y.Controllers, "hugetlb") {
		t.Skip("this host has no hugetlb controller on cgroup v2")
	}
	restoreHugetlb(t, y)
	g := newGroup(t, h)
	err := g.Limit(&specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"/hugetlb.2MB.max", "/hugetlb.2MB.rsvd.max"} {
		if text, err := os.ReadFile(g.Dir(y) + file); err != nil || strings.TrimSpace(string(text)) != "4194304" {
			t.Errorf("%s is %q, %v", file, text, err)
		}
	}
}

// A limit below what is in use is refused and says how much that is.
func TestLimitBelowUse(t *testing.T) {
	h := needHost(t)
	g := newGroup(t, h)
	p := start(t, g, "hold")
	if _, err := p.out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	n := int64(8 << 20)
	err := g.Limit(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &n, Swap: &n, CheckBeforeUpdate: ptr(true)}})
	if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "bytes are in use") {
		t.Errorf("%v", err)
	}
}

// A cgroup on v2 that has processes hands no controller down, and the error says so.
func TestLimitBelowProcesses(t *testing.T) {
	h := needHost(t)
	y, ok := h.unified()
	if !ok || len(y.Controllers) == 0 {
		t.Skip("this host has no controller on cgroup v2")
	}
	r := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20))}}
	if h.Mode == Hybrid {
		r = &specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 0}}}
		if !slices.Contains(y.Controllers, "hugetlb") {
			t.Skip("this host has no hugetlb controller on cgroup v2")
		}
		restoreHugetlb(t, y)
	}
	top := newGroup(t, h)
	start(t, top, "sleep")
	g, err := Make(h, top.Path()+"/below")
	if err != nil {
		t.Fatal(err)
	}
	err = g.Limit(r)
	if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "processes live in the cgroup "+top.Dir(y)+" above it") {
		t.Errorf("%v", err)
	}
}

// restoreHugetlb takes back, after the test, that the host's top cgroup hands hugetlb down.
func restoreHugetlb(t *testing.T, y Hierarchy) {
	t.Helper()
	sub := y.Mountpoint + "/cgroup.subtree_control"
	before, err := os.ReadFile(sub)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(before), "hugetlb") {
		// Registered first, so it runs when the groups are gone.
		t.Cleanup(func() {
			if err := os.WriteFile(sub, []byte("-hugetlb"), 0); err != nil {
				t.Error(err)
			}
		})
	}
}

// A limit that this kernel takes and forgets, as Linux 6 does with that of kernel memory, is an error.
func TestLimitForgotten(t *testing.T) {
	h := needHost(t)
	y, ok := h.v1("memory")
	if !ok {
		t.Skip("this host has no memory controller on cgroup v1")
	}
	g := newGroup(t, h)
	//lint:ignore SA1019 given up by the spec, not by every bundle
	err := g.Limit(&specs.LinuxResources{Memory: &specs.LinuxMemory{Kernel: ptr(int64(8 << 20))}})
	now, rerr := readValue(g.Dir(y) + "/memory.kmem.limit_in_bytes")
	if held := rerr == nil && now == "8388608"; held == (err != nil) {
		t.Errorf("the limit is %s, %v; Limit said %v", now, rerr, err)
	} else if err != nil && !strings.Contains(err.Error(), "memory.kernel") {
		t.Error(err)
	}
	// What an older kernel did not do by itself.
	if err := g.Limit(&specs.LinuxResources{Memory: &specs.LinuxMemory{UseHierarchy: ptr(true), DisableOOMKiller: ptr(true), KernelTCP: ptr(int64(1 << 20)), Swappiness: ptr(uint64(7))}}); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"memory.use_hierarchy": "1", "memory.kmem.tcp.limit_in_bytes": "1048576", "memory.swappiness": "7"} {
		if got, err := readValue(g.Dir(y) + "/" + file); err != nil || got != want {
			t.Errorf("%s is %s, %v", file, got, err)
		}
	}
	for off, want := range map[bool]string{false: "oom_kill_disable 0", true: "oom_kill_disable 1"} {
		if err := g.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{DisableOOMKiller: &off}}); err != nil {
			t.Fatal(err)
		}
		if got, err := readValue(g.Dir(y) + "/memory.oom_control"); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("memory.oom_control is %s, %v", got, err)
		}
	}
}

func TestLimitErrors(t *testing.T) {
	v1 := Host{Mode: V1, Hierarchies: []Hierarchy{{Name: "cpu", Controllers: []string{"cpu"}, Mountpoint: "/nowhere/cpu"}}}
	v2 := Host{Mode: V2, Hierarchies: []Hierarchy{{Name: Unified, Controllers: []string{"cpu", "memory", "io"}, Mountpoint: "/nowhere", Unified: true}}}
	hybrid := Host{Mode: Hybrid, Hierarchies: append(v1.Hierarchies[:1:1], v2.Hierarchies...)}
	for _, c := range []struct {
		host Host
		r    specs.LinuxResources
		want string
	}{
		{v1, specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB"}}}, "cannot limit hugetlb of cgroup tripod/x: hugepageLimits[0]: this host has no hugetlb controller"},
		{v1, specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(1))}}, "cannot limit memory of cgroup tripod/x: memory.limit: this host has no memory controller"},
		{v2, specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0"}}, "cannot limit cpuset of cgroup tripod/x: cpu.cpus: this host has no cpuset controller"},
		{v2, specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: ptr(uint32(1))}}, "cannot limit net_cls of cgroup tripod/x: network.classID: this host has no net_cls controller"},
		{v2, specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr(int64(1))}}, "cannot limit memory of cgroup tripod/x: memory.swap counts memory and swap together, so it needs memory.limit"},
		{v2, specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(9)), Swap: ptr(int64(5))}}, "cannot limit memory of cgroup tripod/x: memory.swap is 5, less than memory.limit 9; it counts both together"},
		{v2, specs.LinuxResources{Memory: &specs.LinuxMemory{Swappiness: ptr(uint64(5))}}, "cannot limit memory of cgroup tripod/x: memory.swappiness has no counterpart on cgroup v2"},
		{v2, specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimeRuntime: ptr(int64(5))}}, "cannot limit cpu of cgroup tripod/x: cpu.realtimeRuntime has no counterpart on cgroup v2"},
		//lint:ignore SA1019 given up by the spec, not by every bundle
		{v2, specs.LinuxResources{Memory: &specs.LinuxMemory{Kernel: ptr(int64(5))}}, "cannot limit memory of cgroup tripod/x: memory.kernel has no counterpart on cgroup v2"},
		{v2, specs.LinuxResources{Memory: &specs.LinuxMemory{DisableOOMKiller: ptr(true)}}, "cannot limit memory of cgroup tripod/x: memory.disableOOMKiller has no counterpart on cgroup v2"},
		{v2, specs.LinuxResources{Memory: &specs.LinuxMemory{UseHierarchy: ptr(false)}}, "cannot limit memory of cgroup tripod/x: memory.useHierarchy is false; cgroup v2 always counts what is below"},
		{v2, specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{LeafWeight: ptr(uint16(50))}}, "cannot limit io of cgroup tripod/x: blockIO.leafWeight has no counterpart on cgroup v2"},
		{v2, specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"mlx5_0": {}}}, "cannot limit rdma of cgroup tripod/x: rdma.mlx5_0: this host has no rdma controller"},
		{v1, specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(1))}}, "cannot limit cpu of cgroup tripod/x: cpu.shares is 1, not 2 to 262144"},
		{v2, specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(5))}}, "cannot limit io of cgroup tripod/x: blockIO.weight is 5, not 10 to 1000"},
		{v1, specs.LinuxResources{Unified: map[string]string{"memory.high": "1"}}, "cannot limit unified of cgroup tripod/x: this host has no cgroup v2 hierarchy"},
		{hybrid, specs.LinuxResources{Unified: map[string]string{"pids.max": "1"}}, "cannot limit pids of cgroup tripod/x: unified.pids.max: this host has no pids controller"},
		{v2, specs.LinuxResources{Unified: map[string]string{"../x.y": "1"}}, `cannot limit unified of cgroup tripod/x: "../x.y" is not CONTROLLER.PARAMETER`},
		{v2, specs.LinuxResources{Unified: map[string]string{"cgroup.procs": "1"}}, `cannot limit unified of cgroup tripod/x: "cgroup.procs" is not a resource`},
		{v1, specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{}}}, "cannot limit devices of cgroup tripod/x: this host has no devices controller"},
		{v2, specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Type: "p"}}}, `cannot limit devices of cgroup tripod/x: devices[0]: type "p" is not a, b, c or u`},
		{v1, specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(5))}}, `cannot limit cpu of cgroup tripod/x: write "5" to cpu.cfs_quota_us (cpu.quota): no such file or directory`},
	} {
		err := Open(c.host, "tripod/x").Limit(&c.r)
		if err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
		if strings.HasSuffix(c.want, "controller") && !errors.Is(err, ErrNoController) {
			t.Errorf("%v is not ErrNoController", err)
		}
	}
}

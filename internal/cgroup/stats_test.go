package cgroup

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"testing"

	"github.com/opencontainers/cgroups"
	libfs "github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// A frozen group's figures are those that runc's library reads.
func TestStatsAgainstLibrary(t *testing.T) {
	h := needHost(t)
	g := newGroup(t, h)
	err := g.Limit(&specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Quota: ptr(int64(20000)), Period: ptr(uint64(100000))},
		Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(96 << 20))},
		Pids:   &specs.LinuxPids{Limit: ptr(int64(50))},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, g, "hold")
	if _, err := p.out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := g.Freeze(true); err != nil {
		t.Fatal(err)
	}
	var m cgroups.Manager
	if h.Mode == V2 {
		m, err = fs2.NewManager(&cgroups.Cgroup{}, g.Dir(h.Hierarchies[0]))
	} else {
		paths := map[string]string{}
		for _, y := range h.Hierarchies {
			for _, c := range y.Controllers {
				if !y.Unified {
					paths[c] = g.Dir(y)
				}
			}
		}
		m, err = libfs.NewManager(&cgroups.Cgroup{Resources: &cgroups.Resources{}}, paths)
	}
	if err != nil {
		t.Fatal(err)
	}
	want, err := m.GetStats()
	if err != nil {
		t.Fatal(err)
	}
	got, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	w, mem := want.CpuStats, want.MemoryStats
	use := func(m cgroups.MemoryData) MemoryUse {
		return MemoryUse{Limit: m.Limit, Usage: m.Usage, Max: m.MaxUsage, Failcnt: m.Failcnt}
	}
	entries := func(list []cgroups.BlkioStatEntry) []IOEntry {
		var all []IOEntry
		for _, e := range list {
			all = append(all, IOEntry(e))
		}
		return all
	}
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"cpu total", got.CPU.Usage.Total, w.CpuUsage.TotalUsage},
		{"cpu kernel", got.CPU.Usage.Kernel, w.CpuUsage.UsageInKernelmode},
		{"cpu user", got.CPU.Usage.User, w.CpuUsage.UsageInUsermode},
		{"percpu", got.CPU.Usage.PerCPU, w.CpuUsage.PercpuUsage},
		{"percpu kernel", slices.Clip(got.CPU.Usage.PerCPUKernel), w.CpuUsage.PercpuUsageInKernelmode},
		{"percpu user", slices.Clip(got.CPU.Usage.PerCPUUser), w.CpuUsage.PercpuUsageInUsermode},
		{"throttling", got.CPU.Throttling, Throttling{w.ThrottlingData.Periods, w.ThrottlingData.ThrottledPeriods, w.ThrottlingData.ThrottledTime}},
		{"memory", got.Memory.Usage, use(mem.Usage)},
		{"swap", got.Memory.Swap, use(mem.SwapUsage)},
		{"kernel TCP", got.Memory.KernelTCP, use(mem.KernelTCPUsage)},
		{"cache", got.Memory.Cache, mem.Cache},
		{"raw", got.Memory.Raw, mem.Stats},
		{"pids", got.Pids, PidsStats(want.PidsStats)},
		{"bytes", got.IO.Bytes, entries(want.BlkioStats.IoServiceBytesRecursive)},
		{"operations", got.IO.Operations, entries(want.BlkioStats.IoServicedRecursive)},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: %+v, the library %+v", c.name, c.got, c.want)
		}
	}
	if h.Mode != V2 && !reflect.DeepEqual(got.CPUSet, CPUSetStats(want.CPUSetStats)) {
		t.Errorf("cpuset: %+v, the library %+v", got.CPUSet, want.CPUSetStats)
	}
	for size, s := range want.HugetlbStats {
		if o, ok := got.Hugetlb[size]; !ok || o != (HugetlbStats{s.Usage, s.MaxUsage, s.Failcnt}) {
			t.Errorf("hugetlb %s: %+v, %v, the library %+v", size, o, ok, s)
		}
	}
	if got.Memory.Usage.Usage < 24<<20 || got.CPU.Usage.Total == 0 || got.Pids.Limit != 50 {
		t.Errorf("%+v", got)
	}
	if (want.CpuStats.PSI == nil) != (got.CPU.PSI == nil) && h.Mode == V2 {
		t.Errorf("psi: %+v, the library %+v", got.CPU.PSI, want.CpuStats.PSI)
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var again Stats
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(again, got) {
		t.Errorf("as JSON %s: %+v, %v", text, again, err)
	}
}

// Every want of memory is told while the watch lasts, and the watch ends with the group.
func TestOOM(t *testing.T) {
	h := needHost(t)
	g := newGroup(t, h)
	err := g.Limit(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(32 << 20)), Swap: ptr(int64(32 << 20))}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	events, err := g.OOM(ctx)
	if err != nil {
		t.Fatal(err)
	}
	start(t, g, "sleep") // so that the hog's end does not empty the group
	for range 2 {
		p := start(t, g, "hog")
		if _, ok := <-events; !ok {
			t.Fatal("the watch ended")
		}
		if err := p.Wait(); err == nil {
			t.Error("the hog was not killed")
		}
	}
	cancel()
	for range events { // what v1 told of one want more than once
	}
	if events, err = g.OOM(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
	for range events {
	}
	if _, err := g.OOM(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a watch of a group that is gone: %v", err)
	}
}

func TestParseSet(t *testing.T) {
	for text, want := range map[string][]uint16{"": nil, "0": {0}, "0-2,7": {0, 1, 2, 7}, "65535": {65535}} {
		if got, err := parseSet(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"-", "1-", "2-1", "a", "65536", "0-65535,0-65535", "0,,1"} {
		if got, err := parseSet(text); err == nil {
			t.Errorf("%q is %d numbers", text, len(got))
		}
	}
}

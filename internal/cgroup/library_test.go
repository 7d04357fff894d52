package cgroup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // the library manages devices only with it
	"github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// A group limited by this package and one limited by opencontainers/cgroups, which runc and kubelet use, have the
// same in every file that holds a setting.
func TestAgainstLibrary(t *testing.T) {
	h := needHost(t)
	r := specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Shares: ptr(uint64(300)), Quota: ptr(int64(30000)), Period: ptr(uint64(60000)), Burst: ptr(uint64(1000)), Cpus: "0", Mems: "0"},
		Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(96 << 20)), Reservation: ptr(int64(32 << 20))},
		Pids:   &specs.LinuxPids{Limit: ptr(int64(77))},
	}
	q := &cgroups.Resources{
		CpuShares: 300, CpuQuota: 30000, CpuPeriod: 60000, CpuBurst: ptr(uint64(1000)), CpusetCpus: "0", CpusetMems: "0",
		CpuWeight: cgroups.ConvertCPUSharesToCgroupV2Value(300),
		Memory:    64 << 20, MemorySwap: 96 << 20, MemoryReservation: 32 << 20, PidsLimit: ptr(int64(77)),
	}
	for _, d := range withDefaults(deviceRules("deny a; allow c 10:229 rw; allow b 7:* r")) {
		rule := &config.Rule{Allow: d.Allow, Type: config.WildcardDevice, Major: -1, Minor: -1, Permissions: "rwm"}
		if d.Type != "a" {
			rule.Type = config.Type(d.Type[0])
			rule.Permissions = config.Permissions(d.Access)
		}
		if d.Major != nil {
			rule.Major = *d.Major
		}
		if d.Minor != nil {
			rule.Minor = *d.Minor
		}
		q.Devices = append(q.Devices, rule)
	}
	r.Devices = deviceRules("deny a; allow c 10:229 rw; allow b 7:* r")

	ours, theirs := newGroup(t, h), newGroup(t, h)
	if err := ours.Limit(&r); err != nil {
		t.Fatal(err)
	}
	var m cgroups.Manager
	var err error
	if h.Mode == V2 {
		m, err = fs2.NewManager(&cgroups.Cgroup{Resources: q}, theirs.Dir(h.Hierarchies[0]))
	} else {
		paths := map[string]string{}
		for _, y := range h.Hierarchies {
			for _, c := range y.Controllers {
				if !y.Unified {
					paths[c] = theirs.Dir(y)
				}
			}
		}
		m, err = fs.NewManager(&cgroups.Cgroup{Resources: q}, paths)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Set(q); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, y := range h.Hierarchies {
		files, err := os.ReadDir(ours.Dir(y))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			setting := strings.Contains(f.Name(), "limit") || strings.Contains(f.Name(), "max") || strings.HasPrefix(f.Name(), "cpu.") ||
				strings.HasPrefix(f.Name(), "cpuset.") || strings.HasPrefix(f.Name(), "devices.") || f.Name() == "memory.low"
			if !setting || strings.Contains(f.Name(), "stat") || strings.Contains(f.Name(), "max_usage") || strings.Contains(f.Name(), "pressure") {
				continue
			}
			a, aerr := os.ReadFile(filepath.Join(ours.Dir(y), f.Name()))
			b, berr := os.ReadFile(filepath.Join(theirs.Dir(y), f.Name()))
			if (aerr != nil) != (berr != nil) || sorted(string(a)) != sorted(string(b)) {
				t.Errorf("%s: %q, %v; the library %q, %v", f.Name(), a, aerr, b, berr)
			}
			if aerr == nil {
				compared++
			}
		}
	}
	if compared < 10 {
		t.Errorf("only %d files were there to compare", compared)
	}
}

// sorted puts the lines of a file in order: devices.list has them in order of their making.
func sorted(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// BenchmarkMake is what a container's cgroups cost: made with the limits of an ordinary Pod, and removed.
func BenchmarkMake(b *testing.B) {
	h, err := Detect()
	if err != nil {
		b.Fatal(err)
	}
	r := &specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Shares: ptr(uint64(512)), Quota: ptr(int64(50000)), Period: ptr(uint64(100000))},
		Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20))},
	}
	if _, err := Make(h, "tripod-bench"); err != nil {
		b.Fatal(err)
	}
	defer Open(h, "tripod-bench").Remove()
	for _, c := range []struct {
		name string
		r    *specs.LinuxResources
	}{{"bare", nil}, {"limits", r}, {"devices", &specs.LinuxResources{Devices: deviceRules("deny a")}}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				g, err := Make(h, "tripod-bench/x")
				if err != nil {
					b.Fatal(err)
				}
				if err := g.Limit(c.r); err != nil {
					b.Fatal(err)
				}
				j, err := g.Join()
				if err != nil {
					b.Fatal(err)
				}
				j.Close()
				if err := g.Remove(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

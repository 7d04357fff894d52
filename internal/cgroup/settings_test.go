package cgroup

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/golden"
)

// hostV1 is an older Debian's: co-mounted controllers, a named hierarchy.
func hostV1() Host {
	var h Host
	h.Mode = V1
	for _, name := range []string{"blkio", "cpu,cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "net_cls,net_prio", "pids", "rdma"} {
		h.Hierarchies = append(h.Hierarchies, Hierarchy{Name: name, Controllers: strings.Split(name, ","), Mountpoint: "/sys/fs/cgroup/" + name})
	}
	h.Hierarchies = append(h.Hierarchies, Hierarchy{Name: "name=systemd", Mountpoint: "/sys/fs/cgroup/systemd"})
	return h
}

func hostV2() Host {
	return Host{Mode: V2, Hierarchies: []Hierarchy{{
		Name: Unified, Controllers: []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"},
		Mountpoint: "/sys/fs/cgroup", Unified: true,
	}}}
}

// hostHybrid has memory and pids on v1, the rest on v2.
func hostHybrid() Host {
	h := Host{Mode: Hybrid}
	for _, name := range []string{"memory", "pids"} {
		h.Hierarchies = append(h.Hierarchies, Hierarchy{Name: name, Controllers: []string{name}, Mountpoint: "/sys/fs/cgroup/" + name})
	}
	return Host{Mode: Hybrid, Hierarchies: append(h.Hierarchies, Hierarchy{
		Name: Unified, Controllers: []string{"cpuset", "cpu", "io", "hugetlb"}, Mountpoint: "/sys/fs/cgroup/unified", Unified: true,
	})}
}

// The goldens show, beside each OCI document, what is written for it on each kind of host.
func TestSettings(t *testing.T) {
	inputs, err := filepath.Glob("testdata/resources/*.json")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no inputs: %v", err)
	}
	for _, input := range inputs {
		text, err := os.ReadFile(input)
		if err != nil {
			t.Fatal(err)
		}
		var r specs.LinuxResources
		if err := json.Unmarshal(text, &r); err != nil {
			t.Fatalf("%s: %v", input, err)
		}
		for _, h := range []Host{hostV1(), hostHybrid(), hostV2()} {
			settings, err := Settings(h, &r)
			var b strings.Builder
			for _, s := range settings {
				fmt.Fprintf(&b, "%s %s = %q from %s", s.Hierarchy, s.File, s.Value, s.Origin)
				if s.Optional {
					b.WriteString(", optional")
				}
				if s.Else != nil {
					fmt.Fprintf(&b, ", else %s = %q", s.Else.File, s.Else.Value)
				}
				b.WriteByte('\n')
			}
			if err != nil {
				fmt.Fprintf(&b, "error: %v\n", err)
			}
			golden.Check(t, strings.TrimSuffix(input, "json")+h.Mode.String(), b.String())
		}
	}
}

// The conversion is the one of the library that runc, kubelet and podman use.
func TestCPUWeight(t *testing.T) {
	for shares := uint64(0); shares <= maxShares+2; shares++ {
		if got, want := CPUWeight(shares), cgroups.ConvertCPUSharesToCgroupV2Value(shares); got != want {
			t.Fatalf("%d shares: weight %d, want %d", shares, got, want)
		}
	}
	for shares, want := range map[uint64]uint64{2: 1, 1024: 100, 262144: 10000} {
		if got := CPUWeight(shares); got != want {
			t.Errorf("%d shares: weight %d, want %d", shares, got, want)
		}
	}
}

func TestSwapV2(t *testing.T) {
	values := []int64{-1, 0, 1, 5, 9, 1 << 40}
	for _, limit := range values {
		for _, swap := range values {
			want, wantErr := cgroups.ConvertMemorySwapToCgroupV2Value(swap, limit)
			got, err := swapV2(&limit, &swap)
			if (err != nil) != (wantErr != nil) {
				t.Errorf("limit %d, swap %d: %v, want %v", limit, swap, err, wantErr)
				continue
			}
			text := orMax(want)
			if want == 0 && swap == 0 {
				text = ""
			}
			if err == nil && got != text {
				t.Errorf("limit %d, swap %d: %q, want %q", limit, swap, got, text)
			}
		}
	}
}

func TestCheckPath(t *testing.T) {
	for path, ok := range map[string]bool{
		"tripod": true, "tripod/9a-B_c.d": true, "tripod/keepers/x": true, "a:b": true,
		"": false, "/": false, "/a": false, "a/": false, "a//b": false, ".": false, "..": false, "a/../b": false, "a/./b": false,
		"a\nb": false, "a\x00": false, "a/\x7f": false, "cgroup.procs": false, "a/cgroup.kill": false,
		strings.Repeat("n", 255): true, strings.Repeat("n", 256): false, strings.Repeat("a/", 2000) + "a": false,
	} {
		if err := CheckPath(path); (err == nil) != ok {
			t.Errorf("%.40q: %v", path, err)
		}
	}
	if _, err := Make(Host{}, "../x"); err == nil {
		t.Error("Make takes ../x")
	}
}

// FuzzSettings: whatever a bundle asks for, only control files of the group itself are written, and none that moves
// or kills processes.
func FuzzSettings(f *testing.F) {
	inputs, _ := filepath.Glob("testdata/resources/*.json")
	for _, input := range inputs {
		text, err := os.ReadFile(input)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var r specs.LinuxResources
		if json.Unmarshal(text, &r) != nil {
			return
		}
		for _, h := range []Host{hostV1(), hostHybrid(), hostV2()} {
			settings, err := Settings(h, &r)
			if err != nil {
				continue
			}
			for _, s := range settings {
				controller, _, ok := strings.Cut(s.File, ".")
				if !ok || strings.ContainsAny(s.File, "/\x00") || controller == "cgroup" && !strings.HasPrefix(s.File, "cgroup.max.") && s.File != "cgroup.pressure" {
					t.Errorf("%+v", s)
				}
			}
		}
		if p, err := devicePolicy(withDefaults(r.Devices)); err == nil {
			prog := deviceProgram(p)
			for i, ins := range prog {
				if next := i + 1 + int(ins.offset); ins.code&7 == 5 || ins.code&7 == 6 {
					if ins.offset < 0 || next > len(prog) {
						t.Errorf("instruction %d jumps to %d of %d", i, next, len(prog))
					}
				}
			}
		}
	})
}

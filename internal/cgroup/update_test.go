package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// files reads every file of the group that holds a setting, in all hierarchies.
func files(t *testing.T, g *Group) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, y := range g.host.Hierarchies {
		entries, err := os.ReadDir(g.Dir(y))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			counts := false
			for _, part := range []string{"stat", "usage", "current", "events", "failcnt", "pressure", "tasks", "procs", "threads", "effective", "numa", "peak", "slabinfo", "shown", "cgroup.", "serviced", "_bytes_recursive", "service_bytes"} {
				counts = counts || strings.Contains(e.Name(), part)
			}
			if text, err := os.ReadFile(filepath.Join(g.Dir(y), e.Name())); err == nil && !counts {
				all[y.Name+" "+e.Name()] = sorted(string(text))
			}
		}
	}
	return all
}

func different(a, b map[string]string) []string {
	var names []string
	for name, text := range a {
		if b[name] != text {
			names = append(names, name+": "+text+" and "+b[name])
		}
	}
	slices.Sort(names)
	return names
}

// An Update changes a live group; one that the kernel refuses in its middle leaves all as it was.
func TestUpdate(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			if _, ok := h.v1("memory"); !ok && h.Mode != V2 {
				t.Skip("the controllers are not on this part of the host")
			}
			g := newGroup(t, h)
			first := specs.LinuxResources{
				CPU:    &specs.LinuxCPU{Shares: ptr(uint64(512)), Quota: ptr(int64(50000)), Period: ptr(uint64(100000)), Cpus: "0", Mems: "0"},
				Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(96 << 20)), Reservation: ptr(int64(32 << 20))},
				Pids:   &specs.LinuxPids{Limit: ptr(int64(50))},
			}
			if err := g.Limit(&first); err != nil {
				t.Fatal(err)
			}
			p := start(t, g, "hold")
			if _, err := p.out.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			// Both ways across each other, as the kernel wants memory <= memory+swap at every moment.
			for _, mib := range []int64{512, 64} {
				err := g.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(mib << 20), Swap: ptr((mib + 32) << 20)}})
				if err != nil {
					t.Fatal(err)
				}
				if s, err := g.Stats(); err != nil || s.Memory.Usage.Limit != uint64(mib<<20) {
					t.Errorf("limit %d, %v; want %d MiB", s.Memory.Usage.Limit, err, mib)
				}
			}
			before := files(t, g)
			if len(before) < 10 {
				t.Fatalf("only %d files to compare", len(before))
			}
			bad := specs.LinuxResources{
				CPU:    &specs.LinuxCPU{Shares: ptr(uint64(2048)), Quota: ptr(int64(-1)), Cpus: "0-1"},
				Memory: &specs.LinuxMemory{Limit: ptr(int64(256 << 20)), Swap: ptr(int64(512 << 20)), Reservation: ptr(int64(1 << 20))},
				Pids:   &specs.LinuxPids{Limit: ptr(int64(9))},
				// No such device: the last file that is written.
				BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{throttle(250, 250, 1<<20)}},
			}
			err := g.Update(&bad)
			if !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "blockIO.throttleReadBpsDevice[0]") {
				t.Errorf("%v", err)
			}
			if names := different(before, files(t, g)); len(names) > 0 {
				t.Errorf("not put back: %s", strings.Join(names, "; "))
			}
			// One half of a quota leaves the other.
			for _, c := range []specs.LinuxCPU{{Quota: ptr(int64(30000))}, {Period: ptr(uint64(60000))}} {
				if err := g.Update(&specs.LinuxResources{CPU: &c}); err != nil {
					t.Fatal(err)
				}
			}
			y, v1 := h.v1("cpu")
			want := map[string]string{"cpu.cfs_quota_us": "30000", "cpu.cfs_period_us": "60000"}
			if !v1 {
				y, _ = h.unified()
				want = map[string]string{"cpu.max": "30000 60000"}
			}
			for file, value := range want {
				if now, err := readValue(g.Dir(y) + "/" + file); err != nil || now != value {
					t.Errorf("%s is %s, %v; want %s", file, now, err, value)
				}
			}
			bad.BlockIO = nil
			if err := g.Update(&bad); err != nil {
				t.Fatal(err)
			}
			if names := different(before, files(t, g)); len(names) < 5 {
				t.Errorf("an update changed only %s", names)
			}
			// 24 MiB are held: the kernel or the check keeps the limit above them.
			before = files(t, g)
			err = g.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(4 << 20)), Swap: ptr(int64(4 << 20)), CheckBeforeUpdate: ptr(true)}})
			if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "bytes are in use") {
				t.Errorf("%v", err)
			}
			if names := different(before, files(t, g)); len(names) > 0 {
				t.Errorf("a refused limit left %s", strings.Join(names, "; "))
			}
		})
	}
}

func throttle(major, minor int64, rate uint64) specs.LinuxThrottleDevice {
	d := specs.LinuxThrottleDevice{Rate: rate}
	d.Major, d.Minor = major, minor
	return d
}

// No access that both the old and the new rules allow is denied in between: the group's /dev/null never fails.
func TestUpdateDevices(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, h)
			if err := g.Limit(&specs.LinuxResources{Devices: deviceRules("deny a; allow c 10:229 rwm")}); err != nil {
				t.Fatal(err)
			}
			p := start(t, g, "devnull")
			for range 50 {
				for _, rules := range []string{"deny a; allow b 7:* r", "deny a; allow c 10:229 rwm"} {
					if err := g.Update(&specs.LinuxResources{Devices: deviceRules(rules)}); err != nil {
						t.Fatal(err)
					}
				}
			}
			_ = p.in.Close()
			if err := p.Wait(); err != nil {
				t.Errorf("an open of /dev/null failed: %v", err)
			}
		})
	}
}

func TestDeviceChanges(t *testing.T) {
	plan := func(rules string) []Setting {
		p := planner{host: hostV1()}
		p.devices(deviceRules(rules))
		return p.out
	}
	listOf := func(rules []Setting) []string {
		var list []string
		for _, s := range rules[1:] {
			list = append(list, s.Value)
		}
		return list
	}
	for _, c := range []struct {
		list []string
		to   string
		want string
	}{
		{listOf(plan("deny a; allow c 10:229 rw")), "deny a; allow c 10:229 rw", ""},
		{listOf(plan("deny a; allow c 10:229 rw")), "deny a; allow b 7:* r", "devices.allow b 7:* r; devices.deny c 10:229 rw"},
		{listOf(plan("deny a; allow c 10:229 rw")), "deny a; allow c 10:229 r", "devices.deny c 10:229 w"},
		{listOf(plan("deny a; allow c 10:229 r")), "deny a; allow c 10:229 rwm", "devices.allow c 10:229 mw"},
		{listOf(plan("deny a")), "allow a; deny c 1:11 r", "devices.allow a; devices.deny c 1:11 r"},
		{[]string{allDevices}, "allow a", "devices.allow a"},
	} {
		var got []string
		for _, s := range deviceChanges(plan(c.to), c.list) {
			got = append(got, s.File+" "+s.Value)
		}
		if text := strings.Join(got, "; "); text != c.want {
			t.Errorf("to %s:\ngot  %s\nwant %s", c.to, text, c.want)
		}
	}
}

func TestCompleteQuota(t *testing.T) {
	for _, c := range []struct {
		host Host
		r    specs.LinuxCPU
		want string
	}{
		{hostV2(), specs.LinuxCPU{Quota: ptr(int64(50))}, "cpu.max 50 9"},
		{hostV2(), specs.LinuxCPU{Quota: ptr(int64(-1))}, "cpu.max max 9"},
		{hostV2(), specs.LinuxCPU{Period: ptr(uint64(50))}, "cpu.max 7 50"},
		{hostV2(), specs.LinuxCPU{Quota: ptr(int64(5)), Period: ptr(uint64(50))}, "cpu.max 5 50"},
		{hostV1(), specs.LinuxCPU{Quota: ptr(int64(50)), Shares: ptr(uint64(5))}, "cpu.shares 5; cpu.cfs_quota_us 50; cpu.cfs_period_us 9"},
		{hostV1(), specs.LinuxCPU{Period: ptr(uint64(50))}, "cpu.cfs_period_us 50; cpu.cfs_quota_us 7"},
		{hostV1(), specs.LinuxCPU{Quota: ptr(int64(5)), Period: ptr(uint64(50))}, "cpu.cfs_period_us 50; cpu.cfs_quota_us 5"},
	} {
		settings, err := Settings(c.host, &specs.LinuxResources{CPU: &c.r})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range completeQuota(settings, func(_ Setting, file string) string {
			return map[string]string{"cpu.max": "7 9", "cpu.cfs_quota_us": "7", "cpu.cfs_period_us": "9"}[file]
		}) {
			got = append(got, s.File+" "+s.Value)
		}
		if text := strings.Join(got, "; "); text != c.want {
			t.Errorf("got %s, want %s", text, c.want)
		}
	}
}

func TestFormerValue(t *testing.T) {
	for _, c := range []struct{ file, value, content, want string }{
		{"memory.limit_in_bytes", "4096", "9223372036854771712\n", "9223372036854771712"},
		{"cpu.max", "5000 10000", "max 100000\n", "max 100000"},
		{"memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "0"},
		{"cpuset.cpus", "0", "\n", "\n"},
		{"blkio.throttle.read_bps_device", "8:0 5", "8:16 7\n8:0 9\n", "8:0 9"},
		{"blkio.throttle.read_bps_device", "8:0 5", "", "8:0 0"},
		{"io.max", "8:0 rbps=5", "8:0 rbps=max wbps=7 riops=max wiops=max\n", "8:0 rbps=max wbps=7 riops=max wiops=max"},
		{"io.max", "8:0 rbps=5", "", "8:0 rbps=max wbps=max riops=max wiops=max"},
		{"io.weight", "50", "default 100\n8:0 20\n", "default 100"},
		{"io.weight", "8:0 50", "default 100\n", "8:0 default"},
		{"io.latency", "8:0 target=5", "", "8:0 target=0"},
		{"net_prio.ifpriomap", "eth0 5", "lo 0\neth0 2\n", "eth0 2"},
		{"net_prio.ifpriomap", "eth9 5", "lo 0\neth0 2\n", ""},
	} {
		if got, _ := formerValue(c.file, c.value, c.content); got != c.want && c.want != "" {
			t.Errorf("%s = %q over %q: %q, want %q", c.file, c.value, c.content, got, c.want)
		} else if _, ok := formerValue(c.file, c.value, c.content); !ok && c.want != "" {
			t.Errorf("%s = %q over %q: nothing", c.file, c.value, c.content)
		}
	}
}

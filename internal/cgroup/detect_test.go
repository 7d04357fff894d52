package cgroup

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

const (
	mountsDebian10 = `25 18 0:23 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
26 25 0:24 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
27 25 0:25 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
30 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:13 - cgroup cgroup rw,cpu,cpuacct
31 25 0:29 / /sys/fs/cgroup/memory rw,nosuid shared:14 - cgroup cgroup rw,memory
99 25 0:29 /docker/x /var/lib/y/sys/fs/cgroup/memory rw,nosuid shared:14 - cgroup cgroup rw,memory
32 25 0:30 / /mnt/with\040space rw,nosuid - cgroup cgroup rw,pids,release_agent=/sbin/cgroup,v1
`
	selfDebian10 = `11:pids:/user.slice
4:memory:/user.slice/a:b
3:cpu,cpuacct:/
1:name=systemd:/user.slice/user-0.slice
0::/user.slice/user-0.slice/session-1.scope
`
)

func TestDetectParse(t *testing.T) {
	for _, c := range []struct {
		name, mounts, self string
		want               string
	}{
		{"hybrid", mountsDebian10, selfDebian10, "hybrid cpu,cpuacct=/sys/fs/cgroup/cpu,cpuacct[cpu cpuacct] memory=/sys/fs/cgroup/memory[memory] name=systemd=/sys/fs/cgroup/systemd[] pids=/mnt/with space[pids] unified=/sys/fs/cgroup[]"},
		{"v2", "30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n", "0::/init.scope\n", "v2 unified=/sys/fs/cgroup[]"},
		{"v2 with tags", "30 24 0:26 / /sys/fs/cgroup rw shared:4 master:5 propagate_from:6 - cgroup2 cgroup2 rw\n", "0::/\n", "v2 unified=/sys/fs/cgroup[]"},
		{"v1", "31 25 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "4:memory:/\n0::/\n", "v1 memory=/sys/fs/cgroup/memory[memory]"},
		{"none", "22 1 0:20 / / rw - overlay overlay rw\n", "0::/\n", "no cgroup hierarchy is mounted"},
		{"garbage", "cgroup - cgroup\n - cgroup2\n1 2 3 4 relative rw - cgroup2 x rw\n\n", ":::\n::\nx", "no cgroup hierarchy is mounted"},
	} {
		h, err := detect(c.mounts, c.self)
		got := h.Mode.String()
		for _, y := range h.Hierarchies {
			got += fmt.Sprintf(" %s=%s%v", y.Name, y.Mountpoint, y.Controllers)
		}
		if err != nil {
			got = err.Error()
		}
		if got = strings.ReplaceAll(got, "=/sys/fs/cgroup/unified[", "=/sys/fs/cgroup["); got != c.want {
			t.Errorf("%s: got  %s\nwant %s", c.name, got, c.want)
		}
	}
}

// What Detect says of this host is so: each hierarchy's mount point has a process list.
func TestDetect(t *testing.T) {
	h, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	for _, y := range h.Hierarchies {
		if _, err := os.Stat(y.Mountpoint + "/cgroup.procs"); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(y.Mountpoint + "/cgroup.controllers"); (err == nil) != y.Unified {
			t.Errorf("%s: unified is %v: %v", y.Mountpoint, y.Unified, err)
		}
	}
}

func FuzzDetect(f *testing.F) {
	f.Add(mountsDebian10, selfDebian10)
	f.Add("30 24 0:26 / /sys\\040fs\\1 rw - cgroup2 cgroup2 rw\n", "0::/\n")
	f.Fuzz(func(t *testing.T, mounts, self string) {
		h, err := detect(mounts, self)
		if err != nil {
			return
		}
		for i, y := range h.Hierarchies {
			if y.Unified != (y.Name == Unified) || y.Unified && i != len(h.Hierarchies)-1 || !strings.HasPrefix(y.Mountpoint, "/") {
				t.Errorf("%+v", h)
			}
			if slices.ContainsFunc(h.Hierarchies[:i], func(o Hierarchy) bool { return o.Name == y.Name }) {
				t.Errorf("%s is there twice: %+v", y.Name, h)
			}
		}
	})
}

// FuzzStats covers the files of counts: memory.stat, cpu.stat, memory.events, cgroup.events, oom_control.
func FuzzStats(f *testing.F) {
	f.Add("usage_usec 5\nnr_throttled 7\n", "nr_throttled")
	f.Add("oom_kill_disable 0\nunder_oom 0\noom_kill 18446744073709551615\n", "oom_kill")
	f.Add("max 0\noom -1\n", "oom")
	f.Fuzz(func(t *testing.T, text, key string) {
		n, err := keyed(text, key)
		if err != nil {
			return
		}
		if n != 0 && !strings.Contains(text, fmt.Sprintf("%s ", key)) {
			t.Errorf("%q in %q is %d", key, text, n)
		}
		if again, err := keyed(fmt.Sprintf("%s %d\n", key, n), key); !strings.Contains(key, "\n") && (err != nil || again != n) {
			t.Errorf("%d came back as %d, %v", n, again, err)
		}
	})
}

func FuzzPIDs(f *testing.F) {
	f.Add("1\n22\n0\n")
	f.Add("-5\n")
	f.Fuzz(func(t *testing.T, text string) {
		pids, err := appendPIDs(nil, text)
		for _, pid := range pids {
			if pid <= 0 && err == nil {
				t.Errorf("process %d out of %q", pid, text)
			}
		}
	})
}

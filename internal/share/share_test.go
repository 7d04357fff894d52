package share

import (
	"os"
	"slices"
	"strings"
	"testing"

	"tripod/internal/ns"
	"tripod/internal/owner"
)

// facts makes a container with namespaces given in the order of ns.Types, 1 being the host's.
func facts(pod, name string, ids ...uint64) Facts {
	c := owner.Container{Runtime: owner.Tripod, Pod: pod, PodUID: "uid-" + pod, Name: name, Sandbox: name == "", Cgroup: "/" + pod + "/" + name}
	f := Facts{Name: c.String(), Container: c, PID: int(ids[0]), Hostname: pod, IDMap: "uid 0 0 4294967295", Sockets: map[uint64]bool{}}
	copy(f.NS[:], ids)
	return f
}

// TestCompare is the table of two Pods: a sidecar in the PID namespace of another container, a container on the host's network,
// and one that may not be looked at.
func TestCompare(t *testing.T) {
	host := facts("host", "", 1, 1, 1, 1, 1, 1, 1, 1)
	host.IDMap = "uid 0 0 4294967295"
	all := []Facts{ //            mnt net ipc user pid uts cgroup time
		facts("web", "", 10, 20, 30, 1, 50, 60, 1, 1),
		facts("web", "nginx", 11, 20, 30, 1, 51, 60, 71, 1),
		facts("web", "shell", 12, 20, 30, 1, 51, 60, 72, 1),
		facts("spy", "spy", 13, 20, 33, 44, 53, 1, 73, 0),
		facts("dead", "x", 14, 0, 0, 0, 0, 0, 0, 0),
	}
	all[3].IDMap = "uid 0 100000 65536"
	for _, i := range []int{1, 2} {
		all[i].Mounts = []Mount{{"8:1", "/vol/data", "/mnt" + all[i].Container.Name, "ext4"}, {"8:1", "/" + all[i].Container.Name, "/own", "ext4"}}
		all[i].Sockets[77] = true
	}
	m := Compare(all, host)
	var got []string
	for _, r := range m.Rows {
		row := r.Name
		for _, kind := range []string{"mnt", "net", "ipc", "uts", "pid", "user", "cgroup", "time", IDMap, Mounts, Sockets} {
			row += " " + r.Cells[kind]
		}
		got = append(got, row)
	}
	want := []string{
		"web/(sandbox) own =spy/spy pod pod own host host host host - -",
		"web/nginx own =spy/spy pod pod =shell host own host host 1 1",
		"web/shell own =spy/spy pod pod =nginx host own host host 1 1",
		"spy/spy own =web/(sandbox) own host own own own ? own - -",
		"dead/x own ? ? ? ? ? ? ? host - -",
	}
	// Within its Pod, the nearest name is the one of the Pod.
	want[0] = strings.Replace(want[0], "=spy/spy", "=nginx", 1)
	want[1] = strings.Replace(want[1], "=spy/spy", "=(sandbox)", 1)
	want[2] = strings.Replace(want[2], "=spy/spy", "=(sandbox)", 1)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(m.Common) != 2 || m.Common[0].What != "ext4 8:1 /vol/data" || m.Common[0].By[1] != (Use{"web/shell", "/mntshell"}) || m.Common[1].What != "socket:[77]" {
		t.Errorf("%+v", m.Common)
	}
	if Shares(all[4], all[4], "net") {
		t.Error("what cannot be read is shared")
	}
	if !Shares(all[0], all[3], "net") || Shares(all[0], all[3], "ipc") || !Shares(all[1], all[2], Mounts) || Shares(all[0], all[1], Sockets) {
		t.Error("Shares")
	}
}

func TestParseMounts(t *testing.T) {
	const text = `22 28 0:20 / /sys rw - sysfs sysfs rw
23 28 0:21 / /proc rw,nosuid shared:12 - proc proc rw
24 23 0:5 /null /proc/kcore rw - devtmpfs udev rw
25 28 8:1 /a\040b /mnt/x\134y rw,relatime shared:1 master:2 - ext4 /dev/sda1 rw
26 28 0:30 / / rw - overlay overlay rw,lowerdir=/x - y
broken line
27 28 8:1 / - ext4
`
	got := parseMounts(text)
	want := []Mount{{"8:1", "/a b", `/mnt/x\y`, "ext4"}, {"0:30", "/", "/", "overlay"}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

// TestHost looks at the host and at ourselves.
func TestHost(t *testing.T) {
	h := Host()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	me, _ := factsOf(os.Getpid(), []int{os.Getpid()})
	if me.NS[ns.Net] == 0 || me.IDMap == "" || len(me.Mounts) == 0 || os.Geteuid() == 0 && me.Hostname != name {
		t.Errorf("%+v", me)
	}
	if h.NS[ns.Mnt] == 0 {
		t.Errorf("%+v", h)
	}
}

func FuzzMounts(f *testing.F) {
	f.Add(`25 28 8:1 /a\040b /mnt\ rw - ext4 /dev/sda1 rw`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range parseMounts(text) {
			if m.Device == "" || m.FSType == "" {
				t.Errorf("%+v", m)
			}
		}
	})
}

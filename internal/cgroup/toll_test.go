package cgroup

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestVictim(t *testing.T) {
	const group = "tripod/uid/hog"
	for _, c := range []struct {
		name    string
		records []string
		want    []Victim
	}{
		{
			"of the group",
			[]string{
				"6,1,5000000,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=hog,mems_allowed=0,oom_memcg=/tripod/uid/hog,task_memcg=/tripod/uid/hog,task=sh,pid=30703,uid=7\n",
				"3,2,5000001,-;Memory cgroup out of memory: Killed process 30703 (sh) total-vm:26852kB, anon-rss:16068kB, file-rss:1840kB, shmem-rss:0kB, UID:0\n",
			},
			[]Victim{{PID: 30703, Name: "sh", UID: 7, AnonBytes: 16068 << 10}},
		},
		{
			"below it, of the Pod's limit, seen from a deeper mount, with a name that pretends",
			[]string{"6,1,5000000,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/x/tripod/uid,task_memcg=/x/tripod/uid/hog/below,task=a,pid=1,uid=0) ,pid=9,uid=0"},
			[]Victim{{PID: 9, Name: "a,pid=1,uid=0) "}},
		},
		{"of another group", []string{"6,1,5000000,-;oom-kill:constraint=C,task_memcg=/tripod/uid/hog2,task=sh,pid=3,uid=7"}, nil},
		{"too old", []string{"6,1,4999999,-;oom-kill:constraint=C,task_memcg=/tripod/uid/hog,task=sh,pid=3,uid=7"}, nil},
		{"of another process", []string{
			"6,1,5000000,-;oom-kill:constraint=C,task_memcg=/tripod/uid/hog,task=sh,pid=3,uid=7",
			"3,2,5000001,-;Memory cgroup out of memory: Killed process 4 (sh) total-vm:26852kB, anon-rss:16068kB",
		}, []Victim{{PID: 3, Name: "sh", UID: 7}}},
		{"no record", []string{"", ";", "6,1", "6,1,x,-;oom-kill:", "6,1,5000000,-;oom-kill:", "6,1,5000000,-;Killed process "}, nil},
	} {
		var got []Victim
		for _, r := range c.records {
			got = victim(got, r, group, 5*time.Second)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func FuzzVictim(f *testing.F) {
	f.Add("6,1,5000000,-;oom-kill:constraint=C,task_memcg=/a,task=sh,pid=3,uid=7", "3,2,5,-;Killed process 3 (sh) anon-rss:1kB")
	f.Fuzz(func(_ *testing.T, one, two string) { victim(victim(nil, one, "a", 0), two, "a", 0) })
}

// The kernel counts how often a limit was hit, and names whom it killed.
func TestToll(t *testing.T) {
	h := needHost(t)
	forks := newGroup(t, h)
	if err := forks.Limit(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(40))}}); err != nil {
		t.Fatal(err)
	}
	start(t, forks, "bomb")
	until(t, "refused forks", func() (bool, error) {
		toll, err := forks.Toll()
		return toll.PidsHits > 0 && toll.PidsLimit == 40, err
	})
}

func TestVictims(t *testing.T) {
	h := needHost(t)
	g := newGroup(t, h)
	begun := time.Now()
	if err := g.Limit(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(32 << 20)), Swap: ptr(int64(32 << 20))}}); err != nil {
		t.Fatal(err)
	}
	p := start(t, g, "hog")
	_ = p.Wait()
	until(t, "a hit memory limit", func() (bool, error) {
		toll, err := g.Toll()
		return toll.MemoryHits > 0 && toll.MemoryLimit == 32<<20, err
	})
	var found []Victim
	until(t, "the victim", func() (bool, error) {
		var err error
		found, err = g.Victims(begun)
		return len(found) > 0, err
	})
	if v := found[len(found)-1]; v.PID != p.Process.Pid || v.Name == "" || v.AnonBytes < 8<<20 {
		t.Errorf("victim %+v, want process %d", v, p.Process.Pid)
	}
	if old, err := g.Victims(time.Now().Add(time.Hour)); len(old) > 0 || err != nil {
		t.Errorf("victims of the future: %v, %v", old, err)
	}
}

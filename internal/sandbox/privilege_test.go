package sandbox

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestLacks(t *testing.T) {
	const first = "         0          0 4294967295\n"
	for _, c := range []struct {
		name, status, ids string
		uid               int
		want              string
	}{
		{"root", "Name:\tx\nCapEff:\t000001ffffffffff\n", first, 0, ""},
		{"root without CAP_SYS_RESOURCE", "CapEff:\t000001fffeffffff\n", first, 0, ""},
		{"a user", "CapEff:\t0000000000000000\n", first, 1000, "cannot run Pods here: it needs root"},
		{"root of a container", "CapEff:\t00000000a80425fb\n", first, 0, "cannot run Pods here: missing CAP_SYS_ADMIN, CAP_NET_ADMIN"},
		{"root of a user namespace", "CapEff:\t000001ffffffffff\n", "0 1000 1\n", 0, "cannot run Pods here: this process is in a user namespace"},
		{"no proc", "", "", 0, "cannot run Pods here: cannot read CapEff in /proc/self/status"},
	} {
		got := ""
		if err := lacks(c.status, c.ids, c.uid); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// Where nothing refuses them, the probes fail for their arguments alone, and change nothing.
func TestProbes(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("needs root")
	}
	var before, after unix.Utsname
	unix.Uname(&before)
	for _, p := range probes {
		if err := refused(p.call()); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
	}
	if unix.Uname(&after); before != after {
		t.Error("the probes changed the host's name")
	}
}

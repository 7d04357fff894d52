package network

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// steps are the system calls that change something, or ask the kernel to.
var steps = []string{"sendto", "sendmsg", "symlinkat", "renameat", "setns", "openat"}

// attachTraced attaches a Pod from another process, in which strace does something at the n-th call of one kind. It says
// how often that happened (strace counts for each thread), and whether the Pod was attached.
func attachTraced(t *testing.T, h *testHost, ns *netNS, call, what string, n int) (happened int, attached bool) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	inject := fmt.Sprintf("inject=%s:%s:when=%d", call, what, n)
	cmd := exec.Command("strace", "-f", "-qq", "-o", trace, "-e", "trace="+call, "-e", inject, "/proc/self/exe")
	self, err := os.Executable()
	must(t, err)
	cmd.Args[len(cmd.Args)-1] = self
	cmd.Args = append(cmd.Args, h.cfg.Root, h.cfg.RunRoot, h.cfg.HostLock)
	cmd.Env = append(os.Environ(), "TRIPOD_NETWORK_TEST=attach")
	cmd.Stdin = strings.NewReader("a " + ns.path() + " 8080\n")
	out, err := cmd.CombinedOutput()
	log, readErr := os.ReadFile(trace)
	must(t, readErr)
	if err != nil && strings.Contains(string(out), "panic") {
		t.Errorf("%s %d of %s: %s", what, n, call, out)
	}
	return strings.Count(string(log), "(INJECTED)") + strings.Count(string(log), "killed by SIGKILL"), err == nil
}

// everyStep calls f for each call of each kind that Attach makes for the first Pod of a root with a host port, on a host
// that drops forwarded packets.
func everyStep(t *testing.T, what string, f func(t *testing.T, h *testHost, step string, attached bool, times int)) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("needs strace")
	}
	for _, call := range steps {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			for _, iptables := range []string{"iptables-nft", "ip6tables-nft"} {
				tool(t, iptables, "-P", "FORWARD", "DROP")
			}
			first, stride := 1, 1
			if call == "openat" {
				stride = 7 // most of them only read, and many are the Go runtime's
			}
			n := first
			for ; n < 500; n += stride {
				happened, attached := attachTraced(t, h, newNetNS(t), call, what, n)
				if happened == 0 {
					if !attached {
						t.Errorf("%s %d: not touched, and yet it failed", call, n)
					}
					must(t, Detach(context.Background(), h.cfg, "a"))
					break
				}
				f(t, h, fmt.Sprintf("%s %d", call, n), attached, happened)
			}
			if n == first {
				t.Errorf("no %s was seen", call)
			}
			t.Logf("%d places", (n-first)/stride)
		})
	}
}

// Killed at any step, Attach leaves nothing that Sweep does not find, and nothing that hinders the next one.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	everyStep(t, "signal=SIGKILL", func(t *testing.T, h *testHost, step string, _ bool, _ int) {
		if len(step)%2 == 0 {
			must(t, Sweep(context.Background(), h.cfg, func(string) bool { return false }))
			h.empty(t, step+", swept")
			return
		}
		ns := newNetNS(t)
		if _, err := Attach(context.Background(), h.cfg, Request{UID: "a", NetNS: ns.path(), Ports: []Port{{HostPort: 8080, ContainerPort: 80}}}); err != nil {
			t.Errorf("%s: the next Attach: %v", step, err)
		}
		must(t, Detach(context.Background(), h.cfg, "a"))
		h.empty(t, step+", attached again and detached")
	})
}

// Refused at any step, Attach undoes what it did by itself.
func TestRefusedAtEveryStep(t *testing.T) {
	t.Parallel()
	everyStep(t, "error=ENOBUFS", func(t *testing.T, h *testHost, step string, attached bool, times int) {
		if attached { // the step was one that may fail
			must(t, Detach(context.Background(), h.cfg, "a"))
		}
		if times > 1 { // the undoing was refused, too
			must(t, Sweep(context.Background(), h.cfg, func(string) bool { return false }))
		}
		h.empty(t, step)
	})
}

// empty checks that nothing of the root is left in the kernel or on disk, but for what it remembers of itself.
func (h *testHost) empty(t testing.TB, when string) {
	t.Helper()
	for _, l := range Leaks(h.cfg) {
		t.Errorf("%s: left over: %s", when, l)
	}
	for _, dir := range []string{"pods", "addresses"} {
		entries, _ := os.ReadDir(filepath.Join(h.cfg.RunRoot, "network", dir))
		for _, e := range entries {
			t.Errorf("%s: left over: %s/%s", when, dir, e.Name())
		}
	}
	for _, line := range strings.Split(tool(t, "ip", "-o", "link"), "\n") {
		if strings.Contains(line, ": "+bridgePrefix) || strings.Contains(line, ": "+vethPrefix) {
			t.Errorf("%s: left over: %s", when, line)
		}
	}
	if rules := tool(t, "nft", "list", "ruleset"); strings.Contains(rules, tablePrefix) {
		t.Errorf("%s: left over:\n%s", when, rules)
	}
}

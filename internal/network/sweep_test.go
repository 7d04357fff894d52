package network

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

// Pods that ended without a word: Leaks tells of each thing, Sweep takes it, and living Pods notice nothing.
func TestSweep(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	ctx := context.Background()
	a := h.attach(t, h.cfg, "a", Port{HostPort: 8080, ContainerPort: 80})
	serve(t, a.netNS, "tcp4", to(any4, 80))
	gone := h.attach(t, h.cfg, "gone", Port{HostPort: 8081, ContainerPort: 80})
	lost := h.attach(t, h.cfg, "lost", Port{HostPort: 8082, ContainerPort: 80})
	if l := Leaks(h.cfg); len(l) != 0 {
		t.Fatalf("living pods are told as leaks: %q", l)
	}
	gone.netNS.Close() // the last hold on the namespace
	s, err := open(h.cfg)
	must(t, err)
	must(t, os.Remove(s.podPath("lost")))
	write(t, filepath.Join(s.dir, "pods", ".x.json.123"), "{", 0o600)
	leaks := strings.Join(Leaks(h.cfg), "\n")
	for _, want := range []string{
		"network of pod default/pod-gone: its namespace", "address " + lost.IPs[0].String() + ": leased to pod lost",
		"link " + s.veth("lost"), "host port 8082/tcp: its pod default/pod-lost",
	} {
		if !strings.Contains(leaks, want) {
			t.Errorf("Leaks does not tell %q:\n%s", want, leaks)
		}
	}
	must(t, Sweep(ctx, h.cfg, func(uid string) bool { return uid == "a" }))
	if l := Leaks(h.cfg); len(l) != 0 {
		t.Errorf("after Sweep: %q", l)
	}
	if torn, _ := filepath.Glob(filepath.Join(s.dir, "pods", ".*")); len(torn) != 0 {
		t.Errorf("after Sweep: %q", torn)
	}
	must(t, Check(ctx, h.cfg, "a"))
	reaches(t, "outside to the living pod", h.outside, "tcp4", to(hostAddress, 8080), outsideAddress)
	h.attach(t, h.cfg, "new", Port{HostPort: 8081, ContainerPort: 80}, Port{HostPort: 8082, ContainerPort: 80})
	must(t, Sweep(ctx, h.cfg, func(string) bool { return false }))
	h.empty(t, "after the last")
	must(t, Sweep(ctx, Config{Root: h.cfg.Root, RunRoot: t.TempDir()}, func(string) bool { return false }))
}

// A root whose directories were removed while its Pods ran is told of by every other tripod.
func TestLeaksOfAnotherRoot(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	other := h.cfg
	dir := t.TempDir()
	other.Root, other.RunRoot = filepath.Join(dir, "root"), filepath.Join(dir, "run")
	must(t, os.MkdirAll(other.Root, 0o700))
	h.attach(t, other, "a")
	if l := Leaks(h.cfg); len(l) != 0 {
		t.Errorf("another root's living network is told as a leak: %q", l)
	}
	must(t, os.Rename(other.Root, other.Root+".moved"))
	if l := strings.Join(Leaks(h.cfg), "\n"); !strings.Contains(l, "its root "+other.Root+" is gone") {
		t.Errorf("got %q", l)
	}
	must(t, Detach(context.Background(), other, "a"))
}

func TestAttachAgain(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	ctx := context.Background()
	a := h.attach(t, h.cfg, "a", Port{HostPort: 8080, ContainerPort: 80})
	req := Request{UID: "a", NetNS: a.path(), Ports: []Port{{HostPort: 8080, ContainerPort: 80}}}
	again, err := Attach(ctx, h.cfg, req)
	must(t, err)
	if !slices.Equal(again.IPs, a.IPs) {
		t.Errorf("the same pod in the same namespace has %v after %v", again.IPs, a.IPs)
	}
	known, err := Lookup(h.cfg, "a")
	must(t, err)
	if !slices.Equal(known.IPs, a.IPs) || known.Gateway != a.Gateway || known.Interface != Interface {
		t.Errorf("Lookup gives %+v", known)
	}
	// Its pause was killed and started anew.
	ns := newNetNS(t)
	req.NetNS = ns.path()
	if _, err := Attach(ctx, h.cfg, req); err != nil {
		t.Errorf("the same pod in a new namespace: %v", err)
	}
	must(t, Check(ctx, h.cfg, "a"))
	s, err := open(h.cfg)
	must(t, err)
	for breakage, command := range map[string][]string{
		"down": {"ip", "link", "set", s.veth("a"), "down"}, "off": {"ip", "link", "set", s.veth("a"), "nomaster"},
	} {
		tool(t, command[0], command[1:]...)
		if err := Check(ctx, h.cfg, "a"); err == nil {
			t.Errorf("Check did not see the link %s", breakage)
		}
		tool(t, "ip", "link", "set", s.veth("a"), "up", "master", s.bridge())
	}
	must(t, Detach(ctx, h.cfg, "a"))
	must(t, Detach(ctx, h.cfg, "a"))
	if _, err := Lookup(h.cfg, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lookup after Detach: %v", err)
	}
	if err := Check(ctx, h.cfg, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Check after Detach: %v", err)
	}
}

// A record of an earlier boot is believed by nobody: its namespace's number may be another's now.
func TestReboot(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	a := h.attach(t, h.cfg, "a")
	s, err := open(h.cfg)
	must(t, err)
	pod, err := s.pod("a")
	must(t, err)
	net, err := s.known()
	must(t, err)
	pod.Boot, net.Boot = "another", "another"
	must(t, s.putPod(pod))
	must(t, s.putKnown(net))
	host, err := openRoute()
	must(t, err)
	defer host.Close()
	must(t, host.deleteLinks(s.veth("a")))
	must(t, host.deleteLinks(s.bridge()))
	tool(t, "nft", "flush", "ruleset")
	if _, err := Lookup(h.cfg, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lookup of an earlier boot: %v", err)
	}
	if _, err := Attach(context.Background(), h.cfg, Request{UID: "b", NetNS: a.path()}); err != nil {
		t.Error(err)
	}
	if leases, err := s.leases(); err != nil || len(leases) != 1 {
		t.Errorf("leases %v, %v", leases, err)
	}
	must(t, Detach(context.Background(), h.cfg, "b"))
}

// Turning on forwarding must not cost the host the default route it has from router advertisements.
func TestForwardingKeepsRouterAdvertisements(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	set := func(name, value string) { _, err := setSysctl(name, value); must(t, err) }
	set("net.ipv4.ip_forward", "0")
	set("net.ipv6.conf.all.forwarding", "0")
	set("net.ipv6.conf.up0.accept_ra", "1")
	a := h.attach(t, h.cfg, "a")
	for name, want := range map[string]string{"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1", "net.ipv6.conf.up0.accept_ra": "2"} {
		if got, err := getSysctl(name); err != nil || got != want {
			t.Errorf("%s is %q (%v), not %s", name, got, err, want)
		}
	}
	must(t, a.inside(func() error {
		// CVE-2020-10749
		if got, _ := getSysctl("net.ipv6.conf.eth0.accept_ra"); got != "0" {
			t.Errorf("the pod accepts router advertisements: %q", got)
		}
		return nil
	}))
	changed := strings.Join(Changed(h.cfg), "\n")
	for _, want := range []string{"net.ipv4.ip_forward was 0", "net.ipv6.conf.all.forwarding was 0", "/up0/accept_ra was 1"} {
		if !strings.Contains(changed, want) {
			t.Errorf("Changed does not tell %q:\n%s", want, changed)
		}
	}
	link, err := netlink.LinkByName("up0")
	must(t, err)
	if l, err := openRoute(); err == nil {
		defer l.Close()
		s, _ := open(h.cfg)
		if veth, err := l.link(s.veth("a")); err != nil || veth.mtu != link.Attrs().MTU || veth.alias != "tripod pod a default/pod-a" {
			t.Errorf("link %+v (%v), want MTU %d as the uplink", veth, err, link.Attrs().MTU)
		}
	}
}

func TestHostWithoutIPv6(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	_, err := setSysctl("net.ipv6.conf.all.disable_ipv6", "1")
	must(t, err)
	a, b := h.attach(t, h.cfg, "a", Port{HostPort: 8080, ContainerPort: 80}), h.attach(t, h.cfg, "b")
	if len(a.IPs) != 1 || !a.IPs[0].Is4() {
		t.Errorf("the pod has %v", a.IPs)
	}
	serve(t, a.netNS, "tcp4", to(any4, 80))
	reaches(t, "pod to pod", b.netNS, "tcp4", to(a.IPs[0], 80), b.IPs[0])
	reaches(t, "outside to host port", h.outside, "tcp4", to(hostAddress, 8080), outsideAddress)
	_, err = Attach(context.Background(), h.cfg, Request{UID: "c", NetNS: newNetNS(t).path(), Ports: []Port{{HostIP: hostAddress6, HostPort: 1, ContainerPort: 1}}})
	if err == nil {
		t.Error("a host port of an IPv6 address was accepted")
	}
}

// Firewalls that we do not speak to are told of.
func TestNotes(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	tool(t, "nft", "add table inet fw; add chain inet fw gate { type filter hook forward priority 0; policy drop; }")
	tool(t, "iptables-legacy", "-P", "FORWARD", "ACCEPT")
	a := h.attach(t, h.cfg, "a")
	notes := strings.Join(a.Notes, "\n")
	for _, want := range []string{"chain gate of table fw drops", "iptables-legacy -I FORWARD -i tp"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no note %q in:\n%s", want, notes)
		}
	}
}

// An unprivileged process is told in one line what it lacks, and nothing is changed.
func TestReadyWithoutRights(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	must(t, os.Chmod(filepath.Dir(h.cfg.Root), 0o755))
	self, err := os.Executable()
	must(t, err)
	copied := filepath.Join(t.TempDir(), "network.test")
	for dir := filepath.Dir(copied); dir != os.TempDir(); dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755))
	}
	binary, err := os.ReadFile(self)
	must(t, err)
	write(t, copied, string(binary), 0o755)
	for _, verb := range []string{"ready", "attach"} {
		cmd := exec.Command(copied, h.cfg.Root, h.cfg.RunRoot, h.cfg.HostLock)
		cmd.Env = append(os.Environ(), "TRIPOD_NETWORK_TEST="+verb)
		cmd.Dir, cmd.Stdin = "/", strings.NewReader("a /proc/self/ns/net\n")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "CAP_NET_ADMIN") || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%s: got %v: %s", verb, err, out)
		}
	}
	if entries, _ := os.ReadDir(h.cfg.RunRoot); len(entries) != 0 {
		t.Errorf("it left %v", entries)
	}
	must(t, Ready(h.cfg))
	if l := tool(t, "ip", "-o", "link"); strings.Contains(l, bridgePrefix) {
		t.Errorf("Ready changed the host:\n%s", l)
	}
}

package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTwoRootsOnOneHost(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	other := h.cfg
	other.Root, other.RunRoot = filepath.Join(t.TempDir(), "root"), filepath.Join(t.TempDir(), "run")
	must(t, os.MkdirAll(other.Root, 0o700))
	a, b := h.attach(t, h.cfg, "same", Port{HostPort: 1001, ContainerPort: 80}), h.attach(t, other, "same", Port{HostPort: 1002, ContainerPort: 80})
	if one, two := knownNet(t, h.cfg), knownNet(t, other); one.Subnet.Overlaps(two.Subnet) || one.Subnet6.Overlaps(two.Subnet6) {
		t.Fatalf("subnets overlap: %v %v and %v %v", one.Subnet, one.Subnet6, two.Subnet, two.Subnet6)
	}
	serve(t, a.netNS, "tcp4", to(any4, 80))
	serve(t, b.netNS, "tcp4", to(any4, 80))
	reaches(t, "pod of one root to pod of the other", a.netNS, "tcp4", to(b.IPs[0], 80), b.Gateway)
	reaches(t, "outside to one", h.outside, "tcp4", to(hostAddress, 1001), outsideAddress)
	reaches(t, "outside to the other", h.outside, "tcp4", to(hostAddress, 1002), outsideAddress)
	reaches(t, "one by the other's host port", a.netNS, "tcp4", to(hostAddress, 1002), netip.Addr{})
	must(t, Detach(context.Background(), h.cfg, "same"))
	reaches(t, "outside to the other after one has gone", h.outside, "tcp4", to(hostAddress, 1002), outsideAddress)
	// What one has remembered and not in use, the other may not stand on.
	c := h.attach(t, h.cfg, "again")
	if knownNet(t, h.cfg).Subnet.Overlaps(knownNet(t, other).Subnet) {
		t.Fatalf("%v came back into the other's subnet", c.IPs)
	}
}

// Eight roots that want the same subnet at the same moment: one gets it, and the others leave nothing.
func TestRootsRace(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	self, err := os.Open("/proc/thread-self/ns/net")
	must(t, err)
	defer self.Close()
	host := &netNS{File: self}
	var configs []Config
	for range 8 {
		cfg := h.cfg
		cfg.Root, cfg.RunRoot, cfg.Subnet = t.TempDir(), t.TempDir(), netip.MustParsePrefix("10.9.8.0/24")
		configs = append(configs, cfg)
	}
	errs := make([]error, len(configs))
	var wg sync.WaitGroup
	for i, cfg := range configs {
		ns := newNetNS(t)
		wg.Go(func() {
			errs[i] = host.inside(func() error {
				_, err := Attach(context.Background(), cfg, Request{UID: "a", NetNS: ns.path()})
				return err
			})
		})
	}
	wg.Wait()
	won := 0
	for i, err := range errs {
		switch {
		case err == nil:
			won++
			must(t, Detach(context.Background(), configs[i], "a"))
		case !errors.Is(err, ErrBadRequest) || !strings.Contains(err.Error(), "10.9.8.0/24"):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d roots have the subnet", won)
	}
	h.empty(t, "after the race")
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Attach(ctx, h.cfg, Request{UID: "a", NetNS: newNetNS(t).path()}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	h.empty(t, "cancelled")
}

// A remembered subnet that the host has given to somebody else meanwhile is left.
func TestSubnetAvoidsRoutes(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.attach(t, h.cfg, "a")
	must(t, Detach(context.Background(), h.cfg, "a"))
	was := knownNet(t, h.cfg).Subnet
	tool(t, "ip", "route", "add", was.String(), "via", outsideAddress.String(), "table", "77")
	h.attach(t, h.cfg, "b")
	if now := knownNet(t, h.cfg).Subnet; now.Overlaps(was) {
		t.Fatalf("%s overlaps the route %s", now, was)
	}
	must(t, Detach(context.Background(), h.cfg, "b"))
	h.cfg.Subnet = was
	_, err := Attach(context.Background(), h.cfg, Request{UID: "c", NetNS: newNetNS(t).path()})
	if !errors.Is(err, ErrBadRequest) || !strings.Contains(err.Error(), was.String()) {
		t.Errorf("a chosen subnet on a route: %v", err)
	}
	must(t, Detach(context.Background(), h.cfg, "c"))
}

// The last address given is not the next one, also when it is free again.
func TestAddressesRest(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.cfg.Subnet = netip.MustParsePrefix("10.9.8.0/29") // five Pods
	seen := map[netip.Addr]int{}
	for i := range 10 {
		p := h.attach(t, h.cfg, fmt.Sprint("p", i))
		seen[p.IPs[0]]++
		must(t, Detach(context.Background(), h.cfg, p.uid))
	}
	for i := range 5 {
		if ip := at(h.cfg.Subnet, uint32(2+i)); seen[ip] != 2 {
			t.Errorf("%s was given %d times in two rounds", ip, seen[ip])
		}
	}
	for i := range 5 {
		h.attach(t, h.cfg, fmt.Sprint("q", i))
	}
	_, err := Attach(context.Background(), h.cfg, Request{UID: "full", NetNS: newNetNS(t).path()})
	if !errors.Is(err, ErrNoAddress) {
		t.Errorf("the sixth of five: %v", err)
	}
}

// TestMain lets the test binary be a second tripod of the same root.
func TestMain(m *testing.M) {
	switch os.Getenv("TRIPOD_NETWORK_TEST") {
	case "attach":
		os.Exit(attachFromStdin())
	case "ready":
		if err := Ready(Config{Root: os.Args[1], RunRoot: os.Args[2], HostLock: os.Args[3], CNIDir: "none"}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// attachFromStdin attaches the Pods whose UID, namespace and host ports it reads, and prints their addresses.
func attachFromStdin() int {
	cfg := Config{Root: os.Args[1], RunRoot: os.Args[2], HostLock: os.Args[3], CNIDir: "none"}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		f := strings.Fields(in.Text())
		req := Request{UID: f[0], NetNS: f[1]}
		for _, port := range f[2:] {
			n, _ := strconv.ParseUint(port, 10, 16)
			req.Ports = append(req.Ports, Port{HostPort: uint16(n), ContainerPort: 80})
		}
		r, err := Attach(context.Background(), cfg, req)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println(strings.Trim(fmt.Sprint(r.IPs), "[]"))
	}
	return 0
}

// 200 Pods, from four processes that begin at once and each with the root's first bridge to make, and from four
// goroutines of this one.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	const workers, each = 8, 25
	namespaces := make([]*netNS, workers*each)
	for i := range namespaces {
		namespaces[i] = newNetNS(t)
	}
	uid := func(i int) string { return fmt.Sprint("pod-", i) }
	self, err := os.Open("/proc/thread-self/ns/net")
	must(t, err)
	defer self.Close()
	host := &netNS{File: self}
	var mu sync.Mutex
	var given []string
	var wg sync.WaitGroup
	for w := range workers {
		mine := func(yield func(int) bool) {
			for i := w * each; i < (w+1)*each && yield(i); i++ {
			}
		}
		if w%2 == 0 {
			var list strings.Builder
			for i := range mine {
				fmt.Fprintln(&list, uid(i), namespaces[i].path())
			}
			cmd := exec.Command("/proc/self/exe", h.cfg.Root, h.cfg.RunRoot, h.cfg.HostLock)
			cmd.Env = append(os.Environ(), "TRIPOD_NETWORK_TEST=attach")
			cmd.Stdin = strings.NewReader(list.String())
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			must(t, cmd.Start()) // on this thread: the child is born into the test's host
			wg.Go(func() {
				if err := cmd.Wait(); err != nil {
					t.Errorf("%v: %s", err, out.String())
				}
				mu.Lock()
				defer mu.Unlock()
				given = append(given, strings.Fields(out.String())...)
			})
			continue
		}
		wg.Go(func() {
			err := host.inside(func() error {
				for i := range mine {
					r, err := Attach(context.Background(), h.cfg, Request{UID: uid(i), NetNS: namespaces[i].path()})
					if err != nil {
						return err
					}
					mu.Lock()
					given = append(given, r.IPs[0].String(), r.IPs[1].String())
					mu.Unlock()
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	slices.Sort(given)
	if n := len(slices.Compact(given)); n != 2*workers*each {
		t.Errorf("%d different addresses for %d pods", n, workers*each)
	}
	serve(t, namespaces[0], "tcp4", to(any4, 80))
	first, err := Lookup(h.cfg, uid(0))
	must(t, err)
	reaches(t, "the last pod to the first", namespaces[len(namespaces)-1], "tcp4", to(first.IPs[0], 80), netip.Addr{})
	must(t, Sweep(context.Background(), h.cfg, func(string) bool { return false }))
}

func TestFirewallThatDrops(t *testing.T) {
	t.Parallel()
	for _, docker := range []bool{false, true} {
		t.Run(fmt.Sprintf("docker=%v", docker), func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			for _, iptables := range []string{"iptables-nft", "ip6tables-nft"} {
				tool(t, iptables, "-P", "FORWARD", "DROP")
				if docker {
					tool(t, iptables, "-N", "DOCKER-USER")
					tool(t, iptables, "-A", "DOCKER-USER", "-j", "RETURN")
					tool(t, iptables, "-I", "FORWARD", "-j", "DOCKER-USER")
				}
			}
			before := tool(t, "iptables-nft", "-S") + tool(t, "ip6tables-nft", "-S")
			a := h.attach(t, h.cfg, "a", Port{HostPort: 8080, ContainerPort: 80})
			b := h.attach(t, h.cfg, "b")
			serve(t, h.outside, "tcp4", to(any4, 82))
			serve(t, h.outside, "tcp6", to(any6, 82))
			serve(t, a.netNS, "tcp4", to(any4, 80))
			serve(t, a.netNS, "tcp6", to(any6, 80))
			reaches(t, "pod to outside", a.netNS, "tcp4", to(outsideAddress, 82), hostAddress)
			reaches(t, "pod to outside, IPv6", a.netNS, "tcp6", to(outsideAddress6, 82), hostAddress6)
			reaches(t, "outside to host port", h.outside, "tcp4", to(hostAddress, 8080), outsideAddress)
			reaches(t, "outside to host port, IPv6", h.outside, "tcp6", to(hostAddress6, 8080), outsideAddress6)
			reaches(t, "pod to pod", b.netNS, "tcp4", to(a.IPs[0], 80), b.IPs[0])
			reaches(t, "pod to pod by host port", b.netNS, "tcp4", to(hostAddress, 8080), a.Gateway)
			must(t, h.outside.inside(func() error { return routeTo(knownNet(t, h.cfg).Subnet, hostAddress) }))
			refused(t, "outside to a pod's own address, which the firewall's owner did not allow", h.outside, "tcp4", to(a.IPs[0], 80))
			// iptables can still read, save and change what is its own.
			list := tool(t, "iptables-nft", "-S") + tool(t, "iptables-nft", "-vnL") + tool(t, "iptables-nft-save")
			s, err := open(h.cfg)
			must(t, err)
			chain := map[bool]string{false: "FORWARD", true: "DOCKER-USER"}[docker]
			for _, want := range []string{
				fmt.Sprintf("-A %s -i %s -m comment --comment %s -j ACCEPT", chain, s.bridge(), s.table()),
				fmt.Sprintf("-A %s -o %s -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment %s -j ACCEPT", chain, s.bridge(), s.table()),
			} {
				if !strings.Contains(list, want) {
					t.Errorf("iptables does not list %q:\n%s", want, list)
				}
			}
			tool(t, "iptables-nft", "-I", "FORWARD", "-p", "udp", "-j", "ACCEPT")
			tool(t, "iptables-nft", "-D", "FORWARD", "-p", "udp", "-j", "ACCEPT")
			// Docker was restarted and began anew.
			chains := []string{"FORWARD"}
			if docker {
				chains = append(chains, "DOCKER-USER")
			}
			for _, chain := range chains {
				tool(t, "iptables-nft", "-F", chain)
			}
			if err := Check(context.Background(), h.cfg, "a"); err == nil {
				t.Error("Check did not see that the accepts are gone")
			}
			if docker {
				tool(t, "iptables-nft", "-A", "DOCKER-USER", "-j", "RETURN")
				tool(t, "iptables-nft", "-I", "FORWARD", "-j", "DOCKER-USER")
			}
			must(t, Sweep(context.Background(), h.cfg, func(string) bool { return true }))
			reaches(t, "pod to outside, swept", a.netNS, "tcp4", to(outsideAddress, 82), hostAddress)
			must(t, Detach(context.Background(), h.cfg, "a"))
			must(t, Detach(context.Background(), h.cfg, "b"))
			if after := tool(t, "iptables-nft", "-S") + tool(t, "ip6tables-nft", "-S"); after != before {
				t.Errorf("iptables was\n%s\nand is\n%s", before, after)
			}
		})
	}
}

// Somebody flushes all rules, or removes the bridge: the next Pod brings back what all need.
func TestRepair(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	a := h.attach(t, h.cfg, "a", Port{HostPort: 8080, ContainerPort: 80})
	serve(t, a.netNS, "tcp4", to(any4, 80))
	tool(t, "nft", "flush", "ruleset")
	refused(t, "outside to host port without rules", h.outside, "tcp4", to(hostAddress, 8080))
	h.attach(t, h.cfg, "b")
	reaches(t, "outside to host port after a repair", h.outside, "tcp4", to(hostAddress, 8080), outsideAddress)
	s, err := open(h.cfg)
	must(t, err)
	host, err := openRoute()
	must(t, err)
	defer host.Close()
	must(t, host.deleteLinks(s.bridge()))
	if err := Check(context.Background(), h.cfg, "a"); err == nil {
		t.Error("Check did not see that the bridge is gone")
	}
	must(t, Sweep(context.Background(), h.cfg, func(string) bool { return true }))
	must(t, Check(context.Background(), h.cfg, "a"))
	reaches(t, "outside to host port, swept", h.outside, "tcp4", to(hostAddress, 8080), outsideAddress)
	c := h.attach(t, h.cfg, "c")
	reaches(t, "pod to pod after a repair", c.netNS, "tcp4", to(a.IPs[0], 80), c.IPs[0])
	reaches(t, "outside to host port after a new bridge", h.outside, "tcp4", to(hostAddress, 8080), outsideAddress)
	reaches(t, "localhost to host port after a new bridge", nil, "tcp4", to(localhost, 8080), c.Gateway)
}

// A Pod with a user namespace of its own: its network namespace belongs to that.
func TestPodInUserNamespace(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	must(t, err)
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET, UidMappings: one, GidMappings: one}
	must(t, cmd.Start())
	defer func() { in.Close(); must(t, cmd.Wait()) }()
	path := fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
	r, err := Attach(context.Background(), h.cfg, Request{UID: "a", NetNS: path})
	must(t, err)
	ns, err := openNetNS(path)
	must(t, err)
	defer ns.Close()
	serve(t, ns, "tcp4", to(any4, 80))
	serve(t, ns, "tcp6", to(any6, 80))
	b := h.attach(t, h.cfg, "b")
	reaches(t, "pod to pod", b.netNS, "tcp4", to(r.IPs[0], 80), b.IPs[0])
	reaches(t, "pod to pod, IPv6", b.netNS, "tcp6", to(r.IPs[1], 80), b.IPs[1])
	must(t, Detach(context.Background(), h.cfg, "a"))
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	own := fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
	for name, req := range map[string]Request{
		"slash":      {UID: "../x", NetNS: own},
		"newline":    {UID: "a\nb", NetNS: own},
		"dots":       {UID: "..", NetNS: own},
		"empty":      {NetNS: own},
		"own":        {UID: "a", NetNS: own},
		"relative":   {UID: "a", NetNS: "ns"},
		"other kind": {UID: "a", NetNS: "/proc/self/ns/uts"},
		"file":       {UID: "a", NetNS: "/etc/hostname"},
		"twice":      {UID: "a", NetNS: own, Ports: []Port{{HostPort: 1, ContainerPort: 1}, {HostIP: any6, HostPort: 1, ContainerPort: 2}}},
		"port 0":     {UID: "a", NetNS: own, Ports: []Port{{HostPort: 1}}},
	} {
		if _, err := Attach(context.Background(), h.cfg, req); !errors.Is(err, ErrBadRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Attach(context.Background(), h.cfg, Request{UID: "a", NetNS: "/proc/0/ns/net"}); err == nil {
		t.Error("a namespace that is not there was accepted")
	}
	if entries, _ := os.ReadDir(h.cfg.RunRoot); len(entries) != 0 {
		t.Errorf("bad requests left %v", entries)
	}
	must(t, Ready(h.cfg))
	must(t, Detach(context.Background(), h.cfg, "never-attached"))
	if entries, _ := os.ReadDir(h.cfg.RunRoot); len(entries) != 0 {
		t.Errorf("questions left %v", entries)
	}
}

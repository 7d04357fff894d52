package network

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A test's host is a network namespace of its own, with an interface up0 to another one, outside. The test's goroutine
// stays in it until it ends, and nothing leaves the two.
type testHost struct {
	cfg     Config
	outside *netNS
}

var (
	hostAddress     = netip.MustParseAddr("192.0.2.1")
	outsideAddress  = netip.MustParseAddr("192.0.2.254")
	hostAddress6    = netip.MustParseAddr("2001:db8::1")
	outsideAddress6 = netip.MustParseAddr("2001:db8::254")
)

// patience bounds what must happen; no test waits for it to pass when all is well.
const patience = 20 * time.Second

func newHost(t testing.TB) *testHost {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test, and the namespace with the thread
	must(t, unix.Unshare(unix.CLONE_NEWNET))
	dir := t.TempDir()
	h := &testHost{
		cfg: Config{
			Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run"),
			CNIDir: "none", HostLock: filepath.Join(dir, "host.lock"),
		},
		outside: newNetNS(t),
	}
	must(t, os.MkdirAll(h.cfg.Root, 0o700))
	up(t, "lo")
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "up0", 1400
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "out0", PeerNamespace: netlink.NsFd(int(h.outside.Fd()))}))
	address(t, "up0", hostAddress, 24)
	address(t, "up0", hostAddress6, 64)
	up(t, "up0")
	must(t, h.outside.inside(func() error {
		up(t, "lo")
		address(t, "out0", outsideAddress, 24)
		address(t, "out0", outsideAddress6, 64)
		up(t, "out0")
		return nil
	}))
	for _, gateway := range []netip.Addr{outsideAddress, outsideAddress6} {
		must(t, netlink.RouteAdd(&netlink.Route{Gw: gateway.AsSlice()}))
	}
	t.Cleanup(func() {
		for _, l := range Leaks(h.cfg) {
			t.Errorf("left over: %s", l)
		}
		links, _ := netlink.LinkList()
		for _, l := range links {
			if n := l.Attrs().Name; strings.HasPrefix(n, bridgePrefix) || strings.HasPrefix(n, vethPrefix) {
				t.Errorf("left over: interface %s", n)
			}
		}
	})
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func up(t testing.TB, name string) {
	l, err := netlink.LinkByName(name)
	must(t, err)
	must(t, netlink.LinkSetUp(l))
}

func address(t testing.TB, name string, ip netip.Addr, bits int) {
	l, err := netlink.LinkByName(name)
	must(t, err)
	flags := 0
	if ip.Is6() {
		flags = unix.IFA_F_NODAD
	}
	must(t, netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(bits, ip.BitLen())}, Flags: flags}))
}

// newNetNS makes a network namespace that lives as long as the test.
func newNetNS(t testing.TB) *netNS {
	t.Helper()
	type made struct {
		f   *os.File
		err error
	}
	c := make(chan made)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			c <- made{nil, err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		c <- made{f, err}
	}()
	m := <-c
	must(t, m.err)
	var st unix.Stat_t
	must(t, unix.Fstat(int(m.f.Fd()), &st))
	t.Cleanup(func() { m.f.Close() })
	return &netNS{m.f, st.Ino}
}

func (n *netNS) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.Fd()) }

// testPod is a Pod of a test: a namespace, and what Attach said.
type testPod struct {
	*netNS
	uid string
	*Result
}

func (h *testHost) attach(t testing.TB, cfg Config, uid string, ports ...Port) testPod {
	t.Helper()
	ns := newNetNS(t)
	r, err := Attach(context.Background(), cfg, Request{UID: uid, Namespace: "default", Name: "pod-" + uid, NetNS: ns.path(), Ports: ports})
	must(t, err)
	t.Cleanup(func() { must(t, Detach(context.Background(), cfg, uid)) })
	return testPod{ns, uid, r}
}

// run runs f in the host (n is nil) or in a namespace.
func (n *netNS) run(f func() error) error {
	if n == nil {
		return f()
	}
	return n.inside(f)
}

// serve answers each connection, or datagram, at address in the namespace with the peer's address.
func serve(t testing.TB, n *netNS, network string, address netip.AddrPort) {
	t.Helper()
	if strings.HasPrefix(network, "udp") {
		var c net.PacketConn
		must(t, n.run(func() (err error) { c, err = net.ListenPacket(network, address.String()); return err }))
		t.Cleanup(func() { c.Close() })
		go func() {
			b := make([]byte, 100)
			for {
				_, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				c.WriteTo([]byte(from.(*net.UDPAddr).AddrPort().Addr().Unmap().String()), from)
			}
		}()
		return
	}
	var l net.Listener
	must(t, n.run(func() (err error) { l, err = net.Listen(network, address.String()); return err }))
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().String())
			c.Close()
		}
	}()
}

// connect connects from the namespace and gives the address that the server saw.
func connect(n *netNS, network string, to netip.AddrPort, wait time.Duration) (seen string, err error) {
	err = n.run(func() error {
		c, err := net.DialTimeout(network, to.String(), wait)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(wait))
		if strings.HasPrefix(network, "udp") {
			if _, err := c.Write([]byte("?")); err != nil {
				return err
			}
			b := make([]byte, 100)
			k, err := c.Read(b)
			seen = string(b[:k])
			return err
		}
		b, err := io.ReadAll(c)
		seen = string(b)
		return err
	})
	return seen, err
}

// reaches checks that a connection arrives, and which address the server sees.
func reaches(t testing.TB, what string, from *netNS, network string, to netip.AddrPort, seen netip.Addr) {
	t.Helper()
	got, err := connect(from, network, to, patience)
	if err != nil {
		t.Errorf("%s: %v", what, err)
	} else if seen.IsValid() && got != seen.String() {
		t.Errorf("%s: the server saw %s, not %s", what, got, seen)
	}
}

// refused checks that a connection does not arrive. The wait is the price of a dropped packet, no measure of anything.
func refused(t testing.TB, what string, from *netNS, network string, to netip.AddrPort) {
	t.Helper()
	if got, err := connect(from, network, to, 300*time.Millisecond); err == nil {
		t.Errorf("%s: arrived, as %s", what, got)
	}
}

// tool runs a command in the test's host and gives its output.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s", name)
	}
	var out bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

func to(ip netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(ip, port) }

// lureLoopback makes the calling thread's namespace treat 127.0.0.1 as an address beyond gateway, as an attacker with its
// own stack can.
func lureLoopback(link string, gateway netip.Addr) error {
	for _, name := range []string{"all", link} {
		if _, err := setSysctl(confName("ipv4", name, "route_localnet"), "1"); err != nil {
			return err
		}
	}
	l, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	addresses, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if err := netlink.AddrDel(l, &a); err != nil {
			return err
		}
	}
	dst := &net.IPNet{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}
	out, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: gateway.AsSlice(), LinkIndex: out.Attrs().Index})
}

func routeTo(p netip.Prefix, gateway netip.Addr) error {
	dst := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
	return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: gateway.AsSlice()})
}

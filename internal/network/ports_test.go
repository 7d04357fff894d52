package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var localhost = netip.MustParseAddr("127.0.0.1")

var (
	any4 = netip.IPv4Unspecified()
	any6 = netip.IPv6Unspecified()
)

func TestHostPorts(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	a := h.attach(t, h.cfg, "a", Port{HostPort: 8080, ContainerPort: 80}, Port{HostPort: 8053, ContainerPort: 53, Protocol: "UDP"},
		Port{HostIP: localhost, HostPort: 9000, ContainerPort: 80}, Port{HostIP: hostAddress, HostPort: 9001, ContainerPort: 80})
	b := h.attach(t, h.cfg, "b")
	for _, network := range []string{"tcp4", "tcp6"} {
		serve(t, a.netNS, network, to(map[string]netip.Addr{"tcp4": any4, "tcp6": any6}[network], 80))
	}
	serve(t, a.netNS, "udp4", to(any4, 53))
	serve(t, a.netNS, "udp6", to(any6, 53))

	reaches(t, "outside to host port", h.outside, "tcp4", to(hostAddress, 8080), outsideAddress)
	reaches(t, "outside to host port, IPv6", h.outside, "tcp6", to(hostAddress6, 8080), outsideAddress6)
	reaches(t, "outside to host port, UDP", h.outside, "udp4", to(hostAddress, 8053), outsideAddress)
	reaches(t, "outside to host port, UDP on IPv6", h.outside, "udp6", to(hostAddress6, 8053), outsideAddress6)
	reaches(t, "outside to the port of one address", h.outside, "tcp4", to(hostAddress, 9001), outsideAddress)
	reaches(t, "host to its own address", nil, "tcp4", to(hostAddress, 8080), hostAddress)
	reaches(t, "host to its own address, IPv6", nil, "tcp6", to(hostAddress6, 8080), hostAddress6)
	reaches(t, "host to localhost", nil, "tcp4", to(localhost, 8080), a.Gateway)
	if _, err := connect(nil, "tcp6", to(netip.IPv6Loopback(), 8080), patience); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("host to [::1] is not refused at once, so that clients go on to 127.0.0.1: %v", err)
	}
	reaches(t, "host to localhost, UDP", nil, "udp4", to(localhost, 8053), a.Gateway)
	reaches(t, "host to the port of localhost alone", nil, "tcp4", to(localhost, 9000), a.Gateway)
	reaches(t, "pod to itself by host port", a.netNS, "tcp4", to(hostAddress, 8080), a.Gateway)
	reaches(t, "pod to its neighbour by host port", b.netNS, "tcp4", to(hostAddress, 8080), a.Gateway)
	reaches(t, "pod to its neighbour by host port of the gateway", b.netNS, "tcp4", to(a.Gateway, 8080), a.Gateway)
	reaches(t, "pod to its neighbour by host port, UDP", b.netNS, "udp4", to(hostAddress, 8053), a.Gateway)
	reaches(t, "pod to its neighbour by host port, IPv6", b.netNS, "tcp6", to(hostAddress6, 8080), at(knownNet(t, h.cfg).Subnet6, 1))

	refused(t, "outside to a port of localhost", h.outside, "tcp4", to(hostAddress, 9000))
	refused(t, "localhost to a port of another address", nil, "tcp4", to(localhost, 9001))
	refused(t, "a host port nobody asked for", h.outside, "tcp4", to(hostAddress, 80))
	out := tool(t, "nft", "list", "ruleset")
	for _, want := range []string{"a default/pod-a", "masquerade fully-random", "th dport map @ports4"} {
		if !strings.Contains(out, want) {
			t.Errorf("nft does not list %q:\n%s", want, out)
		}
	}

	must(t, Detach(context.Background(), h.cfg, "a"))
	refused(t, "outside to a closed port", h.outside, "tcp4", to(hostAddress, 8080))
	c := h.attach(t, h.cfg, "c", Port{HostPort: 8080, ContainerPort: 80}, Port{HostPort: 8053, ContainerPort: 53, Protocol: "UDP"})
	serve(t, c.netNS, "tcp4", to(any4, 80))
	serve(t, c.netNS, "udp4", to(any4, 53))
	reaches(t, "outside to a port that another pod has now", h.outside, "tcp4", to(hostAddress, 8080), outsideAddress)
	reaches(t, "outside to a UDP port that another pod has now", h.outside, "udp4", to(hostAddress, 8053), outsideAddress)
}

// CVE-2020-8558: with route_localnet, a neighbour on a link could reach what listens on 127.0.0.1, or a host port there.
func TestCVE_2020_8558(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	a := h.attach(t, h.cfg, "a", Port{HostIP: localhost, HostPort: 9000, ContainerPort: 80}, Port{HostPort: 9001, ContainerPort: 80})
	b := h.attach(t, h.cfg, "b")
	serve(t, a.netNS, "tcp4", to(any4, 80))
	serve(t, nil, "tcp4", to(localhost, 22))
	reaches(t, "host to localhost", nil, "tcp4", to(localhost, 9000), a.Gateway)
	reaches(t, "host to its own listener", nil, "tcp4", to(localhost, 22), localhost)
	for name, from := range map[string]struct {
		ns      *netNS
		link    string
		gateway netip.Addr
	}{"outside": {h.outside, "out0", hostAddress}, "pod": {b.netNS, Interface, b.Gateway}} {
		// The neighbour makes its own stack send packets for 127.0.0.1 to the host.
		must(t, from.ns.inside(func() error { return lureLoopback(from.link, from.gateway) }))
		for _, port := range []uint16{22, 9000, 9001} {
			refused(t, name+" to the host's loopback", from.ns, "tcp4", to(localhost, port))
		}
	}
	// The same packets arrive once our table is gone: what held them back was the guard.
	s, err := open(h.cfg)
	must(t, err)
	tool(t, "nft", "delete", "table", "inet", s.table())
	reaches(t, "pod to the host's loopback without the guard", b.netNS, "tcp4", to(localhost, 22), netip.Addr{})
}

func TestPortConflicts(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	other := h.cfg
	other.Root, other.RunRoot = t.TempDir(), t.TempDir()
	h.attach(t, h.cfg, "a", Port{HostPort: 8080, ContainerPort: 80}, Port{HostIP: localhost, HostPort: 9000, ContainerPort: 80, Protocol: "udp"})
	var listener net.Listener
	listener, err := net.Listen("tcp4", "127.0.0.1:7000")
	must(t, err)
	defer listener.Close()
	udp, err := net.ListenPacket("udp6", "[::]:7001")
	must(t, err)
	defer udp.Close()

	for _, c := range []struct {
		name string
		cfg  Config
		port Port
		want error
		says string
	}{
		{"same", h.cfg, Port{HostPort: 8080, ContainerPort: 1}, ErrPortTaken, "8080/tcp belongs to pod default/pod-a"},
		{"one address of all", h.cfg, Port{HostIP: hostAddress, HostPort: 8080, ContainerPort: 1}, ErrPortTaken, "pod default/pod-a"},
		{"all of one address", h.cfg, Port{HostPort: 9000, ContainerPort: 1, Protocol: "UDP"}, ErrPortTaken, "127.0.0.1:9000/udp"},
		{"another root", other, Port{HostPort: 8080, ContainerPort: 1}, ErrPortTaken, "pod default/pod-a"},
		{"another protocol", h.cfg, Port{HostPort: 8080, ContainerPort: 1, Protocol: "UDP"}, nil, ""},
		{"another address", h.cfg, Port{HostIP: hostAddress, HostPort: 9000, ContainerPort: 1, Protocol: "UDP"}, nil, ""},
		{"a process", h.cfg, Port{HostPort: 7000, ContainerPort: 1}, ErrPortTaken, "network.test"},
		{"a process on another address", h.cfg, Port{HostIP: hostAddress, HostPort: 7000, ContainerPort: 1}, nil, ""},
		{"a process, UDP", h.cfg, Port{HostPort: 7001, ContainerPort: 1, Protocol: "UDP"}, ErrPortTaken, "7001/udp belongs to process"},
		{"no address of ours", h.cfg, Port{HostIP: outsideAddress, HostPort: 1, ContainerPort: 1}, ErrBadRequest, "192.0.2.254 is not an address of this host"},
		{"IPv6 loopback", h.cfg, Port{HostIP: netip.IPv6Loopback(), HostPort: 1, ContainerPort: 1}, ErrBadRequest, "use 127.0.0.1"},
		{"no protocol", h.cfg, Port{HostPort: 1, ContainerPort: 1, Protocol: "ICMP"}, ErrBadRequest, `protocol "ICMP"`},
	} {
		ns := newNetNS(t)
		_, err := Attach(context.Background(), c.cfg, Request{UID: "new", Name: "new", NetNS: ns.path(), Ports: []Port{c.port}})
		must(t, Detach(context.Background(), c.cfg, "new"))
		switch {
		case c.want == nil && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != nil && (!errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: got %v, want one line with %q", c.name, err, c.says)
		}
	}
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP); err != nil {
		_, err := Attach(context.Background(), h.cfg, Request{UID: "sctp", NetNS: newNetNS(t).path(), Ports: []Port{{HostPort: 1, ContainerPort: 1, Protocol: "SCTP"}}})
		if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "SCTP") {
			t.Errorf("SCTP on a kernel without it: %v", err)
		}
	} else {
		unix.Close(fd)
	}
}

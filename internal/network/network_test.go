package network

import (
	"net/netip"
	"testing"
)

func TestPodsReachEachOtherTheHostAndOut(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	a, b := h.attach(t, h.cfg, "a"), h.attach(t, h.cfg, "b")
	if len(a.IPs) != 2 {
		t.Fatalf("pod a has %v, not IPv4 and IPv6", a.IPs)
	}
	for i, out := range []netip.Addr{outsideAddress, outsideAddress6} {
		any := netip.IPv4Unspecified()
		if i == 1 {
			any = netip.IPv6Unspecified()
		}
		network := map[int]string{0: "tcp4", 1: "tcp6"}[i]
		serve(t, b.netNS, network, to(any, 80))
		serve(t, nil, network, to(any, 81))
		serve(t, h.outside, network, to(any, 82))
		gateway := []netip.Addr{a.Gateway, at(knownNet(t, h.cfg).Subnet6, 1)}[i]
		reaches(t, "pod to pod", a.netNS, network, to(b.IPs[i], 80), a.IPs[i])
		reaches(t, "host to pod", nil, network, to(b.IPs[i], 80), gateway)
		reaches(t, "pod to host", a.netNS, network, to(gateway, 81), a.IPs[i])
		reaches(t, "pod to the host's uplink", a.netNS, network, to([]netip.Addr{hostAddress, hostAddress6}[i], 81), a.IPs[i])
		reaches(t, "pod to outside, masqueraded", a.netNS, network, to(out, 82), []netip.Addr{hostAddress, hostAddress6}[i])
	}
}

func knownNet(t testing.TB, cfg Config) *rootNet {
	t.Helper()
	s, err := open(cfg)
	must(t, err)
	n, err := s.known()
	must(t, err)
	return n
}

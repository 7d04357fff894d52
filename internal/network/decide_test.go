package network

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, t := range texts {
		all = append(all, netip.MustParsePrefix(t))
	}
	return all
}

func TestPick(t *testing.T) {
	small := prefixes("10.0.0.0/22", "10.9.0.0/23")
	for _, c := range []struct {
		name  string
		pools []netip.Prefix
		taken []netip.Prefix
		want  []string // one of these; none is an error
	}{
		{"free", small[:1], nil, []string{"10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"}},
		{"one left", small[:1], prefixes("10.0.0.0/23", "10.0.2.0/24"), []string{"10.0.3.0/24"}},
		{"an address in it", small[:1], prefixes("10.0.0.0/23", "10.0.2.77/32"), []string{"10.0.3.0/24"}},
		{"next pool", small, prefixes("10.0.0.0/8", "192.168.0.0/16")[1:], []string{"10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"}},
		{"first pool covered", small, prefixes("10.0.0.0/16", "10.9.1.0/24"), []string{"10.9.0.0/24"}},
		{"all covered", small, prefixes("10.0.0.0/8"), nil},
		{"IPv6 is no hindrance", small[1:], prefixes("fd00::/8", "10.9.0.0/24"), []string{"10.9.1.0/24"}},
	} {
		got, err := pick(c.pools, 24, "seed", c.taken)
		if (err != nil) != (c.want == nil) || err == nil && !slices.Contains(c.want, got.String()) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
	one, _ := pick(pools, subnetBits, "one", nil)
	again, _ := pick(pools, subnetBits, "one", nil)
	two, _ := pick(pools, subnetBits, "two", nil)
	if one != again || one == two {
		t.Errorf("seeds decide nothing: %v %v %v", one, again, two)
	}
	six, err := pick6("one", prefixes("2001:db8::/32"))
	if err != nil || six.Bits() != 64 || six.Addr().As16()[0] != 0xfd {
		t.Errorf("%v, %v", six, err)
	}
	if next, err := pick6("one", []netip.Prefix{six}); err != nil || next.Overlaps(six) {
		t.Errorf("%v, %v overlaps %v", next, err, six)
	}
}

func TestPoolsAreWhole(t *testing.T) {
	for i, p := range pools {
		if p != p.Masked() || p.Bits() > subnetBits || !p.Addr().Is4() || overlaps(p, pools[i+1:]) {
			t.Errorf("pool %v", p)
		}
	}
}

func TestPrefix(t *testing.T) {
	for text, want := range map[string]string{
		"0.0.0.0/0": "", "0.0.0.0/1": "", "128.0.0.0/1": "", "::/0": "",
		"10.0.0.0/8": "10.0.0.0/8", "10.1.2.3/24": "10.1.2.0/24", "192.0.2.1/32": "192.0.2.1/32", "fd00::1/64": "fd00::/64",
	} {
		ip, n, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		p, ok := prefix(&net.IPNet{IP: ip, Mask: n.Mask})
		if ok != (want != "") || ok && p.String() != want {
			t.Errorf("%s: %v, %v", text, p, ok)
		}
	}
	if _, ok := prefix(nil); ok {
		t.Error("no route is a prefix")
	}
}

func TestAt(t *testing.T) {
	v4, v6 := netip.MustParsePrefix("10.1.252.0/22"), netip.MustParsePrefix("fd00:1:2:3::/64")
	for n, want := range map[uint32][2]string{1: {"10.1.252.1", "fd00:1:2:3::1"}, 1022: {"10.1.255.254", "fd00:1:2:3::3fe"}} {
		if a, b := at(v4, n), at(v6, n); a.String() != want[0] || b.String() != want[1] || offset(v4, a) != n {
			t.Errorf("%d: %v %v", n, a, b)
		}
	}
}

func TestPortsMeet(t *testing.T) {
	port := func(text string) Port {
		proto, rest, _ := strings.Cut(text, " ")
		p := Port{Protocol: proto, HostPort: 80, ContainerPort: 1}
		if rest != "" {
			p.HostIP = netip.MustParseAddr(rest)
		}
		p, err := p.normal()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct {
		a, b string
		meet bool
	}{
		{"tcp", "TCP", true},
		{"", "tcp", true},
		{"tcp", "udp", false},
		{"tcp", "tcp 192.0.2.1", true},
		{"tcp 0.0.0.0", "tcp 192.0.2.1", true},
		{"tcp ::", "tcp 192.0.2.1", true},
		{"tcp ::ffff:192.0.2.1", "tcp 192.0.2.1", true},
		{"tcp 192.0.2.1", "tcp 192.0.2.2", false},
		{"tcp 2001:db8::1", "tcp 192.0.2.2", false},
	} {
		if a, b := port(c.a), port(c.b); a.meets(b) != c.meet || b.meets(a) != c.meet {
			t.Errorf("%q and %q: not %v", c.a, c.b, c.meet)
		}
	}
}

func TestElements(t *testing.T) {
	p := &pod{
		UID: "u", Namespace: "ns", Name: strings.Repeat("n", 200),
		IPs: []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")},
		Ports: []Port{
			{HostPort: 8080, ContainerPort: 80, Protocol: "TCP"},
			{HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 53, ContainerPort: 5353, Protocol: "UDP"},
			{HostIP: netip.MustParseAddr("2001:db8::1"), HostPort: 1, ContainerPort: 2, Protocol: "SCTP"},
		},
	}
	want := []element{
		{"ports4", []byte{6, 0, 0, 0, 0x1f, 0x90, 0, 0}, []byte{10, 0, 0, 2, 0, 80, 0, 0}, ""},
		{"ports6", []byte{6, 0, 0, 0, 0x1f, 0x90, 0, 0}, append(p.IPs[1].AsSlice(), 0, 80, 0, 0), ""},
		{"ports4at", []byte{192, 0, 2, 1, 17, 0, 0, 0, 0, 53, 0, 0}, []byte{10, 0, 0, 2, 0x14, 0xe9, 0, 0}, ""},
		{"ports6at", append(p.Ports[2].HostIP.AsSlice(), 132, 0, 0, 0, 0, 1, 0, 0), append(p.IPs[1].AsSlice(), 0, 2, 0, 0), ""},
	}
	got := p.elements()
	if len(got) != len(want) {
		t.Fatalf("%d elements, not %d", len(got), len(want))
	}
	for i, e := range got {
		if e.mapName != want[i].mapName || !bytes.Equal(e.key, want[i].key) || !bytes.Equal(e.value, want[i].value) {
			t.Errorf("element %d is %+v, not %+v", i, e, want[i])
		}
		if len(e.comment) > 126 || !strings.HasPrefix(e.comment, "u ns/nnn") {
			t.Errorf("comment %q", e.comment)
		}
		for _, m := range portMaps {
			if m.name != e.mapName {
				continue
			}
			if back, ok := m.parseKey(e.key); !ok || !slices.ContainsFunc(p.Ports, back.meets) {
				t.Errorf("key %v reads back as %v, %v", e.key, back, ok)
			}
		}
	}
}

func TestNamesFitAndDiffer(t *testing.T) {
	seen := map[string]bool{}
	for _, root := range []string{"/a", "/b"} {
		for _, run := range []string{"/a", "/b"} {
			s, err := open(Config{Root: root, RunRoot: run})
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{s.bridge(), s.veth("x"), s.veth("y")} {
				if len(name) > 15 || seen[name] {
					t.Errorf("name %q", name)
				}
				seen[name] = true
			}
		}
	}
	for _, bad := range []Config{
		{},
		{Root: "a", RunRoot: "/b"},
		{Root: "/a", RunRoot: "b"},
		{Root: "/a", RunRoot: "/b", Subnet: netip.MustParsePrefix("10.0.0.1/24")},
		{Root: "/a", RunRoot: "/b", Subnet: netip.MustParsePrefix("10.0.0.0/30")},
		{Root: "/a", RunRoot: "/b", Subnet: netip.MustParsePrefix("fd00::/64")},
		{Root: "/a", RunRoot: "/b", Subnet6: netip.MustParsePrefix("10.0.0.0/24")},
	} {
		if _, err := open(bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

const procTCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1001 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F90 0200000A:0050 01 00000000:00000000 00:00000000 00000000     0        0 1002 1 0000000000000000 100 0 0 10 0
   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1003 1 0000000000000000 100 0 0 10 0
`

const procTCP6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2001 1 0000000000000000 100 0 0 10 0
   1: 0000000000000000FFFF0000010200C0:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2002 1 0000000000000000 100 0 0 10 0
`

func TestFindListener(t *testing.T) {
	for _, c := range []struct {
		table, host string
		port        uint16
		inode       uint64
	}{
		{procTCP, "", 22, 1001},
		{procTCP, "127.0.0.1", 22, 1001},
		{procTCP, "192.0.2.1", 22, 0},
		{procTCP, "", 8080, 0}, // connected, not listening
		{procTCP, "192.0.2.1", 80, 1003},
		{procTCP, "", 81, 0},
		{procTCP6, "192.0.2.1", 443, 2001},
		{procTCP6, "192.0.2.1", 81, 2002}, // IPv4 in an IPv6 socket
		{procTCP6, "192.0.2.2", 81, 0},
		{procTCP6, "", 81, 2002},
	} {
		p := Port{HostPort: c.port, Protocol: "TCP"}
		if c.host != "" {
			p.HostIP = netip.MustParseAddr(c.host)
		}
		if inode, found := findListener(strings.NewReader(c.table), p); inode != c.inode || found != (c.inode != 0) {
			t.Errorf("%s: socket %d, %v, not %d", p, inode, found, c.inode)
		}
	}
}

func FuzzFindListener(f *testing.F) {
	f.Add(procTCP)
	f.Add(procTCP6)
	f.Fuzz(func(t *testing.T, table string) {
		findListener(strings.NewReader(table), Port{HostPort: 22, Protocol: "TCP"})
	})
}

// What comes from netlink is the kernel's, but a wrong length must not end the process.
func FuzzNetlinkAnswers(f *testing.F) {
	f.Add(make([]byte, 64))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		parseLink(b)
		payload(b)
		for _, m := range portMaps {
			m.parseKey(b)
		}
	})
}

func TestOneLine(t *testing.T) {
	if got := oneLine(" a\n\tb\x1b[31m\x00c\xff "); got != "a b[31mc?" {
		t.Errorf("%q", got)
	}
	if got := oneLine(strings.Repeat("x", 5000)); len(got) > 1010 {
		t.Errorf("%d bytes", len(got))
	}
}

package filter

// protocol is a word that names a protocol: a link's, a network's or a transport's.
type protocol struct {
	word  string
	ether uint32 // number of Ethernet's or LLC address; 0 has none
	ip    uint8  // number in an IP header; 0 has none
	v4    bool   // with ip: over IPv4
	v6    bool   // with ip: over IPv6
}

func (p protocol) known() bool { return p.word != "" }

// protocolWord is what a word names; "ether" is the link itself.
func protocolWord(word string) protocol {
	for _, p := range protocols {
		if p.word == word {
			return p
		}
	}
	return protocol{}
}

var protocols = [...]protocol{
	{word: "ether"},
	{word: "link"},
	{word: "ip", ether: protoIP},
	{word: "ip6", ether: protoIPv6},
	{word: "arp", ether: protoARP},
	{word: "rarp", ether: protoRARP},
	{word: "atalk", ether: protoATalk},
	{word: "aarp", ether: protoAARP},
	{word: "decnet", ether: protoDECnet},
	{word: "lat", ether: protoLAT},
	{word: "sca", ether: protoSCA},
	{word: "mopdl", ether: protoMOPDL},
	{word: "moprc", ether: protoMOPRC},
	{word: "iso", ether: sapISO},
	{word: "stp", ether: sapSTP},
	{word: "ipx", ether: sapIPX},
	{word: "netbeui", ether: sapNetBEUI},
	{word: "tcp", ip: 6, v4: true, v6: true},
	{word: "udp", ip: 17, v4: true, v6: true},
	{word: "sctp", ip: 132, v4: true, v6: true},
	{word: "icmp", ip: 1, v4: true},
	{word: "icmp6", ip: 58, v6: true},
	{word: "igmp", ip: 2, v4: true},
	{word: "igrp", ip: 9, v4: true},
	{word: "pim", ip: 103, v4: true, v6: true},
	{word: "vrrp", ip: 112, v4: true},
	{word: "carp", ip: 112, v4: true},
	{word: "ah", ip: 51, v4: true, v6: true},
	{word: "esp", ip: 50, v4: true, v6: true},
}

const (
	fragmentHeader = 44
	ipv6Header     = 40 // bytes
)

// ip4 is true for IPv4 packets with a protocol.
func (g *generator) ip4(number uint32) *cond {
	return both(g.holdsProtocol(protoIP), g.is(equal, g.in(1, 9), number))
}

// ip6 is true for IPv6 packets whose first header, or the one behind a fragment header, is of a protocol.
func (g *generator) ip6(number uint32) *cond {
	next := g.in(1, 6)
	behind := both(g.is(equal, next, fragmentHeader), g.is(equal, g.in(1, ipv6Header), number))
	return both(g.holdsProtocol(protoIPv6), either(g.is(equal, next, number), behind))
}

// abbreviation is what the name of a protocol means alone.
func (g *generator) abbreviation(w word, p protocol) (*cond, error) {
	switch {
	case p.ether != 0:
		return g.holdsProtocol(p.ether), nil
	case p.ip == 0:
		return nil, w.wrong("this is a qualifier, not a primitive: write \"%s host\", \"%s proto\" …", p.word, p.word)
	case !p.v6:
		return g.ip4(uint32(p.ip)), nil
	case !p.v4:
		return g.ip6(uint32(p.ip)), nil
	}
	return either(g.ip4(uint32(p.ip)), g.ip6(uint32(p.ip))), nil
}

// carries is true for packets in which the qualifying protocol carries the numbered one: "ip proto 6".
func (g *generator) carries(w word, qualifier string, number uint32) (*cond, error) {
	switch qualifier {
	case "", "ip", "ip6":
		if number > 255 {
			return nil, w.wrong("a protocol of IP is at most 255")
		}
		switch qualifier {
		case "ip":
			return g.ip4(number), nil
		case "ip6":
			return g.ip6(number), nil
		}
		return either(g.ip4(number), g.ip6(number)), nil
	case "ether", "link":
		if number > 0xffff {
			return nil, w.wrong("a protocol of Ethernet is at most 65535")
		}
		return g.holdsProtocol(number), nil
	}
	return nil, w.wrong("\"%s proto\" says nothing; use ip, ip6 or ether", qualifier)
}

// whole is true for IPv4 packets that are no later fragment: those have no transport header.
func (g *generator) whole() *cond { return not(g.is(anyBit, g.in(2, 6), 0x1fff)) }

// transports are the protocols with ports, in the order in which they are tried.
var transports = [...]struct {
	word   string
	number uint32
}{{"sctp", 132}, {"tcp", 6}, {"udp", 17}}

// ports is true for packets with a port from low to high.
func (g *generator) ports(w word, q qualifiers, proto string, low, high uint32) (*cond, error) {
	switch {
	case q.proto == "tcp", q.proto == "udp", q.proto == "sctp":
		if proto != "" && proto != q.proto {
			return nil, w.wrong("this is a port of %s, not of %s", proto, q.proto)
		}
		proto = q.proto
	case q.proto != "":
		return nil, w.wrong("%s has no ports; use tcp, udp or sctp, or nothing", q.proto)
	}
	inRange := func(v *value) *cond {
		if low == high {
			return g.is(equal, v, low)
		}
		return both(g.is(atLeast, v, low), not(g.is(greater, v, high)))
	}
	v4 := func() *cond {
		at := func(offset uint32) *value {
			return g.at(2, g.value(value{kind: header, k: g.layer.payload}), g.layer.payload+offset)
		}
		return both(g.whole(), q.ends(func() *cond { return inRange(at(0)) }, func() *cond { return inRange(at(2)) }))
	}
	v6 := func() *cond {
		return q.ends(func() *cond { return inRange(g.in(2, ipv6Header)) }, func() *cond { return inRange(g.in(2, ipv6Header+2)) })
	}
	over := func(network, offset uint32, port func() *cond) *cond {
		all := truth(false)
		for i, t := range transports {
			if proto != "" && proto != t.word {
				continue
			}
			one := both(g.is(equal, g.in(1, offset), t.number), port())
			if i == 0 || all.form == 'c' {
				all = one
			} else {
				all = either(all, one)
			}
		}
		return both(g.holdsProtocol(network), all)
	}
	return either(over(protoIPv6, 6, v6), over(protoIP, 9, v4)), nil
}

// ends joins what is asked of the source and of the destination.
func (q qualifiers) ends(source, destination func() *cond) *cond {
	switch q.direction {
	case "src":
		return source()
	case "dst":
		return destination()
	case "src and dst":
		return both(source(), destination())
	}
	return either(source(), destination())
}

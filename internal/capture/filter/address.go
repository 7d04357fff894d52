package filter

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// host4 is true for packets from or to an IPv4 address, or a network.
func (g *generator) host4(w word, q qualifiers, address, mask uint32) (*cond, error) {
	of := func(number, source, destination uint32) *cond {
		end := func(offset uint32) func() *cond {
			return func() *cond {
				return both(g.holdsProtocol(number), g.is(equal, g.compute('&', g.in(4, offset), g.literal(mask)), address&mask))
			}
		}
		return q.ends(end(source), end(destination))
	}
	switch q.proto {
	case "":
		return either(of(protoIP, 12, 16), either(of(protoARP, 14, 24), of(protoRARP, 14, 24))), nil
	case "ip":
		return of(protoIP, 12, 16), nil
	case "arp":
		return of(protoARP, 14, 24), nil
	case "rarp":
		return of(protoRARP, 14, 24), nil
	}
	return nil, w.wrong("%s has no IPv4 addresses; use ip, arp, rarp or nothing", q.proto)
}

// host6 is true for packets from or to an IPv6 address, or a network.
func (g *generator) host6(w word, q qualifiers, prefix netip.Prefix) (*cond, error) {
	if q.proto != "" && q.proto != "ip6" {
		return nil, w.wrong("%s has no IPv6 addresses; use ip6 or nothing", q.proto)
	}
	bytes := prefix.Addr().As16()
	end := func(offset uint32) func() *cond {
		return func() *cond {
			c := truth(true)
			for i := 3; i >= 0; i-- {
				bits := min(max(prefix.Bits()-32*i, 0), 32)
				mask := uint32(uint64(0xffffffff) << (32 - bits))
				word := g.compute('&', g.in(4, offset+4*uint32(i)), g.literal(mask))
				one := g.is(equal, word, binary.BigEndian.Uint32(bytes[4*i:])&mask)
				switch {
				case bits == 0:
				case c.form == 'c':
					c = one
				default:
					c = both(one, c)
				}
			}
			return both(g.holdsProtocol(protoIPv6), c)
		}
	}
	return q.ends(end(8), end(24)), nil
}

// etherHost is true for packets from or to a MAC address.
func (g *generator) etherHost(w word, q qualifiers, address [6]byte) (*cond, error) {
	if q.proto != "ether" && q.proto != "link" {
		return nil, w.wrong("write \"ether host\", \"ether src\" or \"ether dst\" before a MAC address")
	}
	if g.o.Link != Ethernet {
		return nil, w.wrong("there are no Ethernet addresses on a link of type %s", g.o.Link.Name())
	}
	high, low := uint32(binary.BigEndian.Uint16(address[:])), binary.BigEndian.Uint32(address[2:])
	end := func(offset uint32) func() *cond {
		return func() *cond {
			return both(g.is(equal, g.absolute(4, offset+2), low), g.is(equal, g.absolute(2, offset), high))
		}
	}
	return q.ends(end(6), end(0)), nil
}

// broadcast is true for packets to all.
func (g *generator) broadcast(w word, proto string) (*cond, error) {
	switch proto {
	case "", "ether", "link":
		if g.o.Link != Ethernet {
			return nil, w.wrong("there is no broadcast on a link of type %s", g.o.Link.Name())
		}
		return g.etherHost(w, qualifiers{proto: "ether", direction: "dst"}, [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	case "ip":
		hosts := ^g.o.Netmask
		to := g.compute('&', g.in(4, 16), g.literal(hosts))
		return both(g.holdsProtocol(protoIP), either(g.is(equal, to, 0), g.is(equal, to, hosts))), nil
	}
	return nil, w.wrong("%s has no broadcast; use ether or ip", proto)
}

// multicast is true for packets to a group.
func (g *generator) multicast(w word, proto string) (*cond, error) {
	switch proto {
	case "", "ether", "link":
		if g.o.Link != Ethernet {
			return nil, w.wrong("there is no multicast on a link of type %s; use ip or ip6", g.o.Link.Name())
		}
		return g.is(anyBit, g.absolute(1, 0), 1), nil
	case "ip":
		return both(g.holdsProtocol(protoIP), g.is(atLeast, g.in(1, 16), 224)), nil
	case "ip6":
		return both(g.holdsProtocol(protoIPv6), g.is(equal, g.in(1, 24), 0xff)), nil
	}
	return nil, w.wrong("%s has no multicast; use ether, ip or ip6", proto)
}

// shortAddress reads one to four numbers with dots between: the beginning of an IPv4 address. It gives the address and
// the mask of what is written.
func shortAddress(text string) (address, mask uint32, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) > 4 {
		return 0, 0, false
	}
	for _, part := range parts {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			return 0, 0, false
		}
		address = address<<8 | uint32(n)
	}
	missing := 8 * uint(4-len(parts))
	return address << missing, 0xffffffff << missing, true
}

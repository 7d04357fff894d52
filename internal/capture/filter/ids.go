package filter

import (
	"errors"
	"net/netip"
)

// ids reads what qualifiers stand before: an id, or ids in parentheses.
func (p *parser) ids(q qualifiers) (*cond, error) {
	negated := false
	for p.take("not") {
		negated = !negated
	}
	var c *cond
	var err error
	if !p.take("(") {
		c, err = p.id(q)
	} else {
		c, err = p.ids(q)
		for err == nil && !p.take(")") {
			join := both
			if w := p.peek(); p.take("or") {
				join = either
			} else if !p.take("and") {
				return nil, w.wrong("and, or or a parenthesis is expected here")
			}
			var d *cond
			if d, err = p.ids(q); err == nil {
				c = join(c, d)
			}
		}
	}
	if err == nil && negated {
		c = not(c)
	}
	return c, err
}

// id reads one id of the kind that is asked for.
func (p *parser) id(q qualifiers) (*cond, error) {
	w := p.next()
	switch q.kind {
	case "port", "portrange":
		return p.port(w, q)
	case "proto":
		return p.proto(w, q)
	case "net":
		return p.net(w, q)
	}
	switch w.kind {
	case number:
		return p.gen.host4(w, q, w.value, 0xffffffff)
	case mac:
		return p.gen.etherHost(w, q, w.mac)
	case dotted, address6:
		return p.net(w, q)
	case name:
		return p.hostName(w, q)
	}
	return nil, w.wrong("an address or a name is expected here; a name that is a word of the language is written with a \\ before it")
}

func (p *parser) hostName(w word, q qualifiers) (*cond, error) {
	if q.proto == "ether" || q.proto == "link" {
		return nil, w.wrong("a MAC address is expected here")
	}
	if p.gen.o.Names.Host == nil {
		return nil, w.wrong("no names are known here; write the address")
	}
	addresses, err := p.gen.o.Names.Host(w.text)
	if err != nil {
		return nil, w.wrong("it has no address: %v", err)
	}
	var all *cond
	for _, a := range addresses {
		a = a.Unmap()
		var c *cond
		switch {
		case a.Is4() && q.proto != "ip6":
			b := a.As4()
			c, err = p.gen.host4(w, q, uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3]), 0xffffffff)
		case a.Is6() && (q.proto == "" || q.proto == "ip6"):
			c, err = p.gen.host6(w, q, netip.PrefixFrom(a, 128))
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = c
		} else {
			all = either(all, c)
		}
	}
	if all == nil {
		return nil, w.wrong("it has no address that fits")
	}
	return all, nil
}

// net reads ADDRESS, ADDRESS/LENGTH and ADDRESS mask MASK.
func (p *parser) net(w word, q qualifiers) (*cond, error) {
	if w.kind == address6 {
		bits := 128
		if next := p.peek(); next.is("/") && q.kind == "host" {
			return nil, next.wrong("a mask is for networks: write net, not host")
		}
		if p.take("/") {
			n := p.next()
			if n.kind != number || n.value > 128 {
				return nil, n.wrong("a length of 0 to 128 bits is expected here")
			}
			bits = int(n.value)
		}
		prefix := netip.PrefixFrom(w.addr.WithZone(""), bits)
		if prefix.Masked().Addr() != prefix.Addr() {
			return nil, w.wrong("bits beyond /%d are set; write %s", bits, prefix.Masked())
		}
		return p.gen.host6(w, q, prefix)
	}
	if w.kind != number && w.kind != dotted {
		return nil, w.wrong("a network is expected here, such as 10.1, 10.0.0.0/8 or fe80::/10")
	}
	address, mask, ok := shortAddress(w.text)
	if w.kind == number && w.value > 255 {
		address, mask, ok = w.value, 0xffffffff, true
		for address>>24 == 0 {
			address, mask = address<<8, mask<<8
		}
	}
	if !ok {
		return nil, w.wrong("this is no IPv4 address")
	}
	switch next := p.peek(); {
	case q.kind == "host" && (next.is("/") || next.is("mask")):
		return nil, next.wrong("a mask is for networks: write net, not host")
	case p.take("/"):
		n := p.next()
		if n.kind != number || n.value > 32 {
			return nil, n.wrong("a length of 0 to 32 bits is expected here")
		}
		mask = uint32(uint64(0xffffffff) << (32 - n.value))
	case p.take("mask"):
		m := p.next()
		if m.kind != number && m.kind != dotted {
			return nil, m.wrong("a mask is expected here, such as 255.255.0.0")
		}
		if mask, _, ok = shortAddress(m.text); !ok {
			return nil, m.wrong("this is no mask")
		}
	}
	if address&^mask != 0 {
		return nil, w.wrong("bits are set that the mask does not have")
	}
	return p.gen.host4(w, q, address, mask)
}

// port reads a port, or a range of them.
func (p *parser) port(w word, q qualifiers) (*cond, error) {
	low, proto, err := p.onePort(w)
	high := low
	if err != nil && q.kind == "portrange" && w.kind == name {
		for i := range len(w.text) {
			if w.text[i] != '-' {
				continue
			}
			from, ferr := classify(w.text[:i])
			to, terr := classify(w.text[i+1:])
			if ferr != nil || terr != nil {
				continue
			}
			var other string
			var rest error
			if low, proto, err = p.onePort(from); err == nil {
				if high, other, rest = p.onePort(to); rest == nil {
					if other != proto {
						proto = ""
					}
					break
				}
				err = rest
			}
		}
	}
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.At, e.Word = w.at, w.text
		}
		return nil, err
	}
	return p.gen.ports(w, q, proto, min(low, high), max(low, high))
}

func (p *parser) onePort(w word) (port uint32, proto string, err error) {
	switch w.kind {
	case number:
		if w.value > 65535 {
			return 0, "", w.wrong("a port is at most 65535")
		}
		return w.value, "", nil
	case name, keyword:
		if n, proto, ok := p.gen.o.Names.service(w.text); ok {
			return uint32(n), proto, nil
		}
		return 0, "", w.wrong("no service has this name; write the port's number")
	}
	return 0, "", w.wrong("a port is expected here")
}

// proto reads the number or name of a protocol.
func (p *parser) proto(w word, q qualifiers) (*cond, error) {
	switch {
	case w.kind == number:
		return p.gen.carries(w, q.proto, w.value)
	case w.kind != name:
		return nil, w.wrong("a protocol is expected here; a name that is a word of the language is written with a \\ before it")
	case q.proto == "ether" || q.proto == "link":
		if n, ok := etherProtocol(w.text); ok {
			return p.gen.carries(w, q.proto, n)
		}
	default:
		if n, ok := p.gen.o.Names.protocol(w.text); ok {
			return p.gen.carries(w, q.proto, n)
		}
	}
	return nil, w.wrong("no protocol has this name; write its number")
}

package packet

import "fmt"

// Numbers of IP's.
const (
	protoICMP  = 1
	protoIGMP  = 2
	protoTCP   = 6
	protoUDP   = 17
	protoICMP6 = 58
	protoSCTP  = 132
)

// protoName is the name that tcpdump -v gives a protocol, "" for those that it does not know without /etc/protocols.
func protoName(n byte, six bool) string {
	switch n {
	case 0:
		return "Options"
	case protoICMP:
		return "ICMP"
	case protoIGMP:
		return "IGMP"
	case 4:
		return "IPIP"
	case protoTCP:
		return "TCP"
	case 8:
		return "EGP"
	case 9:
		return "IGRP"
	case protoUDP:
		return "UDP"
	case 41:
		return "IPv6"
	case 43:
		return "Routing"
	case 44:
		return "Fragment"
	case 46:
		return "RSVP"
	case 47:
		return "GRE"
	case 50:
		return "ESP"
	case 51:
		return "AH"
	case protoICMP6:
		return "ICMPv6"
	case 59:
		return "none"
	case 60:
		return "Options"
	case 89:
		return "OSPF"
	case 103:
		return "PIM"
	case 108:
		return "Compressed IP"
	case 112:
		return "VRRP"
	case protoSCTP:
		return "SCTP"
	}
	return "unknown"
}

// segment is what an IP packet carries.
type segment struct {
	proto    byte
	data     []byte // what is there
	length   int    // on the wire
	src, dst []byte // addresses
	fragment bool   // a first fragment: the rest is elsewhere
	behind   bool   // extension headers, and the addresses are printed already
}

// pair is the addresses, with ports where there are some.
func (w *text) pair(s segment, from, to string) {
	switch {
	case s.behind && from == "":
		return
	case s.behind:
		w.put(from + " > " + to + ": ")
		return
	case from == "":
		w.put(w.address(s.src) + " > " + w.address(s.dst) + ": ")
		return
	}
	w.put(w.address(s.src) + "." + from + " > " + w.address(s.dst) + "." + to + ": ")
}

func (w *text) ip4(data []byte, length int, named bool) {
	if named {
		w.put("IP")
	}
	if len(data) < 20 {
		if named {
			w.put(" ")
		}
		w.put("[|ip]")
		return
	}
	if named {
		w.put(" ")
	}
	size, total := int(data[0]&15)*4, int(u16(data, 2))
	switch {
	case data[0]>>4 != 4:
		w.f("IP%d [wrong link-layer encapsulation] (invalid)", data[0]>>4)
		return
	case size < 20:
		w.f("bad-hlen %d", size)
		return
	case total == 0: // segmentation by the network card
		total = length
	}
	if length < total {
		w.f("truncated-ip - %d bytes missing! ", total-length)
	}
	if total < size {
		w.f("bad-len %d", total)
		return
	}
	fragment := u16(data, 6)
	if w.verbose(1) {
		w.header4(data, size, total, fragment)
	}
	s := segment{proto: data[9], length: total - size, src: data[12:16], dst: data[16:20], fragment: fragment&0x2000 != 0}
	if len(data) > size {
		s.data = data[size:min(len(data), total)]
	}
	if fragment&0x1fff != 0 {
		w.pair(s, "", "")
		w.f("ip-proto-%d", s.proto)
		return
	}
	w.transport(s)
}

// header4 prints an IPv4 header as -v does.
func (w *text) header4(data []byte, size, total int, fragment uint16) {
	w.f("(tos 0x%x", data[1])
	switch data[1] & 3 {
	case 1:
		w.put(",ECT(1)")
	case 2:
		w.put(",ECT(0)")
	case 3:
		w.put(",CE")
	}
	if data[8] >= 1 {
		w.f(", ttl %d", data[8])
	}
	flags := "none"
	switch fragment >> 13 {
	case 1:
		flags = "+"
	case 2:
		flags = "DF"
	case 3:
		flags = "+, DF"
	case 4:
		flags = "rsvd"
	}
	w.f(", id %d, offset %d, flags [%s], proto %s (%d), length %d", u16(data, 4), int(fragment&0x1fff)*8, flags, protoName(data[9], false), data[9], total)
	if size > 20 && len(data) >= size {
		w.put(", options (")
		w.options4(data[20:size])
		w.put(")")
	}
	if len(data) >= size {
		if sum := checksum(0, data[:size]); sum != 0 {
			right := checksum(0, append(append(append([]byte{}, data[:10]...), 0, 0), data[12:size]...))
			w.f(", bad cksum %x (->%x)!", u16(data, 10), right)
		}
	}
	w.put(")\n    ")
}

func (w *text) options4(o []byte) {
	for first := true; len(o) > 0; first = false {
		if !first {
			w.put(",")
		}
		size := 1
		if o[0] > 1 {
			if len(o) < 2 || int(o[1]) < 2 || int(o[1]) > len(o) {
				w.f("%s [bad length]", optionName(o[0]))
				return
			}
			size = int(o[1])
		}
		w.put(optionName(o[0]))
		if o[0] == 148 && size == 4 && u16(o, 2) != 0 {
			w.f(" value %d", u16(o, 2))
		}
		if o[0] == 0 {
			return
		}
		o = o[size:]
	}
}

func optionName(n byte) string {
	switch n {
	case 0:
		return "EOL"
	case 1:
		return "NOP"
	case 7:
		return "RR"
	case 68:
		return "timestamp"
	case 130:
		return "security"
	case 131:
		return "LSRR"
	case 137:
		return "SSRR"
	case 148:
		return "RA"
	}
	return fmt.Sprintf("unknown %d", n)
}

// checksum is the Internet checksum (RFC 1071) of data after sum.
func checksum(sum uint32, data []byte) uint16 {
	for len(data) > 1 {
		sum += uint32(u16(data, 0))
		data = data[2:]
	}
	if len(data) == 1 {
		sum += uint32(data[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// sum is the checksum of a whole segment with its pseudo header: 0 when it is right. It cannot tell of one that is cut.
func (s segment) sum() (uint16, bool) {
	if len(s.data) < s.length || s.fragment {
		return 0, false
	}
	pseudo := uint32(s.proto) + uint32(s.length)
	for _, address := range [][]byte{s.src, s.dst} {
		for i := 0; i < len(address); i += 2 {
			pseudo += uint32(u16(address, i))
		}
	}
	return checksum(pseudo, s.data[:s.length]), true
}

// shouldBe is the checksum that would be right, when have gave sum.
func shouldBe(have, sum uint16) uint16 {
	right := uint32(sum) + uint32(have)
	return uint16(right>>16 + right&0xffff)
}

func (w *text) transport(s segment) {
	switch s.proto {
	case protoTCP:
		w.tcp(s)
	case protoUDP:
		w.udp(s)
	case protoICMP:
		w.pair(s, "", "")
		if len(s.src) != 4 {
			w.put("[ICMP requires IPv4] (invalid)")
			return
		}
		w.icmp(s)
	case protoICMP6:
		w.pair(s, "", "")
		if len(s.src) == 4 {
			w.put("[ICMPv6 requires IPv6] (invalid)")
			return
		}
		w.icmp6(s)
	case protoSCTP:
		w.sctp(s)
	case protoIGMP:
		w.pair(s, "", "")
		if len(s.src) != 4 {
			w.put("[IGMP requires IPv4] (invalid)")
			return
		}
		w.igmp(s)
	default:
		w.pair(s, "", "")
		w.f(" ip-proto-%d %d", s.proto, s.length)
	}
}

func (w *text) ip6(data []byte, length int, named bool) {
	if named {
		w.put("IP6 ")
	}
	if len(data) < 40 {
		w.put("[|ip6]")
		return
	}
	if data[0]>>4 != 6 {
		w.f("IP%d [wrong link-layer encapsulation]", data[0]>>4)
		return
	}
	payload := int(u16(data, 4))
	if length < payload+40 {
		w.f("truncated-ip6 - %d bytes missing!", payload+40-length)
	}
	if w.verbose(1) {
		w.put("(")
		if class := u16(data, 0) >> 4 & 0xff; class != 0 {
			w.f("class 0x%02x, ", class)
		}
		if label := u32(data, 0) & 0xfffff; label != 0 {
			w.f("flowlabel 0x%05x, ", label)
		}
		w.f("hlim %d, next-header %s (%d) payload length: %d) ", data[7], protoName(data[6], true), data[6], payload)
	}
	s := segment{proto: data[6], length: payload, src: data[8:24], dst: data[24:40], data: data[40:min(len(data), 40+payload)]}
	if w.extensions(&s) {
		w.transport(s)
	}
}

// extensions goes past extension headers, and prints them. It says no when nothing follows.
func (w *text) extensions(s *segment) bool {
	before := len(w.out)
	late := false
	for range 16 {
		switch s.proto {
		case 0, 60, 43:
			if len(s.data) < 8 || len(s.data) < int(s.data[1])*8+8 {
				w.pair(*s, "", "")
				w.cut("ext")
				return false
			}
			size := int(s.data[1])*8 + 8
			w.extension(s.proto, s.data[:size])
			s.proto, s.data, s.length = s.data[0], s.data[size:], s.length-size
		case 44:
			if len(s.data) < 8 {
				w.pair(*s, "", "")
				w.cut("frag")
				return false
			}
			offset := u16(s.data, 2)
			w.put("frag (")
			if w.verbose(1) {
				w.f("0x%08x:", u32(s.data, 4))
			}
			w.f("%d|%d) ", offset&^7, s.length-8)
			s.fragment = true
			late = offset&^7 != 0
			s.proto, s.data, s.length = s.data[0], s.data[8:], s.length-8
		case 59:
			w.behindPair(*s, before)
			w.put("no next header")
			return false
		default:
			if late {
				w.behindPair(*s, before)
				w.out = w.out[:len(w.out)-1]
				return false
			}
			if len(w.out) > before {
				w.behindPair(*s, before)
				s.behind = true
			}
			return true
		}
	}
	w.put("too many extension headers")
	return false
}

// behindPair moves what was printed since before behind the addresses.
func (w *text) behindPair(s segment, before int) {
	printed := string(w.out[before:])
	w.out = w.out[:before]
	w.pair(s, "", "")
	w.put(printed)
}

func (w *text) extension(proto byte, data []byte) {
	name := map[byte]string{0: "HBH", 60: "DSTOPT", 43: "srcrt"}[proto]
	w.put(name + " ")
	if proto == 43 || !w.verbose(1) {
		return
	}
	for o := data[2:]; len(o) > 0; {
		if o[0] == 0 {
			w.put("(pad1) ")
			o = o[1:]
			continue
		}
		if len(o) < 2 || len(o) < int(o[1])+2 {
			w.put("(trunc) ")
			return
		}
		switch {
		case o[0] == 1:
			w.put("(padn) ")
		case o[0] == 5 && o[1] == 2:
			w.f("(rtalert: 0x%04x) ", u16(o, 2))
		default:
			w.f("(opt_type 0x%02x: len=%d) ", o[0], o[1])
		}
		o = o[int(o[1])+2:]
	}
}

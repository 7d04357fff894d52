package packet

import "tripod/internal/capture/filter"

// Numbers of Ethernet's.
const (
	typeIP     = 0x0800
	typeARP    = 0x0806
	typeRARP   = 0x8035
	typeVLAN   = 0x8100
	typeQinQ   = 0x88a8
	typeOld    = 0x9100
	typeIPv6   = 0x86dd
	longestLLC = 1500
)

func typeName(n uint16) string {
	switch n {
	case typeIP:
		return "IPv4"
	case typeARP:
		return "ARP"
	case typeRARP:
		return "Reverse ARP"
	case typeVLAN:
		return "802.1Q"
	case typeQinQ:
		return "802.1Q-QinQ"
	case typeOld:
		return "802.1Q-9100"
	case typeIPv6:
		return "IPv6"
	case 0x8847:
		return "MPLS unicast"
	case 0x8848:
		return "MPLS multicast"
	case 0x8863:
		return "PPPoE D"
	case 0x8864:
		return "PPPoE S"
	case 0x88cc:
		return "LLDP"
	case 0x809b:
		return "Appletalk"
	case 0x80f3:
		return "Appletalk ARP"
	case 0x8137:
		return "NS"
	case 0x9000:
		return "Loopback"
	}
	return "Unknown"
}

// link prints the link header, if it is asked for, and all behind it. It says how long the header is.
func (w *text) link(p Packet) int {
	switch p.Link {
	case filter.Ethernet:
		return w.ethernet(p.Data, p.Length)
	case filter.CookedV1:
		if len(p.Data) < 16 {
			w.cut("sll")
			return len(p.Data)
		}
		if w.o.Link {
			w.f("%3s ", cookedKind(p.Data[1]))
			if u16(p.Data, 4) == 6 {
				w.put(hardware(p.Data[6:]) + " ")
			}
			w.f("ethertype %s (0x%04x), length %d: ", typeName(u16(p.Data, 14)), u16(p.Data, 14), p.Length)
		} else {
			w.f("%3s ", cookedKind(p.Data[1]))
		}
		w.network(u16(p.Data, 14), p.Data[16:], p.Length-16, 16)
		return 16
	case filter.CookedV2:
		return w.cooked(p.Data, p.Length)
	case filter.Raw:
		if len(p.Data) == 0 {
			w.cut("ip")
			return 0
		}
		switch p.Data[0] >> 4 {
		case 4:
			w.network(typeIP, p.Data, p.Length, 0)
		case 6:
			w.network(typeIPv6, p.Data, p.Length, 0)
		default:
			w.f("ip: unknown version %d", p.Data[0]>>4)
		}
		return 0
	}
	w.f("link type %d, length %d", p.Link, p.Length)
	return 0
}

// cookedKind is what a cooked packet was for its host.
func cookedKind(kind byte) string {
	switch kind {
	case 0:
		return "In"
	case 1:
		return "B"
	case 2:
		return "M"
	case 3:
		return "P"
	case 4:
		return "Out"
	}
	return "?"
}

// cooked prints LINUX_SLL2.
func (w *text) cooked(data []byte, length int) int {
	const header = 20
	if len(data) < header {
		w.cut("sll2")
		return len(data)
	}
	number := int(u32(data, 4))
	name := ""
	if w.o.Names.Interface != nil {
		name = w.o.Names.Interface(number)
	}
	if name == "" {
		name = "?"
	}
	w.f("%-5s %-3s ", name, cookedKind(data[10]))
	kind := u16(data, 0)
	if w.o.Link {
		w.f("ifindex %d ", number)
		if data[11] == 6 {
			w.put(hardware(data[12:]) + " ")
		}
		if !w.o.Quiet {
			w.f("ethertype %s (0x%04x), length %d: ", typeName(kind), kind, length)
		}
	}
	w.network(kind, data[header:], length-header, header)
	return header
}

func (w *text) ethernet(data []byte, length int) int {
	const header = 14
	if len(data) < header {
		w.cut("ether")
		return len(data)
	}
	kind := u16(data, 12)
	if w.o.Link {
		w.put(hardware(data[6:]) + " > " + hardware(data))
		switch {
		case kind <= longestLLC:
			w.f(", 802.3, length %d: ", kind)
		case w.o.Quiet:
			w.f(", %s, length %d: ", typeName(kind), length)
		default:
			w.f(", ethertype %s (0x%04x), length %d: ", typeName(kind), kind, length)
		}
	}
	at := header
	for kind == typeVLAN || kind == typeQinQ || kind == typeOld {
		if len(data) < at+4 {
			w.cut("vlan")
			return header
		}
		tag := u16(data, at)
		next := u16(data, at+2)
		if w.o.Link {
			w.f("vlan %d, p %d%s, ", tag&0xfff, tag>>13, map[bool]string{true: ", DEI"}[tag&0x1000 != 0])
			if next > longestLLC {
				w.f("ethertype %s (0x%04x), ", typeName(next), next)
			}
		}
		kind, at = next, at+4
	}
	if w.o.Link && at > header {
		w.out = w.out[:len(w.out)-2]
		w.put(": ")
	}
	w.network(kind, data[at:], length-at, at)
	return header
}

// network prints what a link carries. length is its length on the wire, header what stands before it.
func (w *text) network(kind uint16, data []byte, length, header int) {
	switch kind {
	case typeIP:
		w.ip4(data, length, !w.o.Link)
	case typeIPv6:
		w.ip6(data, length, !w.o.Link)
	case typeARP, typeRARP:
		w.arp(data, length)
	default:
		if !w.o.Link {
			if kind <= longestLLC {
				w.f("802.3 length %d", kind)
			} else {
				w.f("ethertype %s (0x%04x), length %d", typeName(kind), kind, length+header)
			}
		} else {
			w.f("length %d", length)
		}
	}
}

// arp prints ARP and reverse ARP for IPv4 on Ethernet.
func (w *text) arp(data []byte, length int) {
	if len(data) < 8 {
		w.put("ARP,")
		w.cut("arp")
		return
	}
	if !w.o.Link {
		w.put("ARP, ")
	}
	link, proto, operation := u16(data, 0), u16(data, 2), u16(data, 6)
	if link != 1 || proto != typeIP || data[4] != 6 || data[5] != 4 {
		w.f("Unknown Hardware (%d) (len %d), Unknown Protocol (0x%04x) (len %d), length %d", link, data[4], proto, data[5], length)
		return
	}
	if w.verbose(1) {
		w.put("Ethernet (len 6), IPv4 (len 4), ")
	}
	if len(data) < 28 {
		w.cut("arp")
		return
	}
	sender, target := data[8:18], data[18:28]
	switch operation {
	case 1:
		w.put("Request who-has " + w.address(target[6:]))
		if [6]byte(target) != [6]byte{} {
			w.put(" (" + hardware(target) + ")")
		}
		w.put(" tell " + w.address(sender[6:]))
	case 2:
		w.put("Reply " + w.address(sender[6:]) + " is-at " + hardware(sender))
	case 3:
		w.put("Reverse Request who-is " + hardware(target) + " tell " + hardware(sender))
	case 4:
		w.put("Reverse Reply " + hardware(target) + " at " + w.address(target[6:]))
	default:
		w.f("Unknown (%d)", operation)
	}
	w.f(", length %d", length)
}

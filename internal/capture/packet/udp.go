package packet

func (w *text) udp(s segment) {
	d := s.data
	if len(d) < 4 {
		w.pair(s, "", "")
		w.put("[|udp]")
		return
	}
	from, to := u16(d, 0), u16(d, 2)
	w.pair(s, w.port(from, "udp"), w.port(to, "udp"))
	if len(d) < 8 {
		w.put("[|udp]")
		return
	}
	size := int(u16(d, 4))
	if size < 8 {
		w.f("truncated-udplength %d", size)
		return
	}
	if w.o.Quiet {
		w.f("UDP, length %d", size-8)
		return
	}
	if least := 2; w.verbose(least) || len(s.src) == 16 && w.verbose(1) {
		switch sum, ok := s.sum(); {
		case s.fragment:
		case u16(d, 6) == 0:
			w.put("[no cksum] ")
		case ok && sum == 0:
			w.put("[udp sum ok] ")
		case ok:
			w.f("[bad udp cksum 0x%04x -> 0x%04x!] ", u16(d, 6), shouldBe(u16(d, 6), sum))
		}
	}
	is := func(ports ...uint16) bool {
		for _, p := range ports {
			if from == p || to == p {
				return true
			}
		}
		return false
	}
	body := d[8:min(len(d), size)]
	switch {
	case is(53, 5353):
		w.dns(body, size-8)
	case is(67, 68):
		w.dhcp(body, size-8)
	case size > s.length && !s.fragment:
		w.f("UDP, bad length %d > %d", size-8, s.length-8)
	default:
		w.f("UDP, length %d", size-8)
	}
}

// dhcp prints the fixed part of DHCP, and with -v its options.
func (w *text) dhcp(d []byte, length int) {
	w.put("BOOTP/DHCP, ")
	if len(d) < 34 {
		w.put("[|bootp]")
		return
	}
	operation := map[byte]string{1: "Request", 2: "Reply"}[d[0]]
	if operation == "" {
		w.f("unknown (0x%02x)", d[0])
	}
	w.put(operation)
	if d[1] == 1 && d[2] == 6 && d[0] == 1 {
		w.put(" from " + hardware(d[28:]))
	}
	w.f(", length %d", length)
	if !w.verbose(1) {
		return
	}
	if d[3] != 0 {
		w.f(", hops %d", d[3])
	}
	w.f(", xid 0x%x", u32(d, 4))
	if secs := u16(d, 8); secs != 0 {
		w.f(", secs %d", secs)
	}
	flags := "none"
	if d[10]&0x80 != 0 {
		flags = "Broadcast"
	}
	w.f(", Flags [%s]", flags)
	if w.verbose(2) {
		w.f(" (0x%04x)", u16(d, 10))
	}
	for i, name := range []string{"Client-IP", "Your-IP", "Server-IP", "Gateway-IP"} {
		if a := d[12+4*i:]; len(a) >= 4 && u32(a, 0) != 0 {
			w.f("\n\t  %s %s", name, w.address(a[:4]))
		}
	}
	if d[1] == 1 && d[2] == 6 {
		w.put("\n\t  Client-Ethernet-Address " + hardware(d[28:]))
	}
	if len(d) < 240 || u32(d, 236) != 0x63825363 {
		return
	}
	w.put("\n\t  Vendor-rfc1048 Extensions\n\t    Magic Cookie 0x63825363")
	w.dhcpOptions(d[240:])
}

func (w *text) dhcpOptions(o []byte) {
	for len(o) > 0 {
		if o[0] == 0 {
			n := 1
			for n < len(o) && o[n] == 0 {
				n++
			}
			if w.verbose(3) {
				w.f("\n\t    PAD (0), length 0, occurs %d", n)
			}
			o = o[n:]
			continue
		}
		if o[0] == 255 {
			if w.verbose(3) {
				w.put("\n\t    END (255), length 0")
			}
			o = o[1:]
			continue
		}
		if len(o) < 2 {
			w.put(" [|bootp]")
			return
		}
		size := int(o[1])
		name := dhcpOption(o[0])
		w.f("\n\t    %s (%d), length %d", name, o[0], size)
		if len(o) < 2+size {
			w.put(" [|bootp]")
			return
		}
		v := o[2 : 2+size]
		w.put(": ")
		switch kind := o[0]; {
		case kind == 53 && size == 1:
			w.put(dhcpMessage(v[0]))
		case kind == 55:
			for i, n := range v {
				switch {
				case i%4 == 0:
					w.put("\n\t      ")
				default:
					w.put(", ")
				}
				w.f("%s (%d)", dhcpOption(n), n)
			}
		case kind == 61 && size == 7 && v[0] == 1:
			w.put("ether " + hardware(v[1:]))
		case dhcpText(kind):
			w.put(`"`)
			w.safe(v)
			w.put(`"`)
		case size > 0 && size%4 == 0 && (kind == 1 || kind == 3 || kind == 6 || kind == 28 || kind == 42 || kind == 50 || kind == 54):
			for i := 0; i < size; i += 4 {
				if i > 0 {
					w.put(",")
				}
				w.put(w.address(v[i : i+4]))
			}
		case size == 1:
			w.f("%d", v[0])
		case size == 2:
			w.f("%d", u16(v, 0))
		case size == 4:
			w.f("%d", u32(v, 0))
		default:
			for i, b := range v {
				if i > 0 {
					w.put(".")
				}
				w.f("%d", b)
			}
		}
		o = o[2+size:]
	}
}

func dhcpText(n byte) bool { return n == 12 || n == 15 || n == 60 || n == 56 || n == 66 || n == 67 }

func dhcpMessage(n byte) string {
	names := [...]string{"", "Discover", "Offer", "Request", "Decline", "ACK", "NACK", "Release", "Inform"}
	if n == 0 || int(n) >= len(names) {
		return "Unknown (" + decimal(n) + ")"
	}
	return names[n]
}

func dhcpOption(n byte) string {
	switch n {
	case 1:
		return "Subnet-Mask"
	case 2:
		return "Time-Zone"
	case 3:
		return "Default-Gateway"
	case 6:
		return "Domain-Name-Server"
	case 12:
		return "Hostname"
	case 15:
		return "Domain-Name"
	case 26:
		return "MTU"
	case 28:
		return "BR"
	case 33:
		return "Static-Route"
	case 42:
		return "NTP"
	case 50:
		return "Requested-IP"
	case 51:
		return "Lease-Time"
	case 53:
		return "DHCP-Message"
	case 54:
		return "Server-ID"
	case 55:
		return "Parameter-Request"
	case 56:
		return "MSG"
	case 57:
		return "MSZ"
	case 58:
		return "RN"
	case 59:
		return "RB"
	case 60:
		return "Vendor-Class"
	case 61:
		return "Client-ID"
	case 66:
		return "TFTP"
	case 67:
		return "BF"
	case 119:
		return "Domain-Search"
	case 121:
		return "Classless-Static-Route"
	}
	return "Unknown"
}

// sctp prints the chunks of SCTP by name.
func (w *text) sctp(s segment) {
	d := s.data
	if len(d) < 12 {
		w.pair(s, "", "")
		w.put("[|sctp]")
		return
	}
	w.pair(s, w.port(u16(d, 0), "sctp"), w.port(u16(d, 2), "sctp"))
	w.put("sctp")
	if w.o.Quiet {
		return
	}
	d = d[12:]
	for n := 1; len(d) >= 4; n++ {
		size := int(u16(d, 2))
		separator := " "
		if w.verbose(1) {
			separator = "\n\t"
		}
		w.f("%s(%d) ", separator, n)
		if size < 4 {
			w.f("[Bad chunk length %d, < size of chunk descriptor]", size)
			return
		}
		w.f("[%s]", sctpChunk(d[0]))
		if v := d[:min(size, len(d))]; d[0] == 0 && len(v) >= 16 {
			flags := ""
			if d[1]&2 != 0 {
				flags = "(B)"
			}
			if d[1]&1 != 0 {
				flags += "(E)"
			}
			w.f(" %s [TSN: %d] [SID: %d] [SSEQ %d] [PPID 0x%x]", flags, u32(v, 4), u16(v, 8), u16(v, 10), u32(v, 12))
		} else if (d[0] == 1 || d[0] == 2) && len(v) >= 20 {
			w.f(" [init tag: %d] [rwnd: %d] [OS: %d] [MIS: %d] [init TSN: %d]", u32(v, 4), u32(v, 8), u16(v, 12), u16(v, 14), u32(v, 16))
		} else if d[0] == 3 && len(v) >= 16 {
			w.f(" [cum ack %d] [a_rwnd %d] [#gap acks %d] [#dup tsns %d]", u32(v, 4), u32(v, 8), u16(v, 12), u16(v, 14))
		}
		d = d[min(len(d), (size+3)&^3):]
	}
}

func sctpChunk(n byte) string {
	names := [...]string{"DATA", "INIT", "INIT ACK", "SACK", "HB REQ", "HB ACK", "ABORT", "SHUTDOWN", "SHUTDOWN ACK", "OP ERR", "COOKIE ECHO", "COOKIE ACK", "ECN ECHO", "CWR", "SHUTDOWN COMPLETE"}
	if int(n) < len(names) {
		return names[n]
	}
	return "Unknown chunk type: 0x" + hexByte(n)
}

func hexByte(n byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[n>>4], digits[n&15]})
}

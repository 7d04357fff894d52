package packet

func (w *text) icmp(s segment) {
	d := s.data
	w.put("ICMP ")
	if len(d) < 8 {
		w.put("[|icmp]")
		return
	}
	kind, code := d[0], d[1]
	inner := false
	switch kind {
	case 0, 8:
		w.f("echo %s, id %d, seq %d", map[byte]string{0: "reply", 8: "request"}[kind], u16(d, 4), u16(d, 6))
	case 3:
		w.unreachable(d, code)
		inner = true
	case 4:
		w.put("source quench")
		inner = true
	case 5:
		what := [...]string{"redirect %s to net %s", "redirect %s to host %s", "redirect-tos %s to net %s", "redirect-tos %s to host %s"}
		if int(code) < len(what) && len(d) >= 28 {
			w.f(what[code], w.address(d[24:28]), w.address(d[4:8]))
		} else {
			w.f("redirect-#%d", code)
		}
		inner = true
	case 9:
		w.put("router advertisement")
	case 10:
		w.put("router solicitation")
	case 11:
		switch code {
		case 0:
			w.put("time exceeded in-transit")
		case 1:
			w.put("ip reassembly time exceeded")
		default:
			w.f("time exceeded-#%d", code)
		}
		inner = true
	case 12:
		w.put("parameter problem")
		if code != 0 {
			w.f(" - code %d", code)
		} else {
			w.f(" - octet %d", d[4])
		}
		inner = true
	case 13:
		w.f("time stamp query id %d seq %d", u16(d, 4), u16(d, 6))
	case 14:
		w.f("time stamp reply id %d seq %d", u16(d, 4), u16(d, 6))
	default:
		w.f("type-#%d", kind)
	}
	w.f(", length %d", s.length)
	if !w.verbose(1) || s.fragment {
		return
	}
	if len(d) >= s.length {
		if sum := checksum(0, d[:s.length]); sum != 0 {
			w.f(" (wrong icmp cksum %x (->%x)!)", u16(d, 2), shouldBe(u16(d, 2), sum))
		}
	}
	if inner && len(d) > 8 {
		w.put("\n\t")
		if !w.o.Link {
			w.put("IP ")
		}
		w.inner(d[8:])
	}
}

// inner prints the packet that an ICMP error answers. As its rest is not there, nothing is said of that.
func (w *text) inner(data []byte) {
	length := len(data)
	if length >= 4 {
		length = max(length, int(u16(data, 2)))
	}
	w.ip4(data, length, false)
}

// unreachable prints an ICMP error of type 3 by its code.
func (w *text) unreachable(d []byte, code byte) {
	to := ""
	if len(d) >= 28 {
		to = w.address(d[24:28])
	}
	switch code {
	case 2:
		if len(d) >= 28 {
			w.f("%s protocol %d unreachable", to, d[17])
			return
		}
	case 3:
		if len(d) < 28 {
			break
		}
		at := 8 + int(d[8]&15)*4
		if len(d) < at+4 {
			break
		}
		port := u16(d, at+2)
		switch d[17] {
		case protoTCP:
			w.f("%s tcp port %s unreachable", to, w.port(port, "tcp"))
		case protoUDP:
			w.f("%s udp port %s unreachable", to, w.port(port, "udp"))
		default:
			w.f("%s protocol %d port %d unreachable", to, d[17], port)
		}
		return
	case 4:
		if mtu := u16(d, 6); mtu != 0 {
			w.f("%s unreachable - need to frag (mtu %d)", to, mtu)
		} else {
			w.f("%s unreachable - need to frag", to)
		}
		return
	}
	what := [...]string{
		"net %s unreachable", "host %s unreachable", "", "", "", "%s unreachable - source route failed", "net %s unreachable - unknown",
		"host %s unreachable - unknown", "%s unreachable - source host isolated", "net %s unreachable - admin prohibited",
		"host %s unreachable - admin prohibited", "net %s unreachable - tos prohibited", "host %s unreachable - tos prohibited",
		"host %s unreachable - admin prohibited filter", "host %s unreachable - host precedence violation", "host %s unreachable - precedence cutoff",
	}
	if int(code) < len(what) && what[code] != "" {
		w.f(what[code], to)
		return
	}
	w.f("%s unreachable - #%d", to, code)
}

func (w *text) igmp(s segment) {
	d := s.data
	w.put("igmp ")
	if w.o.Quiet {
		return
	}
	if len(d) < 8 {
		w.put("[|igmp]")
		return
	}
	group := func() {
		if a := d[4:8]; u32(a, 0) != 0 {
			w.f(" [gaddr %s]", w.address(a))
		}
	}
	switch d[0] {
	case 0x11:
		w.put("query")
		if len(d) >= 12 {
			w.put(" v3")
		} else if d[1] != 0 {
			w.put(" v2")
		} else {
			w.put(" v1")
		}
		group()
	case 0x12:
		w.f("v1 report %s", w.address(d[4:8]))
	case 0x16:
		w.f("v2 report %s", w.address(d[4:8]))
	case 0x17:
		w.f("leave %s", w.address(d[4:8]))
	case 0x22:
		w.f("v3 report, %d group record(s)", u16(d, 6))
		if w.verbose(1) {
			w.records(d[8:], int(u16(d, 6)), 4)
		}
	default:
		w.f("%d", d[0])
	}
	if w.verbose(1) && len(d) >= s.length && checksum(0, d[:s.length]) != 0 {
		w.f(" bad igmp cksum %x!", u16(d, 2))
	}
}

// records prints the group records of IGMPv3 and MLDv2, with addresses of size bytes.
func (w *text) records(d []byte, count, size int) {
	kinds := [...]string{"", "is_in", "is_ex", "to_in", "to_ex", "allow", "block"}
	for range count {
		if len(d) < 4+size {
			w.put(" [|mld]")
			return
		}
		sources := int(u16(d, 2))
		w.f(" [gaddr %s", w.address(d[4:4+size]))
		if int(d[0]) < len(kinds) {
			w.put(" " + kinds[d[0]])
		} else {
			w.f(" v2-report-#%d", d[0])
		}
		if need := 4 + size + sources*size + int(d[1])*4; len(d) < need {
			w.put("]")
			return
		}
		if size == 16 && !w.verbose(2) {
			w.f(", %d source(s)", sources)
		} else if sources > 0 || size == 16 {
			w.put(" {")
			for i := range sources {
				if i > 0 {
					w.put(" ")
				}
				w.put(w.address(d[4+size+i*size:][:size]))
			}
			w.put(" }")
		}
		w.put("]")
		d = d[4+size+sources*size+int(d[1])*4:]
	}
}

func (w *text) icmp6(s segment) {
	d := s.data
	if len(d) < 8 {
		w.put("ICMP6, [|icmp6]")
		return
	}
	if w.verbose(1) {
		if sum, ok := s.sum(); ok && sum == 0 {
			w.put("[icmp6 sum ok] ")
		} else if ok {
			w.f("[bad icmp6 cksum 0x%04x -> 0x%04x!] ", u16(d, 2), shouldBe(u16(d, 2), sum))
		}
	}
	kind, code := d[0], d[1]
	w.put("ICMP6, " + icmp6Name(kind))
	if w.verbose(1) && kind >= 133 && kind <= 137 {
		w.f(", length %d", s.length)
	}
	options := -1
	target := func(word string) bool {
		if len(d) < 24 {
			w.put(" [|icmp6]")
			return false
		}
		w.f(", %s %s", word, w.address(d[8:24]))
		return true
	}
	switch kind {
	case 1:
		w.unreachable6(d, code)
	case 2:
		w.f(", mtu %d", u32(d, 4))
	case 3:
		if code == 0 && len(d) >= 48 {
			w.put(" for " + w.address(d[32:48]))
		} else if code == 1 {
			w.put(" (reassembly)")
		} else {
			w.f(", unknown code (%d)", code)
		}
	case 128, 129:
		w.f(", id %d, seq %d", u16(d, 4), u16(d, 6))
	case 130, 131, 132:
		if len(d) >= 24 {
			w.f("max resp delay: %d addr: %s", u16(d, 4), w.address(d[8:24]))
		}
	case 133:
		options = 8
	case 134:
		w.advertisement(d)
		options = 16
	case 135:
		if target("who has") {
			options = 24
		}
	case 136:
		if target("tgt is") {
			options = 24
			if w.verbose(1) {
				w.neighborFlags(d[4])
			}
		}
	case 137:
		if len(d) >= 40 {
			w.f(", %s to %s", w.address(d[24:40]), w.address(d[8:24]))
			options = 40
		}
	case 143:
		w.f(", %d group record(s)", u16(d, 6))
		if w.verbose(1) {
			w.records(d[8:], int(u16(d, 6)), 16)
		}
	default:
		if icmp6Name(kind) == "" {
			w.f("unknown icmp6 type (%d)", kind)
		}
	}
	if w.verbose(1) && options >= 0 && options <= len(d) {
		w.neighborOptions(d[options:])
	}
	if !w.verbose(1) {
		w.f(", length %d", s.length)
	}
}

func icmp6Name(n byte) string {
	switch n {
	case 1:
		return "destination unreachable"
	case 2:
		return "packet too big"
	case 3:
		return "time exceeded in-transit"
	case 4:
		return "parameter problem"
	case 128:
		return "echo request"
	case 129:
		return "echo reply"
	case 130:
		return "multicast listener query"
	case 131:
		return "multicast listener report"
	case 132:
		return "multicast listener done"
	case 133:
		return "router solicitation"
	case 134:
		return "router advertisement"
	case 135:
		return "neighbor solicitation"
	case 136:
		return "neighbor advertisement"
	case 137:
		return "redirect"
	case 143:
		return "multicast listener report v2"
	}
	return ""
}

// unreachable6 prints an ICMPv6 error of type 1 by its code.
func (w *text) unreachable6(d []byte, code byte) {
	what := [...]string{"unreachable route", "unreachable prohibited", "beyond scope", "unreachable address", "unreachable port"}
	if int(code) >= len(what) {
		w.f(", unknown unreach code (%d)", code)
		return
	}
	w.put(", " + what[code])
	if len(d) < 48 {
		return
	}
	to := w.address(d[32:48])
	if code != 4 {
		w.put(" " + to)
		return
	}
	if len(d) >= 52 && (d[14] == protoTCP || d[14] == protoUDP) {
		proto := map[byte]string{protoTCP: "tcp", protoUDP: "udp"}[d[14]]
		w.f(", %s %s port %s", to, proto, w.port(u16(d, 50), proto))
	}
}

func (w *text) neighborFlags(flags byte) {
	w.put(", Flags [")
	first := true
	for _, f := range [...]struct {
		mask byte
		name string
	}{{0x80, "router"}, {0x40, "solicited"}, {0x20, "override"}} {
		if flags&f.mask == 0 {
			continue
		}
		if !first {
			w.put(", ")
		}
		w.put(f.name)
		first = false
	}
	if first {
		w.put("none")
	}
	w.put("]")
}

func (w *text) advertisement(d []byte) {
	if !w.verbose(1) || len(d) < 16 {
		return
	}
	flags := "none"
	switch d[5] & 0xc0 {
	case 0x80:
		flags = "managed"
	case 0x40:
		flags = "other stateful"
	case 0xc0:
		flags = "managed, other stateful"
	}
	pref := [...]string{"medium", "high", "*reserved*", "low"}[d[5]>>3&3]
	w.f("\n\thop limit %d, Flags [%s], pref %s, router lifetime %ds, reachable time %dms, retrans timer %dms", d[4], flags, pref, u16(d, 6), u32(d, 8), u32(d, 12))
}

// neighborOptions prints the options of neighbor discovery, a line each.
func (w *text) neighborOptions(o []byte) {
	for len(o) >= 2 && o[1] > 0 && len(o) >= int(o[1])*8 {
		size := int(o[1]) * 8
		name := map[byte]string{1: "source link-address", 2: "destination link-address", 3: "prefix info", 4: "redirected header", 5: "mtu", 25: "rdnss"}[o[0]]
		if name == "" {
			name = "unknown"
		}
		w.f("\n\t  %s option (%d), length %d (%d): ", name, o[0], size, o[1])
		switch {
		case (o[0] == 1 || o[0] == 2) && size == 8:
			w.put(hardware(o[2:]))
		case o[0] == 5 && size == 8:
			w.f(" %d", u32(o, 4))
		case o[0] == 3 && size == 32:
			w.f("%s/%d", w.address(o[16:32]), o[2])
		case name == "unknown" && !w.verbose(2):
			w.optionBytes("  ", o[2:size])
		}
		if w.verbose(2) {
			w.optionBytes("    ", o[2:size])
		}
		o = o[size:]
	}
}

func (w *text) optionBytes(indent string, data []byte) {
	for at := 0; at < len(data); at += 16 {
		w.f("\n\t%s0x%04x: ", indent, at)
		for i, b := range data[at:min(at+16, len(data))] {
			if i%2 == 0 {
				w.put(" ")
			}
			w.f("%02x", b)
		}
	}
}

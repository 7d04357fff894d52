package packet

import "bytes"

// flow is a TCP connection: its ends in an order of their own.
type flow struct {
	a, b         string
	aPort, bPort uint16
}

// start is the sequence numbers with which a connection's ends began.
type start struct{ a, b uint32 }

// relative gives sequence numbers from the beginning of a connection on, once that is known.
func (w *text) relative(s segment, from, to uint16, seq, ack uint32, syn bool) (uint32, uint32) {
	f, turned := flow{string(s.src), string(s.dst), from, to}, false
	if from > to || from == to && bytes.Compare(s.src, s.dst) > 0 {
		f, turned = flow{string(s.dst), string(s.src), to, from}, true
	}
	began, known := w.flows[f]
	switch {
	case !known || syn:
		if len(w.flows) >= maxFlows {
			clear(w.flows)
		}
		began = start{seq, ack - 1}
		if turned {
			began = start{ack - 1, seq}
		}
		w.flows[f] = began
	case turned:
		return seq - began.b, ack - began.a
	default:
		return seq - began.a, ack - began.b
	}
	return seq, ack
}

func (w *text) tcp(s segment) {
	d := s.data
	if len(d) < 4 {
		w.pair(s, "", "")
		w.put("[|tcp]")
		return
	}
	from, to := u16(d, 0), u16(d, 2)
	w.pair(s, w.port(from, "tcp"), w.port(to, "tcp"))
	if len(d) < 20 {
		w.put("[|tcp]")
		return
	}
	size := int(d[12]>>4) * 4
	if size < 20 {
		w.f(" tcp %d [bad hdr length %d - too short, < 20]", s.length-size, size)
		return
	}
	payload := s.length - size
	if payload < 0 {
		w.f("Flags [%s] [bad hdr length %d - too long, > %d]", tcpFlags(d[13]), size, s.length)
		return
	}
	if w.o.Quiet {
		w.f("tcp %d", payload)
		return
	}
	flags := d[13]
	w.f("Flags [%s]", tcpFlags(flags))
	if w.verbose(1) {
		if sum, ok := s.sum(); ok && sum == 0 {
			w.f(", cksum 0x%04x (correct)", u16(d, 16))
		} else if ok {
			w.f(", cksum 0x%04x (incorrect -> 0x%04x)", u16(d, 16), shouldBe(u16(d, 16), sum))
		}
	}
	seq, ack := u32(d, 4), u32(d, 8)
	if !w.o.Whole && flags&0x10 != 0 {
		seq, ack = w.relative(s, from, to, seq, ack, flags&2 != 0)
	}
	if payload > 0 || flags&7 != 0 || w.verbose(2) {
		w.f(", seq %d", seq)
		if payload > 0 {
			w.f(":%d", seq+uint32(payload))
		}
	}
	if flags&0x10 != 0 {
		w.f(", ack %d", ack)
	}
	w.f(", win %d", u16(d, 14))
	if flags&0x20 != 0 {
		w.f(", urg %d", u16(d, 18))
	}
	if size > 20 {
		w.put(", options [")
		w.tcpOptions(d[20:min(size, len(d))], size-20)
		w.put("]")
	}
	w.f(", length %d", payload)
	switch {
	case payload == 0 || len(d) <= size:
	case flags&4 != 0 && w.verbose(1):
		w.reason(d[size:])
	default:
		w.stream(d[size:], from, to)
	}
}

// reason prints what a reset carries, which may be why it was sent (RFC 1122, 4.2.2.12), with -v.
func (w *text) reason(data []byte) {
	const most = 30
	w.put(" [RST")
	if len(data) > most {
		data = data[:most]
		w.put("+")
	}
	w.put(" ")
	w.safe(data)
	w.put("]")
}

func tcpFlags(flags byte) string {
	var out []byte
	for i, name := range [...]byte{'F', 'S', 'R', 'P', '.', 'U', 'E', 'W'} {
		if flags&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return string(out)
}

func (w *text) tcpOptions(o []byte, size int) {
	for first := true; len(o) > 0; first = false {
		if !first {
			w.put(",")
		}
		switch o[0] {
		case 0:
			w.put("eol")
			return
		case 1:
			w.put("nop")
			o, size = o[1:], size-1
			continue
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > size || int(o[1]) > len(o) {
			w.f("%s[bad opt]", tcpOption(o[0]))
			return
		}
		n, v := int(o[1]), o[2:o[1]]
		w.put(tcpOption(o[0]))
		switch {
		case o[0] == 2 && n == 4:
			w.f(" %d", u16(v, 0))
		case o[0] == 3 && n == 3:
			w.f(" %d", v[0])
		case o[0] == 5 && n > 2 && (n-2)%8 == 0:
			w.f(" %d ", (n-2)/8)
			for ; len(v) >= 8; v = v[8:] {
				w.f("{%d:%d}", u32(v, 0), u32(v, 4))
			}
		case o[0] == 8 && n == 10:
			w.f(" val %d ecr %d", u32(v, 0), u32(v, 4))
		case o[0] == 4:
		case len(v) > 0:
			w.put(" 0x")
			for _, b := range v {
				w.f("%02x", b)
			}
		}
		o, size = o[n:], size-n
	}
}

func tcpOption(n byte) string {
	switch n {
	case 2:
		return "mss"
	case 3:
		return "wscale"
	case 4:
		return "sackOK"
	case 5:
		return "sack"
	case 8:
		return "TS"
	case 19:
		return "md5"
	case 28:
		return "utimeout"
	case 29:
		return "TCP-AO"
	case 30:
		return "mptcp"
	case 34:
		return "tfo"
	}
	return "unknown-" + decimal(n)
}

func decimal(n byte) string {
	if n < 10 {
		return string('0' + n)
	}
	return decimal(n/10) + string('0'+n%10)
}

// stream prints the beginning of what a TCP connection carries, where its port says what that is.
func (w *text) stream(data []byte, from, to uint16) {
	is := func(ports ...uint16) bool {
		for _, p := range ports {
			if from == p || to == p {
				return true
			}
		}
		return false
	}
	switch {
	case is(53):
		w.dnsStream(data)
	case is(80, 8080, 3128):
		w.http(data)
	}
}

// dnsStream prints a DNS message behind its length. One that goes on in other segments is not put together.
func (w *text) dnsStream(data []byte) {
	if len(data) < 2 {
		w.f(" [DNS over TCP: length %d < 2] (invalid)", len(data))
		return
	}
	if n := int(u16(data, 0)); n != len(data)-2 {
		w.f(" [prefix length(%d) != length(%d)] (invalid)", n, len(data)-2)
		return
	}
	w.put(" ")
	w.dns(data[2:], len(data)-2)
}

// http prints a request's or an answer's first line, or with -v its head.
func (w *text) http(data []byte) {
	if !isHTTP(data) {
		w.put(": HTTP")
		return
	}
	if !w.verbose(1) {
		line, _, _ := bytes.Cut(data, []byte("\n"))
		w.put(": HTTP: ")
		w.safe(bytes.TrimSuffix(line, []byte("\r")))
		return
	}
	w.f(": HTTP, length: %d", len(data))
	for len(data) > 0 {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f }) {
			return
		}
		w.put("\n\t")
		w.put(string(line))
		if !whole {
			w.put(" [|http]")
			return
		}
		data = rest
	}
}

func isHTTP(data []byte) bool {
	word, rest, _ := bytes.Cut(data[:min(len(data), 64)], []byte(" "))
	if bytes.HasPrefix(word, []byte("HTTP/")) && len(rest) >= 3 {
		return rest[0] >= '0' && rest[0] <= '9' && rest[1] >= '0' && rest[1] <= '9' && rest[2] >= '0' && rest[2] <= '9'
	}
	for _, method := range []string{"GET", "PUT", "COPY", "HEAD", "LOCK", "MOVE", "POLL", "POST", "BCOPY", "BMOVE", "MKCOL", "TRACE", "LABEL", "MERGE", "DELETE", "SEARCH", "UNLOCK", "REPORT", "UPDATE", "NOTIFY", "BDELETE", "CONNECT", "OPTIONS", "CHECKIN", "PROPFIND", "CHECKOUT", "SUBSCRIBE", "PROPPATCH", "BPROPFIND", "UNSUBSCRIBE"} {
		if string(word) == method {
			return true
		}
	}
	return false
}

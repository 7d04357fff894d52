// Package packet tells what a packet is, in tcpdump's words.
//
// A Printer turns one packet after another into the text that tcpdump prints with the same options; docs/capture.md says for
// which protocols. It never reads beyond a packet's end: what is cut ends in tcpdump's mark, "[|tcp]". Whatever a packet
// holds, its text has no control characters but newlines and tabs of our own.
package packet

import (
	"fmt"
	"net/netip"
	"time"

	"tripod/internal/capture/filter"
)

// Options are tcpdump's. The zero value prints one line a packet with the time of the day.
type Options struct {
	Stamp   int  // -t: 0 time of day, 1 none, 2 seconds since 1970, 3 since the packet before, 4 with date, 5 since the first
	Nano    bool // nanoseconds in times
	Number  bool // -#
	Link    bool // -e: the link header too
	Quiet   bool // -q
	Verbose int  // -v
	Whole   bool // -S: absolute TCP sequence numbers

	Hex   int // -x: 1 from the network header on, 2 with the link header
	Both  int // -X: the same, with characters beside
	ASCII int // -A: 1 the characters alone, 2 with the link header
	Zone  *time.Location
	Names Names
}

// Names finds names for numbers. Nil functions, and those that answer "", leave the numbers.
type Names struct {
	Address   func(netip.Addr) string
	Port      func(port uint16, proto string) string
	Interface func(number int) string // of a cooked packet
}

// Packet is what a Printer prints.
type Packet struct {
	Link   filter.Link
	Time   int64 // nanoseconds since 1970
	Data   []byte
	Length int    // on the wire
	Prefix string // what the caller says before the packet itself: a Pod, an interface
}

// Printer prints packets. It remembers the sequence numbers with which TCP connections began.
type Printer struct {
	o     Options
	count int
	first int64
	last  int64
	flows map[flow]start
}

// maxFlows bounds the connections that are remembered.
const maxFlows = 1 << 16

// New makes a Printer.
func New(o Options) *Printer {
	if o.Zone == nil {
		o.Zone = time.Local
	}
	return &Printer{o: o, flows: map[flow]start{}}
}

// text is the text of one packet as it grows.
type text struct {
	*Printer
	out []byte
}

func (w *text) put(s string)              { w.out = append(w.out, s...) }
func (w *text) f(format string, a ...any) { w.out = fmt.Appendf(w.out, format, a...) }
func (w *text) cut(proto string)          { w.put(" [|" + proto + "]") }
func u16(b []byte, at int) uint16         { return uint16(b[at])<<8 | uint16(b[at+1]) }
func u32(b []byte, at int) uint32         { return uint32(u16(b, at))<<16 | uint32(u16(b, at+2)) }
func (w *text) address(b []byte) string   { return w.name(addressOf(b)) }
func (w *text) verbose(atLeast int) bool  { return w.o.Verbose >= atLeast }
func addressOf(b []byte) (a netip.Addr)   { a, _ = netip.AddrFromSlice(b); return a }
func hardware(b []byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5])
}

// name is an address, or the name that it has.
func (w *text) name(a netip.Addr) string {
	if w.o.Names.Address != nil {
		if name := w.o.Names.Address(a); name != "" {
			return name
		}
	}
	return a.String()
}

// port is a port, or the name that it has.
func (w *text) port(n uint16, proto string) string {
	if w.o.Names.Port != nil {
		if name := w.o.Names.Port(n, proto); name != "" {
			return name
		}
	}
	return fmt.Sprint(n)
}

// Append adds the text of a packet, newline included, to out.
func (p *Printer) Append(out []byte, packet Packet) []byte {
	w := &text{p, out}
	p.count++
	if p.count == 1 {
		p.first, p.last = packet.Time, packet.Time
	}
	if p.o.Number {
		w.f("%5d  ", p.count)
	}
	w.stamp(packet.Time)
	p.last = packet.Time
	w.put(packet.Prefix)
	header := w.link(packet)
	header = min(header, len(packet.Data))
	switch {
	case p.o.Both > 0:
		w.hex(packet.Data, header, p.o.Both > 1, true)
	case p.o.Hex > 0:
		w.hex(packet.Data, header, p.o.Hex > 1, false)
	case p.o.ASCII > 0:
		w.characters(packet.Data, header, p.o.ASCII > 1)
	}
	return append(w.out, '\n')
}

// stamp prints a time.
func (w *text) stamp(t int64) {
	digits, unit := 6, int64(1000)
	if w.o.Nano {
		digits, unit = 9, 1
	}
	since := func(from int64) {
		d, sign := t-from, ""
		if d < 0 {
			d, sign = -d, "-"
		}
		seconds := d / 1e9
		w.f(" %s%02d:%02d:%02d.%0*d ", sign, seconds/3600, seconds/60%60, seconds%60, digits, d%1e9/unit)
	}
	at := time.Unix(0, t).In(w.o.Zone)
	switch w.o.Stamp {
	case 0:
		w.f("%s.%0*d ", at.Format("15:04:05"), digits, t%1e9/unit)
	case 2:
		w.f("%d.%0*d ", t/1e9, digits, t%1e9/unit)
	case 3:
		since(w.last)
	case 4:
		w.f("%s.%0*d ", at.Format("2006-01-02 15:04:05"), digits, t%1e9/unit)
	case 5:
		since(w.first)
	}
}

// hex prints bytes as -x and -X do.
func (w *text) hex(data []byte, header int, all, characters bool) {
	if !all {
		data = data[header:]
	}
	for at := 0; at < len(data); at += 16 {
		line := data[at:min(at+16, len(data))]
		w.f("\n\t0x%04x: ", at)
		width := 0
		for i := range line {
			if i%2 == 0 {
				w.put(" ")
				width++
			}
			w.f("%02x", line[i])
			width += 2
		}
		if !characters {
			continue
		}
		for ; width < 40; width++ {
			w.put(" ")
		}
		w.put("  ")
		for _, c := range line {
			w.out = append(w.out, graphic(c))
		}
	}
}

func graphic(c byte) byte {
	if c > ' ' && c < 0x7f {
		return c
	}
	return '.'
}

// characters prints bytes as -A does: as they are, where they can be seen, and line by line.
func (w *text) characters(data []byte, header int, all bool) {
	if !all {
		data = data[header:]
	}
	w.put("\n")
	for i, c := range data {
		switch {
		case c == '\r' && i+1 < len(data) && data[i+1] == '\n':
		case c == '\n' || c == '\t' || c == ' ':
			w.out = append(w.out, c)
		default:
			w.out = append(w.out, graphic(c))
		}
	}
}

// safe appends bytes with control characters shown as tcpdump shows them: ^M, M-a.
func safe(out, data []byte) []byte {
	for _, c := range data {
		if c >= 0x80 {
			out = append(out, "M-"...)
			c &= 0x7f
		}
		if c < ' ' || c == 0x7f {
			out = append(out, '^', c^0x40)
			continue
		}
		out = append(out, c)
	}
	return out
}

func (w *text) safe(data []byte) { w.out = safe(w.out, data) }

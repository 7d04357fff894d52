package packet

import "fmt"

// Bounds of a DNS message: how often a name may jump, how long it may be, and how many records are printed.
const (
	maxJumps   = 64
	maxName    = 255
	maxRecords = 100
)

// dns prints a message as tcpdump does: a question, or the numbers of records and the answers.
func (w *text) dns(d []byte, length int) {
	if length < 12 {
		w.f("domain [length %d < 12] (invalid)", length)
		return
	}
	if len(d) < 12 {
		w.put("[|domain]")
		return
	}
	id, flags := u16(d, 0), u16(d, 2)
	questions, answers, authority, additional := int(u16(d, 4)), int(u16(d, 6)), int(u16(d, 8)), int(u16(d, 10))
	m := &message{text: w, d: d, at: 12}
	ok := true
	if flags&0x8000 != 0 {
		ok = m.answer(id, flags, questions, answers, authority, additional)
	} else {
		ok = m.question(id, flags, questions, answers, authority, additional)
	}
	if !ok {
		w.put("[|domain]")
	}
	w.f(" (%d)", length)
}

// message is a DNS message that is read from a place on.
type message struct {
	*text
	d  []byte
	at int
}

func operation(flags uint16) string {
	names := [...]string{"", " inv_q", " stat", " op3", " notify", " update", " op6", " op7", " op8", " updateA", " updateD", " updateDA", " updateM", " updateMA", " zoneInit", " zoneRef"}
	return names[flags>>11&15]
}

func problem(flags uint16) string {
	names := [...]string{"", " FormErr", " ServFail", " NXDomain", " NotImp", " Refused", " YXDomain", " YXRRSet", " NXRRSet", " NotAuth", " NotZone", " Resp11", " Resp12", " Resp13", " Resp14", " NoChange"}
	return names[flags&15]
}

func (m *message) question(id, flags uint16, questions, answers, authority, additional int) bool {
	m.f("%d%s", id, operation(flags))
	for _, bit := range [...]struct {
		mask uint16
		mark string
	}{{0x100, "+"}, {0x10, "%"}} {
		if flags&bit.mask != 0 {
			m.put(bit.mark)
		}
	}
	if flags&0x80ef&^0x10 != 0 && flags&0x6cf != 0 {
		m.f(" [b2&3=0x%x]", flags)
	}
	for _, c := range [...]struct {
		n, usual int
		word     string
	}{{questions, 1, "q"}, {answers, 0, "a"}, {authority, 0, "n"}, {additional, 0, "au"}} {
		if c.n != c.usual {
			m.f(" [%d%s]", c.n, c.word)
		}
	}
	for range min(questions, maxRecords) {
		m.put(" ")
		if !m.asked() {
			return false
		}
	}
	if !m.verbose(2) {
		return true
	}
	for _, c := range [...]struct {
		n    int
		word string
	}{{answers, "an"}, {authority, "ns"}, {additional, "ar"}} {
		if c.n > 0 && !m.resources(" "+c.word+": ", c.n) {
			return false
		}
	}
	return true
}

func (m *message) answer(id, flags uint16, questions, answers, authority, additional int) bool {
	m.f("%d%s%s", id, operation(flags), problem(flags))
	for _, bit := range [...]struct {
		mask uint16
		mark string
	}{{0x400, "*"}, {0x80, ""}, {0x200, "|"}, {0x20, "$"}} {
		if bit.mask == 0x80 {
			if flags&bit.mask == 0 {
				m.put("-")
			}
		} else if flags&bit.mask != 0 {
			m.put(bit.mark)
		}
	}
	if questions != 1 {
		m.f(" [%dq]", questions)
	}
	for i := range min(questions, maxRecords) {
		if m.verbose(2) {
			m.put(map[bool]string{true: " q: ", false: ", "}[i == 0])
			if !m.asked() {
				return false
			}
		} else if !m.skipName() {
			return false
		} else {
			m.at += 4
		}
	}
	m.f(" %d/%d/%d", answers, authority, additional)
	if answers > 0 && !m.resources(" ", answers) {
		return false
	}
	if !m.verbose(2) || flags&0x200 != 0 {
		return true
	}
	return (authority == 0 || m.resources(" ns: ", authority)) && (additional == 0 || m.resources(" ar: ", additional))
}

// records prints records with commas between.
func (m *message) resources(before string, count int) bool {
	m.put(before)
	for i := range min(count, maxRecords) {
		if i > 0 {
			m.put(", ")
		}
		if !m.record() {
			return false
		}
	}
	return true
}

// asked prints a question: type, class and name.
func (m *message) asked() bool {
	name, ok := m.name()
	if !ok || m.at+4 > len(m.d) {
		return false
	}
	kind, class := u16(m.d, m.at), u16(m.d, m.at+2)
	m.at += 4
	m.f("%s%s? ", recordType(kind), className(class))
	m.put(name)
	return true
}

func className(n uint16) string {
	switch n &^ 0x8000 {
	case 1:
		if n&0x8000 != 0 {
			return " (QU)"
		}
		return ""
	case 3:
		return " CHAOS"
	case 255:
		return " ANY"
	}
	return fmt.Sprintf(" (Class %d)", n)
}

func (m *message) skipName() bool {
	_, ok := m.name()
	return ok
}

// name reads a name, which may go on elsewhere in the message.
func (m *message) name() (string, bool) {
	var out []byte
	at, after, total := m.at, -1, 0
	for range maxJumps {
		if at >= len(m.d) {
			return "", false
		}
		n := int(m.d[at])
		switch {
		case n == 0:
			if after < 0 {
				after = at + 1
			}
			m.at = after
			if len(out) == 0 {
				return ".", true
			}
			return string(out), true
		case n&0xc0 == 0xc0:
			if at+1 >= len(m.d) {
				return "", false
			}
			if after < 0 {
				after = at + 2
			}
			at = n&0x3f<<8 | int(m.d[at+1])
			continue
		case n&0xc0 != 0 || at+1+n > len(m.d):
			return "", false
		}
		if total += n + 1; total > maxName {
			return "", false
		}
		out = append(safe(out, m.d[at+1:at+1+n]), '.')
		at += n + 1
	}
	return "", false
}

// record prints a resource record.
func (m *message) record() bool {
	name, ok := m.name()
	if !ok || m.at+10 > len(m.d) {
		return false
	}
	kind, class := u16(m.d, m.at), u16(m.d, m.at+2)
	ttl, size := u32(m.d, m.at+4), int(u16(m.d, m.at+8))
	m.at += 10
	if m.verbose(1) {
		m.put(name)
		m.put(" ")
	}
	if kind != 41 {
		if class&^0x8000 != 1 {
			m.put(className(class))
		} else if class&0x8000 != 0 {
			m.put("(Cache flush) ")
		}
		if m.verbose(3) {
			m.f("[%s] ", lifetime(ttl))
		}
	}
	m.put(recordType(kind))
	if m.at+size > len(m.d) {
		return false
	}
	end := m.at + size
	ok = m.data(kind, class, end)
	m.at = end
	return ok
}

// lifetime is a number of seconds as in 1d2h3m4s.
func lifetime(seconds uint32) string {
	if seconds == 0 {
		return "0s"
	}
	out := ""
	for _, u := range [...]struct {
		size uint32
		unit string
	}{{604800, "w"}, {86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}} {
		if n := seconds / u.size; n > 0 {
			out += fmt.Sprintf("%d%s", n, u.unit)
			seconds %= u.size
		}
	}
	return out
}

// data prints what a record says.
func (m *message) data(kind, class uint16, end int) bool {
	d := m.d[m.at:end]
	named := func(before string) bool {
		name, ok := m.name()
		if ok {
			m.put(before + name)
		}
		return ok
	}
	switch kind {
	case 1:
		if len(d) != 4 {
			return false
		}
		m.put(" " + m.address(d))
	case 28:
		if len(d) != 16 {
			return false
		}
		m.put(" " + m.address(d))
	case 2, 5, 12, 39:
		return named(" ")
	case 6:
		for range 2 { // server and mailbox
			if !named(" ") {
				return false
			}
		}
		if !m.verbose(1) {
			return true
		}
		if m.at+20 > end {
			return false
		}
		for range 5 {
			m.f(" %d", u32(m.d, m.at))
			m.at += 4
		}
	case 15:
		if len(d) < 3 {
			return false
		}
		m.at += 2
		if !named(" ") {
			return false
		}
		m.f(" %d", u16(d, 0))
	case 16:
		for len(d) > 0 {
			n := int(d[0])
			if n >= len(d) {
				return false
			}
			m.put(` "`)
			m.safe(d[1 : 1+n])
			m.put(`"`)
			d = d[1+n:]
		}
	case 33:
		if len(d) < 7 {
			return false
		}
		m.at += 6
		if !named(" ") {
			return false
		}
		m.f(":%d %d %d", u16(d, 4), u16(d, 0), u16(d, 2))
	case 41:
		m.f(" UDPsize=%d", class)
	}
	return true
}

func recordType(n uint16) string {
	switch n {
	case 1:
		return "A"
	case 2:
		return "NS"
	case 5:
		return "CNAME"
	case 6:
		return "SOA"
	case 12:
		return "PTR"
	case 13:
		return "HINFO"
	case 15:
		return "MX"
	case 16:
		return "TXT"
	case 28:
		return "AAAA"
	case 33:
		return "SRV"
	case 35:
		return "NAPTR"
	case 39:
		return "DNAME"
	case 41:
		return "OPT"
	case 43:
		return "DS"
	case 46:
		return "RRSIG"
	case 47:
		return "NSEC"
	case 48:
		return "DNSKEY"
	case 65:
		return "HTTPS"
	case 252:
		return "AXFR"
	case 255:
		return "ANY"
	case 257:
		return "CAA"
	}
	return fmt.Sprintf("Type%d", n)
}

package filter

// qualifiers say what an id means: "tcp dst port" before 80. They hold for the ids after and and or too.
type qualifiers struct {
	proto     string // "" is any that fits
	direction string // "" is src or dst
	kind      string // host, net, port, portrange, proto
	none      bool   // no ids may follow
}

var noQualifiers = qualifiers{none: true}

// parser reads the words of a filter and makes conditions of them on its way.
type parser struct {
	words []word
	at    int
	gen   *generator
	depth int // of arithmetic
}

func (p *parser) peek() word { return p.words[p.at] }

// after is the word n words on.
func (p *parser) after(n int) word { return p.words[min(p.at+n, len(p.words)-1)] }

func (p *parser) next() word {
	w := p.words[p.at]
	if w.kind != ending {
		p.at++
	}
	return w
}

// take goes past a word if it is this one.
func (p *parser) take(text string) bool {
	if p.peek().is(text) {
		p.at++
		return true
	}
	return false
}

// filter reads all words.
func (p *parser) filter() (*cond, error) {
	if p.peek().kind == ending {
		return truth(true), nil
	}
	c, _, err := p.expression(noQualifiers)
	if err != nil {
		return nil, err
	}
	if w := p.peek(); w.kind != ending {
		return nil, w.wrong("%s", p.unexpected(w))
	}
	return c, nil
}

// unexpected says what should stand where a word stands.
func (p *parser) unexpected(w word) string {
	if p.at > 0 {
		if before := p.words[p.at-1]; before.kind == keyword && (w.kind == number || w.kind == dotted || w.kind == name) {
			switch q := protocolWord(before.text); {
			case q.ip == 6 || q.ip == 17 || q.ip == 132:
				return "and, or or the end is expected; write \"" + before.text + " port " + w.text + "\" for a port"
			case q.ether == protoIP || q.ether == protoIPv6 || q.ether == protoARP:
				return "and, or or the end is expected; write \"" + before.text + " host " + w.text + "\" for an address"
			}
		}
	}
	return "and, or or the end is expected here"
}

// expression reads terms with and and or between them. Both bind alike, from the left, as in pcap-filter(7). q is what ids
// without qualifiers of their own mean; what the last of them means is given back.
func (p *parser) expression(q qualifiers) (*cond, qualifiers, error) {
	c, q, err := p.term(q)
	if err != nil {
		return nil, q, err
	}
	for {
		join := both
		switch {
		case p.take("and"):
		case p.take("or"):
			join = either
		default:
			return c, q, nil
		}
		d, after, err := p.term(q)
		if err != nil {
			return nil, q, err
		}
		c, q = join(c, d), after
	}
}

// term reads a primitive, a parenthesis or an id, each with any number of nots before it.
func (p *parser) term(q qualifiers) (*cond, qualifiers, error) {
	negated := false
	for p.take("not") {
		negated = !negated
	}
	c, q, err := p.positive(q)
	if err == nil && negated {
		c = not(c)
	}
	return c, q, err
}

func (p *parser) positive(q qualifiers) (*cond, qualifiers, error) {
	w := p.peek()
	switch {
	case p.startsArithmetic():
		c, err := p.relation()
		return c, noQualifiers, err
	case p.take("("):
		c, inner, err := p.expression(q)
		if err != nil {
			return nil, q, err
		}
		if w := p.peek(); !p.take(")") {
			return nil, q, w.wrong("%s", p.unexpected(w))
		}
		if inner != q {
			inner = noQualifiers
		}
		return c, inner, nil
	case isID(w):
		if q.none {
			return nil, q, w.wrong("it is not said what this is; write host, net, port or another qualifier before it")
		}
		c, err := p.id(q)
		return c, q, err
	}
	return p.primitive()
}

func isID(w word) bool {
	switch w.kind {
	case name, number, dotted, address6, mac:
		return true
	}
	return false
}

// primitive reads what begins with a keyword.
func (p *parser) primitive() (*cond, qualifiers, error) {
	w := p.peek()
	if why := unknownHere(w.text); w.kind == keyword && why != "" {
		return nil, noQualifiers, w.wrong("%s", why)
	}
	c, found, err := p.word()
	if found {
		return c, noQualifiers, err
	}
	q, proto, err := p.qualify()
	if err != nil {
		return nil, q, err
	}
	switch {
	case p.take("broadcast"):
		c, err = p.gen.broadcast(w, q.proto)
		return c, noQualifiers, err
	case p.take("multicast"):
		c, err = p.gen.multicast(w, q.proto)
		return c, noQualifiers, err
	case q.none && proto.known():
		c, err = p.gen.abbreviation(w, proto)
		return c, noQualifiers, err
	case q.none:
		if w.kind == ending {
			return nil, q, w.wrong("something is expected after the last word")
		}
		return nil, q, w.wrong("no primitive begins like this")
	}
	c, err = p.ids(q)
	return c, q, err
}

// word reads the primitives that are a keyword with at most a number.
func (p *parser) word() (c *cond, found bool, err error) {
	w, g := p.peek(), p.gen
	switch {
	case p.take("less"):
		n, err := p.number()
		return not(g.is(greater, g.value(value{kind: length}), n)), true, err
	case p.take("greater"):
		n, err := p.number()
		return g.is(atLeast, g.value(value{kind: length}), n), true, err
	case p.take("outbound"):
		c, err = g.sent(w)
		return c, true, err
	case p.take("inbound"):
		if c, err = g.sent(w); err != nil {
			return nil, true, err
		}
		return not(c), true, nil
	case p.take("ifindex"):
		n, err := p.number()
		if err != nil {
			return nil, true, err
		}
		c, err = g.ifindex(w, n)
		return c, true, err
	case p.take("pppoed"):
		return g.holdsProtocol(protoPPPoED), true, nil
	case p.take("vlan"):
		c, err = p.tagged(w, g.vlan)
		return c, true, err
	case p.take("mpls"):
		c, err = p.tagged(w, g.mpls)
		return c, true, err
	case p.take("pppoes"):
		c, err = p.tagged(w, g.pppoes)
		return c, true, err
	}
	return nil, false, nil
}

// tagged reads the number that may follow vlan, mpls and pppoes.
func (p *parser) tagged(w word, make func(word, int) (*cond, error)) (*cond, error) {
	id := -1
	if n := p.peek(); n.kind == number {
		p.next()
		if w = n; n.value > 1<<30 {
			return nil, n.wrong("the number is too large")
		}
		id = int(n.value)
	}
	return make(w, id)
}

func (p *parser) number() (uint32, error) {
	w := p.next()
	if w.kind != number {
		return 0, w.wrong("a number is expected here")
	}
	return w.value, nil
}

// qualify reads PROTO DIRECTION KIND, each of which may be missing. Without the last two no ids follow.
func (p *parser) qualify() (qualifiers, protocol, error) {
	var q qualifiers
	var proto protocol
	if w := p.peek(); w.kind == keyword {
		if proto = protocolWord(w.text); proto.known() {
			q.proto = w.text
			p.next()
		}
	}
	if p.take("proto") {
		q.kind = "proto"
		return q, proto, nil
	}
	if first := p.peek(); first.is("src") || first.is("dst") {
		p.next()
		q.direction = first.text
		second := p.after(1)
		if join := p.peek(); (join.is("or") || join.is("and")) && (second.is("src") || second.is("dst")) && second.text != first.text {
			p.next()
			p.next()
			q.direction = "src " + join.text + " dst"
		}
	}
	for _, kind := range []string{"host", "net", "port", "portrange"} {
		if p.take(kind) {
			q.kind = kind
			break
		}
	}
	if q.kind == "" {
		if why := unknownHere(p.peek().text); p.peek().kind == keyword && why != "" {
			return q, proto, p.peek().wrong("%s", why)
		}
		if q.direction == "" {
			q.none = true
		}
		q.kind = "host"
	}
	return q, proto, nil
}

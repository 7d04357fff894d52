package filter

// amount is a value that arithmetic gives, for the packets for which it means something.
type amount struct {
	value *value
	when  *cond // nil: for all
}

func join(a, b *cond) *cond {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return both(a, b)
}

// operators of arithmetic: how tightly they bind to what stands on their left.
func binding(w word) (op byte, level int) {
	if w.kind != operator {
		return 0, 0
	}
	switch w.text {
	case "|":
		return '|', 1
	case "&":
		return '&', 2
	case "<<":
		return '<', 3
	case ">>":
		return '>', 3
	case "+", "-":
		return w.text[0], 4
	case "*", "/":
		return w.text[0], 5
	case "%", "^":
		return w.text[0], loose
	}
	return 0, 0
}

// loose is the level of % and ^. libpcap's grammar gives them no place among the others: what follows them is read to its
// end first.
const loose = 6

func isRelation(w word) bool {
	if w.kind != operator {
		return false
	}
	switch w.text {
	case "=", "!=", "<", ">", "<=", ">=":
		return true
	}
	return false
}

// startsArithmetic says whether a relation of two amounts begins here.
func (p *parser) startsArithmetic() bool {
	goesOn := func(w word) bool {
		_, level := binding(w)
		return level > 0 || isRelation(w)
	}
	w := p.peek()
	switch {
	case w.kind == number:
		return goesOn(p.after(1))
	case w.is("len"), w.is("-"):
		return true
	case w.is("("):
		return w.match+1 < len(p.words) && goesOn(p.words[w.match+1])
	case w.kind == keyword && protocolWord(w.text).known():
		return p.after(1).is("[")
	}
	return false
}

// relation reads AMOUNT RELATION AMOUNT.
func (p *parser) relation() (*cond, error) {
	left, err := p.amount(1)
	if err != nil {
		return nil, err
	}
	w := p.next()
	if !isRelation(w) {
		return nil, w.wrong("a comparison is expected here: =, !=, <, >, <= or >=")
	}
	right, err := p.amount(1)
	if err != nil {
		return nil, err
	}
	if next := p.peek(); isRelation(next) {
		return nil, next.wrong("one comparison cannot follow another")
	}
	g := p.gen
	var c *cond
	switch w.text {
	case "=":
		c = g.relate(equal, left.value, right.value)
	case "!=":
		c = not(g.relate(equal, left.value, right.value))
	case ">":
		c = g.relate(greater, left.value, right.value)
	case ">=":
		c = g.relate(atLeast, left.value, right.value)
	case "<":
		c = not(g.relate(atLeast, left.value, right.value))
	case "<=":
		c = not(g.relate(greater, left.value, right.value))
	}
	return join(join(left.when, right.when), c), nil
}

// amount reads operands and the operators between them that bind at least as tightly as level.
func (p *parser) amount(level int) (amount, error) {
	if p.depth++; p.depth > maxNesting {
		return amount{}, p.peek().wrong("arithmetic is nested deeper than %d", maxNesting)
	}
	defer func() { p.depth-- }()
	left, err := p.operand()
	if err != nil {
		return amount{}, err
	}
	for {
		w := p.peek()
		op, tight := binding(w)
		if tight == 0 || tight < level {
			return left, nil
		}
		p.next()
		after := tight + 1
		if tight == loose {
			after = 1
		}
		at := p.peek()
		right, err := p.amount(after)
		if err != nil {
			return amount{}, err
		}
		if k := right.value; k.kind == literal {
			switch {
			case (op == '/' || op == '%') && k.k == 0:
				return amount{}, at.wrong("this divides by zero")
			case (op == '<' || op == '>') && k.k > 31:
				return amount{}, at.wrong("a shift is at most 31 bits")
			}
		}
		left = amount{p.gen.compute(op, left.value, right.value), join(left.when, right.when)}
	}
}

// operand reads a number, len, -AMOUNT, (AMOUNT) or PROTO[OFFSET:SIZE].
func (p *parser) operand() (amount, error) {
	w := p.next()
	switch {
	case w.kind == number:
		return amount{value: p.gen.literal(w.value)}, nil
	case w.is("len"):
		return amount{value: p.gen.value(value{kind: length})}, nil
	case w.is("-"):
		a, err := p.amount(loose)
		if err != nil {
			return a, err
		}
		return amount{p.gen.compute('-', p.gen.literal(0), a.value), a.when}, nil
	case w.is("("):
		a, err := p.amount(1)
		if err != nil {
			return a, err
		}
		if w := p.peek(); !p.take(")") {
			return a, w.wrong("an operator or a parenthesis is expected here")
		}
		return a, nil
	case w.kind == keyword && protocolWord(w.text).known():
		return p.load(w)
	}
	return amount{}, w.wrong("a number, len or PROTOCOL[OFFSET] is expected here")
}

// load reads [OFFSET] or [OFFSET:SIZE] after a protocol.
func (p *parser) load(w word) (amount, error) {
	if open := p.peek(); !p.take("[") {
		return amount{}, open.wrong("a [ is expected here")
	}
	offset, err := p.amount(1)
	if err != nil {
		return amount{}, err
	}
	size := uint32(1)
	if p.take(":") {
		n := p.peek()
		if size, err = p.number(); err != nil {
			return amount{}, err
		}
		if size != 1 && size != 2 && size != 4 {
			return amount{}, n.wrong("a size is 1, 2 or 4 bytes")
		}
	}
	if end := p.peek(); !p.take("]") {
		return amount{}, end.wrong("a ] is expected here")
	}
	return p.gen.loadFrom(w, offset, uint8(size))
}

// loadFrom is the value of size bytes at an offset from where a protocol's header begins.
func (g *generator) loadFrom(w word, offset amount, size uint8) (amount, error) {
	p := protocolWord(w.text)
	at := func(k uint32, when *cond) (amount, error) {
		return amount{g.at(size, offset.value, k), join(offset.when, when)}, nil
	}
	switch {
	case p.ether == 0 && p.ip == 0: // the link
		if g.o.Live && g.o.Link != Ethernet {
			return amount{}, w.wrong("packets of a link of type %s come without their link header on a socket", g.o.Link.Name())
		}
		return at(0, nil)
	case p.ether != 0:
		return at(g.layer.payload, g.holdsProtocol(p.ether))
	case p.word == "icmp6":
		return at(g.layer.payload+ipv6Header, both(g.holdsProtocol(protoIPv6), g.is(equal, g.in(1, 6), uint32(p.ip))))
	case p.word == "ah" || p.word == "esp":
		return amount{}, w.wrong("the bytes of %s cannot be named", p.word)
	}
	// What IPv4 carries begins behind a header of variable length, and not in later fragments.
	start := g.value(value{kind: header, k: g.layer.payload})
	from := start
	if offset.value.kind == literal {
		from = g.compute('+', start, offset.value)
	} else {
		from = g.compute('+', offset.value, start)
	}
	when := both(g.ip4(uint32(p.ip)), g.whole())
	return amount{g.at(size, from, g.layer.payload), join(offset.when, when)}, nil
}

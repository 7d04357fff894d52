package filter

import "math"

// valueKind is how a value is made.
type valueKind uint8

const (
	literal  valueKind = iota // k
	absolute                  // size bytes of the packet at k, or an ancillary word of the kernel's
	indexed                   // size bytes at left + k
	header                    // 4 * (byte at k & 0xf): the length of an IPv4 header
	length                    // of the packet
	computed                  // left op right
)

// value is a 32-bit number that a packet gives. Equal values are one.
type value struct {
	kind        valueKind
	size        uint8 // bytes: 1, 2, 4
	op          byte  // + - * / % & | ^ < (shift left) > (shift right)
	k           uint32
	left, right *value
}

// relation is what a test asks of two values.
type relation uint8

const (
	equal   relation = iota
	greater          // without sign
	atLeast
	anyBit // left & right is not 0
)

// test compares a value with k, or with right where that is not nil.
type test struct {
	op    relation
	left  *value
	k     uint32
	right *value
}

// cond is a condition: and, or, not over tests. The parser makes trees of it.
type cond struct {
	form byte // 't' test, 'c' constant (truth), '&', '|', '!'
	test test
	yes  bool
	a, b *cond
}

func both(a, b *cond) *cond   { return &cond{form: '&', a: a, b: b} }
func either(a, b *cond) *cond { return &cond{form: '|', a: a, b: b} }
func not(a *cond) *cond       { return &cond{form: '!', a: a} }
func truth(v bool) *cond      { return &cond{form: 'c', yes: v} }

// node is a test that goes on to yes or no; one without yes is a verdict: how many bytes to keep.
type node struct {
	test
	yes, no *node
	verdict uint32
	id      int // greater than those of yes and no
}

type nodeKey struct {
	test
	yes, no *node
	verdict uint32
}

// graph holds all values and nodes of a filter.
type graph struct {
	values map[value]*value
	nodes  map[nodeKey]*node
}

func newGraph() *graph {
	return &graph{values: map[value]*value{}, nodes: map[nodeKey]*node{}}
}

// full says that the filter is too large to go on with.
func (g *graph) full() bool { return len(g.nodes) > maxNodes }

func (g *graph) value(v value) *value {
	if have, ok := g.values[v]; ok {
		return have
	}
	kept := v
	g.values[v] = &kept
	return &kept
}

func (g *graph) literal(k uint32) *value { return g.value(value{kind: literal, k: k}) }

func (g *graph) absolute(size uint8, k uint32) *value {
	return g.value(value{kind: absolute, size: size, k: k})
}

// at is the load of size bytes at base + k; a base that is a number is part of k.
func (g *graph) at(size uint8, base *value, k uint32) *value {
	switch {
	case base == nil:
		return g.absolute(size, k)
	case base.kind == literal:
		return g.absolute(size, base.k+k)
	case base.kind == computed && base.op == '+' && base.right.kind == literal:
		return g.at(size, base.left, base.right.k+k)
	}
	return g.value(value{kind: indexed, size: size, k: k, left: base})
}

// compute is left op right. Numbers are computed now; a division by the number 0 is the caller's to refuse.
func (g *graph) compute(op byte, left, right *value) *value {
	if left.kind == literal && right.kind == literal {
		if k, ok := calculate(op, left.k, right.k); ok {
			return g.literal(k)
		}
	}
	if right.kind == literal {
		switch {
		case right.k == 0 && (op == '+' || op == '-' || op == '|' || op == '^' || op == '<' || op == '>'),
			right.k == 1 && (op == '*' || op == '/'), op == '&' && right.k == math.MaxUint32:
			return left
		case right.k == 0 && (op == '&' || op == '*'):
			return right
		}
	}
	return g.value(value{kind: computed, op: op, left: left, right: right})
}

// calculate computes as BPF does; a division by zero has no result, it ends the program.
func calculate(op byte, a, b uint32) (uint32, bool) {
	switch op {
	case '+':
		return a + b, true
	case '-':
		return a - b, true
	case '*':
		return a * b, true
	case '/':
		if b == 0 {
			return 0, false
		}
		return a / b, true
	case '%':
		if b == 0 {
			return 0, false
		}
		return a % b, true
	case '&':
		return a & b, true
	case '|':
		return a | b, true
	case '^':
		return a ^ b, true
	case '<':
		return a << b, true
	default:
		return a >> b, true
	}
}

// is compares a value with a number.
func (g *graph) is(op relation, left *value, k uint32) *cond {
	return g.relate(op, left, g.literal(k))
}

// relate compares two values. A number goes to the right, a mask into the test.
func (g *graph) relate(op relation, left, right *value) *cond {
	switch {
	case left.kind == literal && right.kind == literal:
		return truth(holds(op, left.k, right.k))
	case left.kind == literal && op == greater: // k > v is not v >= k
		return not(g.relate(atLeast, right, left))
	case left.kind == literal && op == atLeast:
		return not(g.relate(greater, right, left))
	case left.kind == literal:
		return g.relate(op, right, left)
	case right.kind != literal:
		return &cond{form: 't', test: test{op: op, left: left, right: right}}
	case op == equal && right.k == 0 && left.kind == computed && left.op == '&' && left.right.kind == literal:
		return not(&cond{form: 't', test: test{op: anyBit, left: left.left, k: left.right.k}})
	}
	return &cond{form: 't', test: test{op: op, left: left, k: right.k}}
}

func holds(op relation, a, b uint32) bool {
	switch op {
	case equal:
		return a == b
	case greater:
		return a > b
	case atLeast:
		return a >= b
	default:
		return a&b != 0
	}
}

func (g *graph) node(key nodeKey) *node {
	if have, ok := g.nodes[key]; ok {
		return have
	}
	n := &node{test: key.test, yes: key.yes, no: key.no, verdict: key.verdict, id: len(g.nodes)}
	g.nodes[key] = n
	return n
}

func (g *graph) verdict(bytes uint32) *node { return g.node(nodeKey{verdict: bytes}) }

func (g *graph) test(t test, yes, no *node) *node {
	if yes == no {
		return yes
	}
	return g.node(nodeKey{test: t, yes: yes, no: no})
}

// decide makes the nodes of a condition that goes on to yes or no. Its parts are asked in the order in which they are written.
func (g *graph) decide(c *cond, yes, no *node) *node {
	if g.full() {
		return no
	}
	switch c.form {
	case 't':
		return g.test(c.test, yes, no)
	case 'c':
		if c.yes {
			return yes
		}
		return no
	case '!':
		return g.decide(c.a, no, yes)
	case '&':
		return g.decide(c.a, g.decide(c.b, yes, no), no)
	default:
		return g.decide(c.a, yes, g.decide(c.b, yes, no))
	}
}

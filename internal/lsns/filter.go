package lsns

import (
	"fmt"
	"strconv"
	"strings"
)

// filter is an expression that a line is to meet, in the language of scols-filter(5):
//
//	expression: operand | ( expression ) | ! expression | expression && expression | expression || expression
//	          | operand == operand, and != < <= > >= | operand =~ "regular expression", and !~
//	operand:    COLUMN | "text" | 'text' | number | true | false
//
// AND, OR, NOT, EQ, NE, LT, LE, GT and GE are words for the signs. A number may be followed by K, M, G, T, P, E, or KiB and so on:
// powers of 1024. What is compared takes the type of the one that is not a column. A column without a value is "" as text and
// equals no number.
type filter struct {
	op          operator
	left, right *filter
	column      column
	text        string
	number      float64
	truth       bool
	pattern     *pattern
}

// operator is what a node of a filter does.
type operator uint8

const (
	opColumn operator = iota
	opText
	opNumber
	opTruth
	opNot
	opAnd
	opOr
	opEqual
	opUnequal
	opLess
	opLessEqual
	opGreater
	opGreaterEqual
	opMatches
	opMatchesNot
)

const (
	maxFilter = 1 << 20 // bytes
	maxDepth  = 200     // of parentheses and negations in each other
)

// uses says whether a filter names a column. A nil filter names none.
func (f *filter) uses(name string) bool {
	for ; f != nil; f = f.left {
		if f.op == opColumn && f.column.name == name || f.right.uses(name) {
			return true
		}
	}
	return false
}

// match says whether a line meets the filter.
func (f *filter) match(facts *facts, l *line) bool {
	switch f.op {
	case opNot:
		return !f.left.match(facts, l)
	case opAnd:
		return f.left.match(facts, l) && f.right.match(facts, l)
	case opOr:
		return f.left.match(facts, l) || f.right.match(facts, l)
	case opMatches, opMatchesNot:
		return f.right.pattern.match(f.left.value(facts, l).text) == (f.op == opMatches)
	case opEqual, opUnequal, opLess, opLessEqual, opGreater, opGreaterEqual:
		return f.compare(f.left.value(facts, l), f.right.value(facts, l))
	}
	return f.value(facts, l).isTrue()
}

// value is what an operand stands for in a line. All three forms are filled where they exist.
type value struct {
	op       operator // opColumn, opText, opNumber or opTruth
	text     string
	number   float64
	isNumber bool
	truth    bool
	numeric  bool // of a column: it is one of numbers
}

func (v value) isTrue() bool {
	switch {
	case v.op == opTruth:
		return v.truth
	case v.op == opNumber || v.numeric:
		return v.isNumber && v.number != 0
	}
	return v.text != ""
}

func (f *filter) value(facts *facts, l *line) value {
	v := value{op: f.op, text: f.text, number: f.number, truth: f.truth}
	switch f.op {
	case opColumn:
		v.numeric = f.column.number || f.column.name == "AGE"
		v.text = f.column.value(facts, l)
		if f.column.name == "AGE" {
			v.number, v.isNumber = facts.ageSeconds(l)
			return v
		}
		v.number, v.isNumber = toNumber(v.text)
	case opText:
		v.number, v.isNumber = toNumber(v.text)
	case opNumber:
		v.isNumber = true
	}
	return v
}

// toNumber reads a text that is all a number.
func toNumber(s string) (float64, bool) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

// compare compares as the type of the operand that is not a column; of two columns, as numbers if both are.
func (f *filter) compare(a, b value) bool {
	as := func(op operator) bool { return a.op == op || b.op == op }
	switch {
	case as(opTruth):
		x, y := a.isTrue(), b.isTrue()
		return holds(f.op, boolOrder(x)-boolOrder(y))
	case as(opNumber), !as(opText) && a.numeric && b.numeric:
		if !a.isNumber || !b.isNumber {
			return f.op == opUnequal
		}
		switch {
		case a.number < b.number:
			return holds(f.op, -1)
		case a.number > b.number:
			return holds(f.op, 1)
		}
		return holds(f.op, 0)
	}
	return holds(f.op, strings.Compare(a.text, b.text))
}

func boolOrder(b bool) int {
	if b {
		return 1
	}
	return 0
}

// holds says whether an operator holds for operands of an order: less than 0, 0, or more.
func holds(op operator, order int) bool {
	switch op {
	case opEqual:
		return order == 0
	case opUnequal:
		return order != 0
	case opLess:
		return order < 0
	case opLessEqual:
		return order <= 0
	case opGreater:
		return order > 0
	}
	return order >= 0
}

// parseFilter reads a filter.
func parseFilter(text string) (*filter, error) {
	if len(text) > maxFilter {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(text), maxFilter)
	}
	p := filterParser{lexer: lexer{text: text}}
	if err := p.next(); err != nil {
		return nil, err
	}
	f, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.token.kind != endToken {
		return nil, p.unexpected("an operator")
	}
	return f, nil
}

// filterParser reads an expression by recursive descent, one token ahead.
type filterParser struct {
	lexer
	token token
	depth int
}

func (p *filterParser) next() (err error) {
	p.token, err = p.lexer.token()
	return err
}

func (p *filterParser) unexpected(wanted string) error {
	if p.token.kind == endToken {
		return fmt.Errorf("%s is missing at the end", wanted)
	}
	return fmt.Errorf("column %d: %s is wanted, not %s", p.token.at+1, wanted, printable(shorten(p.token.text), true))
}

// shorten keeps an error to one line.
func shorten(s string) string {
	const limit = 40
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}

func (p *filterParser) or() (*filter, error)  { return p.chain(opOr, p.and) }
func (p *filterParser) and() (*filter, error) { return p.chain(opAnd, p.not) }

// chain reads what an operator joins, from the left to the right.
func (p *filterParser) chain(op operator, part func() (*filter, error)) (*filter, error) {
	left, err := part()
	for err == nil && p.token.kind == operatorToken && p.token.op == op {
		if err = p.next(); err != nil {
			break
		}
		var right *filter
		if right, err = part(); err == nil {
			left = &filter{op: op, left: left, right: right}
		}
	}
	return left, err
}

func (p *filterParser) deeper() error {
	if p.depth++; p.depth > maxDepth {
		return fmt.Errorf("column %d: more than %d parentheses in each other", p.token.at+1, maxDepth)
	}
	return nil
}

func (p *filterParser) not() (*filter, error) {
	if p.token.kind == operatorToken && p.token.op == opNot {
		if err := p.deeper(); err != nil {
			return nil, err
		}
		defer func() { p.depth-- }()
		if err := p.next(); err != nil {
			return nil, err
		}
		f, err := p.not()
		return &filter{op: opNot, left: f}, err
	}
	return p.comparison()
}

func (p *filterParser) comparison() (*filter, error) {
	left, err := p.operand()
	if err != nil || p.token.kind != operatorToken || p.token.op < opEqual {
		return left, err
	}
	f := &filter{op: p.token.op, left: left}
	if left.op >= opNot {
		return nil, p.unexpected("&& or ||")
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	if f.op == opMatches || f.op == opMatchesNot {
		if p.token.kind != valueToken || p.token.op != opText {
			return nil, p.unexpected("a regular expression in quotes")
		}
		compiled, err := compile(p.token.text)
		if err != nil {
			return nil, fmt.Errorf("column %d: %w", p.token.at+1, err)
		}
		f.right = &filter{op: opText, text: p.token.text, pattern: compiled}
		return f, p.next()
	}
	if f.right, err = p.operand(); err == nil && f.right.op >= opNot {
		err = fmt.Errorf("column %d: a column or a value is wanted, not an expression", p.token.at+1)
	}
	return f, err
}

// operand reads a column, a value, or an expression in parentheses.
func (p *filterParser) operand() (*filter, error) {
	t := p.token
	switch t.kind {
	case valueToken:
		return &filter{op: t.op, column: t.column, text: t.text, number: t.number, truth: t.truth}, p.next()
	case openToken:
		if err := p.deeper(); err != nil {
			return nil, err
		}
		defer func() { p.depth-- }()
		if err := p.next(); err != nil {
			return nil, err
		}
		f, err := p.or()
		if err != nil {
			return nil, err
		}
		if p.token.kind != closeToken {
			return nil, p.unexpected(")")
		}
		return f, p.next()
	}
	return nil, p.unexpected("a column or a value")
}

package lsns

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// pattern is a POSIX extended regular expression (regex(7)) as a program for a machine that is in several places at once. A text
// of n characters takes n times the length of the program, whatever the expression; the regexp package would cost every start
// of tripod-oci more than this file.
type pattern struct {
	program []instruction
}

// instruction is one step of a program.
type instruction struct {
	kind stepKind
	char rune
	set  *set
	x, y int // where to go on
}

type stepKind uint8

const (
	stepChar  stepKind = iota // one character
	stepAny                   // any character
	stepSet                   // one of a set
	stepSplit                 // on at x and at y
	stepJump                  // on at x
	stepBegin                 // only at the beginning of the text
	stepEnd                   // only at its end
	stepMatch
)

const (
	maxProgram = 2000 // steps
	maxRepeat  = 255  // RE_DUP_MAX
)

var errTooLarge = errors.New("the regular expression is too large")

// compile reads an expression.
func compile(text string) (*pattern, error) {
	c := compiler{rest: text}
	if err := c.alternatives(); err != nil {
		return nil, err
	}
	if c.rest != "" {
		return nil, errors.New("the regular expression has a ) too many")
	}
	c.add(instruction{kind: stepMatch})
	if len(c.program) > maxProgram {
		return nil, errTooLarge
	}
	return &pattern{c.program}, nil
}

// compiler reads an expression by recursive descent. Each method appends the program of what it reads.
type compiler struct {
	rest    string
	program []instruction
	depth   int
}

func (c *compiler) add(i instruction) int {
	c.program = append(c.program, i)
	return len(c.program) - 1
}

func (c *compiler) alternatives() error {
	if c.depth++; c.depth > maxDepth {
		return errTooLarge
	}
	defer func() { c.depth-- }()
	begin := len(c.program)
	var jumps []int
	for {
		if err := c.sequence(); err != nil {
			return err
		}
		if !strings.HasPrefix(c.rest, "|") {
			break
		}
		c.rest = c.rest[1:]
		// A split before the alternative that was just read, and a jump behind it.
		c.insert(begin, instruction{kind: stepSplit, x: begin + 1})
		jumps = append(jumps, c.add(instruction{kind: stepJump}))
		c.program[begin].y = len(c.program)
		begin = len(c.program)
	}
	for _, j := range jumps {
		c.program[j].x = len(c.program)
	}
	return nil
}

// insert puts a step before those from at on, whose targets move with them.
func (c *compiler) insert(at int, i instruction) {
	c.program = append(c.program, instruction{})
	copy(c.program[at+1:], c.program[at:])
	c.program[at] = i
	for n := at + 1; n < len(c.program); n++ {
		if s := &c.program[n]; s.kind == stepSplit || s.kind == stepJump {
			s.x += boolOrder(s.x >= at)
			s.y += boolOrder(s.y >= at)
		}
	}
}

func (c *compiler) sequence() error {
	for c.rest != "" && c.rest[0] != '|' && c.rest[0] != ')' {
		begin := len(c.program)
		if err := c.atom(); err != nil {
			return err
		}
		for c.rest != "" && strings.IndexByte("*+?{", c.rest[0]) >= 0 {
			if err := c.repeat(begin); err != nil {
				return err
			}
		}
		if len(c.program) > maxProgram {
			return errTooLarge
		}
	}
	if strings.HasPrefix(c.rest, ")") && c.depth == 1 {
		return errors.New("the regular expression has a ) too many")
	}
	return nil
}

func (c *compiler) atom() error {
	r, n := utf8.DecodeRuneInString(c.rest)
	c.rest = c.rest[n:]
	switch r {
	case '(':
		if err := c.alternatives(); err != nil {
			return err
		}
		if !strings.HasPrefix(c.rest, ")") {
			return errors.New("the regular expression lacks a )")
		}
		c.rest = c.rest[1:]
	case '.':
		c.add(instruction{kind: stepAny})
	case '^':
		c.add(instruction{kind: stepBegin})
	case '$':
		c.add(instruction{kind: stepEnd})
	case '[':
		return c.bracket()
	case '*', '+', '?', '{':
		return errors.New("the regular expression repeats nothing")
	case '\\':
		if c.rest == "" {
			return errors.New("the regular expression ends with a backslash")
		}
		r, n = utf8.DecodeRuneInString(c.rest)
		c.rest = c.rest[n:]
		c.add(instruction{kind: stepChar, char: r})
	default:
		c.add(instruction{kind: stepChar, char: r})
	}
	return nil
}

// repeat reads a repetition of what the program has from begin on.
func (c *compiler) repeat(begin int) error {
	sign := c.rest[0]
	c.rest = c.rest[1:]
	low, high := 0, -1 // -1: without end
	switch sign {
	case '+':
		low = 1
	case '?':
		high = 1
	case '{':
		var ok bool
		if low, high, ok = c.bounds(); !ok {
			return errors.New("the regular expression has a repetition that is not {N}, {N,} or {N,M} of at most 255")
		}
	}
	body := append([]instruction(nil), c.program[begin:]...)
	c.program = c.program[:begin]
	again := max(low, high)
	if (again+1)*(len(body)+1) > maxProgram {
		return errTooLarge
	}
	for range low {
		c.place(body, begin)
	}
	if high < 0 {
		split := c.add(instruction{kind: stepSplit})
		c.program[split].x = len(c.program)
		c.place(body, begin)
		c.add(instruction{kind: stepJump, x: split})
		c.program[split].y = len(c.program)
		return nil
	}
	var splits []int
	for range high - low {
		split := c.add(instruction{kind: stepSplit})
		c.program[split].x = len(c.program)
		splits = append(splits, split)
		c.place(body, begin)
	}
	for _, s := range splits {
		c.program[s].y = len(c.program)
	}
	return nil
}

// place appends a copy of a program that stood at from.
func (c *compiler) place(body []instruction, from int) {
	move := len(c.program) - from
	for _, i := range body {
		i.x += move
		i.y += move
		c.program = append(c.program, i)
	}
}

// bounds reads the rest of {N}, {N,} and {N,M}.
func (c *compiler) bounds() (low, high int, ok bool) {
	inner, rest, found := strings.Cut(c.rest, "}")
	if !found {
		return 0, 0, false
	}
	c.rest = rest
	first, second, two := strings.Cut(inner, ",")
	if low, ok = small(first); !ok {
		return 0, 0, false
	}
	switch {
	case !two:
		return low, low, true
	case second == "":
		return low, -1, true
	}
	high, ok = small(second)
	return low, high, ok && high >= low
}

// small reads a number up to maxRepeat.
func small(s string) (int, bool) {
	n := 0
	for i := range len(s) {
		if !isDigit(s[i]) || n > maxRepeat {
			return 0, false
		}
		n = 10*n + int(s[i]-'0')
	}
	return n, s != "" && n <= maxRepeat
}

// match says whether the expression matches anywhere in a text.
func (p *pattern) match(text string) bool {
	now, next := newPlaces(len(p.program)), newPlaces(len(p.program))
	for at := 0; ; {
		// A match may begin at every character.
		if p.enter(now, 0, at == 0, at == len(text)) {
			return true
		}
		if at == len(text) {
			return false
		}
		r, n := utf8.DecodeRuneInString(text[at:])
		at += n
		next.clear()
		for _, i := range now.list {
			s := &p.program[i]
			if s.kind == stepAny || s.kind == stepChar && s.char == r || s.kind == stepSet && s.set.has(r) {
				if p.enter(next, i+1, false, at == len(text)) {
					return true
				}
			}
		}
		now, next = next, now
	}
}

// enter goes to a step and on through those that take no character. It says whether that is a match.
func (p *pattern) enter(to *places, step int, begin, end bool) bool {
	to.stack = append(to.stack[:0], step)
	for len(to.stack) > 0 {
		i := to.stack[len(to.stack)-1]
		to.stack = to.stack[:len(to.stack)-1]
		if to.has[i] {
			continue
		}
		to.has[i] = true
		switch s := &p.program[i]; s.kind {
		case stepMatch:
			return true
		case stepSplit:
			to.stack = append(to.stack, s.y, s.x)
		case stepJump:
			to.stack = append(to.stack, s.x)
		case stepBegin:
			if begin {
				to.stack = append(to.stack, i+1)
			}
		case stepEnd:
			if end {
				to.stack = append(to.stack, i+1)
			}
		default:
			to.list = append(to.list, i)
		}
		to.seen = append(to.seen, i)
	}
	return false
}

// places are the steps that a machine is at.
type places struct {
	list, seen, stack []int
	has               []bool
}

func newPlaces(n int) *places { return &places{has: make([]bool, n)} }

func (s *places) clear() {
	for _, i := range s.seen {
		s.has[i] = false
	}
	s.list, s.seen = s.list[:0], s.seen[:0]
}

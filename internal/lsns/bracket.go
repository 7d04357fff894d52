package lsns

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// set is a bracket expression.
type set struct {
	not     bool
	ranges  [][2]rune
	classes []func(rune) bool
}

// bracket reads the rest of a bracket expression. A ] that comes first is a character.
func (c *compiler) bracket() error {
	s := &set{}
	if strings.HasPrefix(c.rest, "^") {
		s.not = true
		c.rest = c.rest[1:]
	}
	for first := true; ; first = false {
		switch {
		case c.rest == "":
			return errors.New("the regular expression lacks a ]")
		case c.rest[0] == ']' && !first:
			c.rest = c.rest[1:]
			c.add(instruction{kind: stepSet, set: s})
			return nil
		case strings.HasPrefix(c.rest, "[:"):
			name, rest, ok := strings.Cut(c.rest[2:], ":]")
			class := classOf(name)
			if !ok || class == nil {
				return errors.New("the regular expression has a class of characters that is not known")
			}
			s.classes = append(s.classes, class)
			c.rest = rest
			continue
		}
		low, n := utf8.DecodeRuneInString(c.rest)
		c.rest = c.rest[n:]
		high := low
		if len(c.rest) > 1 && c.rest[0] == '-' && c.rest[1] != ']' {
			high, n = utf8.DecodeRuneInString(c.rest[1:])
			c.rest = c.rest[1+n:]
			if high < low {
				return errors.New("the regular expression has a range that ends before it begins")
			}
		}
		s.ranges = append(s.ranges, [2]rune{low, high})
		if len(s.ranges) > maxProgram {
			return errTooLarge
		}
	}
}

// classOf is the class [:name:], of ASCII's characters but for letters.
func classOf(name string) func(rune) bool {
	between := func(low, high rune) func(rune) bool { return func(r rune) bool { return r >= low && r <= high } }
	switch name {
	case "alpha":
		return unicode.IsLetter
	case "digit":
		return between('0', '9')
	case "alnum":
		return func(r rune) bool { return unicode.IsLetter(r) || r >= '0' && r <= '9' }
	case "upper":
		return unicode.IsUpper
	case "lower":
		return unicode.IsLower
	case "space":
		return func(r rune) bool { return r == ' ' || r >= '\t' && r <= '\r' }
	case "blank":
		return func(r rune) bool { return r == ' ' || r == '\t' }
	case "punct":
		return func(r rune) bool {
			return r > ' ' && r < 0x7f && !unicode.IsLetter(r) && !unicode.IsDigit(r)
		}
	case "print":
		return func(r rune) bool { return r == ' ' || unicode.IsPrint(r) }
	case "graph":
		return func(r rune) bool { return r != ' ' && unicode.IsPrint(r) }
	case "cntrl":
		return unicode.IsControl
	case "xdigit":
		return func(r rune) bool { return r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'f' }
	}
	return nil
}

func (s *set) has(r rune) bool {
	for _, b := range s.ranges {
		if r >= b[0] && r <= b[1] {
			return !s.not
		}
	}
	for _, class := range s.classes {
		if class(r) {
			return !s.not
		}
	}
	return s.not
}

package lsns

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// token is a word of a filter.
type token struct {
	kind   tokenKind
	at     int // where it begins
	text   string
	op     operator
	column column
	number float64
	truth  bool
}

type tokenKind uint8

const (
	endToken tokenKind = iota
	valueToken
	operatorToken
	openToken
	closeToken
)

// lexer cuts a filter into tokens.
type lexer struct {
	text string
	at   int
}

// signs are operators that are no words, the longer ones first.
var signs = [...]struct {
	sign string
	op   operator
}{
	{"==", opEqual},
	{"!=", opUnequal},
	{"<=", opLessEqual},
	{">=", opGreaterEqual},
	{"=~", opMatches},
	{"!~", opMatchesNot},
	{"&&", opAnd},
	{"||", opOr},
	{"<", opLess},
	{">", opGreater},
	{"!", opNot},
}

// token returns the next token.
func (l *lexer) token() (token, error) {
	for l.at < len(l.text) && strings.IndexByte(" \t\n\r", l.text[l.at]) >= 0 {
		l.at++
	}
	rest := l.text[l.at:]
	t := token{at: l.at}
	if rest == "" {
		return t, nil
	}
	switch c := rest[0]; {
	case c == '(' || c == ')':
		t.kind, t.text = openToken, rest[:1]
		if c == ')' {
			t.kind = closeToken
		}
		l.at++
		return t, nil
	case c == '"' || c == '\'':
		end := strings.IndexByte(rest[1:], c)
		if end < 0 {
			return t, fmt.Errorf("column %d: the text has no end: a %c is missing", l.at+1, c)
		}
		t.kind, t.op, t.text = valueToken, opText, rest[1:1+end]
		l.at += end + 2
		return t, nil
	case c >= '0' && c <= '9':
		return l.number(rest)
	case isLetter(c):
		return l.word(rest)
	}
	for _, s := range signs {
		if strings.HasPrefix(rest, s.sign) {
			t.kind, t.op, t.text = operatorToken, s.op, s.sign
			l.at += len(s.sign)
			return t, nil
		}
	}
	return t, fmt.Errorf("column %d: %s means nothing here", l.at+1, printable(rest[:1], true))
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// number reads 123, 1.5, 10K, 10KiB.
func (l *lexer) number(rest string) (token, error) {
	t := token{kind: valueToken, op: opNumber, at: l.at}
	n := 0
	for n < len(rest) && (isDigit(rest[n]) || rest[n] == '.') {
		n++
	}
	digits := rest[:n]
	factor := 1.0
	if n < len(rest) {
		if power := strings.IndexByte("KMGTPEZY", rest[n]); power >= 0 {
			factor = math.Pow(1024, float64(power+1))
			n++
			n += len("iB") * boolOrder(strings.HasPrefix(rest[n:], "iB"))
		}
	}
	t.text = rest[:n]
	number, err := strconv.ParseFloat(digits, 64)
	if err != nil || n < len(rest) && (isLetter(rest[n]) || rest[n] == '_') {
		return t, fmt.Errorf("column %d: %s is no number", l.at+1, printable(shorten(rest), true))
	}
	t.number = number * factor
	l.at += n
	return t, nil
}

// word reads a column's name, true or false, or an operator that is a word.
func (l *lexer) word(rest string) (token, error) {
	t := token{kind: valueToken, at: l.at}
	n := 1
	for n < len(rest) && (isLetter(rest[n]) || isDigit(rest[n]) || strings.IndexByte("_.%:/-", rest[n]) >= 0) {
		n++
	}
	t.text = rest[:n]
	l.at += n
	if op, ok := wordOperator(t.text); ok {
		t.kind, t.op = operatorToken, op
		return t, nil
	}
	if t.text == "true" || t.text == "TRUE" || t.text == "false" || t.text == "FALSE" {
		t.op, t.truth = opTruth, t.text == "true" || t.text == "TRUE"
		return t, nil
	}
	c, ok := columnOf(t.text)
	if !ok {
		return t, fmt.Errorf("unknown column: %s", printable(shorten(t.text), true))
	}
	t.op, t.column = opColumn, c
	return t, nil
}

// wordOperator is the operator that a word is, in capitals or without.
func wordOperator(word string) (operator, bool) {
	switch word {
	case "AND", "and":
		return opAnd, true
	case "OR", "or":
		return opOr, true
	case "NOT", "not":
		return opNot, true
	case "EQ", "eq":
		return opEqual, true
	case "NE", "ne":
		return opUnequal, true
	case "LT", "lt":
		return opLess, true
	case "LE", "le":
		return opLessEqual, true
	case "GT", "gt":
		return opGreater, true
	case "GE", "ge":
		return opGreaterEqual, true
	}
	return 0, false
}

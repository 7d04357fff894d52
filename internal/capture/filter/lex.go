package filter

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// kind is what a word is by its form.
type kind uint8

const (
	ending   kind = iota
	name          // a word that is no keyword, or was written with a backslash
	keyword       // a word of the language
	number        // 80, 0x50, and named constants such as tcp-syn
	dotted        // 10.1, 10.1.2, 10.1.2.3
	address6      // an IPv6 address
	mac           // a MAC address
	operator      // ( ) [ ] + && …
)

// word is one word of a filter.
type word struct {
	kind  kind
	at    int
	text  string // operators and keywords in one spelling: and, or, not
	value uint32 // of a number
	addr  netip.Addr
	mac   [6]byte
	match int // of a parenthesis: the index of its partner
}

// is reports whether it is this operator or keyword.
func (w word) is(text string) bool {
	return (w.kind == operator || w.kind == keyword) && w.text == text
}

func (w word) wrong(format string, args ...any) *Error {
	return &Error{At: w.at, Word: w.text, Why: fmt.Sprintf(format, args...)}
}

// lex splits a filter into words, and ends them with one of kind ending.
func lex(text string) ([]word, error) {
	if len(text) > MaxText {
		return nil, &Error{Why: fmt.Sprintf("it is longer than %d bytes", MaxText)}
	}
	var words []word
	var open []int
	for at := 0; at < len(text); {
		c := text[at]
		if c == ' ' || c == '\t' || c == '\n' || c == '\r' {
			at++
			continue
		}
		w, size, err := lexOne(text, at)
		if err != nil {
			return nil, err
		}
		w.at = at
		at += size
		switch {
		case w.is("("):
			if open = append(open, len(words)); len(open) > maxNesting {
				return nil, w.wrong("parentheses are nested deeper than %d", maxNesting)
			}
		case w.is(")"):
			if len(open) == 0 {
				return nil, w.wrong("no parenthesis is open here")
			}
			w.match = open[len(open)-1]
			words[w.match].match = len(words)
			open = open[:len(open)-1]
		}
		words = append(words, w)
	}
	if len(open) > 0 {
		return nil, words[open[len(open)-1]].wrong("this parenthesis is not closed")
	}
	return append(words, word{kind: ending, at: len(text)}), nil
}

func lexOne(text string, at int) (word, int, error) {
	rest := text[at:]
	if w, n, ok := colons(rest); ok {
		return w, n, nil
	}
	for _, op := range operators {
		if strings.HasPrefix(rest, op.spelled) {
			return word{kind: operator, text: op.means}, len(op.spelled), nil
		}
	}
	if rest[0] == '\\' {
		n := wordLength(rest[1:])
		if n == 0 {
			return word{}, 0, &Error{At: at, Word: rest[:1], Why: "a backslash stands before a name"}
		}
		return word{kind: name, text: rest[1 : 1+n]}, 1 + n, nil
	}
	n := wordLength(rest)
	if n == 0 {
		size := 1
		for size < len(rest) && rest[size]&0xc0 == 0x80 { // the rest of a character of UTF-8
			size++
		}
		return word{}, 0, &Error{At: at, Word: rest[:size], Why: "this character is not of the language"}
	}
	w, err := classify(rest[:n])
	if err != nil {
		err.At = at
		return word{}, 0, err
	}
	return w, n, nil
}

// operators, longer ones first.
var operators = [...]struct{ spelled, means string }{
	{"&&", "and"},
	{"||", "or"},
	{"!=", "!="},
	{"<=", "<="},
	{">=", ">="},
	{"==", "="},
	{"<<", "<<"},
	{">>", ">>"},
	{"!", "not"},
	{"(", "("},
	{")", ")"},
	{"[", "["},
	{"]", "]"},
	{":", ":"},
	{"/", "/"},
	{"%", "%"},
	{"*", "*"},
	{"+", "+"},
	{"-", "-"},
	{"^", "^"},
	{"&", "&"},
	{"|", "|"},
	{"=", "="},
	{"<", "<"},
	{">", ">"},
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// wordLength is the length of the word that text begins with: letters and digits, with dots, dashes and underlines
// inside. It ends in a letter, a digit or a dot.
func wordLength(text string) int {
	last := 0
	for i := range len(text) {
		c := text[i]
		switch {
		case alphanumeric(c), c == '.' && i > 0:
			last = i + 1
		case (c == '-' || c == '_') && i > 0:
		default:
			return last
		}
	}
	return last
}

// colons reads an address that has colons in it: IPv6 or MAC.
func colons(text string) (word, int, bool) {
	n, seen := 0, 0
	for n < len(text) && (isHex(text[n]) || text[n] == ':' || text[n] == '.') {
		if text[n] == ':' {
			seen++
		}
		n++
	}
	if seen < 2 {
		return word{}, 0, false
	}
	if address, ok := readMAC(text[:n]); ok {
		return word{kind: mac, text: text[:n], mac: address}, n, true
	}
	if a, err := netip.ParseAddr(text[:n]); err == nil && a.Is6() {
		return word{kind: address6, text: text[:n], addr: a}, n, true
	}
	return word{}, 0, false
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }

// readMAC reads xx:xx:xx:xx:xx:xx, also with dashes or dots, and xxxx.xxxx.xxxx.
func readMAC(text string) ([6]byte, bool) {
	var address [6]byte
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == '-' || r == '.' })
	if len(parts) == 3 && strings.Count(text, ".") == 2 {
		for i, part := range parts {
			v, err := strconv.ParseUint(part, 16, 16)
			if err != nil || len(part) != 4 {
				return address, false
			}
			address[2*i], address[2*i+1] = byte(v>>8), byte(v)
		}
		return address, true
	}
	if len(parts) != 6 || strings.Count(text, ":")+strings.Count(text, "-")+strings.Count(text, ".") != 5 {
		return address, false
	}
	for i, part := range parts {
		v, err := strconv.ParseUint(part, 16, 8)
		if err != nil || len(part) > 2 {
			return address, false
		}
		address[i] = byte(v)
	}
	return address, true
}

// classify says what a word without colons is.
func classify(text string) (word, *Error) {
	if address, ok := readMAC(text); ok {
		return word{kind: mac, text: text, mac: address}, nil
	}
	if c := text[0]; '0' <= c && c <= '9' {
		digits, base := text, 10
		switch {
		case strings.HasPrefix(text, "0x") || strings.HasPrefix(text, "0X"):
			digits, base = text[2:], 16
		case c == '0' && len(text) > 1:
			digits, base = text[1:], 8
		}
		v, err := strconv.ParseUint(digits, base, 64)
		switch {
		case err == nil && v > 0xffffffff, err != nil && strings.Trim(text, "0123456789") == "" && base == 10:
			return word{}, &Error{Word: text, Why: "the number is larger than 32 bits"}
		case err == nil:
			return word{kind: number, text: text, value: uint32(v)}, nil
		}
		if dots := strings.Count(text, "."); dots >= 1 && dots <= 3 && strings.Trim(text, "0123456789.") == "" {
			return word{kind: dotted, text: text}, nil
		}
	}
	if len(text) == 12 && strings.Trim(text, "0123456789") != "" {
		if address, ok := readMAC(text[:2] + ":" + text[2:4] + ":" + text[4:6] + ":" + text[6:8] + ":" + text[8:10] + ":" + text[10:]); ok {
			return word{kind: mac, text: text, mac: address}, nil
		}
	}
	if v, ok := constant(text); ok {
		return word{kind: number, text: text, value: v}, nil
	}
	if means, ok := isKeyword(text); ok {
		return word{kind: keyword, text: means}, nil
	}
	return word{kind: name, text: text}, nil
}

package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one mistake in a manifest.
type Error struct {
	File  string
	Line  int    // from 1; 0 when the whole file is meant
	Field string // path as Kubernetes writes it, spec.containers[0].image; may be empty
	Msg   string
	Hint  string // what to write instead; may be empty
}

// Error gives "FILE:LINE: FIELD: MSG (HINT)" on one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	b.WriteString(e.Msg)
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return oneLine(b.String())
}

// Errors are all the mistakes of an input.
type Errors []*Error

// maxTold is how many mistakes are written out.
const maxTold = 100

// Error gives one line a mistake, and a last one when there are very many.
func (es Errors) Error() string {
	lines := make([]string, 0, min(len(es), maxTold+1))
	for i, e := range es {
		if i == maxTold {
			lines = append(lines, fmt.Sprintf("%s: and %d more mistakes", e.File, len(es)-maxTold))
			break
		}
		lines = append(lines, e.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives each mistake to errors.As.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

func (es Errors) sorted() Errors {
	slices.SortStableFunc(es, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	return slices.CompactFunc(es, func(a, b *Error) bool { return *a == *b })
}

// oneLine makes text from a manifest safe to print: no line breaks, no
// control characters, bounded.
func oneLine(s string) string {
	const most = 1000
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

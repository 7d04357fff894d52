package lsns

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// json prints objects below a key, each with its children. Indents are of three spaces.
func (v *view) json(b *bytes.Buffer, key string) {
	b.WriteString("{\n   \"" + key + "\": [\n")
	if len(v.roots) == 0 {
		b.WriteByte('\n')
	} else {
		v.objects(b, v.roots, 2)
	}
	b.WriteString("   ]")
	if v.partial {
		b.WriteString(",\n   \"partial\": true")
	}
	b.WriteString("\n}\n")
}

func indent(b *bytes.Buffer, level int) {
	spaces(b, 3*level)
}

// objects prints lines as objects of an array.
func (v *view) objects(b *bytes.Buffer, lines []*line, level int) {
	for i, l := range lines {
		if i == 0 {
			indent(b, level)
		}
		b.WriteString("{\n")
		for c, cell := range l.cells {
			indent(b, level+1)
			b.WriteString(jsonText(strings.ToLower(v.columns[c].name)) + ": ")
			switch {
			case cell == "":
				b.WriteString("null")
			case v.columns[c].number:
				b.WriteString(cell)
			default:
				b.WriteString(jsonText(cell))
			}
			if c+1 < len(l.cells) || v.tree && len(l.children) > 0 {
				b.WriteByte(',')
			}
			b.WriteByte('\n')
		}
		if len(l.children) > 0 {
			indent(b, level+1)
			b.WriteString("\"children\": [\n")
			v.objects(b, l.children, level+2)
			indent(b, level+1)
			b.WriteString("]\n")
		}
		indent(b, level)
		b.WriteByte('}')
		if i+1 < len(lines) {
			b.WriteByte(',')
		} else {
			b.WriteByte('\n')
		}
	}
}

// jsonText is a JSON string. What would control a terminal stands escaped, bytes that are no UTF-8 as U+FFFD.
func jsonText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteByte(byte(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\f':
			b.WriteString(`\f`)
		case r == utf8.RuneError && n == 1:
			b.WriteString("\ufffd")
		case r >= ' ' && r <= '~', r >= utf8.RuneSelf && visible(r, n):
			b.WriteString(s[:n])
		default:
			unicodeEscape(&b, r)
		}
		s = s[n:]
	}
	b.WriteByte('"')
	return b.String()
}

// unicodeEscape writes \uHHHH, two of them for a character beyond the first plane (RFC 8259, section 7).
func unicodeEscape(b *strings.Builder, r rune) {
	if r > 0xffff {
		r -= 0x10000
		unicodeEscape(b, 0xd800+r>>10)
		unicodeEscape(b, 0xdc00+r&0x3ff)
		return
	}
	b.WriteString(`\u`)
	for shift := 12; shift >= 0; shift -= 4 {
		b.WriteByte(hexDigits[r>>shift&15])
	}
}

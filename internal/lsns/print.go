package lsns

import (
	"bytes"
	"strings"
)

// form is how a view is printed.
type form struct {
	json, raw, noHeadings, noTruncate, noWrap, utf8 bool

	terminal int // columns of the terminal, 0 for none: then nothing is cut
}

func (o *options) form(c *Command) form {
	f := form{json: o.json, raw: o.raw, noHeadings: o.noHeadings, noTruncate: o.noTruncate, noWrap: o.noWrap, utf8: c.UTF8}
	if c.Terminal.Is {
		f.terminal = c.Terminal.Width
	}
	return f
}

// print returns the view as text.
func (v *view) print(f form) []byte {
	var b bytes.Buffer
	switch {
	case f.json:
		v.json(&b, "namespaces")
	case len(v.roots) == 0:
	case f.raw:
		v.raw(&b, f)
	default:
		v.table(&b, f)
	}
	return b.Bytes()
}

// glyphs are what trees are drawn with.
type glyphs struct{ branch, vertical, last, space string }

func (f form) glyphs() glyphs {
	if f.utf8 {
		return glyphs{"├─", "│ ", "└─", "  "}
	}
	return glyphs{"|-", "| ", "`-", "  "}
}

// row is a line with what is drawn before its cell in the tree's column: in its first line and in the others.
type row struct {
	line        *line
	first, rest string
}

// rows puts the lines in the order of the tree.
func (v *view) rows(g glyphs) []row {
	var all []row
	type todo struct {
		lines []*line
		above string
		top   bool
	}
	stack := []todo{{lines: v.roots, top: true}}
	for len(stack) > 0 {
		t := &stack[len(stack)-1]
		if len(t.lines) == 0 {
			stack = stack[:len(stack)-1]
			continue
		}
		l := t.lines[0]
		t.lines = t.lines[1:]
		r := row{line: l}
		if !t.top {
			r.first, r.rest = t.above+g.branch, t.above+g.vertical
			if len(t.lines) == 0 {
				r.first, r.rest = t.above+g.last, t.above+g.space
			}
		}
		all = append(all, r)
		if len(l.children) > 0 {
			stack = append(stack, todo{lines: l.children, above: r.rest})
			all[len(all)-1].rest += g.vertical
		}
	}
	return all
}

// raw prints words with a space between them, and a line for each row.
func (v *view) raw(b *bytes.Buffer, f form) {
	if !f.noHeadings {
		for i, c := range v.columns {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(c.name)
		}
		b.WriteByte('\n')
	}
	for _, r := range v.rows(f.glyphs()) {
		for i, cell := range r.line.cells {
			if i > 0 {
				b.WriteByte(' ')
			}
			if v.columns[i].tree {
				b.WriteString(rawText(r.first))
			}
			b.WriteString(rawText(strings.ReplaceAll(cell, "\n", multiple(v.columns[i]))))
		}
		b.WriteByte('\n')
	}
}

// multiple is what stands between the values of a cell that has several, when they are in one line. A newline of another cell is
// the text's own.
func multiple(c column) string {
	switch c.name {
	case "NSFS", "IP", "HOLDER", "USERMAP", "SHARED":
		return ","
	}
	return "\n"
}

// texts are the lines of a cell, so that they can be shown.
func (v *view) texts(f form, column int, cell string) []string {
	if multiple(v.columns[column]) == "," {
		if !f.noWrap {
			all := strings.Split(cell, "\n")
			for i := range all {
				all[i] = printable(all[i], f.utf8)
			}
			return all
		}
		cell = strings.ReplaceAll(cell, "\n", ",")
	}
	return []string{printable(cell, f.utf8)}
}

// table prints columns that are aligned.
func (v *view) table(b *bytes.Buffer, f form) {
	rows := v.rows(f.glyphs())
	texts := make([][][]string, len(rows)) // lines of a cell, of a row
	widths := make([]int, len(v.columns))
	for r := range rows {
		texts[r] = make([][]string, len(v.columns))
		for c, cell := range rows[r].line.cells {
			all := v.texts(f, c, cell)
			if v.columns[c].tree {
				for len(all) < height(v, f, rows[r].line) {
					all = append(all, "")
				}
				for i := range all {
					if i == 0 {
						all[i] = rows[r].first + all[i]
					} else {
						all[i] = rows[r].rest + all[i]
					}
				}
			}
			texts[r][c] = all
			for _, text := range all {
				widths[c] = max(widths[c], width(text))
			}
		}
	}
	v.fit(f, widths)
	if !f.noHeadings {
		heads := make([]string, len(v.columns))
		for c := range v.columns {
			heads[c] = v.columns[c].name
		}
		v.row(b, f, heads, widths)
	}
	cells := make([]string, len(v.columns))
	for _, row := range texts {
		for n := 0; ; n++ {
			more := n == 0
			for c, all := range row {
				cells[c] = ""
				if n < len(all) {
					cells[c] = all[n]
					more = true
				}
			}
			if !more {
				break
			}
			v.row(b, f, cells, widths)
		}
	}
}

// height is how many lines the cells of a line take.
func height(v *view, f form, l *line) int {
	n := 1
	for c, cell := range l.cells {
		if multiple(v.columns[c]) == "," && !f.noWrap {
			n = max(n, 1+strings.Count(cell, "\n"))
		}
	}
	return n
}

// fit makes columns as wide as their names at least and, where the table is wider than the terminal, the command line narrower.
func (v *view) fit(f form, widths []int) {
	total := len(widths) - 1
	for i, c := range v.columns {
		if name := len(c.name); widths[i] < name {
			widths[i] = name
		} else if widths[i] < c.hint {
			widths[i] = c.hint
		}
		total += widths[i]
	}
	if f.terminal == 0 || f.noTruncate {
		return
	}
	for total > f.terminal {
		widest := -1
		for i, c := range v.columns {
			if c.name == "COMMAND" && widths[i] > len(c.name) && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
		total--
	}
}

// row prints one line of the table. The last cell is not padded.
func (v *view) row(b *bytes.Buffer, f form, cells []string, widths []int) {
	for i, cell := range cells {
		n := width(cell)
		if n > widths[i] {
			cell, n = cut(cell, widths[i])
		}
		last := i == len(cells)-1
		pad := widths[i] - n
		switch {
		case last && cell == "":
		case v.columns[i].right:
			spaces(b, pad)
			b.WriteString(cell)
		default:
			b.WriteString(cell)
			if !last {
				spaces(b, pad)
			}
		}
		if !last {
			b.WriteByte(' ')
		}
	}
	b.WriteByte('\n')
}

func spaces(b *bytes.Buffer, n int) {
	for range n {
		b.WriteByte(' ')
	}
}

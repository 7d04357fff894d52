package manifest

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Change is one field to be written into a manifest.
type Change struct {
	Path    string // from the object, as spec.containers[0].resources.limits.memory
	Value   string // in YAML, on one line
	Comment string // what to say beside it, or ""

	template *Template
}

// Change gives a change of the object that the template is of.
func (t *Template) Change(path, value, comment string) Change {
	return Change{Path: path, Value: value, Comment: comment, template: t}
}

// Patch writes changes into the text of a manifest and leaves all else as it is, comments and order too. A field that is
// not there is added at the end of what holds it, one that is there gets the new value. What has no place for a line of
// its own (a value in braces, an alias) is left out and given back.
func Patch(data []byte, changes []Change) (patched []byte, left []Change) {
	documents, _ := parse("", data)
	var additions []*addition
	lines := strings.SplitAfter(string(data), "\n")
	for _, c := range changes {
		if !place(documents, lines, c, &additions) {
			left = append(left, c)
		}
	}
	slices.SortStableFunc(additions, func(a, b *addition) int {
		return cmp.Or(cmp.Compare(b.line, a.line), cmp.Compare(a.indent, b.indent))
	})
	for _, a := range additions {
		if a.line > 1 && !strings.HasSuffix(lines[a.line-2], "\n") {
			lines[a.line-2] += "\n"
		}
		lines = slices.Insert(lines, a.line-1, a.fields.lines(a.indent)...)
	}
	return []byte(strings.Join(lines, "")), left
}

// addition is a group of fields that one map of the manifest gains.
type addition struct {
	parent *yaml.Node
	line   int // they come before it
	indent int // in spaces
	fields newFields
}

// newFields are fields to be written, in their order.
type newFields []newField

type newField struct {
	key, value, comment string
	below               newFields
}

// put adds a value at the end of a path of keys.
func (f newFields) put(keys []string, value, comment string) newFields {
	i := slices.IndexFunc(f, func(n newField) bool { return n.key == keys[0] })
	if i < 0 {
		i = len(f)
		f = append(f, newField{key: keys[0]})
	}
	if len(keys) == 1 {
		f[i].value, f[i].comment = value, comment
	} else {
		f[i].below = f[i].below.put(keys[1:], value, comment)
	}
	return f
}

func (f newFields) lines(indent int) []string {
	var out []string
	for _, n := range f {
		line := strings.Repeat(" ", indent) + n.key + ":"
		if n.value != "" {
			line += " " + n.value
		}
		if n.comment != "" {
			line += " # " + n.comment
		}
		out = append(out, line+"\n")
		out = append(out, n.below.lines(indent+2)...)
	}
	return out
}

// pathStep is a key, or a key and an index: containers[0].
var pathStep = regexp.MustCompile(`^([A-Za-z0-9_/-]+)(?:\[([0-9]+)\])?$`)

// place finds where a change goes: into a line that is there, or among the additions.
func place(documents []*yaml.Node, lines []string, c Change, additions *[]*addition) bool {
	t := c.template
	if t == nil || t.document >= len(documents) {
		return false
	}
	n := documents[t.document]
	steps := strings.Split(t.prefix+c.Path, ".")
	for i, step := range steps {
		m := pathStep.FindStringSubmatch(step)
		if m == nil || n.Kind != yaml.MappingNode {
			return false
		}
		next := entry(n, m[1])
		if next == nil {
			return add(lines, n, steps[i:], c, additions)
		}
		if m[2] != "" {
			index, err := strconv.Atoi(m[2])
			if err != nil || next.Kind != yaml.SequenceNode || index >= len(next.Content) {
				return false
			}
			next = next.Content[index]
		}
		n = next
	}
	return replace(lines, n, c.Value)
}

// add puts a field at the end of a map that is written one key a line.
func add(lines []string, n *yaml.Node, keys []string, c Change, additions *[]*addition) bool {
	if n.Style&yaml.FlowStyle != 0 || len(n.Content) == 0 || slices.ContainsFunc(keys, func(k string) bool { return strings.Contains(k, "[") }) {
		return false
	}
	for _, a := range *additions {
		if a.parent == n {
			a.fields = a.fields.put(keys, c.Value, c.Comment)
			return true
		}
	}
	last := n.Content[len(n.Content)-2]
	a := &addition{parent: n, indent: last.Column - 1}
	a.line = endOf(lines, last.Line, a.indent)
	a.fields = a.fields.put(keys, c.Value, c.Comment)
	*additions = append(*additions, a)
	return true
}

// endOf gives the line before which a block ends whose last key stands in a line, indented so. Items of a list may be
// indented as its key is.
func endOf(lines []string, key, indent int) int {
	end := key
	for i, line := range lines[key:] {
		trimmed := strings.TrimSpace(line)
		here := len(line) - len(strings.TrimLeft(line, " "))
		item := here == indent && (trimmed == "-" || strings.HasPrefix(trimmed, "- "))
		switch {
		case here > indent && trimmed != "", item:
			end = key + i + 1
		case trimmed != "" && !strings.HasPrefix(trimmed, "#"):
			return end + 1
		}
	}
	return end + 1
}

// replace writes another value over a scalar of one line.
func replace(lines []string, n *yaml.Node, value string) bool {
	if n.Kind != yaml.ScalarNode || n.Line > len(lines) {
		return false
	}
	old := n.Value
	switch n.Style {
	case yaml.DoubleQuotedStyle:
		old = `"` + old + `"`
	case yaml.SingleQuotedStyle:
		old = `'` + old + `'`
	}
	line := []byte(lines[n.Line-1])
	at := n.Column - 1
	if at > len(line) || !bytes.HasPrefix(line[at:], []byte(old)) {
		return false
	}
	lines[n.Line-1] = fmt.Sprintf("%s%s%s", line[:at], value, line[at+len(old):])
	return true
}

package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxSlips bounds how many lines of one manifest are corrected to go on reading.
const maxSlips = 20

// parse splits a manifest into its documents. A line where only a space after
// a colon is missing is told, corrected in memory and read on, so that the
// other mistakes of the file are told as well.
func parse(name string, data []byte) ([]*yaml.Node, Errors) {
	if !utf8.Valid(data) {
		return nil, Errors{{File: name, Line: invalidLine(data), Msg: "not UTF-8 text"}}
	}
	var faults Errors
	for {
		documents, line, err := decode(data)
		if err == nil {
			return documents, faults
		}
		fixed, slip := correct(data, line)
		if slip == nil || len(faults) == maxSlips {
			// What a later line does to the structure hides what is before
			// it; told mistakes must be true ones, so documents before stay.
			return documents, append(faults, syntaxError(name, data, line, err))
		}
		slip.File = name
		faults = append(faults, slip)
		data = fixed
	}
}

func decode(data []byte) (documents []*yaml.Node, line int, err error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		switch err := d.Decode(&n); {
		case errors.Is(err, io.EOF):
			return documents, 0, nil
		case err != nil:
			line, cause := splitLine(err)
			return documents, line, cause
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) == 1 && !isNull(n.Content[0]) {
			documents = append(documents, n.Content[0])
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// splitLine takes "yaml: line 3: cause" apart.
func splitLine(err error) (int, error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, cause, ok := strings.Cut(rest, ": "); ok {
			if line, e := strconv.Atoi(number); e == nil {
				return line, errors.New(cause)
			}
		}
	}
	return 0, errors.New(text)
}

func syntaxError(name string, data []byte, line int, err error) *Error {
	e := &Error{File: name, Line: line, Msg: "not valid YAML: " + err.Error()}
	for _, h := range syntaxHints {
		if strings.Contains(err.Error(), h.cause) {
			e.Hint = h.hint
		}
	}
	// The scanner may stop one line after the tab that it stumbled on.
	for _, l := range []int{line, line + 1, line - 1} {
		text := lineAt(data, l)
		if indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]; strings.Contains(indent, "\t") {
			e.Line, e.Hint = l, "YAML is indented with spaces, not with tabs"
			break
		}
	}
	return e
}

// syntaxHints say what mostly is behind the words of the YAML parser.
var syntaxHints = []struct{ cause, hint string }{
	{"mapping values are not allowed", "check the indentation of this line and the one before"},
	{"did not find expected key", "check the indentation of this line and the one before"},
	{"find expected ':'", "check for a line without a colon and a space"},
	{"did not find expected ',' or", "a bracket is not closed"},
	{"unexpected end of stream", "a quote is not closed"},
	{"unexpected document indicator", "a quote is not closed"},
	{"unknown anchor", "an alias *name needs an anchor &name before it; quote a word that begins with a star"},
}

// slipLine is a line whose key has no space after its colon.
var slipLine = regexp.MustCompile(`^(\s*(?:- +)*)([A-Za-z]+):([^\s/].*)$`)

// correct looks at the line where the parser stopped, and shortly before it,
// for a known field with no space after the colon, and gives the text with
// that line made right.
func correct(data []byte, line int) ([]byte, *Error) {
	for _, l := range []int{line, line - 1, line + 1, line - 2, line - 3} {
		text := lineAt(data, l)
		m := slipLine.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		name, ok := fieldNamed(m[2])
		if !ok {
			continue
		}
		right := name + ": " + m[3]
		lines := bytes.Split(data, []byte("\n"))
		lines[l-1] = []byte(m[1] + right)
		return bytes.Join(lines, []byte("\n")), slipError(l, strings.TrimSpace(m[2]+":"+m[3]), right)
	}
	return nil, nil
}

func slipError(line int, wrong, right string) *Error {
	return &Error{
		Line: line,
		Msg:  fmt.Sprintf("no space after the colon in %q", oneLine(wrong)),
		Hint: fmt.Sprintf("write %q", oneLine(strings.TrimSpace(right))),
	}
}

// lineAt gives a line of a text by its number from 1, or "".
func lineAt(data []byte, line int) string {
	for l := 1; len(data) > 0; l++ {
		text, rest, _ := bytes.Cut(data, []byte("\n"))
		if l == line {
			return strings.TrimRight(string(text), "\r")
		}
		data = rest
	}
	return ""
}

func invalidLine(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return 1 + bytes.Count(data[:i], []byte("\n"))
		}
		i += size
	}
	return 0
}

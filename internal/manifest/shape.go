package manifest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	// maxValues bounds the values of one manifest after its aliases are
	// followed; a text of MaxBytes without aliases may stay below it.
	maxValues = 500_000
	// maxFaults bounds the mistakes looked for in one object.
	maxFaults = 1000
	// maxDepth bounds nesting; the deepest field of a workload is at 20.
	maxDepth = 64
)

// shape holds one object of a manifest against its Go structure: every value
// is of the field's type, no key is unknown or written twice.
type shape struct {
	file   string
	prefix string // "items[2]." inside a List
	// kindName and apiVersion are what a typed list says of its items.
	kindName, apiVersion string
	line                 int
	errs                 Errors
	lines                map[string]int // field path -> line of its key or item
	broken               []string       // field paths with a mistake: what follows from them is not told
	used                 []use
	idle                 []string            // what is used and has no effect here, as a note has it
	open                 map[*yaml.Node]bool // the collections around the current value
	budget               *int                // values that may still be looked at
}

// use is a field that the manifest sets.
type use struct {
	structure, field string // "Container", "livenessProbe"
	path             string
	line             int
}

func (s *shape) fault(line int, path, hint, format string, args ...any) {
	if line == 0 {
		line = s.line
	}
	s.broken = append(s.broken, path)
	s.errs = append(s.errs, &Error{File: s.file, Line: line, Field: s.prefix + path, Msg: fmt.Sprintf(format, args...), Hint: hint})
}

// behind gives the node that an alias stands for.
func behind(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// value gives what n says as plain JSON data for a field of type t. The
// second result is false for null and for mistakes, which are told.
func (s *shape) value(n *yaml.Node, t reflect.Type, path string) (any, bool) {
	line := n.Line
	n = behind(n)
	*s.budget--
	switch {
	case *s.budget == 0:
		s.fault(line, path, "", "more than %d values; are its aliases nested?", maxValues)
	case *s.budget < 0 || len(s.errs) >= maxFaults:
	case s.open[n]:
		s.fault(line, path, "", "alias *%s contains itself", n.Anchor)
	case len(s.open) > maxDepth:
		s.fault(line, path, "", "nested deeper than %d levels", maxDepth)
	case isNull(n):
	default:
		return s.known(n, t, path, line)
	}
	return nil, false
}

func (s *shape) known(n *yaml.Node, t reflect.Type, path string, line int) (any, bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[resource.Quantity]():
		return s.quantity(n, path, line)
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
		return s.scalar(n, reflect.TypeFor[string](), path, line)
	case reflect.TypeFor[metav1.FieldsV1]():
		return map[string]any{}, true
	case reflect.TypeFor[intstr.IntOrString]():
		if n.ShortTag() == "!!int" {
			return s.scalar(n, reflect.TypeFor[int32](), path, line)
		}
		return s.scalar(n, reflect.TypeFor[string](), path, line)
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		if n.Kind != yaml.MappingNode {
			s.wrong(n, path, line, "fields (a map)")
			return nil, false
		}
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			s.wrong(n, path, line, "a list")
			return nil, false
		}
	default:
		return s.scalar(n, t, path, line)
	}
	s.open[n] = true
	defer delete(s.open, n)
	switch t.Kind() {
	case reflect.Struct:
		return s.structure(n, t, path)
	case reflect.Map:
		return s.mapping(n, t, path)
	}
	out := make([]any, 0, len(n.Content))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		s.lines[at] = item.Line
		v, ok := s.value(item, t.Elem(), at)
		if !ok && isNull(behind(item)) {
			s.fault(item.Line, at, "remove the empty item", "null in a list")
		}
		out = append(out, v)
	}
	return out, true
}

func (s *shape) structure(n *yaml.Node, t reflect.Type, path string) (any, bool) {
	fields := fieldsOf(t)
	out := map[string]any{}
	for _, p := range s.pairs(n, path) {
		f, known := fields[p.key]
		if !known && len(s.errs) >= maxFaults {
			break
		}
		if !known {
			name, hint := s.suggest(p.key, t, fields)
			s.fault(p.line, join(path, p.key), hint, "unknown field")
			if f, known = fields[name]; !known {
				continue
			}
			// Read on as if it were written right: one slip, one message.
			s.broken = s.broken[:len(s.broken)-1]
			p.key = name
		}
		at := join(path, p.key)
		s.lines[at] = p.line
		if v, ok := s.value(p.value, f.typ, at); ok {
			out[p.key] = v
			if !isEmpty(v, f.typ) {
				s.used = append(s.used, use{f.structure, p.key, at, p.line})
			}
		}
	}
	return out, true
}

func (s *shape) mapping(n *yaml.Node, t reflect.Type, path string) (any, bool) {
	out := map[string]any{}
	for _, p := range s.pairs(n, path) {
		at := path + "[" + p.key + "]"
		s.lines[at] = p.line
		v, ok := s.value(p.value, t.Elem(), at)
		if !ok && isNull(behind(p.value)) && t.Elem().Kind() == reflect.String {
			v, ok = "", true
		}
		if ok {
			out[p.key] = v
		}
	}
	return out, true
}

type pair struct {
	key   string
	line  int
	value *yaml.Node
}

// pairs gives the entries of a map in their order, with merged maps (<<)
// behind them. A key written twice is told.
func (s *shape) pairs(n *yaml.Node, path string) []pair {
	var out []pair
	seen := map[string]int{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		k = behind(k)
		switch {
		case k.ShortTag() == "!!merge":
			merged = append(merged, v)
			continue
		case k.Kind != yaml.ScalarNode || isNull(k):
			s.fault(k.Line, path, "", "a key that is not a word")
			continue
		}
		if first, twice := seen[k.Value]; twice {
			s.fault(k.Line, join(path, k.Value), "", "written twice; the first is in line %d", first)
			continue
		}
		seen[k.Value] = k.Line
		out = append(out, pair{k.Value, k.Line, v})
	}
	for _, m := range merged {
		for _, p := range s.merge(m, path) {
			if _, there := seen[p.key]; !there {
				seen[p.key] = p.line
				out = append(out, p)
			}
		}
	}
	return out
}

// merge gives the entries that a merge key brings in: of one map, or of a
// list of maps of which the first has the say.
func (s *shape) merge(m *yaml.Node, path string) []pair {
	m = behind(m)
	*s.budget--
	if *s.budget <= 0 || s.open[m] || len(s.open) > maxDepth {
		s.fault(m.Line, path, "", "merged maps contain themselves or are too many")
		return nil
	}
	s.open[m] = true
	defer delete(s.open, m)
	switch m.Kind {
	case yaml.MappingNode:
		*s.budget -= len(m.Content)
		return s.pairs(m, path)
	case yaml.SequenceNode:
		var out []pair
		for _, item := range m.Content {
			out = append(out, s.merge(item, path)...)
		}
		return out
	}
	s.fault(m.Line, path, "", "merge key << wants a map")
	return nil
}

// isEmpty tells a value that leaves a field of type t as if it were not there.
func isEmpty(v any, t reflect.Type) bool {
	switch v := v.(type) {
	case map[string]any:
		return len(v) == 0 && t.Kind() == reflect.Map
	case []any:
		return len(v) == 0
	case string:
		return v == ""
	case bool:
		return !v
	case json.Number:
		return v == "0" && t.Kind() != reflect.Pointer
	}
	return false
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// structField is a field of an API structure, found by its JSON name.
type structField struct {
	structure string
	typ       reflect.Type
}

// isStructure tells structures with fields from those that read themselves
// from one value, such as quantities and times.
func isStructure(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
}

var structFields sync.Map // reflect.Type -> map[string]structField

// fieldsOf gives the fields of a structure by their JSON names, those of
// inlined structures included, under the name of the structure that has them.
func fieldsOf(t reflect.Type) map[string]structField {
	if m, ok := structFields.Load(t); ok {
		return m.(map[string]structField)
	}
	m := map[string]structField{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case !f.IsExported() || name == "-":
		case f.Anonymous && name == "":
			for k, v := range fieldsOf(f.Type) {
				m[k] = v
			}
		default:
			m[name] = structField{t.Name(), f.Type}
		}
	}
	structFields.Store(t, m)
	return m
}

package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Support is what becomes of a field of the API here.
type Support int

const (
	// Honoured fields do what Kubernetes says.
	Honoured Support = iota
	// NoEffect fields are accepted and said once: they direct a cluster, a
	// controller or an API server.
	NoEffect
	// Refused fields are valid Kubernetes and not implemented yet.
	Refused
)

// String gives the word for a table.
func (s Support) String() string { return [...]string{"honoured", "no effect", "refused"}[s] }

// Field is a row of the coverage table: a field of an API structure.
type Field struct {
	Structure string // Go name, PodSpec
	Name      string // JSON name, nodeSelector
	Support   Support
}

// Coverage gives the whole table, sorted by structure and name: every field
// that can be set in the six kinds, down to where a field is not honoured as
// a whole. docs/fields.md is made of it.
func Coverage() []Field { return slices.Clone(coverage) }

func supportOf(structure, name string) (Support, bool) {
	i, ok := slices.BinarySearchFunc(coverage, Field{Structure: structure, Name: name}, compareFields)
	if !ok {
		return Refused, false
	}
	return coverage[i].Support, true
}

func compareFields(a, b Field) int {
	return cmp.Or(cmp.Compare(a.Structure, b.Structure), cmp.Compare(a.Name, b.Name))
}

// cover refuses the fields in use that are not implemented, and remembers
// those that have no effect.
func (s *shape) cover() {
	closed := ""
	// A parent was recorded right behind its fields: it closes them.
	for _, u := range slices.Backward(s.used) {
		if closed != "" && under(u.path, closed) {
			continue
		}
		switch support, _ := supportOf(u.structure, u.field); support {
		case NoEffect:
			s.idle = append(s.idle, u.path)
			closed = u.path
		case Refused:
			s.refuseField(u.path, u.line, "")
			closed = u.path
		}
	}
	slices.Reverse(s.idle)
}

// maxIdle is how many fields without effect are named.
const maxIdle = 20

// notes are what is said of an object once: fields without effect here.
func (s *shape) notes() []string {
	if len(s.idle) == 0 {
		return nil
	}
	idle := s.idle
	more := ""
	if len(idle) > maxIdle {
		more = fmt.Sprintf(" and %d more", len(idle)-maxIdle)
		idle = idle[:maxIdle]
	}
	return []string{"no effect on a single host: " + strings.Join(idle, ", ") + more}
}

// notYet is said of everything that is refused by name.
const notYet = "valid Kubernetes, but tripod does not implement it yet"

// refuseField tells a field, or a value of it, that is valid but not implemented.
func (s *shape) refuseField(path string, line int, value string) {
	if value != "" {
		value += ": "
	}
	if line == 0 {
		line = s.lineOf(path)
	}
	s.errs = append(s.errs, &Error{
		File: s.file, Line: line, Field: s.prefix + path,
		Msg: value + notYet,
	})
}

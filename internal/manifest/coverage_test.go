package manifest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tripod/internal/golden"
)

// Every field of the API that a manifest can reach has a row, and every row a
// field: a new version of Kubernetes cannot add one that is silently ignored.
func TestCoverageIsComplete(t *testing.T) {
	if !slices.IsSortedFunc(coverage, compareFields) {
		t.Error("the table is not sorted")
	}
	reached := map[Field]bool{}
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(s reflect.Type) {
		for s.Kind() == reflect.Pointer || s.Kind() == reflect.Slice || s.Kind() == reflect.Map {
			s = s.Elem()
		}
		if !isStructure(s) || seen[s] {
			return
		}
		seen[s] = true
		for name, f := range fieldsOf(s) {
			support, ok := supportOf(f.structure, name)
			if !ok {
				t.Errorf("field %s of %s has no row", name, f.structure)
			}
			reached[Field{Structure: f.structure, Name: name}] = true
			if support == Honoured {
				walk(f.typ)
			}
		}
	}
	for _, k := range kinds {
		walk(k.structure())
	}
	for _, row := range coverage {
		if row.Support = 0; !reached[row] {
			t.Errorf("row %s.%s is no field that can be set", row.Structure, row.Name)
		}
	}
}

// The API this build is made against, as a number that is looked at when it
// changes.
func TestCoverageOfPods(t *testing.T) {
	count := map[string]int{}
	for _, row := range Coverage() {
		count[row.Structure]++
	}
	if count["PodSpec"] != 43 || count["Container"] != 25 {
		t.Errorf("PodSpec has %d rows, Container %d; want 43 and 25", count["PodSpec"], count["Container"])
	}
}

// docs/fields.md is the table for people.
func TestFieldsDocument(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Fields of a manifest\n\n" +
		"Which fields of Kubernetes' API (v0.37) `tripod run -f` takes, and what becomes of them.\n\n" +
		"*honoured*: does what Kubernetes says. *no effect*: accepted, and said once; it directs a cluster, a controller or an\n" +
		"API server. *refused*: valid Kubernetes, not implemented yet; the error names file, line and field.\n" +
		"Single values may be refused of a field that is honoured, such as `restartPolicy: Always` of an init container.\n" +
		"A field that is not here is unknown to Kubernetes, and an error.\n")
	structure := ""
	for _, row := range Coverage() {
		if row.Structure != structure {
			structure = row.Structure
			fmt.Fprintf(&b, "\n## %s\n\n| field | |\n|---|---|\n", structure)
		}
		fmt.Fprintf(&b, "| %s | %s |\n", row.Name, row.Support)
	}
	golden.Check(t, "../../docs/fields.md", b.String())
}

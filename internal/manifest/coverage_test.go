package manifest

import (
	"reflect"
	"slices"
	"testing"
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

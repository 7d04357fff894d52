package plan

import (
	"os"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestEveryFieldIsDocumented: docs/config.md has a row for each field of the runtime specification, and for no other.
func TestEveryFieldIsDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		for name := range strings.SplitSeq(cells[1], ",") {
			told[strings.TrimSpace(name)] = strings.TrimSpace(cells[2])
		}
	}
	for _, name := range fieldsOf(reflect.TypeFor[specs.Spec](), "") {
		switch told[name] {
		case "honoured", "refused", "other":
			delete(told, name)
		default:
			t.Errorf("docs/config.md says %q of %s", told[name], name)
		}
	}
	delete(told, "field")
	delete(told, "---")
	for name := range told {
		t.Errorf("docs/config.md has %s, which is no field", name)
	}
}

// fieldsOf are the JSON names of a type's fields, and of those of the four objects that hold all others.
func fieldsOf(typ reflect.Type, prefix string) (list []string) {
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		inner := typ.Field(i).Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		switch {
		case prefix == "" && (name == "process" || name == "root" || name == "mounts" || name == "hooks" || name == "linux"):
			list = append(list, fieldsOf(inner, name+".")...)
		default:
			list = append(list, prefix+name)
		}
	}
	return list
}

package manifest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"
)

func (s *shape) quantity(n *yaml.Node, path string, line int) (any, bool) {
	tag := n.ShortTag()
	if n.Kind != yaml.ScalarNode || (tag != "!!str" && tag != "!!int" && tag != "!!float") {
		s.wrong(n, path, line, "a quantity such as 500m or 128Mi")
		return nil, false
	}
	if _, err := resource.ParseQuantity(n.Value); err != nil {
		hint := "numbers with a suffix such as 500m, 2, 128Mi, 1Gi"
		if up := strings.TrimRight(n.Value, "bB"); up != n.Value {
			if _, err := resource.ParseQuantity(up); err == nil {
				hint = fmt.Sprintf("write %q", up)
			}
		}
		s.fault(line, path, hint, "%q is not a quantity", oneLine(n.Value))
		return nil, false
	}
	return n.Value, true
}

func (s *shape) scalar(n *yaml.Node, t reflect.Type, path string, line int) (any, bool) {
	if n.Kind != yaml.ScalarNode {
		s.wrong(n, path, line, nameOf(t))
		return nil, false
	}
	tag := n.ShortTag()
	switch t.Kind() {
	case reflect.String:
		switch {
		case tag == "!!binary":
			if b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), "")); err == nil {
				return string(b), true
			}
		case tag == "!!str" && plain(n) && isOldBool(n.Value):
		case tag == "!!str" || tag == "!!timestamp":
			return n.Value, true
		}
	case reflect.Bool:
		var b bool
		if n.Decode(&b) == nil && (tag == "!!bool" || (plain(n) && isOldBool(n.Value))) {
			return b, true
		}
	case reflect.Int32, reflect.Int64, reflect.Int:
		if i, ok := integer(n); ok {
			if t.Kind() == reflect.Int32 && int64(int32(i)) != i {
				s.fault(line, path, "", "%d does not fit into 32 bits", i)
				return nil, false
			}
			return json.Number(strconv.FormatInt(i, 10)), true
		}
	}
	s.wrong(n, path, line, nameOf(t))
	return nil, false
}

func integer(n *yaml.Node) (int64, bool) {
	switch n.ShortTag() {
	case "!!int":
		var i int64
		err := n.Decode(&i)
		return i, err == nil
	case "!!float":
		var f float64
		if n.Decode(&f) == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int64(f), true
		}
	}
	return 0, false
}

// wrong tells a value of a wrong type, and how the wanted one is written.
func (s *shape) wrong(n *yaml.Node, path string, line int, want string) {
	got, hint := "a list", ""
	switch n.Kind {
	case yaml.MappingNode:
		got = "a map"
	case yaml.ScalarNode:
		text := oneLine(n.Value)
		switch tag := n.ShortTag(); {
		case tag == "!!int" || tag == "!!float":
			got = "the number " + text
		case tag == "!!bool" || (plain(n) && isOldBool(n.Value)):
			got = "the boolean " + text
		case tag == "!!str":
			got = strconv.Quote(text)
		default:
			got = tag + " " + text
		}
		if want == nameOf(reflect.TypeFor[string]()) {
			hint = "write it in quotes: " + strconv.Quote(text)
		}
		first, _, _ := strings.Cut(n.Value, " ")
		if m := slipLine.FindStringSubmatch(first); m != nil && strings.HasPrefix(want, "fields") {
			if name, ok := fieldNamed(m[2]); ok {
				hint = fmt.Sprintf("write %q", name+": "+oneLine(m[3]))
			}
		}
	}
	s.fault(line, path, hint, "want %s, got %s", want, got)
}

func nameOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	}
	return "a whole number"
}

func plain(n *yaml.Node) bool {
	return n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) == 0
}

// isOldBool tells the words that kubectl reads as true or false (YAML 1.1).
func isOldBool(s string) bool {
	switch strings.ToLower(s) {
	case "y", "n":
		return true
	case "yes", "no", "on", "off":
		return s == strings.ToLower(s) || s == strings.ToUpper(s) || s[1:] == strings.ToLower(s[1:])
	}
	return false
}

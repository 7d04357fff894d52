// Package quickjson reads JSON into Go values as encoding/json does, in a fifth of the time that its first use takes: a
// program that lives for milliseconds spends one of them on what encoding/json prepares for every type it meets.
//
// It reads what is plain and well formed. Whatever else a text has, it leaves to encoding/json from the beginning: errors,
// names in another case, embedded structs, numbers that are not whole. So its answer is always that of encoding/json.
package quickjson

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Unmarshal is json.Unmarshal. It is quick for a v that points to a zero value.
func Unmarshal(data []byte, v any) error {
	p := reflect.ValueOf(v)
	if p.Kind() == reflect.Pointer && !p.IsNil() && p.Elem().IsZero() {
		r := reader{text: string(data), known: map[reflect.Type]shape{}}
		if r.value(p.Elem()) && r.peek() == 0 && r.at == len(r.text) {
			return nil
		}
		p.Elem().SetZero()
	}
	return json.Unmarshal(data, v)
}

// maxDepth bounds how deep the values lie that are skipped.
const maxDepth = 64

// reader reads a text from at on. Its methods return false at what they leave to encoding/json. The strings that it makes
// are parts of the text.
type reader struct {
	text  string
	at    int
	known map[reflect.Type]shape
}

// shape is a struct's names in JSON, "" for a field that has none; nil is a struct that is not read here.
type shape []string

var (
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[interface{ UnmarshalText([]byte) error }]()
)

func (r *reader) shape(t reflect.Type) shape {
	if s, ok := r.known[t]; ok {
		return s
	}
	s := shapeOf(t)
	r.known[t] = s
	return s
}

func shapeOf(t reflect.Type) shape {
	n := t.NumField()
	if n > 64 {
		return nil
	}
	s := make(shape, n, n+1)
	for i := range s {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous || strings.Contains(options, "string"):
			return nil
		case !f.IsExported() || name == "-":
		case name == "":
			s[i] = f.Name
		default:
			s[i] = name
		}
	}
	return s
}

// own says that a type has a way of its own to be read.
func own(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.NumMethod() > 0 && (p.Implements(unmarshaler) || p.Implements(textUnmarshaler))
}

// byItself has a type read that has a way of its own.
func (r *reader) byItself(v reflect.Value) bool {
	from := r.at
	u, ok := v.Addr().Interface().(json.Unmarshaler)
	return ok && r.skip(0) && u.UnmarshalJSON([]byte(r.text[from:r.at])) == nil
}

// peek skips space and returns the byte after it, 0 at the end.
func (r *reader) peek() byte {
	for ; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// take skips space and a byte, if it is there.
func (r *reader) take(c byte) bool {
	if r.peek() != c {
		return false
	}
	r.at++
	return true
}

func (r *reader) word(w string) bool {
	if !strings.HasPrefix(r.text[r.at:], w) {
		return false
	}
	r.at += len(w)
	return true
}

func (r *reader) value(v reflect.Value) bool {
	c := r.peek()
	if v.Kind() != reflect.Pointer && own(v.Type()) {
		return c != 'n' && r.byItself(v)
	}
	if c == 'n' {
		switch v.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			return r.word("null")
		}
		return false
	}
	switch v.Kind() {
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		v.Set(p)
		return r.value(p.Elem())
	case reflect.Struct:
		return r.object(v)
	case reflect.Slice:
		return r.list(v)
	case reflect.Map:
		return r.dictionary(v)
	case reflect.String:
		s, ok := r.string()
		if ok {
			v.SetString(s)
		}
		return ok
	case reflect.Bool:
		v.SetBool(c == 't')
		return (r.word("true") || r.word("false"))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(r.digits(), 10, v.Type().Bits())
		v.SetInt(n)
		return err == nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(r.digits(), 10, v.Type().Bits())
		v.SetUint(n)
		return err == nil
	}
	return false
}

// digits is a whole number as JSON has it, or "".
func (r *reader) digits() string {
	from := r.at
	if r.at < len(r.text) && r.text[r.at] == '-' {
		r.at++
	}
	first := r.at
	for r.at < len(r.text) && '0' <= r.text[r.at] && r.text[r.at] <= '9' {
		r.at++
	}
	if r.at > first+1 && r.text[first] == '0' {
		return ""
	}
	if r.at < len(r.text) && strings.IndexByte(".eE", r.text[r.at]) >= 0 {
		return ""
	}
	return r.text[from:r.at]
}

// object reads a struct.
func (r *reader) object(v reflect.Value) bool {
	names := r.shape(v.Type())
	var seen uint64
	return names != nil && r.members(func(name string) bool {
		i := find(names, name)
		switch {
		case i == other:
			return false
		case i == none:
			return r.skip(0)
		case seen&(1<<i) != 0:
			return false // the second would be read into the first
		}
		seen |= 1 << i
		return r.value(v.Field(i))
	})
}

const (
	none  = -1 // no field has that name
	other = -2 // one may have it that is spelt otherwise
)

func find(names shape, name string) int {
	for i, n := range names {
		if n == name && n != "" {
			return i
		}
	}
	for _, n := range names {
		if n != "" && strings.EqualFold(n, name) {
			return other
		}
	}
	return none
}

// members reads an object; member reads the value of one name.
func (r *reader) members(member func(name string) bool) bool {
	if !r.take('{') {
		return false
	}
	if r.take('}') {
		return true
	}
	for {
		r.peek()
		name, ok := r.string()
		if !ok || !r.take(':') || !member(name) {
			return false
		}
		if !r.take(',') {
			return r.take('}')
		}
	}
}

// elements reads an array; element reads one.
func (r *reader) elements(element func() bool) bool {
	if !r.take('[') {
		return false
	}
	if r.take(']') {
		return true
	}
	for element() {
		if !r.take(',') {
			return r.take(']')
		}
	}
	return false
}

func (r *reader) list(v reflect.Value) bool {
	switch list := v.Addr().Interface().(type) {
	case *[]byte:
		s, ok := r.string()
		b, err := base64.StdEncoding.DecodeString(s)
		*list = b
		return ok && err == nil
	case *[]string:
		*list = []string{}
		return r.elements(func() bool {
			r.peek()
			s, ok := r.string()
			*list = append(*list, s)
			return ok
		})
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		return false
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	return r.elements(func() bool {
		n := v.Len()
		v.Grow(1)
		v.SetLen(n + 1)
		return r.value(v.Index(n))
	})
}

func (r *reader) dictionary(v reflect.Value) bool {
	t := v.Type()
	if t.Key() != reflect.TypeFor[string]() {
		return false
	}
	v.Set(reflect.MakeMap(t))
	return r.members(func(name string) bool {
		e := reflect.New(t.Elem()).Elem()
		if !r.value(e) {
			return false
		}
		v.SetMapIndex(reflect.ValueOf(name), e)
		return true
	})
}

// skip passes over a value of any kind.
func (r *reader) skip(depth int) bool {
	if depth > maxDepth {
		return false
	}
	switch c := r.peek(); c {
	case '{':
		return r.members(func(string) bool { return r.skip(depth + 1) })
	case '[':
		return r.elements(func() bool { return r.skip(depth + 1) })
	case '"':
		_, ok := r.string()
		return ok
	case 't':
		return r.word("true")
	case 'f':
		return r.word("false")
	case 'n':
		return r.word("null")
	}
	d := r.digits()
	return d != "" && d != "-"
}

// string reads a string where it begins.
func (r *reader) string() (string, bool) {
	if !r.word(`"`) {
		return "", false
	}
	from, ascii := r.at, true
	for ; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; {
		case c == '"':
			s := r.text[from:r.at]
			r.at++
			return s, ascii || utf8.ValidString(s)
		case c == '\\':
			return r.escaped(from)
		case c < ' ':
			return "", false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return "", false
}

// escapes are the bytes that a backslash and a letter stand for.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escaped reads on a string that begins at from and has a backslash at r.at.
func (r *reader) escaped(from int) (string, bool) {
	b := []byte(r.text[from:r.at])
	for r.at+1 < len(r.text) {
		c := r.text[r.at]
		switch {
		case c == '"':
			r.at++
			return string(b), utf8.Valid(b)
		case c < ' ':
			return "", false
		case c != '\\':
			b = append(b, c)
			r.at++
		case r.text[r.at+1] == 'u':
			if r.at+6 > len(r.text) {
				return "", false
			}
			n, err := strconv.ParseUint(r.text[r.at+2:r.at+6], 16, 16)
			if err != nil || !utf8.ValidRune(rune(n)) {
				return "", false // half of a pair, perhaps
			}
			b = utf8.AppendRune(b, rune(n))
			r.at += 6
		default:
			e := escapes[r.text[r.at+1]]
			if e == 0 {
				return "", false
			}
			b = append(b, e)
			r.at += 2
		}
	}
	return "", false
}

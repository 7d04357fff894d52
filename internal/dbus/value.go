package dbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// A value is what a signature describes (D-Bus specification, "Type System"): byte, bool, int16, uint16, int32, uint32,
// int64, uint64, float64, string (also object paths and signatures), Variant, and []any for arrays, structures and the
// two halves of a dictionary's entry.

// Variant is a value that carries its own signature.
type Variant struct {
	Signature string
	Value     any
}

// Bounds of the specification.
const (
	maxSignature = 255
	maxDepth     = 32
	maxArray     = 1 << 26
)

var errSignature = errors.New("not a signature")

// single cuts the first complete type off a signature.
func single(sig string) (first, rest string, err error) {
	n, err := typeLength(sig, 0)
	if err != nil {
		return "", "", fmt.Errorf("%.40q: %w", sig, err)
	}
	return sig[:n], sig[n:], nil
}

func typeLength(sig string, depth int) (int, error) {
	if sig == "" || len(sig) > maxSignature || depth > maxDepth {
		return 0, errSignature
	}
	switch sig[0] {
	case 'y', 'b', 'n', 'q', 'i', 'u', 'x', 't', 'd', 's', 'o', 'g', 'v':
		return 1, nil
	case 'a':
		n, err := typeLength(sig[1:], depth+1)
		return 1 + n, err
	case '(', '{':
		end, at := byte(')'), 1
		if sig[0] == '{' {
			end = '}'
		}
		for at < len(sig) && sig[at] != end {
			n, err := typeLength(sig[at:], depth+1)
			if err != nil {
				return 0, err
			}
			at += n
		}
		if at == len(sig) || at == 1 {
			return 0, errSignature
		}
		return at + 1, nil
	}
	return 0, errSignature
}

// alignment is the multiple of bytes at which a value of a type begins.
func alignment(kind byte) int {
	switch kind {
	case 'y', 'g', 'v':
		return 1
	case 'n', 'q':
		return 2
	case 'x', 't', 'd', '(', '{':
		return 8
	}
	return 4
}

func pad(b []byte, to int) []byte {
	for len(b)%to != 0 {
		b = append(b, 0)
	}
	return b
}

// appendValues encodes one value for each complete type of the signature, in little endian.
func appendValues(b []byte, sig string, values []any) ([]byte, error) {
	for _, v := range values {
		first, rest, err := single(sig)
		if err != nil {
			return nil, err
		}
		if b, err = appendValue(b, first, v); err != nil {
			return nil, err
		}
		sig = rest
	}
	if sig != "" {
		return nil, fmt.Errorf("%d values are too few for what is left of their signature, %q", len(values), sig)
	}
	return b, nil
}

func appendValue(b []byte, sig string, v any) ([]byte, error) {
	b = pad(b, alignment(sig[0]))
	le := binary.LittleEndian
	fits := true
	switch sig[0] {
	case 'y':
		n, ok := v.(byte)
		fits, b = ok, append(b, n)
	case 'b':
		on, ok := v.(bool)
		n := uint32(0)
		if on {
			n = 1
		}
		fits, b = ok, le.AppendUint32(b, n)
	case 'n':
		n, ok := v.(int16)
		fits, b = ok, le.AppendUint16(b, uint16(n))
	case 'q':
		n, ok := v.(uint16)
		fits, b = ok, le.AppendUint16(b, n)
	case 'i':
		n, ok := v.(int32)
		fits, b = ok, le.AppendUint32(b, uint32(n))
	case 'u':
		n, ok := v.(uint32)
		fits, b = ok, le.AppendUint32(b, n)
	case 'x':
		n, ok := v.(int64)
		fits, b = ok, le.AppendUint64(b, uint64(n))
	case 't':
		n, ok := v.(uint64)
		fits, b = ok, le.AppendUint64(b, n)
	case 'd':
		n, ok := v.(float64)
		fits, b = ok, le.AppendUint64(b, math.Float64bits(n))
	case 's', 'o':
		s, ok := v.(string)
		b = append(append(le.AppendUint32(b, uint32(len(s))), s...), 0)
		fits = ok && !strings.ContainsRune(s, 0)
	case 'g':
		s, ok := v.(string)
		fits = ok && len(s) <= maxSignature
		b = append(append(append(b, byte(len(s))), s...), 0)
	default:
		return appendContainer(b, sig, v)
	}
	if !fits {
		return nil, fmt.Errorf("%T is no value of type %q", v, sig)
	}
	return b, nil
}

func appendContainer(b []byte, sig string, v any) ([]byte, error) {
	if sig[0] == 'v' {
		inner, ok := v.(Variant)
		if first, rest, err := single(inner.Signature); !ok || err != nil || rest != "" || first == "" {
			return nil, fmt.Errorf("%T is no value of type %q", v, sig)
		}
		b, err := appendValue(b, "g", inner.Signature)
		if err != nil {
			return nil, err
		}
		return appendValue(b, inner.Signature, inner.Value)
	}
	items, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%T is no value of type %q", v, sig)
	}
	if sig[0] != 'a' {
		return appendValues(b, sig[1:len(sig)-1], items)
	}
	size := len(b)
	b = pad(append(b, 0, 0, 0, 0), alignment(sig[1]))
	start := len(b)
	var err error
	for _, item := range items {
		if b, err = appendValue(b, sig[1:], item); err != nil {
			return nil, err
		}
	}
	binary.LittleEndian.PutUint32(b[size:], uint32(len(b)-start))
	return b, nil
}

// errShort is a message that ends before its values do.
var errShort = errors.New("the message ends within a value")

// decoder reads values. It keeps the first error and gives zeros from then on.
type decoder struct {
	text  []byte
	at    int
	order binary.ByteOrder
	depth int
	err   error
}

// take returns the next n bytes at an alignment.
func (d *decoder) take(n, align int) []byte {
	at := d.at
	if over := at % align; over != 0 {
		at += align - over
	}
	if d.err == nil && (n < 0 || n > len(d.text) || at > len(d.text)-n) {
		d.err = errShort
	}
	if d.err != nil {
		return make([]byte, min(max(n, 0), 8))
	}
	d.at = at + n
	return d.text[at:d.at]
}

func (d *decoder) uint32() uint32 { return d.order.Uint32(d.take(4, 4)) }

// text reads n bytes and the zero byte after them.
func (d *decoder) string(n int) string {
	s := d.take(n+1, 1)
	if d.err != nil {
		return ""
	}
	return string(s[:n])
}

// values reads one value for each complete type of the signature.
func (d *decoder) values(sig string) []any {
	var all []any
	for sig != "" && d.err == nil {
		var first string
		if first, sig, d.err = single(sig); d.err == nil {
			all = append(all, d.value(first))
		}
	}
	return all
}

func (d *decoder) value(sig string) any {
	switch sig[0] {
	case 'y':
		return d.take(1, 1)[0]
	case 'b':
		return d.uint32() != 0
	case 'n':
		return int16(d.order.Uint16(d.take(2, 2)))
	case 'q':
		return d.order.Uint16(d.take(2, 2))
	case 'i':
		return int32(d.uint32())
	case 'u':
		return d.uint32()
	case 'x':
		return int64(d.order.Uint64(d.take(8, 8)))
	case 't':
		return d.order.Uint64(d.take(8, 8))
	case 'd':
		return math.Float64frombits(d.order.Uint64(d.take(8, 8)))
	case 's', 'o':
		return d.string(int(d.uint32()))
	case 'g':
		return d.string(int(d.take(1, 1)[0]))
	}
	if d.depth++; d.depth > 2*maxDepth && d.err == nil {
		d.err = errSignature
	}
	defer func() { d.depth-- }()
	switch sig[0] {
	case 'v':
		inner := d.string(int(d.take(1, 1)[0]))
		first, rest, err := single(inner)
		if d.err == nil && (err != nil || rest != "") {
			d.err = errSignature
		}
		if d.err != nil {
			return Variant{}
		}
		return Variant{first, d.value(first)}
	case 'a':
		return d.array(sig[1:])
	}
	d.take(0, 8)
	return d.values(sig[1 : len(sig)-1])
}

func (d *decoder) array(sig string) []any {
	n := int(d.uint32())
	d.take(0, alignment(sig[0]))
	if d.err == nil && (n > maxArray || n > len(d.text)-d.at) {
		d.err = errShort
	}
	items := []any{}
	for end := d.at + n; d.err == nil && d.at < end; {
		items = append(items, d.value(sig))
		if d.at > end && d.err == nil {
			d.err = errShort
		}
	}
	return items
}

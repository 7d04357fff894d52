package dbus

import (
	"encoding/binary"
	"fmt"
)

// Kind is a message's type.
type Kind uint8

// The four types of messages.
const (
	Call Kind = iota + 1
	Return
	Failure
	Signal
)

// Message is one message of the bus. Fields that do not go with its kind are empty.
type Message struct {
	Kind        Kind
	Serial      uint32 // the sender's number for it
	ReplySerial uint32 // of the call that is answered
	Path        string
	Interface   string
	Member      string
	Destination string
	Sender      string
	ErrorName   string
	Signature   string // of Body
	Body        []any
}

// maxMessage bounds the bytes of a message that is read; what systemd answers is far below it.
const maxMessage = 4 << 20

// The codes of header fields.
const (
	fieldPath = iota + 1
	fieldInterface
	fieldMember
	fieldErrorName
	fieldReplySerial
	fieldDestination
	fieldSender
	fieldSignature
)

// Encode writes a message in little endian.
func (m Message) Encode() ([]byte, error) {
	body, err := appendValues(nil, m.Signature, m.Body)
	if err != nil {
		return nil, err
	}
	var fields []any
	for _, f := range [...]struct {
		code       byte
		kind, text string
	}{
		{fieldPath, "o", m.Path},
		{fieldInterface, "s", m.Interface},
		{fieldMember, "s", m.Member},
		{fieldErrorName, "s", m.ErrorName},
		{fieldDestination, "s", m.Destination},
		{fieldSignature, "g", m.Signature},
	} {
		if f.text != "" {
			fields = append(fields, []any{f.code, Variant{f.kind, f.text}})
		}
	}
	if m.ReplySerial != 0 {
		fields = append(fields, []any{byte(fieldReplySerial), Variant{"u", m.ReplySerial}})
	}
	head, err := appendValues(nil, "yyyyuua(yv)", []any{byte('l'), byte(m.Kind), byte(0), byte(1), uint32(len(body)), m.Serial, fields})
	if err != nil {
		return nil, err
	}
	return append(pad(head, 8), body...), nil
}

// headSize is what tells how long a message is: its first fields and the length of the others.
const headSize = 16

// lengths reads from the first headSize bytes how long the header and the whole message are.
func lengths(head []byte) (header, whole int, err error) {
	order, err := byteOrder(head[0])
	if err != nil {
		return 0, 0, err
	}
	body, fields := uint64(order.Uint32(head[4:])), uint64(order.Uint32(head[12:]))
	header64 := (headSize + fields + 7) &^ 7
	if header64+body > maxMessage {
		return 0, 0, fmt.Errorf("a message of %d bytes", header64+body)
	}
	return int(header64), int(header64 + body), nil
}

func byteOrder(mark byte) (binary.ByteOrder, error) {
	switch mark {
	case 'l':
		return binary.LittleEndian, nil
	case 'B':
		return binary.BigEndian, nil
	}
	return nil, fmt.Errorf("%q marks no byte order", mark)
}

// decode reads a whole message.
func decode(text []byte) (Message, error) {
	if len(text) < headSize {
		return Message{}, errShort
	}
	header, whole, err := lengths(text)
	if err != nil {
		return Message{}, err
	}
	if whole != len(text) {
		return Message{}, errShort
	}
	order, err := byteOrder(text[0])
	if err != nil {
		return Message{}, err
	}
	d := decoder{text: text[:header], order: order}
	values := d.values("yyyyuua(yv)")
	if d.err != nil {
		return Message{}, d.err
	}
	m := Message{Kind: Kind(values[1].(byte)), Serial: values[5].(uint32)}
	for _, f := range values[6].([]any) {
		pair := f.([]any)
		v := pair[1].(Variant)
		text, _ := v.Value.(string)
		switch pair[0].(byte) {
		case fieldPath:
			m.Path = text
		case fieldInterface:
			m.Interface = text
		case fieldMember:
			m.Member = text
		case fieldErrorName:
			m.ErrorName = text
		case fieldReplySerial:
			m.ReplySerial, _ = v.Value.(uint32)
		case fieldDestination:
			m.Destination = text
		case fieldSender:
			m.Sender = text
		case fieldSignature:
			m.Signature = text
		}
	}
	d = decoder{text: text[header:], order: order}
	m.Body = d.values(m.Signature)
	return m, d.err
}

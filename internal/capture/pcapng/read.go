package pcapng

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// Reader reads packets from a pcapng or pcap file.
type Reader struct {
	in         io.Reader
	order      binary.ByteOrder
	interfaces []Interface
	clocks     []clock // of the interfaces
	section    int     // index of the section's first interface
	old        bool    // pcap
	buf        []byte
}

// clock says how an interface counts time.
type clock struct {
	perSecond uint64
	offset    int64 // seconds
}

// nanoseconds is a time of this clock.
func (c clock) nanoseconds(ticks uint64) int64 {
	seconds, rest := ticks/c.perSecond, ticks%c.perSecond
	high, low := bits.Mul64(rest, 1e9)
	fraction, _ := bits.Div64(high, low, c.perSecond) // rest is less than perSecond
	return (int64(seconds)+c.offset)*1e9 + int64(fraction)
}

// NewReader reads the beginning of a file, and tells by it what it is.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: in}
	var magic [4]byte
	if _, err := io.ReadFull(in, magic[:]); err != nil {
		return nil, damaged("it has no header", err)
	}
	switch little := binary.LittleEndian.Uint32(magic[:]); little {
	case sectionBlock:
		return r, r.sectionHeader()
	case 0xa1b2c3d4:
		return r, r.oldHeader(binary.LittleEndian, 1e6)
	case 0xa1b23c4d:
		return r, r.oldHeader(binary.LittleEndian, 1e9)
	case 0xd4c3b2a1:
		return r, r.oldHeader(binary.BigEndian, 1e6)
	case 0x4d3cb2a1:
		return r, r.oldHeader(binary.BigEndian, 1e9)
	default:
		return nil, damaged(fmt.Sprintf("it begins with %#08x, as neither pcapng nor pcap does", little), nil)
	}
}

// damaged is an error of a file.
func damaged(what string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err == nil {
		return fmt.Errorf("cannot read packets: %s: %w", what, ErrFormat)
	}
	return fmt.Errorf("cannot read packets: %w", err)
}

// Interfaces are those that were read so far.
func (r *Reader) Interfaces() []Interface { return r.interfaces }

// oldHeader reads the rest of a pcap file's header. Such a file has one interface.
func (r *Reader) oldHeader(order binary.ByteOrder, perSecond uint64) error {
	r.old, r.order = true, order
	head, err := r.take(20)
	if err != nil {
		return damaged("its header is cut", err)
	}
	if major := order.Uint16(head); major != 2 {
		return damaged(fmt.Sprintf("it is of version %d", major), nil)
	}
	r.interfaces = []Interface{{Snap: order.Uint32(head[12:]), Link: uint16(order.Uint32(head[16:]))}}
	r.clocks = []clock{{perSecond: perSecond}}
	return nil
}

// take reads size bytes; they are there until the next take.
func (r *Reader) take(size int) ([]byte, error) {
	if cap(r.buf) < size {
		r.buf = make([]byte, max(size, 4096))
	}
	r.buf = r.buf[:size]
	n, err := io.ReadFull(r.in, r.buf)
	if err == io.EOF && n == 0 && size > 0 {
		return nil, io.EOF
	}
	return r.buf, err
}

// Next is the next packet. Its data are there until the next Next. The error is io.EOF at the end of the file; it is an
// ErrFormat when the file ends within a packet.
func (r *Reader) Next() (Packet, error) {
	if r.old {
		return r.nextOld()
	}
	for {
		head, err := r.take(8)
		if err == io.EOF {
			return Packet{}, io.EOF
		} else if err != nil {
			return Packet{}, damaged("it ends within a block", err)
		}
		if binary.LittleEndian.Uint32(head) == sectionBlock { // alike in both orders
			r.in = io.MultiReader(newBytes(head[4:8]), r.in)
			if err := r.sectionHeader(); err != nil {
				return Packet{}, err
			}
			continue
		}
		kind, size := r.order.Uint32(head), r.order.Uint32(head[4:])
		if size < 12 || size%4 != 0 || size > maxBlock {
			return Packet{}, damaged(fmt.Sprintf("a block has %d bytes", size), nil)
		}
		body, err := r.take(int(size) - 8)
		if err != nil {
			return Packet{}, damaged("it ends within a block", err)
		}
		if again := r.order.Uint32(body[len(body)-4:]); again != size {
			return Packet{}, damaged(fmt.Sprintf("a block has %d bytes at its beginning and %d at its end", size, again), nil)
		}
		body = body[:len(body)-4]
		switch kind {
		case interfaceBlock:
			err = r.interfaceHeader(body)
		case packetBlock, oldPacketBlock:
			return r.packet(body, kind == oldPacketBlock)
		case simpleBlock:
			return r.simple(body)
		}
		if err != nil {
			return Packet{}, err
		}
	}
}

type bytesReader struct{ rest []byte }

// newBytes reads a copy of a few bytes.
func newBytes(b []byte) io.Reader { return &bytesReader{append([]byte(nil), b...)} }

func (b *bytesReader) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// sectionHeader reads a section's header behind its type.
func (r *Reader) sectionHeader() error {
	head, err := r.take(8)
	if err != nil {
		return damaged("its header is cut", err)
	}
	switch binary.LittleEndian.Uint32(head[4:]) {
	case byteOrderMagic:
		r.order = binary.LittleEndian
	case bits.ReverseBytes32(byteOrderMagic):
		r.order = binary.BigEndian
	default:
		return damaged("it has no byte order", nil)
	}
	size := r.order.Uint32(head)
	if size < 28 || size%4 != 0 || size > maxBlock {
		return damaged(fmt.Sprintf("its header has %d bytes", size), nil)
	}
	rest, err := r.take(int(size) - 12)
	if err != nil {
		return damaged("its header is cut", err)
	}
	if major := r.order.Uint16(rest); major != 1 {
		return damaged(fmt.Sprintf("it is of version %d", major), nil)
	}
	r.section = len(r.interfaces)
	return nil
}

// options gives each option to f, up to the first that does not fit.
func (r *Reader) options(data []byte, f func(code uint16, value []byte)) {
	for len(data) >= 4 {
		code, size := r.order.Uint16(data), int(r.order.Uint16(data[2:]))
		if code == optionEnd || size > len(data)-4 {
			return
		}
		f(code, data[4:4+size])
		data = data[min(len(data), 4+(size+3)&^3):]
	}
}

func (r *Reader) interfaceHeader(body []byte) error {
	if len(body) < 8 {
		return damaged("an interface is cut", nil)
	}
	if len(r.interfaces) >= maxInterfaces {
		return damaged(fmt.Sprintf("it has more than %d interfaces", maxInterfaces), nil)
	}
	i := Interface{Link: r.order.Uint16(body), Snap: r.order.Uint32(body[4:])}
	c := clock{perSecond: 1e6}
	var bad error
	r.options(body[8:], func(code uint16, value []byte) {
		switch {
		case code == interfaceName:
			i.Name = string(value)
		case code == interfaceAbout:
			i.Description = string(value)
		case code == interfaceFilter && len(value) > 1 && value[0] == 0:
			i.Filter = string(value[1:])
		case code == interfaceOffset && len(value) == 8:
			c.offset = int64(r.order.Uint64(value))
		case code == interfaceTimeUnit && len(value) == 1:
			power := uint64(value[0] & 0x7f)
			if value[0]&0x80 != 0 && power < 64 {
				c.perSecond = 1 << power
			} else if value[0]&0x80 == 0 && power < 20 {
				for c.perSecond = 1; power > 0; power-- {
					c.perSecond *= 10
				}
			} else {
				bad = damaged("an interface's time is too fine", nil)
			}
		}
	})
	r.interfaces = append(r.interfaces, i)
	r.clocks = append(r.clocks, c)
	return bad
}

// packet reads an enhanced packet block, or its predecessor.
func (r *Reader) packet(body []byte, old bool) (Packet, error) {
	if len(body) < 20 {
		return Packet{}, damaged("a packet is cut", nil)
	}
	number := r.order.Uint32(body)
	if old {
		number = uint32(r.order.Uint16(body))
	}
	index := r.section + int(number)
	if number >= maxInterfaces || index >= len(r.interfaces) {
		return Packet{}, damaged(fmt.Sprintf("a packet is of interface %d, which is not there", number), nil)
	}
	ticks := uint64(r.order.Uint32(body[4:]))<<32 | uint64(r.order.Uint32(body[8:]))
	kept, length := r.order.Uint32(body[12:]), r.order.Uint32(body[16:])
	if int64(kept) > int64(len(body)-20) || kept > maxPacket {
		return Packet{}, damaged("a packet is longer than its block", nil)
	}
	p := Packet{
		Interface: index, Time: r.clocks[index].nanoseconds(ticks),
		Data: body[20 : 20+kept], Length: int(max(length, kept)),
	}
	r.options(body[min(len(body), 20+int(kept+3)&^3):], func(code uint16, value []byte) {
		switch {
		case code == optionComment:
			p.Comment = string(value)
		case code == packetFlags && len(value) == 4:
			p.Direction = Direction(r.order.Uint32(value) & 3)
		}
	})
	return p, nil
}

// simple reads a packet without a time, of the section's first interface.
func (r *Reader) simple(body []byte) (Packet, error) {
	if len(body) < 4 || r.section >= len(r.interfaces) {
		return Packet{}, damaged("a packet is cut, or of no interface", nil)
	}
	length := r.order.Uint32(body)
	kept := min(uint64(length), uint64(len(body)-4), maxPacket)
	if snap := r.interfaces[r.section].Snap; snap != 0 {
		kept = min(kept, uint64(snap))
	}
	return Packet{Interface: r.section, Data: body[4 : 4+kept], Length: int(max(uint64(length), kept))}, nil
}

// nextOld reads a packet of a pcap file.
func (r *Reader) nextOld() (Packet, error) {
	head, err := r.take(16)
	if err == io.EOF {
		return Packet{}, io.EOF
	} else if err != nil {
		return Packet{}, damaged("it ends within a packet", err)
	}
	seconds, fraction := r.order.Uint32(head), r.order.Uint32(head[4:])
	kept, length := r.order.Uint32(head[8:]), r.order.Uint32(head[12:])
	if kept > maxPacket {
		return Packet{}, damaged(fmt.Sprintf("a packet has %d bytes", kept), nil)
	}
	p := Packet{
		Time:   int64(seconds)*1e9 + int64(uint64(fraction)*(1e9/r.clocks[0].perSecond)),
		Length: int(max(length, kept)),
	}
	if p.Data, err = r.take(int(kept)); err != nil {
		return Packet{}, damaged("it ends within a packet", err)
	}
	return p, nil
}

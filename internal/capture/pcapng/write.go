package pcapng

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Section says who made a file.
type Section struct {
	OS, Application, Comment string
}

// Writer writes one section. It makes one Write of each block, so a bufio.Writer below it is worth having.
type Writer struct {
	out        io.Writer
	buf        []byte
	interfaces int
	size       int64
}

// NewWriter writes the header of a section.
func NewWriter(out io.Writer, s Section) (*Writer, error) {
	w := &Writer{out: out}
	w.begin(sectionBlock)
	w.u32(byteOrderMagic)
	w.u16(1)                                                    // version 1.0
	w.u16(0)                                                    //
	w.buf = binary.NativeEndian.AppendUint64(w.buf, ^uint64(0)) // length unknown
	w.text(sectionOS, s.OS)
	w.text(sectionApp, s.Application)
	w.text(optionComment, s.Comment)
	return w, w.end()
}

// Size is how many bytes were written.
func (w *Writer) Size() int64 { return w.size }

// Interface adds an interface. Its index is the number of those before it.
func (w *Writer) Interface(i Interface) (int, error) {
	w.begin(interfaceBlock)
	w.u16(i.Link)
	w.u16(0)
	w.u32(i.Snap)
	w.text(interfaceName, i.Name)
	w.text(interfaceAbout, i.Description)
	w.option(interfaceTimeUnit, []byte{9})
	if i.Filter != "" {
		w.option(interfaceFilter, append([]byte{0}, clip(i.Filter)...))
	}
	w.interfaces++
	return w.interfaces - 1, w.end()
}

// Packet writes a packet.
func (w *Writer) Packet(p Packet) error {
	if p.Interface < 0 || p.Interface >= w.interfaces {
		return fmt.Errorf("cannot write packet: there is no interface %d", p.Interface)
	}
	w.begin(packetBlock)
	w.u32(uint32(p.Interface))
	w.u32(uint32(uint64(p.Time) >> 32))
	w.u32(uint32(uint64(p.Time)))
	w.u32(uint32(len(p.Data)))
	w.u32(uint32(max(p.Length, len(p.Data))))
	w.padded(p.Data)
	if p.Direction != Unknown {
		w.option(packetFlags, binary.NativeEndian.AppendUint32(nil, uint32(p.Direction)))
	}
	w.text(optionComment, p.Comment)
	return w.end()
}

// Statistics writes the counters of an interface at a time in nanoseconds.
func (w *Writer) Statistics(index int, now int64, s Statistics) error {
	w.begin(statisticsBlock)
	w.u32(uint32(index))
	w.u32(uint32(uint64(now) >> 32))
	w.u32(uint32(uint64(now)))
	w.option(statsReceived, binary.NativeEndian.AppendUint64(nil, s.Received))
	w.option(statsDropped, binary.NativeEndian.AppendUint64(nil, s.Dropped))
	return w.end()
}

func (w *Writer) begin(kind uint32) {
	w.buf = w.buf[:0]
	w.u32(kind)
	w.u32(0) // the length, known at the end
}

// end finishes a block: the end of its options, and its length before and after.
func (w *Writer) end() error {
	w.u32(optionEnd)
	size := uint32(len(w.buf) + 4)
	w.u32(size)
	binary.NativeEndian.PutUint32(w.buf[4:], size)
	n, err := w.out.Write(w.buf)
	w.size += int64(n)
	if err != nil {
		return fmt.Errorf("cannot write packets: %w", err)
	}
	return nil
}

func (w *Writer) u16(v uint16) { w.buf = binary.NativeEndian.AppendUint16(w.buf, v) }
func (w *Writer) u32(v uint32) { w.buf = binary.NativeEndian.AppendUint32(w.buf, v) }

func (w *Writer) padded(data []byte) {
	w.buf = append(w.buf, data...)
	for len(w.buf)%4 != 0 {
		w.buf = append(w.buf, 0)
	}
}

func (w *Writer) option(code uint16, data []byte) {
	w.u16(code)
	w.u16(uint16(len(data)))
	w.padded(data)
}

func (w *Writer) text(code uint16, text string) {
	if text != "" {
		w.option(code, []byte(clip(text)))
	}
}

// clip keeps a text within an option's length of 16 bits.
func clip(text string) string { return text[:min(len(text), 60000)] }

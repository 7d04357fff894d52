package objects

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The log is a header and frames. A frame is what one fsync made durable, and the next is only begun behind it: so the last
// one alone may be torn, and whatever is wrong before another is damage.
//
//	header: magic[8] format[4] salt[8] base[8] crc[4]
//	frame:  mark[4] length[4] crc of the two[4] crc of the body[4] body
//	body:   records, each: kind[1] version[8] length[4], then group, resource, namespace and name,
//	        each behind its own length[2], and the object
//
// Numbers are little endian. All sums are CRC-32C and begin with the salt, which is random and nobody else's to know: what a
// client puts into an object never looks like a frame, nor does what an older file left on the disk.
//
// The first frames are a snapshot: what was alive at version base. Its end is a record of its own, so that a snapshot which
// was cut is not taken for a small one.
const (
	magic      = "TRIPODOB"
	format     = 1
	headerSize = 8 + 4 + 8 + 8 + 4
	mark       = 0x6d726674 // "tfrm"
	frameHead  = 16
	recordHead = 1 + 8 + 4
	maxNames   = 4 * 1024 // of group, resource, namespace and name together
	maxRecord  = MaxSize + maxNames + recordHead
	fullFrame  = 1 << 20 // from here on a frame takes no further record
	maxFrame   = fullFrame + maxRecord
)

// The kinds of records. A kept object is one of the snapshot.
const (
	kept    = 'k'
	put     = 'p'
	deleted = 'd'
	end     = 'e'
)

// header is the beginning of a log.
type header struct {
	salt [8]byte
	base uint64 // what is in the snapshot, and not how it came to be, is known up to this version
}

// logRecord is one object's change in a log.
type logRecord struct {
	kind    byte
	version uint64
	id      ID
	data    []byte
}

// DamageError says where a log is damaged.
type DamageError struct {
	File   string
	Offset int64
	Reason string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("cannot read objects %s: damaged at byte %d: %s", e.File, e.Offset, e.Reason)
}

// Hint says what can be done about it.
func (e *DamageError) Hint() string {
	if filepath.Base(e.File) != logName {
		return ""
	}
	return "move the folder " + filepath.Dir(e.File) + " away and restore a backup, with tripod restore"
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (h header) sum(data []byte) uint32 {
	return crc32.Update(crc32.Checksum(h.salt[:], castagnoli), castagnoli, data)
}

func newHeader(base uint64) header {
	h := header{base: base}
	rand.Read(h.salt[:]) // never fails
	return h
}

func (h header) encode() []byte {
	b := append(make([]byte, 0, headerSize), magic...)
	b = binary.LittleEndian.AppendUint32(b, format)
	b = append(b, h.salt[:]...)
	b = binary.LittleEndian.AppendUint64(b, h.base)
	return binary.LittleEndian.AppendUint32(b, h.sum(b))
}

// errors of a header, apart from damage: it is another's file or a later tripod's.
var (
	errNotOurs = errors.New("it is not a log of objects")
	errShort   = errors.New("it ends within its header")
	errSum     = errors.New("the sum of its header is wrong")
)

func decodeHeader(b []byte) (h header, err error) {
	if n := min(len(b), len(magic)); string(b[:n]) != magic[:n] {
		return h, errNotOurs
	}
	if len(b) < headerSize {
		return h, errShort
	}
	if f := binary.LittleEndian.Uint32(b[8:]); f != format {
		return h, fmt.Errorf("its format is %d, and this tripod reads %d", f, format)
	}
	copy(h.salt[:], b[12:])
	h.base = binary.LittleEndian.Uint64(b[20:])
	if h.sum(b[:headerSize-4]) != binary.LittleEndian.Uint32(b[headerSize-4:]) {
		return h, errSum
	}
	return h, nil
}

// frame collects records.
type frame struct{ b []byte }

// reset makes the frame empty and gives back the memory of a large one.
func (f *frame) reset() {
	if cap(f.b) > 2*fullFrame {
		f.b = nil
	}
	f.b = append(f.b[:0], make([]byte, frameHead)...)
}

func (f *frame) empty() bool { return len(f.b) <= frameHead }
func (f *frame) full() bool  { return len(f.b) >= fullFrame }

// add appends a record, whose names and data are within their bounds, and returns its size.
func (f *frame) add(r logRecord) int64 {
	was := len(f.b)
	f.b = append(f.b, r.kind)
	f.b = binary.LittleEndian.AppendUint64(f.b, r.version)
	f.b = binary.LittleEndian.AppendUint32(f.b, uint32(r.size()-recordHead))
	for _, s := range r.id.parts() {
		f.b = binary.LittleEndian.AppendUint16(f.b, uint16(len(s)))
		f.b = append(f.b, s...)
	}
	f.b = append(f.b, r.data...)
	return int64(len(f.b) - was)
}

// seal writes the head of the frame and returns the whole.
func (f *frame) seal(h header) []byte {
	binary.LittleEndian.PutUint32(f.b[0:], mark)
	binary.LittleEndian.PutUint32(f.b[4:], uint32(len(f.b)-frameHead))
	binary.LittleEndian.PutUint32(f.b[8:], h.sum(f.b[:8]))
	binary.LittleEndian.PutUint32(f.b[12:], h.sum(f.b[frameHead:]))
	return f.b
}

func (id ID) parts() [4]string {
	return [4]string{id.Resource.Group, id.Resource.Resource, id.Namespace, id.Name}
}

// size is that of the record in a log.
func (r logRecord) size() int {
	n := recordHead + len(r.data)
	for _, s := range r.id.parts() {
		n += 2 + len(s)
	}
	return n
}

// bounded says whether the record may be written.
func (r logRecord) bounded() error {
	if len(r.data) > MaxSize || r.size()-len(r.data) > maxNames {
		return fmt.Errorf("%w: %d bytes, more than %d", ErrTooLarge, r.size(), MaxSize)
	}
	return nil
}

// decodeRecord takes the first record of a body, and returns what is behind it. The record's data is part of the body.
func decodeRecord(b []byte) (r logRecord, rest []byte, err error) {
	if len(b) < recordHead {
		return r, nil, errors.New("a record ends within its head")
	}
	r.kind, r.version = b[0], binary.LittleEndian.Uint64(b[1:])
	n := uint64(binary.LittleEndian.Uint32(b[9:]))
	b = b[recordHead:]
	if n > uint64(len(b)) {
		return r, nil, errors.New("a record is longer than its frame")
	}
	b, rest = b[:n], b[n:]
	var parts [4]string
	for i := range parts {
		if len(b) < 2 {
			return r, nil, errors.New("a record ends within its names")
		}
		n := int(binary.LittleEndian.Uint16(b))
		if b = b[2:]; n > len(b) {
			return r, nil, errors.New("a record ends within its names")
		}
		parts[i], b = string(b[:n]), b[n:]
	}
	r.id = ID{schema.GroupResource{Group: parts[0], Resource: parts[1]}, parts[2], parts[3]}
	r.data = b
	return r, rest, r.bounded()
}

// scan reads the first size bytes of a log and calls each with every record of every whole frame, and where its data lies in the
// file; the data itself is gone when each returns. It returns where the last whole frame ends: what is behind was torn by a crash.
func scan(name string, r io.ReaderAt, size int64, each func(r logRecord, at int64) error) (h header, whole int64, err error) {
	damage := func(at int64, reason error) error { return &DamageError{name, at, reason.Error()} }
	head := make([]byte, min(size, headerSize))
	if err := readAt(r, head, 0); err != nil {
		return h, 0, fmt.Errorf("cannot read objects %s: %w", name, err)
	}
	if h, err = decodeHeader(head); err != nil {
		return h, 0, damage(0, err)
	}
	o := order{base: h.base, last: h.base}
	if whole, err = scanFrames(name, r, h, headerSize, size, &o, each); err != nil {
		return h, 0, err
	}
	if !o.ended {
		return h, 0, damage(whole, errors.New("it ends within its snapshot"))
	}
	return h, whole, nil
}

// scanFrames is scan from one frame on.
func scanFrames(name string, r io.ReaderAt, h header, at, size int64, o *order, each func(r logRecord, at int64) error) (whole int64, err error) {
	var body []byte
	for at < size {
		var torn error
		body, torn, err = readFrame(r, h, at, size, body)
		if err == nil && torn != nil {
			var later bool
			if later, err = followed(r, h, at, size); err == nil && later {
				return 0, &DamageError{name, at, torn.Error()}
			}
		}
		if err != nil {
			return 0, fmt.Errorf("cannot read objects %s: %w", name, err)
		}
		if torn != nil {
			break
		}
		if err := scanBody(name, body, at+frameHead, o, each); err != nil {
			return 0, err
		}
		at += frameHead + int64(len(body))
	}
	return at, nil
}

// scanBody calls each for the records of a frame, whose body begins at a place.
func scanBody(name string, body []byte, at int64, o *order, each func(r logRecord, at int64) error) error {
	for len(body) > 0 {
		r, rest, err := decodeRecord(body)
		if err == nil {
			err = o.admit(r)
		}
		if err != nil {
			return &DamageError{name, at, err.Error()}
		}
		body, at = rest, at+int64(r.size())
		if r.kind != end {
			if err := each(r, at-int64(len(r.data))); err != nil {
				return err
			}
		}
	}
	return nil
}

// order is what is known of a log's records so far.
type order struct {
	base, last uint64
	ended      bool // the snapshot
}

// admit says why a record cannot come next.
func (o *order) admit(r logRecord) error {
	switch {
	case r.kind == kept && !o.ended && r.version <= o.base:
	case r.kind == end && !o.ended:
		o.ended = true
	case (r.kind == put || r.kind == deleted) && o.ended && r.version > o.last:
		o.last = r.version
	default:
		return fmt.Errorf("a record of kind %q and version %d cannot be here", r.kind, r.version)
	}
	return nil
}

// readFrame reads the frame at a place into buf. What is wrong with the frame itself is torn, what is wrong with the disk err.
func readFrame(r io.ReaderAt, h header, at, size int64, buf []byte) (body []byte, torn, err error) {
	if size-at < frameHead {
		return buf, errors.New("a frame ends within its head"), nil
	}
	var head [frameHead]byte
	if err := readAt(r, head[:], at); err != nil {
		return buf, nil, err
	}
	n, good := frameLength(head[:], h)
	if !good {
		return buf, errors.New("the head of a frame is wrong"), nil
	}
	if n > size-at-frameHead {
		return buf, errors.New("a frame is longer than the file"), nil
	}
	if int64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if err := readAt(r, buf, at+frameHead); err != nil {
		return buf, nil, err
	}
	if h.sum(buf) != binary.LittleEndian.Uint32(head[12:]) {
		return buf, errors.New("the sum of a frame is wrong"), nil
	}
	return buf, nil, nil
}

// frameLength is that of a frame's body, if this is the head of one.
func frameLength(head []byte, h header) (n int64, good bool) {
	n = int64(binary.LittleEndian.Uint32(head[4:]))
	good = binary.LittleEndian.Uint32(head) == mark && h.sum(head[:8]) == binary.LittleEndian.Uint32(head[8:]) &&
		n > 0 && n <= maxFrame
	return n, good
}

// followed says whether the bad frame at a place was whole once: then it is damaged, not torn. It was when the file goes on behind
// it, which is known from its head, or else from a good frame anywhere behind, or from more bytes than one frame has.
func followed(r io.ReaderAt, h header, at, size int64) (bool, error) {
	if size-at > frameHead+maxFrame {
		return true, nil
	}
	rest := make([]byte, size-at)
	if err := readAt(r, rest, at); err != nil {
		return false, err
	}
	if len(rest) >= frameHead {
		if n, good := frameLength(rest, h); good {
			return frameHead+n < int64(len(rest)), nil
		}
	}
	marked := binary.LittleEndian.AppendUint32(nil, mark)
	for from := 1; ; {
		i := bytes.Index(rest[min(from, len(rest)):], marked)
		if i < 0 || from+i+frameHead > len(rest) {
			return false, nil
		}
		from += i
		if n, good := frameLength(rest[from:], h); good && frameHead+n <= int64(len(rest)-from) {
			body := rest[from+frameHead:][:n]
			if h.sum(body) == binary.LittleEndian.Uint32(rest[from+12:]) {
				return true, nil
			}
		}
		from++
	}
}

// readAt fills b from a place. An end of the file that comes too early is an error.
func readAt(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

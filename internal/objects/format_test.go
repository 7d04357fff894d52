package objects

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// written makes a store in a folder with changes of every kind, and returns its log and what it held when the log had each size.
func written(t *testing.T, dir string, compacted bool) (log []byte, held map[int64]string) {
	t.Helper()
	s := open(t, dir, Options{CompactFrom: 1 << 30})
	if compacted {
		set(t, s, "gone", "1")
		remove(t, s, "gone")
		for i := range 3 {
			set(t, s, fmt.Sprint("kept", i), "1")
		}
		var compact bytes.Buffer
		if err := s.Backup(&compact); err != nil {
			t.Fatal(err)
		}
		s.Close()
		var err error
		if s, err = with(t, dir, compact.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	held = map[int64]string{s.size: state(s)}
	for i := range 4 {
		set(t, s, "a", fmt.Sprint(i))
		held[s.size] = state(s)
		set(t, s, fmt.Sprint("b", i), "")
		held[s.size] = state(s)
	}
	remove(t, s, "b1")
	held[s.size] = state(s)
	s.Close()
	log, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	return log, held
}

// with opens a store whose log is so.
func with(t *testing.T, dir string, log []byte) (*Store, error) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, logName), log, 0o600); err != nil {
		t.Fatal(err)
	}
	return Open(dir, plain{}, Options{})
}

// inMemory is with, on a disk that costs no time.
func inMemory(dir string, log []byte) (*Store, error) {
	m := newMemory()
	m.names[filepath.Join(dir, logName)] = &node{log}
	return Open(dir, plain{}, Options{disk: m})
}

// refused says that a log was refused with one line that names its file.
func refused(t *testing.T, err error, dir string) bool {
	t.Helper()
	var damage *DamageError
	if !errors.As(err, &damage) {
		return false
	}
	if text := err.Error(); !strings.Contains(text, filepath.Join(dir, logName)) || !strings.Contains(text, "at byte ") || strings.Contains(text, "\n") {
		t.Errorf("refused with %q", text)
	}
	return true
}

func TestTruncatedAtEveryByte(t *testing.T) {
	for _, compacted := range []bool{false, true} {
		dir := t.TempDir()
		log, held := written(t, dir, compacted)
		first := int64(len(log))
		for size := range held {
			first = min(first, size)
		}
		for size := range int64(len(log)) + 1 {
			s, err := inMemory(dir, bytes.Clone(log[:size]))
			if size < first { // no crash cuts here: this part was durable before it got its name
				if !refused(t, err, dir) {
					t.Fatalf("%d bytes: %v, want it refused", size, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			whole := size
			for held[whole] == "" {
				whole--
			}
			if got := state(s); got != held[whole] || s.size != whole {
				t.Fatalf("%d bytes: %s, want %s", size, got, held[whole])
			}
			set(t, s, "new", "1")
			want := state(s)
			s.Close()
			if s, err = Open(dir, plain{}, s.o); err != nil {
				t.Fatal(err)
			}
			if got := state(s); got != want {
				t.Fatalf("%d bytes and a write: %s, want %s", size, got, want)
			}
			s.Close()
		}
	}
}

func TestDamagedAtEveryByte(t *testing.T) {
	for _, compacted := range []bool{false, true} {
		dir := t.TempDir()
		log, held := written(t, dir, compacted)
		last := int64(0)
		for size := range held {
			if size < int64(len(log)) {
				last = max(last, size)
			}
		}
		for at := range int64(len(log)) {
			for _, flip := range []byte{1, 0x80, log[at]} { // the last makes it zero
				if flip == 0 {
					continue
				}
				damaged := bytes.Clone(log)
				damaged[at] ^= flip
				s, err := inMemory(dir, damaged)
				if at < last && !refused(t, err, dir) {
					t.Fatalf("byte %d: %v, want it refused", at, err)
				}
				if at >= last { // the last frame cannot be told from a torn one
					if err != nil {
						t.Fatalf("byte %d: %v", at, err)
					}
					if got := state(s); got != held[last] {
						t.Fatalf("byte %d: %s, want %s", at, got, held[last])
					}
				}
				if err == nil {
					s.Close()
				}
			}
		}
	}
}

// A client may put into an object what looks like frames. A torn write of it is not taken for damage.
func TestTornWriteOfFrames(t *testing.T) {
	s, dir := open(t, t.TempDir(), Options{}), t.TempDir()
	set(t, s, "a", "1")
	want, from := state(s), s.size
	others, _ := written(t, dir, false)
	set(t, s, "evil", strings.Repeat(string(others[headerSize:]), 50))
	s.Close()
	log, err := os.ReadFile(s.path(logName))
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{1, 100, 1000, 10_000} {
		for _, lost := range []int{0, frameHead, 512, 4096} { // what of its beginning is zeros, too
			torn := bytes.Clone(log[:len(log)-cut])
			clear(torn[from:][:lost])
			s, err := with(t, dir, torn)
			if err != nil {
				t.Errorf("%d bytes lost, %d cut: %v", lost, cut, err)
				continue
			}
			if got := state(s); got != want {
				t.Errorf("%d bytes lost, %d cut: %s, want %s", lost, cut, got, want)
			}
			s.Close()
		}
	}
}

// What is left of a large torn frame is not behind a smaller one that is torn next.
func TestTornTwice(t *testing.T) {
	dir := t.TempDir()
	log, held := written(t, dir, false)
	want := held[int64(len(log))]
	torn := append(bytes.Clone(log), bytes.Repeat([]byte("x"), 5000)...)
	s, err := with(t, dir, torn)
	if err != nil {
		t.Fatal(err)
	}
	set(t, s, "small", "1")
	s.Close()
	if log, err = os.ReadFile(s.path(logName)); err != nil {
		t.Fatal(err)
	}
	log[s.size-1] ^= 1
	if s, err = with(t, dir, log); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := state(s); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestForeignFiles(t *testing.T) {
	later := newHeader(0).encode()
	later[8]++
	for name, log := range map[string][]byte{
		"it ends within its header":                    nil,
		"it is not a log of objects":                   []byte("#!/bin/sh\nexit\n"),
		"its format is 2, and this tripod reads 1":     later,
		"it ends within its snapshot":                  newHeader(0).encode(),
		"a record of kind 'p' and version 1 cannot be": sealed(0, logRecord{kind: put, version: 1, id: named("a")}),
		"a record of kind 'x' and version 1 cannot be": sealed(0, logRecord{kind: end}, logRecord{kind: 'x', version: 1}),
		"cannot decode configmaps default/a":           sealed(0, logRecord{kind: end}, logRecord{kind: put, version: 1, id: named("a"), data: []byte("no protobuf")}),
	} {
		dir := t.TempDir()
		if s, err := with(t, dir, log); !refused(t, err, dir) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

// sealed is a log of records, each in a frame of its own.
func sealed(base uint64, records ...logRecord) []byte {
	var b bytes.Buffer
	l := newLogWriter(&b, base)
	for _, r := range records {
		l.add(r)
		l.flush()
	}
	return b.Bytes()
}

func FuzzScan(f *testing.F) {
	whole := sealed(7, logRecord{kind: kept, version: 3, id: named("a"), data: []byte("x")}, logRecord{kind: end, version: 7},
		logRecord{kind: put, version: 8, id: named("b"), data: []byte("y")}, logRecord{kind: deleted, version: 9, id: named("a")})
	f.Add(whole, []byte{})
	f.Add(whole[:len(whole)-3], []byte{})
	f.Add([]byte{}, whole[headerSize+frameHead:])
	f.Add(whole, (&frame{}).body(logRecord{kind: put, version: 10, id: named("c")}))
	f.Fuzz(func(t *testing.T, log, body []byte) {
		if len(body) > 0 { // what the sums let through
			h, err := decodeHeader(log[:min(len(log), headerSize)])
			if err != nil {
				h = newHeader(1)
				log = append(h.encode(), (&frame{}).with(h, (&frame{}).body(logRecord{kind: end}))...)
			}
			log = append(bytes.Clone(log), (&frame{}).with(h, body)...)
		}
		read := func(log []byte) (records []string, whole int64, err error) {
			_, whole, err = scan("log", bytes.NewReader(log), int64(len(log)), func(r logRecord, at int64) error {
				if string(log[at:][:len(r.data)]) != string(r.data) {
					t.Errorf("the data of %s is not at %d", r.id, at)
				}
				records = append(records, fmt.Sprint(r))
				return nil
			})
			return records, whole, err
		}
		records, whole, err := read(log)
		if err != nil {
			return
		}
		if whole > int64(len(log)) {
			t.Fatalf("%d bytes of %d are whole", whole, len(log))
		}
		again, all, err := read(log[:whole])
		if err != nil || all != whole || fmt.Sprint(again) != fmt.Sprint(records) {
			t.Errorf("the whole part reads as %q, %d, %v, want %q", again, all, err, records)
		}
	})
}

func (f *frame) body(r logRecord) []byte {
	f.reset()
	f.add(r)
	return bytes.Clone(f.b[frameHead:])
}

func (f *frame) with(h header, body []byte) []byte {
	f.reset()
	f.b = append(f.b, body...)
	return f.seal(h)
}

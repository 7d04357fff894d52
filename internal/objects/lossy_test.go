package objects

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// memory is a disk that remembers what was asked of it in which order, so that a power cut can be had after each call: then
// what was not synced may be there, or not, or in part. It also fails as it is told.
type memory struct {
	mu    sync.Mutex
	names map[string]*node
	was   map[string]*node // at the beginning
	held  map[*node][]byte // by those
	calls []call
	space int              // how much more can be written; 0: all that comes
	fail  func(call) error // asked before each call; it may wait, too
}

// node is a file, whatever its name.
type node struct{ data []byte }

// call is one change that was asked for.
type call struct {
	kind     string // write truncate sync; link rename remove syncDir; mark
	node     *node
	at       int64
	data     []byte
	from, to string
	mark     func(*seen)
}

func newMemory() *memory { return &memory{names: map[string]*node{}} }

// begin makes what is there durable.
func (m *memory) begin() {
	m.was, m.held, m.calls = maps.Clone(m.names), map[*node][]byte{}, nil
	for _, n := range m.names {
		m.held[n] = bytes.Clone(n.data)
	}
}

// do carries out a call and remembers it.
func (m *memory) do(c call, act func() error) error {
	m.mu.Lock()
	fail := m.fail
	m.mu.Unlock()
	if fail != nil {
		if err := fail(c); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := act(); err != nil {
		return err
	}
	m.calls = append(m.calls, c)
	return nil
}

// limit tells the disk which calls fail and how large a file can be.
func (m *memory) limit(fail func(call) error, space int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail, m.space = fail, space
}

// note puts a mark between the calls.
func (m *memory) note(mark func(*seen)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, call{kind: "mark", mark: mark})
}

func (m *memory) open(path string, flag int) (file, error) {
	m.mu.Lock()
	n := m.names[path]
	m.mu.Unlock()
	if n == nil {
		if flag&os.O_CREATE == 0 {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		n = &node{}
		if err := m.do(call{kind: "link", node: n, to: path}, func() error { m.names[path] = n; return nil }); err != nil {
			return nil, err
		}
	}
	f := &memoryFile{m, n}
	if flag&os.O_TRUNC != 0 {
		if err := f.Truncate(0); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (m *memory) rename(from, to string) error {
	return m.do(call{kind: "rename", from: from, to: to}, func() error { return rename(m.names, from, to) })
}

func rename(names map[string]*node, from, to string) error {
	n := names[from]
	if n == nil {
		return fs.ErrNotExist
	}
	delete(names, from)
	names[to] = n
	return nil
}

func (m *memory) remove(path string) error {
	return m.do(call{kind: "remove", from: path}, func() error {
		if m.names[path] == nil {
			return fs.ErrNotExist
		}
		delete(m.names, path)
		return nil
	})
}

func (m *memory) syncDir(string) error {
	return m.do(call{kind: "syncDir"}, func() error { return nil })
}

type memoryFile struct {
	m *memory
	n *node
}

func (f *memoryFile) ReadAt(b []byte, at int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	n := copy(b, f.n.data[min(at, int64(len(f.n.data))):])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

var errFull = errors.New("no space left on this disk")

func (f *memoryFile) WriteAt(b []byte, at int64) (n int, err error) {
	f.m.mu.Lock()
	space := f.m.space
	f.m.mu.Unlock()
	var full error
	if room := max(space-int(at), 0); space > 0 && len(b) > room {
		b, full = b[:room], errFull
	}
	c := call{kind: "write", node: f.n, at: at, data: bytes.Clone(b)}
	if err := f.m.do(c, func() error { f.n.data = apply(f.n.data, c); return nil }); err != nil {
		return 0, err
	}
	return len(b), full
}

func (f *memoryFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *memoryFile) Truncate(size int64) error {
	c := call{kind: "truncate", node: f.n, at: size}
	return f.m.do(c, func() error { f.n.data = apply(f.n.data, c); return nil })
}

func (f *memoryFile) Sync() error {
	return f.m.do(call{kind: "sync", node: f.n}, func() error { return nil })
}

func (f *memoryFile) Close() error { return nil }

// apply is what a write or truncate makes of a file.
func apply(data []byte, c call) []byte {
	size := c.at
	if c.kind == "write" {
		if size += int64(len(c.data)); len(c.data) == 0 {
			return data
		}
		size = max(size, int64(len(data)))
	}
	for int64(len(data)) < size {
		data = append(data, 0)
	}
	data = data[:size]
	if c.kind == "write" {
		copy(data[c.at:], c.data)
	}
	return data
}

// killed is the disk after the process was killed behind the first so many calls: all of them hold, and what was not synced still
// waits for it.
func (m *memory) killed(calls int) *memory {
	result := newMemory()
	copies := map[*node]*node{}
	of := func(n *node) *node {
		if n != nil && copies[n] == nil {
			copies[n] = &node{bytes.Clone(m.held[n])}
		}
		return copies[n]
	}
	for name, n := range m.was {
		result.names[name] = of(n)
	}
	result.begin()
	for _, c := range m.calls[:calls] {
		switch c.node = of(c.node); c.kind {
		case "write", "truncate":
			c.node.data = apply(c.node.data, c)
		case "link":
			result.names[c.to] = c.node
		case "rename":
			rename(result.names, c.from, c.to)
		case "remove":
			delete(result.names, c.from)
		}
		result.calls = append(result.calls, c)
	}
	return result
}

// seen is what was known outside when the power went.
type seen struct {
	issued, acknowledged map[string]int
	version              uint64
}

// after is the disk after a power cut behind the first so many calls, where loss says of each call that was not synced what is
// there of it: all of its bytes, the first of them, or the last of them with zeros before.
func (m *memory) after(calls int, loss func(c call, pending int) (from, to int), before *seen) (*memory, *seen) {
	known := m.known(calls, before)
	synced, linked := map[*node]int{}, 0
	for i, c := range m.calls[:calls] {
		switch c.kind {
		case "sync":
			synced[c.node] = i
		case "syncDir":
			linked = i
		}
	}
	copies := map[*node]*node{}
	of := func(n *node) *node {
		if copies[n] == nil {
			copies[n] = &node{bytes.Clone(m.held[n])}
		}
		return copies[n]
	}
	result, pending, cut := newMemory(), 0, false
	for name, n := range m.was {
		result.names[name] = of(n)
	}
	for i, c := range m.calls[:calls] {
		late := c.node != nil && i > synced[c.node] || c.node == nil && i > linked
		switch c.kind {
		case "write", "truncate":
			n := of(c.node)
			from, to := 0, len(c.data)
			if late {
				from, to = loss(c, pending)
				pending++
			}
			if c.kind == "write" {
				n.data = apply(n.data, call{kind: "write", at: c.at + int64(from), data: c.data[from:to]})
			} else if !late || to > from {
				n.data = apply(n.data, c)
			}
		case "link", "rename", "remove": // a journal keeps these in order
			if i > linked && !cut {
				from, to := loss(c, pending)
				pending++
				cut = from == to
			}
			if i > linked && cut {
				continue
			}
			switch c.kind {
			case "link":
				result.names[c.to] = of(c.node)
			case "rename":
				rename(result.names, c.from, c.to)
			case "remove":
				delete(result.names, c.from)
			}
		}
	}
	result.begin()
	return result, known
}

// losses are the ways in which what was not synced is lost.
func losses() map[string]func(c call, pending int) (from, to int) {
	ways := map[string]func(c call, pending int) (from, to int){}
	size := func(c call) int {
		if c.kind == "write" {
			return len(c.data)
		}
		return 1
	}
	ways["all"] = func(call, int) (int, int) { return 0, 0 }
	ways["nothing"] = func(c call, _ int) (int, int) { return 0, size(c) }
	for n := range 3 {
		ways[fmt.Sprint("all from ", n)] = func(c call, pending int) (int, int) {
			if pending >= n {
				return 0, 0
			}
			return 0, size(c)
		}
		ways[fmt.Sprint("only ", n)] = func(c call, pending int) (int, int) {
			if pending == n {
				return 0, 0
			}
			return 0, size(c)
		}
	}
	for _, part := range []int{1, 4, frameHead - 1, frameHead, frameHead + 1, 64, 512, -1} {
		at := func(c call) int {
			if part < 0 {
				return max(size(c)-1, 0)
			}
			return min(part, size(c))
		}
		ways[fmt.Sprint("the end from ", part)] = func(c call, _ int) (int, int) { return 0, at(c) }
		ways[fmt.Sprint("the beginning until ", part)] = func(c call, _ int) (int, int) { return at(c), size(c) }
	}
	return ways
}

// known is what was known after so many calls.
func (m *memory) known(calls int, before *seen) *seen {
	known := &seen{maps.Clone(before.issued), maps.Clone(before.acknowledged), before.version}
	for _, c := range m.calls[:calls] {
		if c.mark != nil {
			c.mark(known)
		}
	}
	return known
}

// counter writes the numbers from 1 on into one object, and notes what it did. Every third object is large.
func counter(m *memory, s *Store, name string, from, to int) error {
	for i := from; i <= to; i++ {
		m.note(func(k *seen) { k.issued[name] = i })
		obj := configMap(name, strconv.Itoa(i))
		if i%3 == 0 {
			obj.Data["large"] = strings.Repeat("x", 700)
		}
		old, ok := s.Get(named(name))
		var err error
		if ok {
			err = s.Update(named(name), old, obj)
		} else {
			err = s.Create(named(name), obj)
		}
		if err != nil {
			return err
		}
		version, err := strconv.ParseUint(obj.ResourceVersion, 10, 64)
		if err != nil {
			return err
		}
		m.note(func(k *seen) { k.acknowledged[name], k.version = i, max(k.version, version) })
	}
	return nil
}

// look notes what a reader sees in a store.
func look(m *memory, s *Store) {
	for name, n := range numbers(s) {
		m.note(func(k *seen) { k.acknowledged[name] = max(k.acknowledged[name], n) })
	}
	version := s.Version()
	m.note(func(k *seen) { k.version = max(k.version, version) })
}

func numbers(s *Store) map[string]int {
	list, _ := s.List(configMaps, "")
	has := map[string]int{}
	for _, obj := range list {
		c := obj.(*corev1.ConfigMap)
		has[c.Name], _ = strconv.Atoi(c.Data["value"])
	}
	return has
}

// survives says what is wrong with a store that was opened after a power cut.
func (k *seen) survives(s *Store) error {
	if version := s.Version(); version < k.version {
		return fmt.Errorf("version %d, and %d was acknowledged", version, k.version)
	}
	has := numbers(s)
	for name := range k.issued {
		if n := has[name]; n < k.acknowledged[name] || n > k.issued[name] {
			return fmt.Errorf("%s is %d, of %d acknowledged and %d issued", name, n, k.acknowledged[name], k.issued[name])
		}
		delete(has, name)
	}
	if len(has) > 0 {
		return fmt.Errorf("nobody wrote %v", has)
	}
	return nil
}

// unseen is before all.
var unseen = &seen{map[string]int{}, map[string]int{}, 0}

// busy makes a disk on which many wrote at once while the log was compacted several times, each time with writes that came meanwhile.
func busy(t *testing.T, dir string) *memory {
	t.Helper()
	m := newMemory()
	var mu sync.Mutex
	moved := sync.NewCond(&mu)
	made, limit, over := 0, 0, false
	size := func() int {
		m.mu.Lock()
		defer m.mu.Unlock()
		if n := m.names[filepath.Join(dir, logName)]; n != nil {
			return len(n.data)
		}
		return 0
	}
	m.limit(func(c call) error { // a new log waits for writes to the old one
		mu.Lock()
		defer mu.Unlock()
		switch {
		case c.kind == "rename":
			made++
		case c.kind == "syncDir":
			limit = size() + 4000
			moved.Broadcast()
		case c.kind == "write" && c.at == 0 && made > 0:
			for size() < limit && !over {
				moved.Wait()
			}
		}
		return nil
	}, 0)
	s := open(t, dir, Options{disk: m, CompactFrom: 1500, CompactFactor: 1})
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for n := 1; ; n++ {
				if err := counter(m, s, fmt.Sprint("c", i), n, n); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				moved.Broadcast()
				for size() >= limit && made < 4 { // and writers for a new one
					moved.Wait()
				}
				enough := made >= 4
				mu.Unlock()
				if enough {
					return
				}
			}
		})
	}
	group.Wait()
	mu.Lock()
	over = true
	moved.Broadcast()
	mu.Unlock()
	s.Close()
	m.limit(nil, 0)
	return m
}

// TestPowerCut cuts the power after each call that the store makes, in each way that loses or tears what was not synced: while many
// write, while the log is compacted, and again while the store comes up and goes on afterwards.
func TestPowerCut(t *testing.T) {
	dir := t.TempDir()
	m := busy(t, dir)
	cuts := 0
	for calls := range len(m.calls) + 1 {
		if calls < len(m.calls) && m.calls[calls].kind == "mark" {
			continue // the same as behind it
		}
		for way, loss := range losses() {
			disk, known := m.after(calls, loss, unseen)
			if err := comesUp(dir, disk, known); err != nil {
				t.Fatalf("cut after %d calls, lost is %s: %v", calls, way, err)
			}
			cuts++
			if calls%23 != 0 {
				continue
			}
			for again := range len(disk.calls) + 1 {
				second, known := disk.after(again, loss, known)
				if err := comesUp(dir, second, known); err != nil {
					t.Fatalf("cut after %d calls and %d of the next start, lost is %s: %v", calls, again, way, err)
				}
				cuts++
			}
		}
	}
	t.Logf("%d calls, %d power cuts", len(m.calls), cuts)
}

// TestPowerCutAfterKill kills the process after each call, and cuts the power when the next one has shown what it found: what was
// seen once, stays.
func TestPowerCutAfterKill(t *testing.T) {
	dir := t.TempDir()
	m := busy(t, dir)
	for calls := range len(m.calls) + 1 {
		disk := m.killed(calls)
		if err := comesUp(dir, disk, m.known(calls, unseen)); err != nil {
			t.Fatalf("killed after %d calls: %v", calls, err)
		}
		for again := calls; again <= len(disk.calls); again += 1 + len(disk.calls)/4 {
			for way, loss := range losses() {
				second, known := disk.after(again, loss, unseen)
				if err := comesUp(dir, second, known); err != nil {
					t.Fatalf("killed after %d calls, power cut after %d, lost is %s: %v", calls, again, way, err)
				}
			}
		}
	}
}

// comesUp opens the store of a disk, looks whether all is there, writes, and looks again.
func comesUp(dir string, disk *memory, known *seen) error {
	for range 2 {
		s, err := Open(dir, plain{}, Options{disk: disk})
		if err != nil {
			return err
		}
		look(disk, s)
		if err = known.survives(s); err == nil {
			from := known.issued["later"] + 1
			err = counter(disk, s, "later", from, from+1)
		}
		if err = errors.Join(err, s.Close()); err != nil {
			return err
		}
		known = disk.known(len(disk.calls), known)
	}
	return nil
}

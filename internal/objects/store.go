package objects

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"tripod/internal/record"
)

// The files of a store, in its folder.
const (
	logName  = "log"
	newName  = "log.new" // one that is not whole yet
	lockName = "lock"
)

// Store holds the objects. All its methods may be called at the same time.
type Store struct {
	codec Codec
	o     Options
	dir   string
	lock  *record.Lock

	mu      sync.RWMutex // of the next four; the committer alone changes the last three
	tables  map[schema.GroupResource]*table
	version uint64
	log     file
	size    int64 // of the log, as far as it is durable

	// The committer's own.
	head       header
	floor      uint64       // what happened up to here to a resource that has no table is not known
	live       int64        // what the records of the living take in the log
	batch      batch        // memory that is used again
	unsettled  func() error // what is to be done before the log may be written again
	compacting bool
	retry      int64 // size of the log from which on a compaction is tried again

	requests  chan *request
	compacted chan compaction
	stop      chan struct{}
	done      chan struct{}
	closing   sync.Once
	closed    error
}

// table is the objects of one resource and what happened to them.
type table struct {
	entries []entry // by namespace, then name
	history
}

// entry is one object and the size of its record.
type entry struct {
	namespace, name string
	object          apiruntime.Object
	size            int64
}

func (e entry) compare(o entry) int {
	return cmp.Or(cmp.Compare(e.namespace, o.namespace), cmp.Compare(e.name, o.name))
}

// find returns where an object is or would be.
func (t *table) find(namespace, name string) (int, bool) {
	if t == nil {
		return 0, false
	}
	return slices.BinarySearchFunc(t.entries, entry{namespace: namespace, name: name}, entry.compare)
}

// in returns the entries of a namespace, or all for "".
func (t *table) in(namespace string) []entry {
	if t == nil || namespace == "" {
		if t == nil {
			return nil
		}
		return t.entries
	}
	from, _ := t.find(namespace, "")
	n, _ := slices.BinarySearchFunc(t.entries[from:], namespace, func(e entry, namespace string) int {
		if e.namespace == namespace {
			return -1
		}
		return 1
	})
	return t.entries[from : from+n]
}

// Open opens the store in a folder, or makes it there. Nobody else may have it open. A frame at the end of the log that was not
// written whole belongs to writes that nobody was told of, and is cut off; a log that is damaged before its end is refused with a
// DamageError.
func Open(dir string, c Codec, o Options) (_ *Store, err error) {
	s := &Store{
		codec: c, o: o.withDefaults(), dir: dir,
		tables:   map[schema.GroupResource]*table{},
		requests: make(chan *request), compacted: make(chan compaction, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if err := makeFolder(s.o.disk, dir); err != nil {
		return nil, fmt.Errorf("cannot open objects %s: %w", dir, err)
	}
	if s.lock, err = record.Try(filepath.Join(dir, lockName)); err != nil {
		return nil, fmt.Errorf("cannot open objects %s: %w", dir, err)
	}
	defer func() {
		if err != nil {
			if s.log != nil {
				s.log.Close()
			}
			s.lock.Release()
		}
	}()
	if err := s.o.disk.remove(s.path(newName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot open objects %s: %w", dir, err)
	}
	if err := s.openLog(); err != nil {
		return nil, err
	}
	if err := s.replay(); err != nil {
		return nil, err
	}
	s.compactIfDue()
	go s.commitAll()
	return s, nil
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// makeFolder makes a folder, and those it is in, so that a power cut does not take them away again.
func makeFolder(d disk, path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if err := makeFolder(d, parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.syncDir(parent)
}

// openLog opens the log, or makes an empty one.
func (s *Store) openLog() (err error) {
	s.log, err = s.o.disk.open(s.path(logName), os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		s.log, err = s.makeLog()
	}
	if err != nil {
		return fmt.Errorf("cannot open objects %s: %w", s.dir, err)
	}
	return nil
}

func (s *Store) makeLog() (file, error) {
	f, err := s.o.disk.open(s.path(newName), os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	w := newLogWriter(io.NewOffsetWriter(f, 0), 0)
	if err = w.end(); err == nil {
		err = publish(s.o.disk, s.dir, f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// publish makes a new log durable and puts it in the place of the old one.
func publish(d disk, dir string, f file) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := d.rename(filepath.Join(dir, newName), filepath.Join(dir, logName)); err != nil {
		return err
	}
	return d.syncDir(dir)
}

// replay reads the log into the tables, and makes durable what it found there, and the log's name: both may have been written by a
// process that died before its fsync.
func (s *Store) replay() error {
	size, err := s.log.Size()
	if err != nil {
		return fmt.Errorf("cannot open objects %s: %w", s.dir, err)
	}
	found, err := survey(s.path(logName), s.log, size)
	if err != nil {
		return err
	}
	if found.whole < size {
		s.o.Log.Warn("the end of the log of objects was not written whole and is cut off", "file", s.path(logName), "bytes", size-found.whole)
		err = s.log.Truncate(found.whole)
	}
	if err = errors.Join(err, s.log.Sync(), s.o.disk.syncDir(s.dir)); err != nil {
		return fmt.Errorf("cannot open objects %s: %w", s.dir, err)
	}
	s.head, s.size, s.floor = found.head, found.whole, found.head.base
	s.version = max(found.version, 1) // 0 means "any version" to Kubernetes
	for r, version := range found.changed {
		s.tables[r] = newTable(version)
	}
	return s.load(found.living)
}

// load decodes objects of the log, several at a time.
func (s *Store) load(living []place) error {
	decoded := make([]apiruntime.Object, len(living))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	const portion = 64
	for from := 0; from < len(living); from += portion {
		group.Go(func() (err error) {
			for i := from; i < min(from+portion, len(living)) && err == nil; i++ {
				decoded[i], err = s.decode(living[i])
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, p := range living {
		t := s.table(p.id.Resource)
		t.entries = append(t.entries, entry{p.id.Namespace, p.id.Name, decoded[i], p.size})
		s.live += p.size
	}
	for _, t := range s.tables {
		slices.SortFunc(t.entries, entry.compare)
	}
	return nil
}

func (s *Store) decode(p place) (apiruntime.Object, error) {
	data, err := p.read(s.path(logName), s.log)
	if err != nil {
		return nil, err
	}
	obj, err := s.codec.Decode(data)
	if err == nil {
		err = setVersion(obj, p.version)
	}
	if err != nil {
		return nil, &DamageError{s.path(logName), p.at, fmt.Sprintf("cannot decode %s: %v", p.id, err)}
	}
	return obj, nil
}

func setVersion(obj apiruntime.Object, version uint64) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	m.SetResourceVersion(strconv.FormatUint(version, 10))
	return nil
}

// table returns that of a resource, and makes it.
func (s *Store) table(r schema.GroupResource) *table {
	t := s.tables[r]
	if t == nil {
		t = newTable(s.floor)
		s.tables[r] = t
	}
	return t
}

// Close waits for the writes that are under way, ends all watches and lets go of the folder. Reads go on.
func (s *Store) Close() error {
	s.closing.Do(func() {
		close(s.stop)
		<-s.done
		s.closed = errors.Join(s.log.Close(), s.lock.Release())
	})
	return s.closed
}

// Version is the newest version, which is durable.
func (s *Store) Version() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.version
}

// Get returns an object.
func (s *Store) Get(id ID) (apiruntime.Object, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.tables[id.Resource]
	if i, ok := t.find(id.Namespace, id.Name); ok {
		return t.entries[i].object, true
	}
	return nil, false
}

// List returns the objects of a resource in a namespace, or in all for "", by namespace and name, and the version that they
// were read at.
func (s *Store) List(r schema.GroupResource, namespace string) (list []apiruntime.Object, version uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tables[r].list(namespace), s.version
}

func (t *table) list(namespace string) []apiruntime.Object {
	entries := t.in(namespace)
	list := make([]apiruntime.Object, len(entries))
	for i, e := range entries {
		list[i] = e.object
	}
	return list
}

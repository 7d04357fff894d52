package objects

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// request is a write that waits for the committer.
type request struct {
	id       ID
	old, obj apiruntime.Object // none: creation, deletion
	record   logRecord
	size     int64 // of the record
	done     chan error
}

// Create puts an object where there is none, and sets its resource version. The object is the caller's own until then, and the
// store's from then on. The error is ErrExists when there is one.
func (s *Store) Create(id ID, obj apiruntime.Object) error {
	return s.write("create", id, nil, obj)
}

// Update puts an object in the place of old, which must be the very one that the store has, and sets its resource version. The
// object is the caller's own until then, and the store's from then on. The error is ErrConflict when old is not what is there.
func (s *Store) Update(id ID, old, obj apiruntime.Object) error {
	if old == nil {
		return fmt.Errorf("cannot update %s: %w", id, ErrConflict)
	}
	return s.write("update", id, old, obj)
}

// Delete takes away old, which must be the very one that the store has, and returns it with the version of its deletion. The error
// is ErrNotFound when there is none, ErrConflict when there is another.
func (s *Store) Delete(id ID, old apiruntime.Object) (last apiruntime.Object, err error) {
	if old == nil {
		return nil, fmt.Errorf("cannot delete %s: %w", id, ErrConflict)
	}
	last = old.DeepCopyObject()
	if err := s.submit(&request{id: id, old: old, obj: last, record: logRecord{kind: deleted, id: id}}); err != nil {
		return nil, fmt.Errorf("cannot delete %s: %w", id, err)
	}
	return last, nil
}

func (s *Store) write(verb string, id ID, old, obj apiruntime.Object) error {
	r, err := s.encode(id, obj)
	if err == nil {
		err = s.submit(&request{id: id, old: old, obj: obj, record: r})
	}
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", verb, id, err)
	}
	return nil
}

// encode makes the record of an object, without its version.
func (s *Store) encode(id ID, obj apiruntime.Object) (r logRecord, err error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return r, err
	}
	m.SetResourceVersion("")
	r = logRecord{kind: put, id: id}
	if r.data, err = s.codec.Encode(obj); err != nil {
		return r, err
	}
	return r, r.bounded()
}

// submit waits until a write is durable, or refused.
func (s *Store) submit(r *request) error {
	r.done = make(chan error, 1)
	select {
	case s.requests <- r:
		return <-r.done
	case <-s.stop:
		return ErrClosed
	}
}

// commitAll is the committer: it alone decides what is written, and writes the log.
func (s *Store) commitAll() {
	defer close(s.done)
	for {
		select {
		case r := <-s.requests:
			s.commit(r)
			s.compactIfDue()
		case c := <-s.compacted:
			s.adopt(c)
		case <-s.stop:
			s.endCompaction()
			return
		}
	}
}

// batch is the writes that become durable together.
type batch struct {
	requests []*request
	version  uint64                   // of the last
	ahead    map[ID]apiruntime.Object // what will be where they write; nil for nothing
	frame    frame
}

// commit makes a write durable, together with all that wait, and only then lets it be seen.
func (s *Store) commit(r *request) {
	b := &s.batch
	b.requests, b.version, b.ahead = b.requests[:0], s.version, map[ID]apiruntime.Object{}
	b.frame.reset()
	for waiting := true; waiting; {
		if err := s.admit(b, r); err != nil {
			r.done <- err
		}
		if b.frame.full() {
			break
		}
		select {
		case r = <-s.requests:
		default:
			waiting = false
		}
	}
	if len(b.requests) == 0 {
		return
	}
	err := s.append(b.frame.seal(s.head))
	if err == nil {
		s.apply(b)
	}
	for _, r := range b.requests {
		r.done <- err
	}
	clear(b.requests)
}

// admit adds a write to a batch, or says why it cannot be.
func (s *Store) admit(b *batch, r *request) error {
	now, written := b.ahead[r.id]
	if !written {
		now, _ = s.Get(r.id) // a watch may add a table meanwhile
	}
	switch {
	case r.old == nil && now != nil:
		return ErrExists
	case r.record.kind == deleted && now == nil:
		return ErrNotFound
	case r.old != now:
		return ErrConflict
	}
	b.version++
	r.record.version = b.version
	r.size = b.frame.add(r.record)
	r.record.data = nil
	if r.record.kind == deleted {
		b.ahead[r.id] = nil
	} else {
		b.ahead[r.id] = r.obj
	}
	b.requests = append(b.requests, r)
	return nil
}

// append makes a frame durable. When it fails, as on a full disk, the log is as it was before: the part that was written is cut off,
// now or before the next frame.
func (s *Store) append(frame []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot write objects %s: %w", s.path(logName), err)
		}
	}()
	if err := s.settle(); err != nil {
		return err
	}
	_, err = s.log.WriteAt(frame, s.size)
	if err == nil {
		err = s.log.Sync()
	}
	if err != nil {
		s.unsettled = s.cut
		_ = s.settle() // else before the next frame
		return err
	}
	s.mu.Lock()
	s.size += int64(len(frame))
	s.mu.Unlock()
	return nil
}

// settle does what a failure left to be done.
func (s *Store) settle() error {
	if s.unsettled == nil {
		return nil
	}
	if err := s.unsettled(); err != nil {
		return err
	}
	s.unsettled = nil
	return nil
}

// cut takes away what lies behind the last durable frame. It is synced: what a failed fsync left is not known to be gone before.
func (s *Store) cut() error {
	if err := s.log.Truncate(s.size); err != nil {
		return err
	}
	return s.log.Sync()
}

// apply lets a durable batch be seen.
func (s *Store) apply(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = b.version
	touched := map[*table]bool{}
	for _, r := range b.requests {
		_ = setVersion(r.obj, r.record.version) // it has a version: encode has set it
		t := s.table(r.id.Resource)
		c := Change{Version: r.record.version, Object: r.obj, Previous: r.old}
		c.Type = t.put(entry{r.id.Namespace, r.id.Name, r.obj, r.size}, r.record.kind == deleted, &s.live)
		t.add(c, r.size, s.o)
		touched[t] = true
	}
	for t := range touched {
		t.tell()
	}
}

// put puts an entry in its place, or takes it away, and says what that is to a watch.
func (t *table) put(e entry, gone bool, live *int64) watch.EventType {
	i, found := t.find(e.namespace, e.name)
	if found {
		*live -= t.entries[i].size
	}
	if gone {
		t.entries = slices.Delete(t.entries, i, i+1)
		return watch.Deleted
	}
	*live += e.size
	if found {
		t.entries[i] = e
		return watch.Modified
	}
	t.entries = slices.Insert(t.entries, i, e)
	return watch.Added
}

package objects

import (
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// history is the last changes of one resource, numbered without a gap.
type history struct {
	changes []Change
	sizes   []int64       // of each change's record
	bytes   int64         // their sum
	first   uint64        // number of changes[0]
	floor   uint64        // version of the last change that is no more here
	more    chan struct{} // closed when there are more
}

func newTable(floor uint64) *table {
	return &table{history: history{floor: floor, more: make(chan struct{})}}
}

// add appends a change, and forgets old ones beyond the bounds. The newest stays, however large it is.
func (h *history) add(c Change, size int64, o Options) {
	h.changes, h.sizes, h.bytes = append(h.changes, c), append(h.sizes, size), h.bytes+size
	for len(h.changes) > 1 && (len(h.changes) > o.History || h.bytes > o.HistoryBytes) {
		h.floor = h.changes[0].Version
		h.bytes -= h.sizes[0]
		h.changes[0] = Change{} // the array lives on behind the slice
		h.changes, h.sizes = h.changes[1:], h.sizes[1:]
		h.first++
	}
}

// tell wakes all watches.
func (h *history) tell() {
	close(h.more)
	h.more = make(chan struct{})
}

// after is the number of the first change that is newer than a version.
func (h *history) after(version uint64) uint64 {
	i, _ := slices.BinarySearchFunc(h.changes, version, func(c Change, version uint64) int {
		if c.Version <= version {
			return -1
		}
		return 1
	})
	return h.first + uint64(i)
}

// Watch is told the changes of one resource, in their order. It holds up no writer: one that stays so far behind that the
// history no longer has what comes next is closed, and its reader lists anew.
type Watch struct {
	// C gives the changes. It is closed when the watch was stopped, is too slow, or the store is closed.
	C <-chan Change

	stop    chan struct{}
	stopped sync.Once
	mark    chan struct{}
}

// taken is how many changes a watch takes from the history at once, and has waiting at most.
const taken = 16

// Watch follows the changes of a resource after a version. The error is ErrGone when the history does not reach back to it,
// and ErrAhead when there has been no such version.
func (s *Store) Watch(r schema.GroupResource, since uint64) (*Watch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table(r)
	switch {
	case since < t.floor:
		return nil, fmt.Errorf("cannot watch %s from version %d: %w", r, since, ErrGone)
	case since > s.version:
		return nil, fmt.Errorf("cannot watch %s from version %d: %w", r, since, ErrAhead)
	}
	return s.watch(t, t.after(since)), nil
}

// WatchFrom returns the objects of a resource and the version that they were read at, and follows what happens after it.
func (s *Store) WatchFrom(r schema.GroupResource) (list []runtime.Object, version uint64, w *Watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table(r)
	return t.list(""), s.version, s.watch(t, t.after(s.version))
}

func (s *Store) watch(t *table, next uint64) *Watch {
	c := make(chan Change, taken)
	w := &Watch{C: c, stop: make(chan struct{}), mark: make(chan struct{}, 1)}
	go w.follow(s, t, next, c)
	return w
}

// Stop ends the watch. C is closed soon after.
func (w *Watch) Stop() { w.stopped.Do(func() { close(w.stop) }) }

// Bookmark asks for a Bookmark, which comes in its turn: when all changes up to its version have.
func (w *Watch) Bookmark() {
	select {
	case w.mark <- struct{}{}:
	default: // one is on its way
	}
}

func (w *Watch) follow(s *Store, t *table, next uint64, c chan<- Change) {
	defer close(c)
	var some [taken]Change
	marked := false
	for {
		n, more, mark := s.take(t, next, &some)
		if n < 0 {
			return
		}
		if n == 0 && marked {
			some[0], n, marked = mark, 1, false
			next-- // a bookmark has no number
		}
		for i := range n {
			select {
			case c <- some[i]:
			case <-w.stop:
				return
			case <-s.stop:
				return
			}
			some[i] = Change{}
		}
		if next += uint64(n); n > 0 {
			continue
		}
		select {
		case <-more:
		case <-w.mark:
			marked = true
		case <-w.stop:
			return
		case <-s.stop:
			return
		}
	}
}

// take copies the next changes of a resource. It returns how many, or -1 when they are gone; what tells of more; and the bookmark
// that holds when there are none.
func (s *Store) take(t *table, next uint64, some *[taken]Change) (n int, more <-chan struct{}, mark Change) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if next < t.first {
		return -1, nil, mark
	}
	return copy(some[:], t.changes[next-t.first:]), t.more, Change{Type: watch.Bookmark, Version: s.version}
}

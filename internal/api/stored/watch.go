package stored

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"

	"tripod/internal/objects"
)

const (
	// bookmarkEvery is how often a watch that asked for it hears where it stands.
	bookmarkEvery = time.Minute
	watchExpired  = "The resourceVersion for the provided watch is too old."
)

// Watch implements storage.Interface.
func (r *Resource) Watch(ctx context.Context, key string, o storage.ListOptions) (watch.Interface, error) {
	since, err := r.parse(o.ResourceVersion)
	if err != nil {
		return nil, err
	}
	if o.Recursive && !strings.HasSuffix(key, "/") {
		key += "/"
	}
	w := &watcher{r: r, o: o, out: make(chan watch.Event, 16), scope: strings.TrimPrefix(key, r.prefix)}
	if wantsState(o, since) {
		if err := r.atLeast(o.ResourceVersion); err != nil {
			return nil, err
		}
		w.first, w.version, w.changes = r.store.WatchFrom(r.resource)
	} else {
		switch w.changes, err = r.store.Watch(r.resource, since); {
		case errors.Is(err, objects.ErrAhead):
			_, _, w.changes = r.store.WatchFrom(r.resource) // what is newer than since comes in its time
		case err != nil:
			return nil, apierrors.NewResourceExpired(watchExpired)
		}
		w.version, w.since = since, since
	}
	w.ctx, w.cancel = context.WithCancel(ctx)
	go w.run()
	return w, nil
}

// wantsState says that a watch begins with all there is.
func wantsState(o storage.ListOptions, since uint64) bool {
	if o.SendInitialEvents != nil {
		return *o.SendInitialEvents
	}
	return since == 0
}

// watcher tells one client what changes of what it has selected.
type watcher struct {
	r       *Resource
	o       storage.ListOptions
	scope   string // NAMESPACE/, NAME, NAMESPACE/NAME, or "" for all
	first   []runtime.Object
	changes *objects.Watch
	since   uint64
	version uint64
	out     chan watch.Event
	ctx     context.Context
	cancel  context.CancelFunc
}

// ResultChan implements watch.Interface.
func (w *watcher) ResultChan() <-chan watch.Event { return w.out }

// Stop implements watch.Interface.
func (w *watcher) Stop() { w.cancel() }

func (w *watcher) run() {
	defer close(w.out)
	defer w.changes.Stop()
	defer w.cancel()
	if !w.begin() {
		return
	}
	w.first = nil
	var tick <-chan time.Time
	if w.o.Predicate.AllowWatchBookmarks {
		t := time.NewTicker(bookmarkEvery)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case c, more := <-w.changes.C:
			if !more {
				return // too slow: the client begins anew where it stands
			}
			if c.Type == watch.Bookmark {
				w.version = max(w.version, c.Version)
				if !w.bookmark(false) {
					return
				}
				continue
			}
			if c.Version <= w.since {
				continue
			}
			w.version = c.Version
			if e, tell := w.event(c); tell && !w.send(e) {
				return
			}
		case <-tick:
			w.changes.Bookmark() // it comes in its turn
		case <-w.ctx.Done():
			return
		}
	}
}

// begin tells the state that the client asked for, and where it ends.
func (w *watcher) begin() bool {
	for _, obj := range w.first {
		if !w.selects(obj) {
			continue
		}
		own := w.r.kind()
		put(own, obj)
		if !w.send(watch.Event{Type: watch.Added, Object: own}) {
			return false
		}
	}
	if s := w.o.SendInitialEvents; s != nil && *s && w.o.Predicate.AllowWatchBookmarks {
		return w.bookmark(true)
	}
	return true
}

func (w *watcher) send(e watch.Event) bool {
	select {
	case w.out <- e:
		return true
	case <-w.ctx.Done():
		return false
	}
}

func (w *watcher) bookmark(end bool) bool {
	obj := w.r.kind()
	m, err := meta.Accessor(obj)
	if err != nil {
		return false
	}
	m.SetResourceVersion(strconv.FormatUint(w.version, 10))
	if end {
		m.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	return w.send(watch.Event{Type: watch.Bookmark, Object: obj})
}

func (w *watcher) selects(obj runtime.Object) bool {
	if obj == nil {
		return false
	}
	if w.scope != "" {
		key := strings.TrimPrefix(w.r.keyOf(obj), w.r.prefix)
		if w.o.Recursive && !strings.HasPrefix(key, w.scope) || !w.o.Recursive && key != w.scope {
			return false
		}
	}
	ok, err := w.o.Predicate.Matches(obj)
	return err == nil && ok
}

// event is a change as this client sees it: what enters its selection is added, what leaves it is deleted.
func (w *watcher) event(c objects.Change) (watch.Event, bool) {
	was := w.selects(c.Previous)
	if c.Type == watch.Deleted {
		return watch.Event{Type: watch.Deleted, Object: w.r.shared.of(c)}, was || c.Previous == nil && w.selects(c.Object)
	}
	switch is := w.selects(c.Object); {
	case is && was:
		return watch.Event{Type: watch.Modified, Object: w.r.shared.of(c)}, true
	case is:
		return watch.Event{Type: watch.Added, Object: w.r.shared.of(c)}, true
	case was:
		// The last state that the client knows, at the version at which it went.
		gone := c.Previous.DeepCopyObject()
		return watch.Event{Type: watch.Deleted, Object: gone}, w.r.versions.UpdateObject(gone, c.Version) == nil
	}
	return watch.Event{}, false
}

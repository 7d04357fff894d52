package api

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	api "k8s.io/kubernetes/pkg/apis/core"

	"tripod/internal/api/kinds"
	"tripod/internal/objects"
)

// expire deletes events when their time has come, until the server is closed. When that is follows from the events themselves; it
// sleeps until the next one, so that nothing runs when there are none.
func (s *Server) expire() {
	events := corev1.Resource("events")
	list, _, changes := s.config.Store.WatchFrom(events)
	next := time.NewTimer(s.sweep(list, time.Now()))
	defer next.Stop()
	armed := len(list) > 0
	for {
		select {
		case <-s.life.Done():
			changes.Stop()
			return
		case <-next.C:
			list, _ := s.config.Store.List(events, "")
			next.Reset(s.sweep(list, time.Now()))
			armed = len(list) > 0
		case _, more := <-changes.C:
			if !more { // too slow: begin anew
				_, _, changes = s.config.Store.WatchFrom(events)
			}
			if !armed {
				next.Reset(kinds.EventLifetime)
				armed = true
			}
		}
	}
}

// sweep deletes what is over, and says how long nothing else will be.
func (s *Server) sweep(list []runtime.Object, now time.Time) time.Duration {
	wait := kinds.EventLifetime
	for _, obj := range list {
		e, ok := obj.(*api.Event)
		if !ok {
			continue
		}
		left := lastSeen(e).Add(kinds.EventLifetime).Sub(now)
		if left > 0 {
			wait = min(wait, left)
			continue
		}
		id := objects.ID{Resource: corev1.Resource("events"), Namespace: e.Namespace, Name: e.Name}
		if _, err := s.config.Store.Delete(id, e); err != nil {
			s.config.Log.Debug("cannot delete event", "event", e.Namespace+"/"+e.Name, "cause", err)
		}
	}
	return wait
}

// lastSeen is when an event was last written about.
func lastSeen(e *api.Event) time.Time {
	last := e.CreationTimestamp.Time
	seen := []time.Time{e.LastTimestamp.Time, e.EventTime.Time}
	if e.Series != nil {
		seen = append(seen, e.Series.LastObservedTime.Time)
	}
	for _, t := range seen {
		if t.After(last) {
			last = t
		}
	}
	return last
}

package objects

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

func TestWatchFollows(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	set(t, s, "a", "1")
	since := s.Version()
	list, version, w := s.WatchFrom(configMaps)
	if len(list) != 1 || version != since {
		t.Fatal(list, version)
	}
	set(t, s, "a", "2")
	set(t, s, "b", "1")
	remove(t, s, "a")
	again, err := s.Watch(configMaps, since)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []*Watch{w, again} {
		for i, want := range []watch.EventType{watch.Modified, watch.Added, watch.Deleted} {
			if c := <-w.C; c.Type != want || c.Version != since+uint64(i)+1 {
				t.Errorf("got %v, want %s", c, want)
			}
		}
		w.Bookmark()
		if c := <-w.C; c.Type != watch.Bookmark || c.Version != s.Version() {
			t.Errorf("got %v, want a bookmark", c)
		}
		w.Stop()
		if _, open := <-w.C; open {
			t.Error("a stopped watch goes on")
		}
	}
	if _, err := s.Watch(configMaps, s.Version()+1); !errors.Is(err, ErrAhead) {
		t.Error(err)
	}
}

// A watch that is taken up at any version tells what one from the beginning told behind it.
func TestWatchResumes(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	since := s.Version()
	for i := range 30 {
		set(t, s, fmt.Sprint("c", i%3), fmt.Sprint(i))
		if i%7 == 0 {
			remove(t, s, fmt.Sprint("c", i%3))
		}
		other := ID{schema.GroupResource{Resource: "others"}, "", fmt.Sprint(i)}
		if err := s.Create(other, configMap(other.Name, "")); err != nil {
			t.Fatal(err)
		}
	}
	var all []Change
	for from := since; from <= s.Version(); from++ {
		w, err := s.Watch(configMaps, from)
		if err != nil {
			t.Fatal(err)
		}
		w.Bookmark()
		var told []Change
		for c := range w.C {
			if c.Type == watch.Bookmark { // asked for before all was told, it comes behind
				break
			}
			told = append(told, c)
		}
		w.Stop()
		if from == since {
			all = told
			history := map[string]*corev1.ConfigMap{}
			for _, c := range all {
				obj := c.Object.(*corev1.ConfigMap)
				was, _ := c.Previous.(*corev1.ConfigMap)
				if obj.ResourceVersion != fmt.Sprint(c.Version) || was != history[obj.Name] || (was == nil) != (c.Type == watch.Added) {
					t.Errorf("%v after %v", c, history[obj.Name])
				}
				if history[obj.Name] = obj; c.Type == watch.Deleted {
					history[obj.Name] = nil
				}
			}
		}
		for len(all) > 0 && all[0].Version <= from {
			all = all[1:]
		}
		if fmt.Sprint(told) != fmt.Sprint(all) {
			t.Errorf("from %d: %d changes, want %d", from, len(told), len(all))
		}
	}
}

func TestWatchIsGone(t *testing.T) {
	for name, o := range map[string]Options{"number": {History: 5}, "bytes": {HistoryBytes: 5 * 1100}} {
		dir := t.TempDir()
		s := open(t, dir, o)
		first := s.Version()
		for range 10 {
			set(t, s, "a", strings.Repeat("x", 1000))
		}
		for since := first; since <= s.Version(); since++ {
			w, err := s.Watch(configMaps, since)
			reached := since >= s.Version()-5
			if name == "bytes" && since == s.Version()-5 {
				reached = err == nil // it depends on what an object takes beside its value
			}
			if reached != (err == nil) || err != nil && !errors.Is(err, ErrGone) {
				t.Errorf("%s: from %d of %d: %v", name, since, s.Version(), err)
			}
			if err == nil {
				w.Stop()
			}
		}
		if w, err := s.Watch(schema.GroupResource{Resource: "others"}, first); err != nil {
			t.Errorf("a resource that nothing happened to: %v", err)
		} else {
			w.Stop()
		}
		last := s.Version()
		other := ID{schema.GroupResource{Resource: "others"}, "", "o"}
		if err := s.Create(other, configMap("o", "")); err != nil {
			t.Fatal(err)
		}
		s.Close()
		s = open(t, dir, o)
		if _, err := s.Watch(configMaps, last-1); !errors.Is(err, ErrGone) {
			t.Errorf("%s: the history before the start: %v", name, err)
		}
		if w, err := s.Watch(configMaps, last); err != nil { // nothing was missed
			t.Errorf("%s: across the start: %v", name, err)
		} else {
			w.Stop()
		}
	}
}

// Readers that do not read hold up nobody, and are closed when they have missed what the history forgot.
func TestSlowWatch(t *testing.T) {
	s := open(t, t.TempDir(), Options{History: 50})
	const slow = 1000
	var watches []*Watch
	for range slow {
		_, _, w := s.WatchFrom(configMaps)
		watches = append(watches, w)
	}
	_, _, quick := s.WatchFrom(configMaps)
	for i := range 200 {
		set(t, s, "a", fmt.Sprint(i))
		if c := <-quick.C; c.Version != s.Version() {
			t.Fatalf("%v, want version %d", c, s.Version())
		}
	}
	var group sync.WaitGroup
	for _, w := range watches {
		group.Go(func() {
			n, last := 0, uint64(1)
			for c := range w.C {
				if c.Version != last+1 {
					t.Errorf("version %d after %d", c.Version, last)
				}
				last = c.Version
				n++
			}
			if n > 3*taken {
				t.Errorf("%d changes were kept for one who did not read", n)
			}
		})
	}
	group.Wait()
	s.Close()
	if _, open := <-quick.C; open {
		t.Error("a watch outlives its store")
	}
}

package objects

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// plain is a codec of ConfigMaps by protobuf.
type plain struct{}

func (plain) Encode(obj runtime.Object) ([]byte, error) { return obj.(*corev1.ConfigMap).Marshal() }

func (plain) Decode(data []byte) (runtime.Object, error) {
	c := &corev1.ConfigMap{}
	return c, c.Unmarshal(data)
}

var configMaps = schema.GroupResource{Resource: "configmaps"}

func named(name string) ID { return ID{configMaps, "default", name} }

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Data:       map[string]string{"value": value},
	}
}

func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, plain{}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// set creates or updates a ConfigMap.
func set(t testing.TB, s *Store, name, value string) {
	t.Helper()
	var err error
	if old, ok := s.Get(named(name)); ok {
		err = s.Update(named(name), old, configMap(name, value))
	} else {
		err = s.Create(named(name), configMap(name, value))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, s *Store, name string) {
	t.Helper()
	old, _ := s.Get(named(name))
	if _, err := s.Delete(named(name), old); err != nil {
		t.Fatal(err)
	}
}

// state is what a store holds, in a form to compare.
func state(s *Store) string {
	list, version := s.List(configMaps, "")
	text := fmt.Sprint(version)
	for _, obj := range list {
		c := obj.(*corev1.ConfigMap)
		text += fmt.Sprintf(" %s@%s=%q", c.Name, c.ResourceVersion, c.Data["value"])
	}
	return text
}

func TestStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "objects")
	s := open(t, dir, Options{})
	first := s.Version()
	a := configMap("a", "1")
	if err := s.Create(named("a"), a); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.Get(named("a")); got != runtime.Object(a) || a.ResourceVersion != fmt.Sprint(first+1) || s.Version() != first+1 {
		t.Errorf("created: %v at %d", got, s.Version())
	}
	if err := s.Create(named("a"), configMap("a", "2")); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	a2 := configMap("a", "2")
	if err := s.Update(named("a"), configMap("a", "1"), a2); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	if err := s.Update(named("b"), a, configMap("b", "2")); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	if err := s.Update(named("a"), a, a2); err != nil {
		t.Error(err)
	}
	if _, err := s.Delete(named("a"), a); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	if _, err := s.Delete(named("b"), a); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	last, err := s.Delete(named("a"), a2)
	if err != nil || last.(*corev1.ConfigMap).ResourceVersion != fmt.Sprint(first+3) || a2.ResourceVersion != fmt.Sprint(first+2) {
		t.Errorf("deleted: %v, %v", last, err)
	}
	set(t, s, "b", "3")
	set(t, s, "c", "4")
	if err := s.Create(named("d"), configMap("d", string(make([]byte, MaxSize)))); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	want := state(s)
	if _, err := Open(dir, plain{}, Options{}); err == nil {
		t.Error("opened twice")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Create(named("e"), configMap("e", "")); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if got := state(open(t, dir, Options{})); got != want {
		t.Errorf("reopened: %s, want %s", got, want)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Error(entries, err)
	}
}

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

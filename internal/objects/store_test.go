package objects

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

// write creates or updates a ConfigMap.
func write(s *Store, name, value string) error {
	if old, ok := s.Get(named(name)); ok {
		return s.Update(named(name), old, configMap(name, value))
	}
	return s.Create(named(name), configMap(name, value))
}

// set is write that must succeed.
func set(t testing.TB, s *Store, name, value string) {
	t.Helper()
	if err := write(s, name, value); err != nil {
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

// fill creates many ConfigMaps of a size, with as many writers as share an fsync.
func fill(t testing.TB, s *Store, n, size int) {
	t.Helper()
	value := string(make([]byte, size))
	var group errgroup.Group
	group.SetLimit(256)
	for i := range n {
		group.Go(func() error {
			name := fmt.Sprintf("c%05d", i)
			return s.Create(named(name), configMap(name, value))
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// Readers and watchers see each write whole, in one order, and never one that is not durable; of those who write over each other
// one wins.
func TestConcurrentUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{CompactFrom: 20_000, CompactFactor: 2, History: 100_000, HistoryBytes: 1 << 30})
	since := s.Version()
	const writers, each = 16, 40
	var group errgroup.Group
	for range writers {
		group.Go(func() error {
			for n := 0; n < each; {
				old, ok := s.Get(named("counter"))
				var err error
				if !ok {
					err = s.Create(named("counter"), configMap("counter", "1"))
				} else {
					was, _ := strconv.Atoi(old.(*corev1.ConfigMap).Data["value"])
					err = s.Update(named("counter"), old, configMap("counter", strconv.Itoa(was+1)))
				}
				switch {
				case err == nil:
					n++
				case !errors.Is(err, ErrConflict) && !errors.Is(err, ErrExists):
					return err
				}
			}
			return nil
		})
		group.Go(func() error {
			for n := range each {
				list, version := s.List(configMaps, "default")
				if v := s.Version(); v < version {
					return fmt.Errorf("version %d after %d", v, version)
				}
				for _, obj := range list {
					if v, _ := strconv.ParseUint(obj.(*corev1.ConfigMap).ResourceVersion, 10, 64); v == 0 || v > version {
						return fmt.Errorf("an object of version %d in a list of %d", v, version)
					}
				}
				if err := write(s, fmt.Sprintf("own-%p", &n), "1"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	w, err := s.Watch(configMaps, since)
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	group.Go(func() error {
		for last = since; last < since+writers*each*2; last++ {
			if c := <-w.C; c.Version != last+1 {
				return fmt.Errorf("watched %v, want version %d", c, last+1)
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := numbers(s)["counter"]; n != writers*each {
		t.Errorf("counted to %d, want %d", n, writers*each)
	}
	want := state(s)
	s.Close()
	if got := state(open(t, dir, Options{})); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestTenThousandObjects(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	const many = 10_000
	fill(t, s, many, 1000)
	other := ID{configMaps, "other", "c"}
	if err := s.Create(other, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "c"}}); err != nil {
		t.Fatal(err)
	}
	version := s.Version()
	s.Close()
	s = open(t, dir, Options{})
	list, at := s.List(configMaps, "default")
	if len(list) != many || at != version || !slices.IsSortedFunc(list, func(a, b runtime.Object) int {
		return strings.Compare(a.(*corev1.ConfigMap).Name, b.(*corev1.ConfigMap).Name)
	}) {
		t.Errorf("%d objects at version %d, want %d sorted at %d", len(list), at, many, version)
	}
	for namespace, want := range map[string]int{"": many + 1, "other": 1, "defaul": 0, "default-2": 0, "a": 0, "z": 0} {
		if list, _ := s.List(configMaps, namespace); len(list) != want {
			t.Errorf("%d objects in %q, want %d", len(list), namespace, want)
		}
	}
	if _, ok := s.Get(named("c09999")); !ok {
		t.Error("the last is not there")
	}
}

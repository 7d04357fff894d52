package objects

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tripod/internal/ns/alone"
)

// On a full disk writes fail, the state stays what it was, and writes go on when there is room.
func TestFullDisk(t *testing.T) {
	if !alone.Inside(t) {
		return
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	s := open(t, filepath.Join(dir, "objects"), Options{})
	set(t, s, "a", "1")
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 600<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := s.Watch(configMaps, s.Version())
	if err != nil {
		t.Fatal(err)
	}
	large, n := strings.Repeat("x", 50_000), 0
	for ; err == nil && n < 100; n++ {
		err = s.Create(named(fmt.Sprint("c", n)), configMap(fmt.Sprint("c", n), large))
	}
	if !errors.Is(err, syscall.ENOSPC) || !strings.HasPrefix(err.Error(), fmt.Sprintf("cannot create configmaps default/c%d: cannot write objects %s", n-1, s.path(logName))) {
		t.Fatalf("after %d: %v", n, err)
	}
	want := state(s)
	info, err := os.Stat(s.path(logName))
	if err != nil || info.Size() != s.size {
		t.Errorf("the log has %d bytes, %v, want %d", info.Size(), err, s.size)
	}
	if err := s.Create(named("again"), configMap("again", large)); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if state(s) != want || s.Version() != uint64(n+1) {
		t.Error("a write that failed is seen")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	set(t, s, "after", large)
	want = state(s)
	for version := uint64(3); version <= s.Version(); version++ {
		if c := <-w.C; c.Version != version {
			t.Errorf("watched %d, want %d", c.Version, version)
		}
	}
	s.Close()
	if got := state(open(t, s.dir, Options{})); got != want {
		t.Error("another state after the next start")
	}
}

// fails makes so many calls of one kind fail; -1 means all.
func fails(kind string, times int) func(call) error {
	var mu sync.Mutex
	return func(c call) error {
		mu.Lock()
		defer mu.Unlock()
		if c.kind == kind && times != 0 {
			times--
			return fmt.Errorf("%s: %w", kind, syscall.EIO)
		}
		return nil
	}
}

func TestFailingDisk(t *testing.T) {
	for _, kind := range []string{"write", "sync", "truncate"} {
		m, dir := newMemory(), t.TempDir()
		s := open(t, dir, Options{disk: m})
		set(t, s, "a", "1")
		want := state(s)
		space := 0
		if kind == "truncate" { // what a short write left cannot be cut off
			space = int(s.size) + 10
		}
		m.limit(fails(kind, -1), space)
		for range 2 {
			err := s.Create(named("b"), configMap("b", "1"))
			if !errors.Is(err, syscall.EIO) && !errors.Is(err, errFull) {
				t.Errorf("%s: %v", kind, err)
			}
			if got := state(s); got != want {
				t.Errorf("%s: %s, want %s", kind, got, want)
			}
		}
		m.limit(nil, 0)
		set(t, s, "c", "1")
		want = state(s)
		s.Close()
		if got := state(open(t, dir, Options{disk: m})); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}

// A compaction that fails leaves the log as it is, and is tried again.
func TestFailingCompaction(t *testing.T) {
	for _, kind := range []string{"link", "write", "sync", "rename", "syncDir"} {
		m, dir := newMemory(), t.TempDir()
		s := open(t, dir, Options{disk: m, CompactFrom: 1 << 30})
		for i := range 20 {
			set(t, s, "a", fmt.Sprint(i))
		}
		want, was := state(s), s.size
		s.Close()
		s = open(t, dir, Options{disk: m, CompactFrom: was + 1})
		m.limit(fails(kind, 1), 0)
		for i := 0; ; i++ { // as long as it takes
			if err := s.Create(named("b"), configMap("b", "")); err == nil {
				remove(t, s, "b")
			} else if !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
			s.mu.RLock()
			size := s.size
			s.mu.RUnlock()
			if size < was/2 {
				break
			}
		}
		if got := state(s); got[strings.Index(got, " "):] != want[strings.Index(want, " "):] {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
		want = state(s)
		s.Close()
		if got := state(open(t, dir, Options{disk: m})); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
		if m.names[filepath.Join(dir, newName)] != nil {
			t.Errorf("%s: a half-made log was left", kind)
		}
	}
}

func TestFolderThatCannotBe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(path, "objects"), plain{}, Options{}); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

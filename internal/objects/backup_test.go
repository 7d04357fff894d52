package objects

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// values is what the objects are, without the version of the store.
func values(s *Store) string {
	_, text, _ := strings.Cut(state(s), " ")
	return text
}

func TestBackup(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	for i := range 5 {
		set(t, s, "a", fmt.Sprint(i))
		set(t, s, fmt.Sprint("b", i), "secret")
	}
	remove(t, s, "b3")
	for i := range 5 {
		if i != 3 {
			set(t, s, fmt.Sprint("b", i), "public")
		}
	}
	want := values(s)
	var inside, outside bytes.Buffer
	if err := s.Backup(&inside); err != nil {
		t.Fatal(err)
	}
	if err := Backup(dir, &outside); err != nil { // the lock is held
		t.Fatal(err)
	}
	if bytes.Contains(inside.Bytes(), []byte("secret")) || bytes.Contains(outside.Bytes(), []byte("secret")) {
		t.Error("what is gone is in the backup")
	}
	for _, b := range []*bytes.Buffer{&inside, &outside} {
		to := filepath.Join(t.TempDir(), "new")
		if err := Restore(to, bytes.NewReader(b.Bytes())); err != nil {
			t.Fatal(err)
		}
		restored := open(t, to, Options{})
		if got := values(restored); got != want {
			t.Errorf("restored: %s, want %s", got, want)
		}
		if restored.Version() < s.Version()+1000 {
			t.Errorf("version %d after %d: others may have seen it", restored.Version(), s.Version())
		}
		if _, err := restored.Watch(configMaps, s.Version()); err == nil {
			t.Error("watched across the restore")
		}
		set(t, restored, "new", "1")
		if err := Restore(to, bytes.NewReader(b.Bytes())); err == nil {
			t.Error("restored over an open store")
		}
		restored.Close()
		if err := Restore(to, bytes.NewReader(b.Bytes())); err == nil || !strings.Contains(err.Error(), "is not empty") {
			t.Errorf("restored over a store: %v", err)
		}
		if entries, err := os.ReadDir(to); err != nil || len(entries) != 2 {
			t.Error(entries, err)
		}
	}
}

func TestRestoreRefuses(t *testing.T) {
	log, _ := written(t, t.TempDir(), true)
	dir := t.TempDir()
	for size := range len(log) - 1 {
		if err := restore(newMemory(), dir, bytes.NewReader(log[:size])); err == nil {
			s, err := with(t, dir, log[:size])
			if err != nil || s.size != int64(size) { // it ends between frames: it is a log, and an older one
				t.Fatalf("restored %d bytes of %d", size, len(log))
			}
			s.Close()
		}
		damaged := bytes.Clone(log)
		damaged[size] ^= 1
		if err := restore(newMemory(), dir, bytes.NewReader(damaged)); err == nil {
			t.Fatalf("restored with byte %d damaged", size)
		}
	}
	to := t.TempDir()
	if err := Restore(to, strings.NewReader("no backup")); err == nil || !strings.Contains(err.Error(), "it is not a log of objects") {
		t.Error(err)
	}
	if entries, err := os.ReadDir(to); err != nil || len(entries) != 1 {
		t.Errorf("left are %v, %v", entries, err)
	}
	if err := Backup(to, &bytes.Buffer{}); err == nil {
		t.Error("a backup of nothing")
	}
}

// Backups made while many write, by another process's way and by our own, each hold the state of one version.
func TestBackupWhileWriting(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{CompactFrom: 3000, CompactFactor: 2})
	set(t, s, "left", "0")
	set(t, s, "right", "0")
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() { // right is never ahead of left, nor more than one behind
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := errors.Join(write(s, "left", fmt.Sprint(i)), write(s, "right", fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range 40 {
		var b bytes.Buffer
		take := s.Backup
		if i%2 == 0 {
			take = func(w io.Writer) error { return Backup(dir, w) }
		}
		if err := take(&b); err != nil {
			t.Fatal(err)
		}
		m := newMemory()
		to := t.TempDir()
		if err := restore(m, to, &b); err != nil {
			t.Fatal(err)
		}
		restored := open(t, to, Options{disk: m})
		n := numbers(restored)
		if behind := n["left"] - n["right"]; len(n) != 2 || behind < 0 || behind > 1 {
			t.Fatalf("a backup has %v", n)
		}
		restored.Close()
	}
	close(stop)
	group.Wait()
}

package record

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

type fact struct{ Name string }

func TestPutGet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fact.json")
	var got fact
	if err := Get(path, &got); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get of nothing: %v, want fs.ErrNotExist", err)
	}
	for _, name := range []string{"one", "two"} {
		if err := Put(path, fact{name}); err != nil {
			t.Fatal(err)
		}
		if err := Get(path, &got); err != nil || got.Name != name {
			t.Errorf("Get = %v, %v, want %s", got, err, name)
		}
	}
	if st, _ := os.Stat(path); st.Mode() != 0o600 {
		t.Errorf("mode %v, want 0600", st.Mode())
	}
	left, _ := os.ReadDir(filepath.Dir(path))
	if len(left) != 1 {
		t.Errorf("Put left %v beside the record", left)
	}
}

func TestGetTruncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fact.json")
	whole := `{"Name":"one"}`
	for n := range whole {
		if err := os.WriteFile(path, []byte(whole[:n]), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Get(path, new(fact)); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("Get of %q: %v, want an error that names the file", whole[:n], err)
		}
	}
}

func TestGetBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big.json")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Fatal(err)
	}
	if err := Get(path, new(fact)); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("Get of a sparse terabyte: %v", err)
	}
}

func TestGetFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	if err := Put(filepath.Join(dir, "fact.json"), fact{"one"}); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("fact.json", filepath.Join(dir, "link.json")); err != nil {
		t.Fatal(err)
	}
	if err := Get(filepath.Join(dir, "link.json"), new(fact)); err == nil {
		t.Error("Get followed a symbolic link")
	}
}

func TestTry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	held, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Try(path); !errors.Is(err, ErrLocked) {
		t.Errorf("Try of a held lock: %v, want ErrLocked", err)
	}
	if err := held.Remove(); err != nil {
		t.Fatal(err)
	}
	again, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Release(); err != nil {
		t.Error(err)
	}
}

func TestTryDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	if _, err := TryDir(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("TryDir of nothing: %v, want fs.ErrNotExist", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	held, err := TryDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryDir(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("TryDir of a held lock: %v, want ErrLocked", err)
	}
	// Whoever waited for a directory that is removed meanwhile must not hold what nobody else can meet.
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := TryDir(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("TryDir of a removed directory: %v, want fs.ErrNotExist", err)
	}
	if err := held.Release(); err != nil {
		t.Error(err)
	}
	if err := os.Symlink(t.TempDir(), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := TryDir(dir); err == nil {
		t.Error("TryDir followed a symbolic link")
	}
}

// TestLockExcludes has many takers who each remove the file when they are done: none may hold a lock of a removed file.
func TestLockExcludes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	var wg sync.WaitGroup
	var inside atomic.Int32
	for range 8 {
		wg.Go(func() {
			for range 50 {
				l, err := Acquire(path)
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d holders at once", n)
				}
				inside.Add(-1)
				if err := l.Remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

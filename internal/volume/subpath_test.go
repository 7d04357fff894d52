package volume

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSubPath(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	volume := filepath.Join(dir, "volume")
	for _, d := range []string{outside, volume, filepath.Join(volume, "there"), filepath.Join(volume, "etc")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(volume, 12, 34); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(volume, 0o777|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(volume, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"in": "there", "absolute": "/there", "up": "../../../../../etc", "nowhere": "/none", "loop": "loop", "magic": "/proc/self/root",
	} {
		if err := os.Symlink(target, filepath.Join(volume, name)); err != nil {
			t.Fatal(err)
		}
	}
	for sub, want := range map[string]string{
		"there": "there", "file": "file", "a/b/c": "a/b/c", "in/new": "there/new", "absolute": "there", "up": "etc",
		"up/passwd": "etc/passwd", ".": ".", "./a//b": "a/b",
		"": "error", "/there": "error", "../outside": "error", "a/../../outside": "error", "a\x00b": "error",
		"nowhere": "error", "loop": "error", "file/below": "error", "magic/etc": "error",
	} {
		got, err := SubPath(volume, sub)
		if sub == "" {
			want = "."
		}
		if (err != nil) != (want == "error") || (err == nil && got != want) {
			t.Errorf("%q gives %q, %v; want %q", sub, got, err, want)
		}
	}
	for _, made := range []string{"a", "a/b/c", "there/new"} {
		if mode, uid, gid := stat(t, filepath.Join(volume, made)); mode != fs.ModeDir|fs.ModeSetgid|0o777 || uid != 12 || gid != 34 {
			t.Errorf("%s made with %v %d:%d", made, mode, uid, gid)
		}
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("made outside: %v", left)
	}
	if _, err := SubPath(filepath.Join(volume, "file"), "x"); !errors.Is(err, ErrSubPath) {
		t.Errorf("below a file: %v", err)
	}
}

// A container that swaps a directory for a link, over and over, while a subPath is resolved gets nothing outside of its
// volume (also CVE-2017-1002101). Seen to fail without RESOLVE_IN_ROOT.
func TestCVE_2021_25741(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	volume, canary := filepath.Join(dir, "volume"), filepath.Join(dir, "canary")
	for _, d := range []string{volume, canary, filepath.Join(volume, "a")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(canary, filepath.Join(volume, "b")); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(canary)
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		a, b := filepath.Join(volume, "a"), filepath.Join(volume, "b")
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
			}
		}
	}()
	given := 0
	for range 2000 {
		rel, err := SubPath(volume, "a/x")
		if err != nil {
			continue
		}
		given++
		if !filepath.IsLocal(rel) {
			t.Fatalf("led to %q", rel)
		}
		_ = os.Remove(filepath.Join(volume, "a/x"))
	}
	close(stop)
	<-stopped
	if given == 0 {
		t.Error("no subPath was ever given: the race was not run")
	}
	after, err := os.Stat(canary)
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(canary); len(left) > 0 || after.Mode() != before.Mode() || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the canary was touched: %v %v", left, after)
	}
}

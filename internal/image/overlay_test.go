package image

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A store may lie on an overlay: tripod inside a container. There no whiteout device can be made.
func TestStoreOnOverlay(t *testing.T) {
	scratch, at := t.TempDir(), t.TempDir()
	if err := unix.Mount("tmpfs", scratch, "tmpfs", 0, ""); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(scratch, unix.MNT_DETACH) })
	for _, dir := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(scratch, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	options := "lowerdir=" + scratch + "/lower,upperdir=" + scratch + "/upper,workdir=" + scratch + "/work"
	if err := unix.Mount("overlay", at, "overlay", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, 0); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Setxattr(at, "trusted.overlay.probe", []byte("x"), 0); errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("before Linux 6.7 an overlay cannot hold the marks of one that lies on it")
	}
	s, err := Open(at)
	if err != nil {
		t.Fatal(err)
	}
	base := tarOf(t, dirEntry("d", 0o755), entry{name: "d/gone", data: "x"}, entry{name: "d/kept", data: "x"}, dirEntry("o", 0o755), entry{name: "o/old", data: "x"})
	top := tarOf(t, entry{name: "d/.wh.gone"}, dirEntry("o", 0o755), entry{name: "o/.wh..wh..opq"}, entry{name: "o/new", data: "x"})
	img := mustPull(t, s, newRegistry(t, nil).push(t, "app:1", imageOf(t, layerOf(t, base), layerOf(t, top))), plainHTTP(t))
	merged := mountOverlay(t, s, img)
	for path, want := range map[string]bool{"d/gone": false, "d/kept": true, "o/old": false, "o/new": true} {
		_, err := os.Lstat(filepath.Join(merged, path))
		if (err == nil) != want {
			t.Errorf("%s in the overlay on an overlay: %v, want it there: %v", path, err, want)
		}
		if _, err := s.ReadFile(img, path, 10); (err == nil) != want {
			t.Errorf("%s read: %v, want it there: %v", path, err, want)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(merged, "d")); err != nil || len(entries) != 1 {
		t.Errorf("the directory lists %v, %v: want kept alone", entries, err)
	}
}

// The layer that deletes all below it needs a whiteout for each name: overlayfs knows no opaque root.
func TestOpaqueRoot(t *testing.T) {
	base := tarOf(t, entry{name: "old", data: "x"}, dirEntry("dir", 0o755), entry{name: "dir/old", data: "x"})
	top := tarOf(t, entry{name: ".wh..wh..opq"}, dirEntry("dir", 0o755), entry{name: "dir/new", data: "x"})
	s := openStore(t)
	img := mustPull(t, s, newRegistry(t, nil).push(t, "app:1", imageOf(t, layerOf(t, base), layerOf(t, top))), plainHTTP(t))
	merged := mountOverlay(t, s, img)
	for path, want := range map[string]bool{"old": false, "dir/old": false, "dir/new": true} {
		if _, err := os.Lstat(filepath.Join(merged, path)); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", path, err, want)
		}
	}
}

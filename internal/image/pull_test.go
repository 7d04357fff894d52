package image

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

func TestPull(t *testing.T) {
	base := tarOf(t, dirEntry("etc", 0o755), entry{name: "etc/a", data: "a1"}, entry{name: "etc/b", data: "b1"},
		dirEntry("tmp", 0o1777), dirEntry("gone", 0o755), entry{name: "gone/x", data: "x"}, dirEntry("opq", 0o700), entry{name: "opq/old", data: "old"})
	middle := tarOf(t, entry{name: "etc/b", data: "b2"}, entry{name: "tmp/y", data: "y"})
	top := tarOf(t, entry{name: "etc/.wh.a"}, entry{name: ".wh.gone"}, dirEntry("opq", 0o750), entry{name: "opq/.wh..wh..opq"}, entry{name: "opq/new", data: "new"})
	img := imageOf(t, layerOf(t, base), zstdLayer(t, middle), layerOf(t, top))
	r := newRegistry(t, nil)
	s, o := openStore(t), plainHTTP(t)
	got := mustPull(t, s, r.push(t, "app:v1", img), o)

	want, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	if got.ID.String() != want.String() {
		t.Errorf("ID %s, want %s", got.ID, want)
	}
	for path, want := range map[string]string{"/etc/b": "b2", "/tmp/y": "y", "/opq/new": "new"} {
		if have := readAll(t, s, got, path); have != want {
			t.Errorf("%s is %q, want %q", path, have, want)
		}
	}
	for _, path := range []string{"/etc/a", "/gone/x", "/opq/old"} {
		if _, err := s.ReadFile(got, path, 10); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was deleted by a layer: %v", path, err)
		}
	}
	merged := mountOverlay(t, s, got)
	assertMode(t, filepath.Join(merged, "tmp"), fs.ModeDir|fs.ModeSticky|0o777) // implied by the middle layer
	assertMode(t, filepath.Join(merged, "opq"), fs.ModeDir|0o750)
	for path, want := range map[string]bool{"etc/a": false, "gone": false, "opq/old": false, "opq/new": true, "tmp/y": true, "etc/b": true} {
		if _, err := os.Lstat(filepath.Join(merged, path)); (err == nil) != want {
			t.Errorf("%s in the overlay: %v, want it there: %v", path, err, want)
		}
	}
}

// mountOverlay mounts the image as a container would see it.
func mountOverlay(t *testing.T, s *Store, img *Image) string {
	t.Helper()
	root, err := s.Root(img, "test")
	if err != nil {
		t.Fatal(err)
	}
	at, scratch := t.TempDir(), t.TempDir()
	options := "lowerdir="
	for i, l := range root.Lower {
		if i > 0 {
			options += ":"
		}
		options += l
	}
	// A tmpfs can always be an upper directory, whatever holds the temporary directories.
	if err := unix.Mount("tmpfs", scratch, "tmpfs", 0, ""); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(scratch, unix.MNT_DETACH) })
	for _, dir := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(scratch, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	options += ",upperdir=" + scratch + "/upper,workdir=" + scratch + "/work"
	if err := unix.Mount("overlay", at, "overlay", 0, options); err != nil {
		t.Fatalf("mount overlay: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return at
}

func assertMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Error(err)
	} else if info.Mode() != want {
		t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
	}
}

func TestPullKeepsAttributes(t *testing.T) {
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	raw := tarOf(t,
		entry{name: "bin/su", data: "su", mode: 0o4755, uid: 10, gid: 20},
		entry{name: "bin/ping", data: "ping", mode: 0o755, pax: map[string]string{"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.note": "hello"}},
		entry{name: "bin/ping6", kind: tar.TypeLink, link: "bin/ping"},
		entry{name: "dev/null", kind: tar.TypeChar, mode: 0o666, dev: [2]int64{1, 3}},
		entry{name: "dev/sda", kind: tar.TypeBlock, mode: 0o660, dev: [2]int64{8, 0}},
		entry{name: "run/fifo", kind: tar.TypeFifo, mode: 0o600},
		entry{name: "lnk", kind: tar.TypeSymlink, link: "/etc/passwd", uid: 5, gid: 6},
	)
	s, o := openStore(t), plainHTTP(t)
	img := mustPull(t, s, newRegistry(t, nil).push(t, "attr:1", imageOf(t, layerOf(t, raw))), o)
	root, err := s.Root(img, "x")
	if err != nil {
		t.Fatal(err)
	}
	at := func(p string) string { return filepath.Join(root.Lower[0], p) }
	stat := func(p string) (st unix.Stat_t) {
		if err := unix.Lstat(at(p), &st); err != nil {
			t.Error(err)
		}
		return st
	}
	if st := stat("bin/su"); st.Mode != unix.S_IFREG|0o4755 || st.Uid != 10 || st.Gid != 20 || st.Mtim.Sec != 1700000000 {
		t.Errorf("su: mode %o, owner %d:%d, time %d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec)
	}
	for name, want := range map[string]string{"security.capability": capability, "user.note": "hello"} {
		value := make([]byte, 100)
		if n, err := unix.Lgetxattr(at("bin/ping"), name, value); err != nil || string(value[:n]) != want {
			t.Errorf("%s of ping: %q %v", name, value[:max(n, 0)], err)
		}
	}
	if a, b := stat("bin/ping"), stat("bin/ping6"); a.Ino != b.Ino || a.Nlink != 2 {
		t.Errorf("ping6 is no hard link: %d %d", a.Ino, b.Ino)
	}
	if st := stat("dev/null"); st.Mode != unix.S_IFCHR|0o666 || st.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("null: %o %x", st.Mode, st.Rdev)
	}
	if st := stat("dev/sda"); st.Mode != unix.S_IFBLK|0o660 || st.Rdev != unix.Mkdev(8, 0) {
		t.Errorf("sda: %o %x", st.Mode, st.Rdev)
	}
	if st := stat("run/fifo"); st.Mode != unix.S_IFIFO|0o600 {
		t.Errorf("fifo: %o", st.Mode)
	}
	if st := stat("lnk"); st.Uid != 5 || st.Gid != 6 || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		t.Errorf("lnk: %o %d:%d", st.Mode, st.Uid, st.Gid)
	}
}

func TestPullChoosesPlatform(t *testing.T) {
	ours, other := imageOf(t, layerOf(t, tarOf(t, entry{name: "ours", data: "1"}))), imageOf(t, layerOf(t, tarOf(t, entry{name: "other", data: "2"})))
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}},
		mutate.IndexAddendum{Add: ours, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}})
	r := newRegistry(t, nil)
	ref := r.push(t, "multi:1", index)
	s, o := openStore(t), plainHTTP(t)
	o.Platform = "linux/amd64"
	img := mustPull(t, s, ref, o)
	if readAll(t, s, img, "/ours") != "1" {
		t.Error("the wrong platform was pulled")
	}
	if d, _ := index.Digest(); img.Digest.String() != d.String() {
		t.Errorf("digest %s, want that of the index %s", img.Digest, d)
	}
	o.Platform = "linux/riscv64"
	if _, err := s.Pull(t.Context(), ref, o); err == nil {
		t.Error("an image for another platform was pulled")
	} else {
		t.Log(err)
	}
	byDigest, err := s.Resolve(r.host+"/multi@"+img.Digest.String(), o)
	if err != nil || byDigest.ID != img.ID {
		t.Errorf("by digest: %v", err)
	}
}

func TestEnsurePolicies(t *testing.T) {
	r := newRegistry(t, nil)
	first := imageOf(t, layerOf(t, tarOf(t, entry{name: "v", data: "1"})))
	second := imageOf(t, layerOf(t, tarOf(t, entry{name: "v", data: "2"})))
	s, o := openStore(t), plainHTTP(t)
	ref := r.host + "/app:latest"
	if _, err := s.Ensure(t.Context(), ref, Never, o); !errors.Is(err, ErrNotFound) {
		t.Errorf("Never, not here: %v", err)
	}
	r.push(t, "app:latest", first)
	for _, step := range []struct {
		policy Policy
		push   v1.Image
		want   string
	}{{IfNotPresent, nil, "1"}, {IfNotPresent, second, "1"}, {Never, nil, "1"}, {Always, nil, "2"}, {Never, nil, "2"}} {
		if step.push != nil {
			r.push(t, "app:latest", step.push)
		}
		img, err := s.Ensure(t.Context(), ref, step.policy, o)
		if err != nil {
			t.Fatal(err)
		}
		if have := readAll(t, s, img, "/v"); have != step.want {
			t.Errorf("%s: version %s, want %s", step.policy, have, step.want)
		}
	}
	if _, err := s.Ensure(t.Context(), ref, "Sometimes", o); err == nil {
		t.Error("a policy that does not exist was taken")
	}
}

func TestDefaultPolicy(t *testing.T) {
	for ref, want := range map[string]Policy{
		"nginx": Always, "nginx:latest": Always, "nginx:1.7.9": IfNotPresent, "host:/": IfNotPresent, "localhost:5000/x": Always,
		"nginx@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855":        IfNotPresent,
		"nginx:latest@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855": IfNotPresent,
	} {
		if have := DefaultPolicy(ref); have != want {
			t.Errorf("%s: %s, want %s", ref, have, want)
		}
	}
}

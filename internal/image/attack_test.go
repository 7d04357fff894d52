package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// The attacks here bear the names of published faults of container engines. Each is to end in an error or inside the layer.
// TestUnpackHostileLayers is the corpus of layers, in which these are rows too.

// docker: links of a layer, symbolic and hard, led the next entries out. Seen to fail when the parent of an entry is opened
// without RESOLVE_IN_ROOT.
func TestCVE_2014_6407(t *testing.T) {
	c := newCanary(t)
	up := strings.Repeat("../", 20) + c.dir[1:]
	for _, to := range []string{c.dir, up} {
		for name, entries := range map[string][]entry{
			"symbolic":        {{name: "l", kind: tar.TypeSymlink, link: to}, {name: "l/new", data: "evil"}, {name: "l/file", data: "evil"}},
			"symbolic, deep":  {{name: "a/l", kind: tar.TypeSymlink, link: to}, {name: "a/l/sub/deep", data: "evil", mode: 0o777}},
			"link of a link":  {{name: "k", kind: tar.TypeSymlink, link: to}, {name: "l", kind: tar.TypeSymlink, link: "k"}, {name: "l/new", data: "evil"}},
			"directory there": {{name: "l", kind: tar.TypeSymlink, link: to}, dirEntry("l/made", 0o777)},
			"hard":            {{name: "h", kind: tar.TypeLink, link: to + "/file"}, {name: "h", data: "evil"}},
			"hard, by a link": {{name: "l", kind: tar.TypeSymlink, link: to}, {name: "h", kind: tar.TypeLink, link: "l/file"}, {name: "h", data: "evil"}},
		} {
			_, err := unpack(bytes.NewReader(tarOf(t, entries...)), t.TempDir(), Limits{})
			t.Logf("%s to %.20s: %v", name, to, err)
			c.check(t)
		}
	}
}

// docker: an unpacker outside of the daemon was run for xz, with what the image had put in its way. No program is run for any
// compression, neither the host's nor (docker: CVE-2026-41567) a container's.
func TestCVE_2014_9357(t *testing.T) {
	dir := t.TempDir()
	ran := filepath.Join(dir, "ran")
	for _, name := range []string{"xz", "unxz", "gzip", "gunzip", "unpigz", "pigz", "igzip", "zstd", "unzstd", "bzip2", "tar"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho $0 >>"+ran+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	raw := tarOf(t, entry{name: "x", data: "fine"})
	kinds := map[string][]byte{"gzip": zipped(t, raw), "bzip2": []byte("BZh91AY&SY"), "xz": []byte("\xfd7zXZ\x00\x00"), "lzma": []byte("\x5d\x00\x00\x80\x00")}
	t.Setenv("PATH", dir)
	for name, packed := range kinds {
		s, o := openStore(t), plainHTTP(t)
		_, err := s.Pull(t.Context(), newShelf(t, crate{packed, raw}).serve(t), o)
		if name == "gzip" && err != nil || name != "gzip" && err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if said, err := os.ReadFile(ran); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("run: %s %v", said, err)
	}
}

// docker: names in the description of a saved image led out of the archive.
func TestCVE_2014_9358(t *testing.T) {
	c := newCanary(t)
	config := []byte(`{"os":"linux","rootfs":{"diff_ids":["sha256:` + strings.Repeat("a", 64) + `"]}}`)
	up := strings.Repeat("../", 20) + c.dir[1:]
	for name, test := range map[string]struct {
		image dockerImage
		more  []entry
	}{
		"layer above":        {dockerImage{Config: "c.json", Layers: []string{up + "/file"}}, nil},
		"absolute layer":     {dockerImage{Config: "c.json", Layers: []string{c.dir + "/file"}}, nil},
		"config above":       {dockerImage{Config: up + "/file", Layers: []string{"x"}}, nil},
		"layer is a link":    {dockerImage{Config: "c.json", Layers: []string{"l/layer.tar"}}, []entry{{name: "l/layer.tar", kind: tar.TypeSymlink, link: c.dir + "/file"}}},
		"layer is hard link": {dockerImage{Config: "c.json", Layers: []string{"l"}}, []entry{{name: "l", kind: tar.TypeLink, link: up + "/file"}}},
		"loop of links":      {dockerImage{Config: "c.json", Layers: []string{"a"}}, []entry{{name: "a", kind: tar.TypeSymlink, link: "b"}, {name: "b", kind: tar.TypeSymlink, link: "a"}}},
	} {
		test.image.RepoTags = []string{"../../evil:latest", "evil:../../x"}
		list, err := json.Marshal([]dockerImage{test.image})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "saved.tar")
		raw := tarOf(t, append([]entry{{name: "manifest.json", data: string(list)}, {name: "c.json", data: string(config)}}, test.more...)...)
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		s := openStore(t)
		if _, err := s.Pull(t.Context(), "docker-archive:"+file, PullOptions{}); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line", name, err)
		}
		assertClean(t, s)
	}
	c.check(t)
}

// containerd: a symbolic link, then a change of mode under the same name. Seen to fail when the mode of a link is set.
func TestCVE_2021_32760(t *testing.T) {
	c := newCanary(t)
	link := entry{name: "l", kind: tar.TypeSymlink, link: c.dir + "/file"}
	for name, entries := range map[string][]entry{
		"file over the link":      {link, {name: "l", mode: 0o4777}},
		"hard link of the link":   {link, {name: "h", kind: tar.TypeLink, link: "l", mode: 0o4777}},
		"mode of the link itself": {{name: "l", kind: tar.TypeSymlink, link: c.dir + "/file", mode: 0o4777, uid: 4711, gid: 4712, time: time.Unix(1, 0)}},
		"directory over the link": {{name: "l", kind: tar.TypeSymlink, link: c.dir}, dirEntry("l", 0o1777)},
		"the link twice":          {link, link},
		"device over the link":    {link, {name: "l", kind: tar.TypeChar, mode: 0o666, dev: [2]int64{1, 3}}},
	} {
		_, err := unpack(bytes.NewReader(tarOf(t, entries...)), t.TempDir(), Limits{})
		t.Logf("%s: %v", name, err)
		c.check(t)
	}
}

// containerd: between the check of a path and its use somebody exchanged a directory for a link. The races of this package are with
// whoever can write into the store, which is nobody; what keeps them out is the kernel's lookup all the same. Seen to fail without
// RESOLVE_IN_ROOT.
func TestCVE_2025_47290(t *testing.T) {
	c := newCanary(t)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(c.dir, filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(at)
	end, ended := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { ended <- n }()
		for ; ; n++ {
			select {
			case <-end:
				return
			default:
				_ = unix.Renameat2(at, "d", at, "l", unix.RENAME_EXCHANGE)
				time.Sleep(20 * time.Microsecond) // or the kernel's lock of renames is all that is tested
			}
		}
	}()
	for i := range 2000 {
		raw := tarOf(t, entry{name: fmt.Sprintf("d/%d", i), data: "evil", mode: 0o4755}, entry{name: "d/file", data: "evil"}, entry{name: "d/sub/deep", data: "evil"})
		_, _ = unpack(bytes.NewReader(raw), dir, Limits{}) // an error where the link is in the way
	}
	close(end)
	if n := <-ended; n < 100 {
		t.Errorf("only %d exchanges", n)
	}
	c.check(t)
}

// sparse makes a file of that size which takes no space, beginning with text.
func sparse(t *testing.T, path, text string, size int64) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Skipf("cannot make a file of %d bytes: %v", size, err)
	}
}

// containerd: what an imported image said of itself was read into memory, however long it was. Seen to fail without the limit: the
// test ends for want of memory.
func TestCVE_2023_25153(t *testing.T) {
	const size = 10 << 30
	img := imageOf(t, layerOf(t, tarOf(t, entry{name: "x"})))
	manifest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"index.json", "blobs/sha256/" + manifest.Hex, "blobs/sha256/" + config.Hex} {
		dir := layoutOf(t, map[string]v1.Image{"v1": img})
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		sparse(t, filepath.Join(dir, name), string(text), size)
		if _, err := openStore(t).Pull(t.Context(), "oci:"+dir, PullOptions{}); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s of 10 GiB: error %v, want one line", name, err)
		} else {
			t.Log(err)
		}
	}
	// The same in an archive: a header that says 10 GiB, and a file that is as long.
	for _, name := range []string{"manifest.json", "index.json"} {
		var head bytes.Buffer
		w := tar.NewWriter(&head)
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, Format: tar.FormatGNU}); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "saved.tar")
		sparse(t, file, head.String(), size+4096)
		for _, kind := range []string{"docker-archive:", "oci-archive:"} {
			if _, err := openStore(t).Pull(t.Context(), kind+file, PullOptions{}); err == nil {
				t.Errorf("%s of 10 GiB in %s was taken", name, kind)
			}
		}
	}
}

// containerd, CRI-O: passwd and group were read without a bound. Seen to fail without the limit.
func TestCVE_2026_47262(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	sparse(t, filepath.Join(dir, "etc/group"), "root:x:0:\n", 2<<30)
	if err := os.WriteFile(filepath.Join(dir, "etc/passwd"), bytes.Repeat([]byte("a"), 2<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	s := openStore(t)
	img, err := s.Ensure(t.Context(), "dir:"+dir, Never, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/etc/passwd", "/etc/group"} {
		if data, err := s.ReadFile(img, name, 1<<20); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
	}
}

// containers/storage: passwd was a fifo, or led to a device or to the host. Seen to fail when the file is
// opened by its path.
func TestCVE_2024_9676(t *testing.T) {
	c := newCanary(t)
	for what, to := range map[string]string{
		"fifo": "fifo", "zero": "->/dev/zero", "relative zero": "->../../../../../../../../dev/zero", "itself": "->passwd",
		"canary": "->" + c.dir + "/file", "relative canary": "->" + strings.Repeat("../", 20) + c.dir[1:] + "/file", "magic": "->/proc/self/environ", "descriptor": "->/dev/fd/0",
	} {
		done := make(chan error, 1)
		root := Root{Lower: layerDirs(t, map[string]string{"etc/passwd": to, "etc/x": "x"})}
		go func() {
			data, err := readMerged(root, "/etc/passwd", 1<<20)
			if err == nil {
				err = fmt.Errorf("it reads as %.20q", data)
			} else {
				err = nil
			}
			done <- err
		}()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(30 * time.Second):
			t.Errorf("%s: the read hangs", what)
		}
	}
	c.check(t)
}

// containerd: folders of images could be searched by everybody, so that any user could run their setuid programs. Seen to fail
// with a store whose folders have mode 0755.
func TestCVE_2021_41103(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for d := filepath.Dir(dir); d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil { // as /var/lib is
			t.Fatal(err)
		}
	}
	img := imageOf(t, layerOf(t, tarOf(t, entry{name: "bin/su", data: "evil", mode: 0o4755})))
	mustPull(t, s, newRegistry(t, nil).push(t, "x:1", img), plainHTTP(t))
	list := exec.Command("find", dir)
	list.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, _ := list.CombinedOutput() // an error, as it cannot look into all folders
	if !strings.Contains(string(out), "ermission denied") || strings.Contains(string(out), "/su") || strings.Contains(string(out), "sha256/") {
		t.Errorf("another user finds:\n%s", out)
	}
}

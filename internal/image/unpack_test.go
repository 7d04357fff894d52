package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// canary is a directory outside the layer in which nothing may change.
type canary struct {
	dir  string
	want string
}

func newCanary(t testing.TB) *canary {
	t.Helper()
	c := &canary{dir: t.TempDir()}
	for path, mode := range map[string]fs.FileMode{"file": 0o600, "sub/deep": 0o640} {
		full := filepath.Join(c.dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte("canary "+path), mode); err != nil {
			t.Fatal(err)
		}
	}
	c.want = c.state(t)
	return c
}

// state is all that can be seen of the canary: names, inodes, owners, modes, times, links and contents.
func (c *canary) state(t testing.TB) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(c.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		fmt.Fprintf(&out, "%s %d %o %d:%d %d %d\n", path, st.Ino, st.Mode, st.Uid, st.Gid, st.Nlink, st.Mtim.Nano())
		if !entry.IsDir() {
			data, err := os.ReadFile(path)
			out.Write(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func (c *canary) check(t testing.TB) {
	t.Helper()
	if have := c.state(t); have != c.want {
		t.Errorf("the canary changed:\n%s\nwas\n%s", have, c.want)
	}
}

// TestUnpackHostileLayers is the corpus of tars that led container engines out of their directory: CVE-2014-6407, -9357,
// -9358 (names and hard links), CVE-2021-32760 (modes through links), CVE-2025-47290 (links that are swapped).
func TestUnpackHostileLayers(t *testing.T) {
	c := newCanary(t)
	up := strings.Repeat("../", 20) + strings.TrimPrefix(c.dir, "/")
	link := func(name, to string) entry { return entry{name: name, kind: tar.TypeSymlink, link: to} }
	hard := func(name, to string) entry { return entry{name: name, kind: tar.TypeLink, link: to} }
	for _, test := range []struct {
		name    string
		entries []entry
		err     string // "": unpacks, and stays inside
		inside  string // this path holds "evil" then
	}{
		{"dotdot", []entry{{name: up + "/new", data: "evil"}}, "leads out", ""},
		{"dotdot inside", []entry{{name: "a/../../../x", data: "evil"}}, "leads out", ""},
		{"only dotdot", []entry{dirEntry("..", 0o777)}, "leads out", ""},
		{"absolute", []entry{{name: c.dir + "/new", data: "evil"}}, "", c.dir + "/new"},
		{"absolute dotdot", []entry{{name: "/../../" + c.dir + "/new", data: "evil"}}, "leads out", ""},
		{"write through an absolute link", []entry{link("l", c.dir), {name: "l/new", data: "evil"}}, "", c.dir + "/new"},
		{"write through a relative link", []entry{link("l", up), {name: "l/new", data: "evil"}}, "", c.dir + "/new"},
		{"overwrite a linked file", []entry{link("l", c.dir+"/file"), {name: "l", data: "evil"}}, "", "l"},
		{"mode of a link", []entry{link("l", c.dir+"/file"), {name: "l", data: "evil", mode: 0o4777}}, "", "l"},
		{"mode of a linked directory", []entry{link("l", c.dir), dirEntry("l", 0o777)}, "", ""},
		{"owner through a link", []entry{{name: "l", kind: tar.TypeSymlink, link: c.dir + "/file", uid: 4242, mode: 0o777}}, "", ""},
		{"attributes through a link", []entry{{name: "l", kind: tar.TypeSymlink, link: c.dir + "/file", pax: map[string]string{"SCHILY.xattr.user.x": "evil"}}}, "", ""},
		{"hard link out", []entry{hard("h", up+"/file")}, "leads out", ""},
		{"hard link to an absolute path", []entry{hard("h", c.dir+"/file")}, "no such file", ""},
		{"hard link through a link", []entry{link("l", c.dir), hard("h", "l/file")}, "no such file", ""},
		{"hard link to a link, then written", []entry{link("l", c.dir+"/file"), hard("h", "l"), {name: "h", data: "evil"}}, "", "h"},
		{"hard link to itself", []entry{{name: "h", data: "x"}, hard("h", "h")}, "to itself", ""},
		{"hard link to a directory", []entry{dirEntry("d", 0o755), hard("h", "d")}, "operation not permitted", ""},
		{"hard link to the root", []entry{hard("h", ".")}, "leads out", ""},
		{"link swapped for a directory", []entry{dirEntry("d", 0o755), link("d", c.dir), {name: "d/new", data: "evil"}}, "", c.dir + "/new"},
		{"directory swapped for a link, cached", []entry{{name: "d/a", data: "a"}, link("d", up), {name: "d/b", data: "evil"}}, "", c.dir + "/b"},
		{"whiteout of dotdot", []entry{{name: ".wh..."}}, "leads out", ""},
		{"whiteout of dot", []entry{{name: "sub/.wh.."}}, "leads out", ""},
		{"whiteout of nothing", []entry{{name: ".wh."}}, "leads out", ""},
		{"whiteout through a link", []entry{link("l", c.dir), {name: "l/.wh.file"}}, "", ""},
		{"opaque through a link", []entry{link("l", c.dir), {name: "l/.wh..wh..opq"}}, "", ""},
		{"loop of links", []entry{link("a", "b"), link("b", "a"), {name: "a/x", data: "evil"}}, "too many levels", ""},
		{"file as parent", []entry{{name: "f", data: "x"}, {name: "f/x", data: "evil"}}, "not a directory", ""},
		{"root as a file", []entry{{name: ".", data: "evil"}}, "no directory", ""},
		{"root as a link", []entry{link(".", c.dir)}, "no directory", ""},
		{"duplicates", []entry{{name: "x", data: "a"}, dirEntry("x", 0o755), {name: "x/y", data: "b"}, {name: "x", data: "evil"}}, "", "x"},
		{"negative owner", []entry{{name: "x", uid: -1}}, "no user", ""},
		{"owner 2^32-1", []entry{{name: "x", gid: 1<<32 - 1}}, "no user", ""},
		{"device out of range", []entry{{name: "x", kind: tar.TypeBlock, dev: [2]int64{1 << 20, 1}}}, "out of range", ""},
		{"long name", []entry{{name: strings.Repeat("n", 300), data: "x"}}, "name too long", ""},
		{"long path", []entry{{name: strings.Repeat("d/", 3000) + "x", data: "x"}}, "name too long", ""},
		{"below a whiteout", []entry{{name: ".wh.x/y", data: "evil"}}, "below a whiteout", ""},
		{"overlay attributes", []entry{{name: "x", pax: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.overlay.opaque": "y"}}}, "", ""},
		{"unknown type", []entry{{name: "x", kind: 'Z'}}, "unknown entry type", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := unpack(bytes.NewReader(tarOf(t, test.entries...)), dir, Limits{})
			c.check(t)
			switch {
			case test.err == "" && err != nil:
				t.Fatal(err)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Fatalf("error %v, want one with %q", err, test.err)
			}
			if test.inside != "" {
				if data, err := os.ReadFile(filepath.Join(dir, test.inside)); string(data) != "evil" {
					t.Errorf("%s in the layer: %q %v", test.inside, data, err)
				}
			}
		})
	}
}

func TestUnpackDropsForeignAttributes(t *testing.T) {
	dir := t.TempDir()
	raw := tarOf(t, entry{name: "x", pax: map[string]string{
		"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.security.selinux": "s", "SCHILY.xattr.user.mine": "m",
	}})
	if _, err := unpack(bytes.NewReader(raw), dir, Limits{}); err != nil {
		t.Fatal(err)
	}
	list := make([]byte, 1000)
	n, err := unix.Llistxattr(filepath.Join(dir, "x"), list)
	if have := string(list[:max(n, 0)]); err != nil || have != "user.mine\x00" {
		t.Errorf("attributes %q %v, want user.mine alone", have, err)
	}
}

func TestUnpackWhiteouts(t *testing.T) {
	dir := t.TempDir()
	out, err := unpack(bytes.NewReader(tarOf(t,
		entry{name: "etc/.wh.gone"}, dirEntry("opq", 0o755), entry{name: "opq/.wh..wh..opq"}, entry{name: "opq/x"},
		dirEntry("new", 0o755), entry{name: ".wh.new"}, entry{name: "new/x"}, // the new one stays, the old one below does not
		entry{name: ".wh.old"}, dirEntry("old", 0o755), entry{name: "old/x"},
		entry{name: ".wh.imp"}, entry{name: "imp/x"}, entry{name: ".wh.file"}, entry{name: "file"},
		entry{name: ".wh..wh.plnk/1.2"}, entry{name: ".wh..wh.aufs"},
		entry{name: "dev0", kind: tar.TypeChar},
	)), dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"etc/gone": "whiteout", "dev0": "whiteout", "opq": "opaque", "new": "opaque", "old": "opaque", "imp": "opaque", "etc": "dir", "file": "file", "new/x": "file",
	} {
		full := filepath.Join(dir, path)
		info, err := os.Lstat(full)
		have := "nothing"
		switch {
		case err != nil:
		case isWhiteout(full, info):
			have = "whiteout"
		case info.IsDir() && isOpaque(full):
			have = "opaque"
		case info.IsDir():
			have = "dir"
		default:
			have = "file"
		}
		if have != want {
			t.Errorf("%s is %s, want %s", path, have, want)
		}
	}
	if !out.implied["etc"] || !out.implied["imp"] || !out.implied[""] || out.implied["opq"] {
		t.Errorf("implied directories: %v", out.implied)
	}
	if found, err := filepath.Glob(dir + "/.wh*"); err != nil || len(found) > 0 {
		t.Errorf("left: %v %v", found, err)
	}
}

// A dangling link may lead to a directory of a layer below.
func TestUnpackThroughADanglingLink(t *testing.T) {
	dir := t.TempDir()
	out, err := unpack(bytes.NewReader(tarOf(t, entry{name: "var/run", kind: tar.TypeSymlink, link: "/run"}, entry{name: "var/run/x/y", data: "y"})), dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "run/x/y")); string(data) != "y" {
		t.Errorf("%q %v", data, err)
	}
	if !out.implied["run"] || !out.implied["run/x"] {
		t.Errorf("implied: %v", out.implied)
	}
}

func TestUnpackTimes(t *testing.T) {
	dir := t.TempDir()
	when := time.Unix(1234567890, 123456789)
	raw := tarOf(t, entry{name: "d", kind: tar.TypeDir, mode: 0o755, time: when}, entry{name: "d/f", time: when},
		entry{name: "d/l", kind: tar.TypeSymlink, link: "x", time: when}, entry{name: "d/p", kind: tar.TypeFifo, time: when},
		entry{name: ".", kind: tar.TypeDir, mode: 0o711, time: when})
	if _, err := unpack(bytes.NewReader(raw), dir, Limits{}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"d", "d/f", "d/l", "d/p", "."} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, path), &st); err != nil || st.Mtim.Nano() != when.UnixNano() {
			t.Errorf("%s: time %v %v, want %v", path, time.Unix(0, st.Mtim.Nano()), err, when)
		}
	}
	assertMode(t, dir, fs.ModeDir|0o711)
}

func TestUnpackSparse(t *testing.T) {
	src, dir := t.TempDir(), t.TempDir()
	f, err := os.Create(filepath.Join(src, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("end"), 64<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(tarDir(t, src, "--sparse", "--format=posix"))
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 1<<20 {
		t.Fatalf("the tar of a sparse file has %d bytes", len(raw))
	}
	if _, err := unpack(bytes.NewReader(raw), dir, Limits{}); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "sparse"), &st); err != nil || st.Size != 64<<20+3 || st.Blocks*512 > 2<<20 {
		t.Errorf("size %d, %d blocks, %v", st.Size, st.Blocks, err)
	}
	if _, err := unpack(bytes.NewReader(raw), t.TempDir(), Limits{Bytes: 1 << 20}); err == nil {
		t.Error("a sparse file larger than the limit was unpacked")
	}
}

func TestUnpackLimits(t *testing.T) {
	raw := tarOf(t, entry{name: "a", data: strings.Repeat("a", 1000)}, entry{name: "b", data: strings.Repeat("b", 1000)})
	for _, limits := range []Limits{{Bytes: 1500}, {Entries: 1}, {Reserve: 1 << 60}} {
		if _, err := unpack(bytes.NewReader(raw), t.TempDir(), limits); err == nil {
			t.Errorf("%+v did not hold", limits)
		}
	}
	if _, err := unpack(bytes.NewReader(raw), t.TempDir(), Limits{Reserve: 1 << 60}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("no space: %v", err)
	}
	for cut := 1; cut < 512+1000; cut += 37 { // in the first header and file; a later cut the diff ID tells
		if _, err := unpack(bytes.NewReader(raw[:cut]), t.TempDir(), Limits{}); err == nil {
			t.Fatalf("a tar cut at %d was unpacked", cut)
		}
	}
}

// A header may say that gigabytes of names or attributes follow it.
func TestUnpackHugeHeader(t *testing.T) {
	for _, kind := range []byte{tar.TypeXHeader, tar.TypeGNULongName, tar.TypeGNULongLink} {
		block := make([]byte, 512)
		copy(block, "x")
		copy(block[100:], "0000644\x000000000\x000000000\x00")
		copy(block[124:], "77777777777\x0000000000000\x00        ")
		block[156] = kind
		copy(block[257:], "ustar\x0000")
		sum := 0
		for _, b := range block {
			sum += int(b)
		}
		copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := unpack(io.MultiReader(bytes.NewReader(block), endless{}), t.TempDir(), Limits{})
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), "bad tar") {
			t.Errorf("type %c: %v", kind, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
			t.Errorf("type %c: %d bytes of memory", kind, used)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// FuzzUnpack proves that no layer changes what lies outside its directory, and that what it makes can be removed.
func FuzzUnpack(f *testing.F) {
	f.Add(tarOf(f, dirEntry("a", 0o755), entry{name: "a/b", data: "b"}, entry{name: "l", kind: tar.TypeSymlink, link: "../.."}, entry{name: "l/x", data: "x"}))
	f.Add(tarOf(f, entry{name: "a", data: "a"}, entry{name: "h", kind: tar.TypeLink, link: "a"}, entry{name: ".wh.a"}, entry{name: "d/.wh..wh..opq"}))
	f.Add(tarOf(f, entry{name: "p", kind: tar.TypeFifo}, entry{name: "c", kind: tar.TypeChar, dev: [2]int64{1, 3}}, entry{name: "x", pax: map[string]string{"SCHILY.xattr.user.x": "y"}}))
	c := newCanary(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		layer := filepath.Join(dir, "layer")
		if err := os.Mkdir(layer, 0o755); err != nil {
			t.Fatal(err)
		}
		out, err := unpack(bytes.NewReader(raw), layer, Limits{Bytes: 1 << 20, Entries: 100})
		if err == nil {
			if err := inherit(layer, out, Root{Lower: []string{c.dir}}); err != nil {
				t.Log(err)
			}
		}
		c.check(t)
		if left := globbed(t, dir); len(left) != 1 {
			t.Errorf("beside the layer: %v", left)
		}
	})
}

// FuzzArchive proves that no archive makes the reader of an archive panic or read what is not in it.
func FuzzArchive(f *testing.F) {
	f.Add(tarOf(f, entry{name: "manifest.json", data: `[{"Config":"c","RepoTags":["a:b"],"Layers":["l"]}]`}, entry{name: "c", data: `{"rootfs":{"diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}`}, entry{name: "l", kind: tar.TypeSymlink, link: "c"}))
	f.Add(tarOf(f, entry{name: "index.json", data: `{"manifests":[]}`}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		file := filepath.Join(t.TempDir(), "archive")
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		tree, err := openStore(t).openArchive(file)
		if err != nil {
			return
		}
		defer tree.Close()
		images, err := archiveImages(tree)
		if err != nil {
			return
		}
		for _, img := range images {
			doc, err := img.src.Root(t.Context())
			if err != nil {
				continue
			}
			for _, l := range doc.Layers {
				if body, err := img.src.Blob(t.Context(), l, 0); err == nil {
					io.Copy(io.Discard, io.LimitReader(body, 1<<20))
					body.Close()
				}
			}
		}
	})
}

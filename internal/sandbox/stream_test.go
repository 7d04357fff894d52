package sandbox

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A tar of a tree, put into another, is that tree: content, modes, times, links.
func TestStream(t *testing.T) {
	stamp := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	from := t.TempDir()
	os.MkdirAll(from+"/dir/sub", 0o750)
	write(t, from+"/dir/sub/file", "text")
	os.Chmod(from+"/dir/sub/file", 0o711)
	os.Symlink("/dir/sub/file", from+"/dir/link")
	unix.Mkfifo(from+"/dir/fifo", 0o600)
	os.Chtimes(from+"/dir/sub/file", stamp, stamp)
	os.Chtimes(from+"/dir/sub", stamp, stamp)
	for source, want := range map[string]string{"/dir": "/in/dir/", "/dir/.": "/in/", "/": "/in/dir/", "/dir/sub/../link": "/in/"} {
		to := t.TempDir()
		os.Mkdir(to+"/in", 0o755)
		var b bytes.Buffer
		var skipped []string
		o := CopyOptions{Skipped: func(s string) { skipped = append(skipped, s) }}
		if err := Send(tree(t, from), source, &b, o); err != nil {
			t.Fatal(err)
		}
		if err := Receive(&b, tree(t, to), "/in", o); err != nil {
			t.Fatal(err)
		}
		if leads, err := os.Readlink(to + want + "link"); err != nil || leads != "/dir/sub/file" {
			t.Errorf("%s: link to %q, %v", source, leads, err)
		}
		if strings.HasSuffix(source, "link") {
			continue
		}
		text, err := os.ReadFile(to + want + "sub/file")
		if err != nil || string(text) != "text" {
			t.Errorf("%s: %q, %v", source, text, err)
		}
		for name, mode := range map[string]os.FileMode{"sub/file": 0o711, "sub": 0o750 | os.ModeDir} {
			if info, err := os.Stat(to + want + name); err != nil || info.Mode() != mode || !info.ModTime().Equal(stamp) {
				t.Errorf("%s: %s: %v, %v", source, name, info, err)
			}
		}
		if len(skipped) != 1 || !strings.HasSuffix(skipped[0], "fifo") {
			t.Errorf("%s: skipped %q", source, skipped)
		}
	}
	for source, wrong := range map[string]string{
		"/none": "cannot copy /none: /none: no such file or directory", "/dir/fifo/.": "cannot copy /dir/fifo/.: /dir/fifo/.: not a directory",
	} {
		if err := Send(tree(t, from), source, io.Discard, CopyOptions{}); err == nil || err.Error() != wrong {
			t.Errorf("%s: %v", source, err)
		}
	}
}

// archive is a tar of entries.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = 4
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			w.Write([]byte("text"))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReceive(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644} }
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}
	}
	hard := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
	}
	dir := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755} }
	for name, c := range map[string]struct {
		tar   []byte
		made  string // below the tree's root
		wrong string
	}{
		"plain":                       {archive(t, file("a")), "/in/a", ""},
		"absolute":                    {archive(t, file("/a")), "/in/a", ""},
		"without its directories":     {archive(t, file("a/b/c")), "/in/a/b/c", ""},
		"over what is there":          {archive(t, file("old")), "/in/old", ""},
		"over a link":                 {archive(t, file("link")), "/in/link", ""},
		"into a linked directory":     {archive(t, dir("out"), file("out/a")), "/etc/a", ""},
		"through a link of its own":   {archive(t, link("l", "../../../../etc"), file("l/a")), "/etc/a", ""},
		"a link of its own, replaced": {archive(t, link("l", "/etc/passwd"), file("l")), "/in/l", ""},
		"a hard link":                 {archive(t, file("a"), hard("b", "a")), "/in/b", ""},
		"nothing at all":              {nil, "", ""},
		"up":                          {archive(t, file("../a")), "", `cannot copy to /in: entry "../a": its name leads out`},
		"up, later":                   {archive(t, file("a/../../b")), "", `cannot copy to /in: entry "a/../../b": its name leads out`},
		"a hard link up":              {archive(t, hard("b", "../etc/passwd")), "", `cannot copy to /in: entry "b": hard link to "../etc/passwd": the name leads out`},
		"a hard link to nothing":      {archive(t, hard("b", "a")), "", `cannot copy to /in: entry "b": hard link to "a": no such file or directory`},
		"a dangling directory":        {archive(t, link("l", "nowhere"), file("l/a")), "", `cannot copy to /in: entry "l/a": file exists`},
		"a file over a directory":     {archive(t, file("sub")), "", `cannot copy to /in: entry "sub": is a directory`},
		"a directory over a file":     {archive(t, dir("old"), file("old/a")), "", `cannot copy to /in: entry "old/a": not a directory`},
		"no tar":                      {bytes.Repeat([]byte("x"), 2000), "", "cannot copy to /in: not a tar: archive/tar: invalid tar header"},
		"cut short":                   {archive(t, file("a"))[:514], "", `cannot copy to /in: entry "a": unexpected EOF`},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for _, d := range []string{"/in/sub", "/etc"} {
				os.MkdirAll(root+d, 0o755)
			}
			write(t, root+"/etc/passwd", "untouched")
			write(t, root+"/in/old", "older")
			os.Symlink("/etc/passwd", root+"/in/link")
			os.Symlink("/etc", root+"/in/out")
			err := Receive(bytes.NewReader(c.tar), tree(t, root), "/in", CopyOptions{})
			if c.wrong != "" {
				if err == nil || err.Error() != c.wrong {
					t.Errorf("error %v, want %s", err, c.wrong)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if c.made != "" {
				if text, err := os.ReadFile(root + c.made); err != nil || string(text) != "text" {
					t.Errorf("%q, %v", text, err)
				}
			}
			if text, err := os.ReadFile(root + "/etc/passwd"); err != nil || string(text) != "untouched" {
				t.Errorf("passwd: %q, %v", text, err)
			}
		})
	}
	if err := Receive(strings.NewReader(""), tree(t, t.TempDir()), "/in", CopyOptions{}); err == nil || err.Error() != "cannot copy to /in: /in: no such file or directory" {
		t.Errorf("without a folder: %v", err)
	}
}

// Whatever a tar says, nothing beside the tree is written.
func FuzzReceive(f *testing.F) {
	f.Add(archive(f, tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "../.."}, tar.Header{Typeflag: tar.TypeReg, Name: "l/beside", Mode: 0o644}))
	f.Add(archive(f, tar.Header{Typeflag: tar.TypeReg, Name: "../../beside"}, tar.Header{Typeflag: tar.TypeLink, Name: "x", Linkname: "../../mark"}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		os.MkdirAll(dir+"/root/in", 0o755)
		write(t, dir+"/mark", "untouched")
		_ = Receive(io.LimitReader(bytes.NewReader(raw), 1<<16), tree(t, dir+"/root"), "/in", CopyOptions{Archive: true})
		entries, err := os.ReadDir(dir)
		text, rerr := os.ReadFile(dir + "/mark")
		if err != nil || rerr != nil || len(entries) != 2 || string(text) != "untouched" {
			t.Errorf("beside the tree: %v, %q", entries, text)
		}
	})
}

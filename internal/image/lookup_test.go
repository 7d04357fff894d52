package image

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// layerDirs makes lower directories, topmost first, with the files told by path. "->x" makes a link to x, "!" a whiteout,
// a path with a trailing "/" and the value "opaque" an opaque directory.
func layerDirs(t *testing.T, layers ...map[string]string) []string {
	t.Helper()
	var dirs []string
	for _, files := range layers {
		dir := t.TempDir()
		dirs = append(dirs, dir)
		for path, data := range files {
			full := filepath.Join(dir, path)
			if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
				t.Fatal(err)
			}
			var err error
			switch {
			case data == "!":
				err = unix.Mknod(full, unix.S_IFCHR, 0)
			case data == "fifo":
				err = unix.Mkfifo(full, 0o644)
			case data == "opaque":
				if err = os.MkdirAll(full, 0o755); err == nil {
					err = unix.Setxattr(full, opaqueXattr, []byte("y"), 0)
				}
			case len(data) > 2 && data[:2] == "->":
				err = os.Symlink(data[2:], full)
			default:
				err = os.WriteFile(full, []byte(data), 0o644)
			}
			if errors.Is(err, unix.EPERM) {
				t.Skipf("this file system holds no whiteouts: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return dirs
}

func TestReadMerged(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "canary"), []byte("host"), 0o644); err != nil {
		t.Fatal(err)
	}
	root := Root{Lower: layerDirs(t,
		map[string]string{
			"etc/gone": "!", "etc/hosts": "top", "opq/": "opaque", "opq/new": "new", "data": "file over a directory",
			"up": "->../../../../../../../.." + outside, "abs": "->" + outside + "/canary", "loop": "->loop", "pipe": "fifo",
			"link": "->/etc/../etc/./passwd", "twice": "->link",
		},
		map[string]string{
			"etc/gone": "here", "etc/hosts": "bottom", "etc/passwd": "root:x:0:0", "opq/old": "old", "data/x": "hidden",
			"deep/a/b": "b",
		},
	)}
	for _, test := range []struct {
		path, want string
		err        error
	}{
		{path: "/etc/hosts", want: "top"},
		{path: "etc/passwd", want: "root:x:0:0"},
		{path: "/../../etc/passwd", want: "root:x:0:0"},
		{path: "/link", want: "root:x:0:0"},
		{path: "/twice", want: "root:x:0:0"},
		{path: "/opq/new", want: "new"},
		{path: "/deep/a/b", want: "b"},
		{path: "/data", want: "file over a directory"},
		{path: "/data/x", err: unix.ENOTDIR},
		{path: "/etc/gone", err: fs.ErrNotExist},
		{path: "/opq/old", err: fs.ErrNotExist},
		{path: "/up/canary", err: fs.ErrNotExist},
		{path: "/abs", err: fs.ErrNotExist},
		{path: "/loop", err: unix.ELOOP},
		{path: "/", err: unix.EISDIR},
	} {
		got, err := readMerged(root, test.path, 1024)
		if string(got) != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: %q, %v; want %q, %v", test.path, got, err, test.want, test.err)
		}
	}
	for _, path := range []string{"/pipe", "/etc", "/deep/a"} {
		if got, err := readMerged(root, path, 1024); err == nil {
			t.Errorf("%s, which is no regular file, reads as %q", path, got)
		}
	}
	if got, err := readMerged(root, "/etc/passwd", 4); err == nil {
		t.Errorf("a file over the limit reads as %q", got)
	}
}

func TestDirImage(t *testing.T) {
	s := openStore(t)
	dir := layerDirs(t, map[string]string{"etc/passwd": "root:x:0:0", "dev-zero": "->/dev/zero"})[0]
	img, err := s.Ensure(t.Context(), "dir:"+dir, Never, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	root, err := s.Root(img, "x")
	if err != nil || len(root.Lower) != 1 || root.Lower[0] != dir {
		t.Fatalf("root %+v, %v", root, err)
	}
	if got, err := s.ReadFile(img, "/etc/passwd", 100); string(got) != "root:x:0:0" {
		t.Errorf("passwd %q %v", got, err)
	}
	if _, err := s.ReadFile(img, "/dev-zero", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link out of the image: %v", err)
	}
	if _, err := s.Ensure(t.Context(), "dir:"+dir+"/etc/passwd", Never, PullOptions{}); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file as dir: image: %v", err)
	}
}

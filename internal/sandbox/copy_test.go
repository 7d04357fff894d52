package sandbox

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tree makes a Tree of a directory.
func tree(t *testing.T, dir string) *Tree {
	t.Helper()
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &Tree{root: f}
}

// Between trees whose users have other numbers on the host, owners keep the number that they have inside.
func TestCopyOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("owners are given by root")
	}
	from, to := t.TempDir(), t.TempDir()
	write(t, from+"/file", "text")
	os.Chown(from+"/file", 1033, 1033)
	for _, d := range []string{to, to + "/private"} { // of a user of the tree's, closed to its root's host id
		os.MkdirAll(d, 0o700)
		os.Chown(d, 2033, 2033)
	}
	source, target := tree(t, from), tree(t, to)
	source.uid, source.gid, target.uid, target.gid = 1000, 1000, 2000, 2000
	var b bytes.Buffer
	for name, err := range map[string]error{
		"copied":   Copy(source, "/file", target, "/private/copied", CopyOptions{Archive: true}),
		"rooted":   Copy(source, "/file", target, "/private/rooted", CopyOptions{}),
		"streamed": errors.Join(Send(source, "/file", &b, CopyOptions{}), Receive(&b, target, "/private", CopyOptions{Archive: true})),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]uint32{"copied": 2033, "rooted": 2000, "file": 2033} {
		var st unix.Stat_t
		if err := unix.Stat(to+"/private/"+name, &st); err != nil || st.Uid != want || st.Gid != want {
			t.Errorf("%s: owner %d:%d, %v", name, st.Uid, st.Gid, err)
		}
	}
}

func TestCopy(t *testing.T) {
	stamp := time.Date(2001, 2, 3, 4, 5, 6, 7000, time.UTC)
	for _, c := range []struct{ name, source, target, want, wrong string }{
		{"file to a new name", "/dir/file", "/new", "/new", ""},
		{"file into a directory", "/dir/file", "/there", "/there/file", ""},
		{"file into a directory, with slash", "dir/file", "there/", "/there/file", ""},
		{"file over a file", "/dir/file", "/there/old", "/there/old", ""},
		{"file over a link in the tree", "/dir/file", "/there/link", "/there/old", ""},
		{"file through a directory link that leads out", "/dir/file", "/there/out/new", "/etc/new", ""},
		{"directory to a new name", "/dir", "/new", "/new/file", ""},
		{"directory into a directory", "/dir", "/there", "/there/dir/file", ""},
		{"what is in a directory", "/dir/.", "/there", "/there/file", ""},
		{"directory over a file", "/dir", "/there/old", "", "cannot copy /dir to /there/old: /there/old: it is a file, the source is a directory"},
		{"file below nothing", "/dir/file", "/no/where", "", "cannot copy /dir/file to /no/where: /no/where: no such file or directory"},
		{"file into a directory that is not there", "/dir/file", "/no/", "", "cannot copy /dir/file to /no/: /no/: no such file or directory"},
		{"nothing", "/none", "/new", "", "cannot copy /none to /new: /none: no such file or directory"},
		{"a way out", "/../../dir/file", "/../../new", "/new", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, to := t.TempDir(), t.TempDir()
			os.Mkdir(from+"/dir", 0o750)
			write(t, from+"/dir/file", "text")
			os.Chmod(from+"/dir/file", 0o711)
			os.Chtimes(from+"/dir/file", stamp, stamp)
			os.Symlink("file", from+"/dir/link")
			unix.Mkfifo(from+"/dir/fifo", 0o600)
			os.Mkdir(to+"/there", 0o755)
			os.Mkdir(to+"/etc", 0o755)
			write(t, to+"/there/old", "old text that is longer")
			os.Symlink("/there/old", to+"/there/link")
			os.Symlink("/../../etc", to+"/there/out")
			var skipped []string
			err := Copy(tree(t, from), c.source, tree(t, to), c.target, CopyOptions{Skipped: func(s string) { skipped = append(skipped, s) }})
			if c.wrong != "" {
				if err == nil || err.Error() != c.wrong {
					t.Fatalf("error %v, want %s", err, c.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(to + c.want)
			if err != nil || string(got) != "text" {
				t.Fatalf("copied %q, %v", got, err)
			}
			info, _ := os.Stat(to + c.want)
			if info.Mode() != 0o711 || !info.ModTime().Equal(stamp) {
				t.Errorf("mode %v, time %v", info.Mode(), info.ModTime())
			}
			if filepath.Base(filepath.Dir(c.want)) == "dir" {
				if to, err := os.Readlink(to + filepath.Dir(c.want) + "/link"); err != nil || to != "file" {
					t.Errorf("link %q, %v", to, err)
				}
				if len(skipped) != 1 || skipped[0] != "/dir/fifo" {
					t.Errorf("skipped %q", skipped)
				}
			}
		})
	}
}

package birth

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// A link that was put into the way of a mount's source is not followed (CVE-2021-25741).
func TestTreeWithoutLinks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "real/below"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for path, follows := range map[string]bool{"real/below": false, "link/below": true, "link": true} {
		o := plan.Open{Kind: plan.Tree, Path: filepath.Join(dir, path), Recursive: true, Propagation: unix.MS_PRIVATE}
		for _, o.NoFollow = range []bool{false, true} {
			fd, err := open(o, nil)
			switch {
			case follows && o.NoFollow:
				if !errors.Is(err, unix.ELOOP) {
					t.Errorf("%s: %v, want %v", path, err, unix.ELOOP)
				}
			case err != nil:
				t.Errorf("%s, NoFollow %v: %v", path, o.NoFollow, err)
			default:
				_ = unix.Close(fd)
			}
		}
	}
}

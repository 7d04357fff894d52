package container

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Attacks by somebody who changes the files of an image or a volume while a container is made of them. A container that
// cannot be made is as good as one that is inside; what ran must have found nothing of the host.

// volume is a directory with two names that are exchanged all the time: a directory and a link that leads out.
func volume(t *testing.T, way string) (dir string, stop func() int) {
	t.Helper()
	dir = t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a/sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(way, filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	return dir, swapper(t, dir, "a", "b")
}

// The target of a mount is exchanged for a link between its look-up and the mount. Not seen to fail without
// RESOLVE_IN_ROOT: the mount is made on the host's directory then, in a mount namespace that the container leaves. That the
// race is won is seen with the next one.
func TestCVE_2021_30465(t *testing.T) {
	c, host, root := newCanary(t), look(t), layers(t)
	ways := append(ways(c.dir), "/")
	for _, way := range ways {
		dir, stop := volume(t, way)
		ran := births(t, host, root, 2000/len(ways)+1, func(int) *specs.Spec {
			// What of the host it could see would be where the link leads, and what is mounted there would hide it.
			spec := cheap("sh", "-c", "test ! -e /vol/a/file && test ! -e "+c.dir+"/file")
			spec.Mounts = []specs.Mount{
				{Destination: "/vol", Type: "bind", Source: dir, Options: []string{"rbind"}},
				{Destination: "/vol/a/sub", Type: "tmpfs", Source: "tmpfs"},
				{Destination: "/vol/a", Type: "tmpfs", Source: "tmpfs"},
			}
			return spec
		})
		t.Logf("link to %s: %d ran, %d exchanges", way, ran, stop())
	}
	c.sings(t)
}

// A directory on the way to a mount's target is exchanged while what is missing of it is made. Seen to fail without
// RESOLVE_IN_ROOT.
func TestCVE_2024_45310(t *testing.T) {
	c, host, root := newCanary(t), look(t), layers(t)
	source := t.TempDir()
	for _, way := range ways(c.dir) {
		dir, stop := volume(t, way)
		ran := births(t, host, root, 100, func(i int) *specs.Spec {
			spec := cheap("true")
			spec.Mounts = []specs.Mount{
				{Destination: "/vol", Type: "bind", Source: dir, Options: []string{"rbind"}},
				{Destination: fmt.Sprintf("/vol/a/sub/new-%d/deep", i), Type: "bind", Source: source, Options: []string{"rbind"}},
				{Destination: fmt.Sprintf("/vol/a/file-%d", i), Type: "bind", Source: "/etc/hostname", Options: []string{"bind"}},
			}
			return spec
		})
		t.Logf("link to %s: %d ran, %d exchanges", way, ran, stop())
	}
	c.sings(t)
	if left, _ := os.ReadDir(source); len(left) > 0 {
		t.Errorf("%v is new on the host", left)
	}
}

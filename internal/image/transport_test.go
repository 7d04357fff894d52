package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// layoutOf writes an OCI layout with one image a tag.
func layoutOf(t *testing.T, images map[string]v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	l, err := ocilayout.Write(dir, emptyIndex())
	if err != nil {
		t.Fatal(err)
	}
	for tag, img := range images {
		if err := l.AppendImage(img, ocilayout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag})); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func tarDir(t *testing.T, dir string, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	out, err := exec.Command("tar", append([]string{"-C", dir, "-cf", file}, append(args, ".")...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("tar: %v %s", err, out)
	}
	return file
}

func TestTransports(t *testing.T) {
	one := imageOf(t, layerOf(t, tarOf(t, entry{name: "which", data: "one"})), zstdLayer(t, tarOf(t, entry{name: "x", data: "x"})))
	two := imageOf(t, layerOf(t, tarOf(t, entry{name: "which", data: "two"})))
	single, both := layoutOf(t, map[string]v1.Image{"v1": one}), layoutOf(t, map[string]v1.Image{"v1": one, "v2": two})
	docker := filepath.Join(t.TempDir(), "docker.tar")
	ref1, _ := name.ParseReference("example.com/one:1")
	ref2, _ := name.ParseReference("two:2")
	if err := tarball.MultiRefWriteToFile(docker, map[name.Reference]v1.Image{ref1: plainLayers(t, one), ref2: two}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ ref, want, err string }{
		{ref: "oci:" + single, want: "one"},
		{ref: "oci:" + single + ":v1", want: "one"},
		{ref: "oci:" + both + ":v2", want: "two"},
		{ref: "oci-archive:" + tarDir(t, single), want: "one"},
		{ref: "oci-archive:" + tarDir(t, both) + ":v2", want: "two"},
		{ref: "oci-archive:" + tarDir(t, single, "-z"), want: "one"},
		{ref: "docker-archive:" + docker + ":example.com/one:1", want: "one"},
		{ref: "docker-archive:" + docker + ":two:2", want: "two"},
		{ref: "docker-archive:" + docker + ":docker.io/library/two:2", want: "two"},
		{ref: "docker-archive:" + docker, err: "choose one of the names"},
		{ref: "docker-archive:" + docker + ":three", err: "no image with name"},
		{ref: "oci:" + both, err: "choose one of the tags"},
		{ref: "oci:" + both + ":v3", err: "no image with tag"},
		{ref: "oci:/nonexistent", err: "no such file"},
		{ref: "oci:", err: "bad image name"},
		{ref: "oci-archive:" + single, err: "not a regular file"},
		{ref: "docker-archive:/etc/passwd", err: "bad tar"},
		{ref: "dir:/nonexistent", err: "no such file"},
	} {
		s := openStore(t)
		img, err := s.Ensure(t.Context(), test.ref, Never, PullOptions{})
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: %v, want an error with %q", test.ref, err, test.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.ref, err)
			continue
		}
		if have := readAll(t, s, img, "/which"); have != test.want {
			t.Errorf("%s is image %s, want %s", test.ref, have, test.want)
		}
		again, err := s.Resolve(test.ref, PullOptions{})
		if err != nil || again.ID != img.ID {
			t.Errorf("%s is not found again: %v", test.ref, err)
		}
	}
}

// An archive that is run creates no name but its own (CVE-2026-50195).
func TestCVE_2026_50195(t *testing.T) {
	docker := filepath.Join(t.TempDir(), "docker.tar")
	ref, _ := name.ParseReference("nginx:latest")
	if err := tarball.WriteToFile(docker, ref, imageOf(t, layerOf(t, tarOf(t, entry{name: "x"})))); err != nil {
		t.Fatal(err)
	}
	s := openStore(t)
	mustPull(t, s, "docker-archive:"+docker, PullOptions{})
	list, err := s.List()
	if err != nil || len(list) != 1 || len(list[0].Names) != 1 || !strings.HasPrefix(list[0].Names[0], "docker-archive:") {
		t.Fatalf("%v %v", list, err)
	}
}

func TestOCIDirectoryLinksStayInside(t *testing.T) {
	dir := layoutOf(t, map[string]v1.Image{"v1": imageOf(t)})
	secret := filepath.Join(t.TempDir(), "index.json")
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secret, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "index.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, "index.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := openStore(t).Pull(t.Context(), "oci:"+dir, PullOptions{}); err == nil {
		t.Fatal("a link out of the layout was followed")
	}
}

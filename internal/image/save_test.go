package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestSaveAndLoad(t *testing.T) {
	r := newRegistry(t, nil)
	s, o := openStore(t), plainHTTP(t)
	one := imageOf(t, layerOf(t, tarOf(t, entry{name: "x", data: "one"})), zstdLayer(t, tarOf(t, entry{name: "y", data: "y"})))
	refOne, refTwo := r.push(t, "one:1", one), r.push(t, "two:2", imageOf(t, layerOf(t, tarOf(t, entry{name: "x", data: "two"}))))
	imgOne := mustPull(t, s, refOne, o)
	mustPull(t, s, refTwo, o)
	var saved, again bytes.Buffer
	for _, w := range []*bytes.Buffer{&saved, &again} {
		if err := s.Save(w, []string{refOne, refTwo}, o); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(saved.Bytes(), again.Bytes()) {
		t.Error("the same images were saved as different bytes")
	}
	other := openStore(t)
	list, err := other.Load(t.Context(), bytes.NewReader(saved.Bytes()), "", o)
	if err != nil || len(list) != 2 {
		t.Fatalf("load: %v %v", list, err)
	}
	got, err := other.Resolve(refOne, o)
	if err != nil || got.ID != imgOne.ID || got.Manifest != imgOne.Manifest || readAll(t, other, got, "/x") != "one" {
		t.Errorf("the loaded image is %+v, %v", got, err)
	}
	assertClean(t, s)
	assertClean(t, other)

	file := filepath.Join(t.TempDir(), "saved.tar")
	if err := os.WriteFile(file, saved.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	tag, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(file) })
	if err != nil || len(tag) != 2 || tag[0].RepoTags[0] != refOne {
		t.Errorf("as docker reads it: %+v %v", tag, err)
	}
	if _, err := exec.LookPath("skopeo"); err == nil {
		out, err := exec.Command("skopeo", "copy", "--insecure-policy", "oci-archive:"+file+":"+refOne, "dir:"+t.TempDir()).CombinedOutput()
		if err != nil {
			t.Errorf("skopeo does not read what was saved: %v %s", err, out)
		}
		out, err = exec.Command("skopeo", "copy", "--insecure-policy", "docker-archive:"+file+":"+refTwo, "dir:"+t.TempDir()).CombinedOutput()
		if err != nil {
			t.Errorf("skopeo does not read what was saved: %v %s", err, out)
		}
	}
}

func TestLoadNames(t *testing.T) {
	s := openStore(t)
	plain := tarDir(t, layoutOf(t, map[string]v1.Image{"v1": imageOf(t)}))
	f, err := os.Open(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := s.Load(t.Context(), f, "", PullOptions{}); err == nil || !strings.Contains(err.Error(), "has no name") {
		t.Errorf("an image without a name: %v", err)
	}
	list, err := s.Load(t.Context(), f, "app", PullOptions{})
	if err != nil || len(list) != 1 || !reflect.DeepEqual(list[0].Names, []string{"docker.io/library/app:latest"}) {
		t.Errorf("%v %v", list, err)
	}
	if _, err := s.Load(t.Context(), strings.NewReader("garbage"), "x", PullOptions{}); err == nil {
		t.Error("garbage was loaded")
	}
	assertClean(t, s)
}

func TestImport(t *testing.T) {
	s := openStore(t)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(tarOf(t, dirEntry("etc", 0o755), entry{name: "etc/x", data: "x"})); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	img, err := s.Import(t.Context(), &packed, ImportOptions{Name: "root:1", Config: ocispec.ImageConfig{Cmd: []string{"/bin/x"}}})
	if err != nil {
		t.Fatal(err)
	}
	if img.Names[0] != "docker.io/library/root:1" || img.Config.Config.Cmd[0] != "/bin/x" || readAll(t, s, img, "/etc/x") != "x" {
		t.Errorf("%+v", img)
	}
	if _, err := s.Import(t.Context(), strings.NewReader("garbage"), ImportOptions{Name: "bad"}); err == nil {
		t.Error("garbage was imported")
	} else {
		t.Log(err)
	}
	if n := len(globbed(t, s.blobs())); n != 3 {
		t.Errorf("%d blobs, want 3: the failed import left some", n)
	}
	assertClean(t, s)
}

func TestChange(t *testing.T) {
	var c ocispec.ImageConfig
	for _, line := range []string{
		`CMD ["/bin/nginx", "-g"]`, "entrypoint exec /x", "ENV A=b c", `ENV Q="quoted"`, "ENV OLD form", "EXPOSE 80 53/udp",
		`VOLUME ["/data"]`, "VOLUME /a /b", "USER 1:2", "WORKDIR /w", "LABEL k=v", "STOPSIGNAL SIGTERM",
	} {
		if err := Change(&c, line); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	want := ocispec.ImageConfig{
		Cmd: []string{"/bin/nginx", "-g"}, Entrypoint: []string{"/bin/sh", "-c", "exec /x"}, Env: []string{"A=b c", "Q=quoted", "OLD=form"},
		ExposedPorts: map[string]struct{}{"80/tcp": {}, "53/udp": {}}, Volumes: map[string]struct{}{"/data": {}, "/a": {}, "/b": {}},
		User: "1:2", WorkingDir: "/w", Labels: map[string]string{"k": "v"}, StopSignal: "SIGTERM",
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, want %+v", c, want)
	}
	for _, line := range []string{"", "CMD", "RUN x", "ENV", "ENV x", "LABEL =x"} {
		if err := Change(&c, line); err == nil {
			t.Errorf("%q was taken", line)
		}
	}
}

// CVE-2023-25153: an archive's index or config of gigabytes is refused before it is read.
func TestLoadHugeDocuments(t *testing.T) {
	for _, name := range []string{"index.json", "manifest.json"} {
		file := filepath.Join(t.TempDir(), "huge.tar")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(f)
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 10 << 30}); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(10<<30 + 2048); err != nil { // sparse
			t.Fatal(err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		s := openStore(t)
		if _, err := s.Load(t.Context(), f, "x", PullOptions{}); err == nil || !strings.Contains(err.Error(), "larger than") {
			t.Errorf("%s: %v", name, err)
		}
		f.Close()
		assertClean(t, s)
	}
}

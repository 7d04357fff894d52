package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	push "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"tripod/internal/registry"
)

// entry is one entry of a layer; what is not told is a regular file, mode 0644, of root.
type entry struct {
	name string
	kind byte
	mode int64
	data string
	link string
	uid  int
	gid  int
	time time.Time
	dev  [2]int64
	pax  map[string]string
}

func dirEntry(name string, mode int64) entry { return entry{name: name, kind: tar.TypeDir, mode: mode} }

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{
			Name: e.name, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.data)), Linkname: e.link, Uid: e.uid, Gid: e.gid,
			ModTime: e.time, Devmajor: e.dev[0], Devminor: e.dev[1], PAXRecords: e.pax, Format: tar.FormatPAX,
		}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if e.mode == 0 {
			h.Mode = 0o644
		}
		if e.time.IsZero() {
			h.ModTime = time.Unix(1700000000, 0)
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func layerOf(t testing.TB, raw []byte, options ...tarball.LayerOption) v1.Layer {
	t.Helper()
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
	l, err := tarball.LayerFromOpener(open, append([]tarball.LayerOption{tarball.WithMediaType(types.OCILayer)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func zstdLayer(t testing.TB, raw []byte) v1.Layer {
	return layerOf(t, raw, tarball.WithCompression(compression.ZStd), tarball.WithMediaType(types.OCILayerZStd))
}

func imageOf(t testing.TB, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layers...)
	if err != nil {
		t.Fatal(err)
	}
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", "amd64"
	file.Config.Cmd = []string{"/bin/x"}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

// testRegistry is a registry on loopback whose answers wrap may change.
type testRegistry struct {
	*httptest.Server
	host string
}

func newRegistry(t testing.TB, wrap func(http.Handler) http.Handler) *testRegistry {
	t.Helper()
	h := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		h = wrap(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &testRegistry{srv, strings.TrimPrefix(srv.URL, "http://")}
}

// push puts an image there and returns its full name.
func (r *testRegistry) push(t testing.TB, repo string, img push.Taggable) string {
	t.Helper()
	full := r.host + "/" + repo
	ref, err := name.ParseReference(full, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	switch x := img.(type) {
	case v1.Image:
		err = push.Write(ref, x)
	case v1.ImageIndex:
		err = push.WriteIndex(ref, x)
	default:
		err = push.Put(ref, x)
	}
	if err != nil {
		t.Fatal(err)
	}
	return full
}

// plainHTTP are options for a test registry: it speaks HTTP, and the host's own files say nothing.
func plainHTTP(t testing.TB) PullOptions {
	return PullOptions{Registry: registry.Options{Insecure: true, Idle: 5 * time.Second, RegistriesConf: "/dev/null", AuthFile: t.TempDir() + "/none.json"}}
}

// noise is a file that does not compress.
func noise(seed uint64, size int) string {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(data)
	return string(data)
}

func mustPull(t testing.TB, s *Store, ref string, o PullOptions) *Image {
	t.Helper()
	img, err := s.Pull(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func readAll(t testing.TB, s *Store, img *Image, path string) string {
	t.Helper()
	data, err := s.ReadFile(img, path, 1<<30)
	if err != nil {
		return fmt.Sprintf("error: %v", err)
	}
	return string(data)
}

func emptyIndex() v1.ImageIndex { return mutate.IndexMediaType(empty.Index, types.OCIImageIndex) }

// plainLayers is an image with the same content and uncompressed layers.
func plainLayers(t testing.TB, img v1.Image) v1.Image {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var plain []v1.Layer
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		plain = append(plain, layerOf(t, raw))
	}
	return imageOf(t, plain...)
}

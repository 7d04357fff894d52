package image

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"golang.org/x/sys/unix"

	"tripod/internal/registry"
)

// shelf is a registry of blobs and one manifest, which may lie.
type shelf struct {
	blobs       map[digest.Digest][]byte
	manifest    []byte
	contentType string
}

func (s *shelf) put(data []byte) digest.Digest {
	d := digest.FromBytes(data)
	s.blobs[d] = data
	return d
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch i := strings.LastIndexByte(r.URL.Path, '/'); {
	case r.URL.Path == "/v2/":
	case strings.Contains(r.URL.Path, "/manifests/"):
		w.Header().Set("Content-Type", s.contentType)
		w.Write(s.manifest)
	case s.blobs[digest.Digest(r.URL.Path[i+1:])] != nil:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.blobs[digest.Digest(r.URL.Path[i+1:])]))
	default:
		http.NotFound(w, r)
	}
}

// crate is an image of raw layers, each as it travels and as its config says it unpacks.
type crate struct{ packed, raw []byte }

func newShelf(t *testing.T, layers ...crate) *shelf {
	t.Helper()
	s := &shelf{blobs: map[digest.Digest][]byte{}, contentType: ocispec.MediaTypeImageManifest}
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers"}}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: s.contentType}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(l.raw))
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: s.put(l.packed), Size: int64(len(l.packed))})
	}
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	m.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: s.put(data), Size: int64(len(data))}
	if s.manifest, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shelf) serve(t *testing.T) string {
	return newRegistry(t, func(http.Handler) http.Handler { return s }).host + "/bad:1"
}

func zipped(t testing.TB, raw []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Each bad image ends in one clear line, and leaves nothing in the store: no name, blob, snapshot, partial file or lock.
func TestPullBadImages(t *testing.T) {
	good := tarOf(t, entry{name: "x", data: noise(1, 100_000)})
	other := tarOf(t, entry{name: "x", data: noise(2, 100_000)})
	fine := crate{zipped(t, tarOf(t, entry{name: "fine"})), tarOf(t, entry{name: "fine"})}
	packed := zipped(t, good)
	zeros := bytes.Repeat([]byte{0}, 64<<20)
	bomb := tarOf(t, entry{name: "bomb", data: string(zeros)})
	var zbomb bytes.Buffer
	z, err := zstd.NewWriter(&zbomb)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(bomb); err != nil {
		t.Fatal(err)
	}
	z.Close()
	swap := func(s *shelf, with []byte) *shelf {
		for d, data := range s.blobs {
			if bytes.Equal(data, packed) {
				s.blobs[d] = with
			}
		}
		return s
	}
	for _, test := range []struct {
		name string
		s    *shelf
		err  string
	}{
		{"wrong bytes", swap(newShelf(t, fine, crate{packed, good}), zipped(t, other)), ""},
		{"wrong bytes of the same size", swap(newShelf(t, crate{packed, good}), append(bytes.Clone(packed[:len(packed)-8]), "damaged!"...)), ""},
		{"too many bytes", swap(newShelf(t, crate{packed, good}), append(bytes.Clone(packed), "more"...)), "larger than its manifest says"},
		{"too few bytes", swap(newShelf(t, crate{packed, good}), packed[:len(packed)/2]), "unexpected EOF"},
		{"wrong diff ID", newShelf(t, fine, crate{packed, other}), "not what the image's config says"},
		{"no tar", newShelf(t, fine, crate{zipped(t, []byte("garbage")), []byte("garbage")}), "bad tar"},
		{"no gzip", newShelf(t, crate{[]byte("\x1f\x8bgarbage"), good}), "decompress"},
		{"gzip cut", newShelf(t, crate{packed[:len(packed)/2], good}), ""},
		{"gzip bomb", newShelf(t, crate{zipped(t, bomb), bomb}), "unpacks to more than"},
		{"zstd bomb", newShelf(t, crate{zbomb.Bytes(), bomb}), "unpacks to more than"},
		{"bomb after the end of the tar", newShelf(t, crate{zipped(t, append(bytes.Clone(good), zeros...)), append(bytes.Clone(good), zeros...)}), "unpacks to more than"},
		{"zstd with a window of gigabytes", newShelf(t, crate{[]byte("\x28\xb5\x2f\xfd\x00\xf8\x00\x00"), good}), "window size exceeded"},
		{"path traversal", newShelf(t, fine, crate{zipped(t, tarOf(t, entry{name: "../../x"})), tarOf(t, entry{name: "../../x"})}), "leads out"},
		{"more diff IDs than layers", func() *shelf {
			s := newShelf(t, fine)
			config := []byte(`{"os":"linux","rootfs":{"diff_ids":[]}}`)
			d := s.put(config)
			s.manifest = []byte(fmt.Sprintf(`{"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
				ocispec.MediaTypeImageConfig, d, len(config), ocispec.MediaTypeImageLayerGzip, digest.FromBytes(fine.packed), len(fine.packed)))
			return s
		}(), "config has 0 layers, its manifest 1"},
		{"config missing", func() *shelf {
			s := newShelf(t, fine)
			for d, data := range s.blobs {
				if data[0] == '{' {
					delete(s.blobs, d)
				}
			}
			return s
		}(), ""},
		{"windows", func() *shelf {
			s := newShelf(t)
			config := []byte(`{"os":"windows","rootfs":{"diff_ids":[]}}`)
			s.manifest = []byte(fmt.Sprintf(`{"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`, ocispec.MediaTypeImageConfig, s.put(config), len(config)))
			return s
		}(), "not for linux"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, o := openStore(t), plainHTTP(t)
			o.Limits.Bytes = 32 << 20
			_, err := s.Pull(t.Context(), test.s.serve(t), o)
			if err == nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, test.err)
			}
			t.Log(err)
			if test.name == "too few bytes" {
				if _, err := s.Prune(PruneOptions{}); err != nil { // kept for resuming, until then
					t.Error(err)
				}
			}
			assertClean(t, s)
			for _, dir := range []string{s.names(), s.blobs(), s.snapshots, s.leases()} {
				if left := globbed(t, dir); len(left) > 0 {
					t.Errorf("left in %s: %v", dir, left)
				}
			}
		})
	}
}

func TestPullNoSpace(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	ref := newRegistry(t, nil).push(t, "big:1", bigImage(t, 2, 8<<20))
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, reserve := range []int64{1, 64 << 20} {
		o := plainHTTP(t)
		o.Limits.Reserve = reserve
		if _, err := s.Pull(t.Context(), ref, o); !errors.Is(err, unix.ENOSPC) || strings.Contains(err.Error(), "\n") {
			t.Errorf("reserve %d: %v, want one line of no space", reserve, err)
		}
		assertClean(t, s)
		for _, dir := range []string{s.names(), s.blobs(), s.snapshots, s.leases()} {
			if left := globbed(t, dir); len(left) > 0 {
				t.Errorf("left in %s: %v", dir, left)
			}
		}
	}
}

// A signed schema 1 manifest, as the images of 2014 have: layers topmost first, an empty one among them, no sizes.
func TestPullSchema1(t *testing.T) {
	base, top := tarOf(t, entry{name: "x", data: "base"}, entry{name: "y", data: "y"}), tarOf(t, entry{name: "x", data: "top"})
	s := &shelf{blobs: map[digest.Digest][]byte{}, contentType: manifest.DockerV2Schema1SignedMediaType}
	empty := s.put(zipped(t, tarOf(t)))
	id := func(c string) string { return strings.Repeat(c, 64) }
	history := func(parts ...string) map[string]string {
		return map[string]string{"v1Compatibility": "{" + strings.Join(parts, ",") + "}"}
	}
	unsigned, err := json.Marshal(map[string]any{
		"schemaVersion": 1, "name": "library/nginx", "tag": "1.7.9", "architecture": "amd64",
		"fsLayers": []map[string]string{{"blobSum": empty.String()}, {"blobSum": s.put(zipped(t, top)).String()}, {"blobSum": s.put(zipped(t, base)).String()}},
		"history": []map[string]string{
			history(`"id":"`+id("3")+`"`, `"parent":"`+id("2")+`"`, `"created":"2014-12-01T00:00:00Z"`, `"os":"linux"`, `"architecture":"amd64"`, `"throwaway":true`, `"config":{"Cmd":["nginx"],"Env":["A=b"]}`),
			history(`"id":"`+id("2")+`"`, `"parent":"`+id("1")+`"`, `"created":"2014-12-01T00:00:00Z"`),
			history(`"id":"`+id("1")+`"`, `"created":"2014-12-01T00:00:00Z"`),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.manifest, err = manifest.AddDummyV2S1Signature(unsigned); err != nil {
		t.Fatal(err)
	}
	store, o := openStore(t), plainHTTP(t)
	img := mustPull(t, store, s.serve(t), o)
	if readAll(t, store, img, "/x") != "top" || readAll(t, store, img, "/y") != "y" {
		t.Errorf("/x is %q", readAll(t, store, img, "/x"))
	}
	if len(img.Layers) != 2 || img.Config.Config.Cmd[0] != "nginx" || img.Config.Config.Env[0] != "A=b" || img.Created.Year() != 2014 {
		t.Errorf("%+v", img)
	}
	if want, _ := manifest.Digest(s.manifest); img.Digest != want {
		t.Errorf("digest %s, want that of the signed manifest %s", img.Digest, want)
	}
	assertClean(t, store)
	again := mustPull(t, store, s.serve(t), o)
	if again.ID != img.ID {
		t.Errorf("a second conversion has ID %s, the first %s", again.ID, img.ID)
	}
	if _, err := store.Prune(PruneOptions{}); err != nil || readAll(t, store, img, "/x") != "top" {
		t.Errorf("after prune: %v", err)
	}
}

// The real server: Debian's docker-registry, filled by the real client, with a mirror for docker.io as a host has it.
func TestPullFromDockerRegistry(t *testing.T) {
	server, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("docker-registry is not installed")
	}
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed")
	}
	dir := t.TempDir()
	port := freePort(t)
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s/data}}\nhttp: {addr: \"%s\"}\n", dir, port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(server, "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	waitFor(t, "http://"+port+"/v2/")
	image := imageOf(t, layerOf(t, tarOf(t, entry{name: "x", data: noise(1, 1<<20)})), layerOf(t, tarOf(t, entry{name: "y", data: "y"})))
	layout := layoutOf(t, map[string]v1.Image{"v1": image})
	for _, format := range []string{"oci", "v2s2"} {
		ref := port + "/library/nginx:" + format
		out, err := exec.Command(skopeo, "copy", "--insecure-policy", "--dest-tls-verify=false", "--format", format, "oci:"+layout+":v1", "docker://"+ref).CombinedOutput()
		if err != nil {
			t.Fatalf("skopeo: %v %s", err, out)
		}
	}
	conf := filepath.Join(dir, "registries.conf")
	text = fmt.Sprintf("[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"oci", "v2s2"} {
		s := openStore(t)
		img := mustPull(t, s, "nginx:"+format, PullOptions{Registry: registry.Options{RegistriesConf: conf, AuthFile: dir + "/none.json"}})
		if img.Names[0] != "docker.io/library/nginx:"+format || readAll(t, s, img, "/x") != noise(1, 1<<20) || readAll(t, s, img, "/y") != "y" {
			t.Errorf("%s: %v", format, img.Names)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	r := newRegistry(t, nil)
	r.Close()
	return r.host
}

func waitFor(t *testing.T, url string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if resp, err := http.Get(url); err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return
		}
	}
	t.Fatalf("%s does not answer", url)
}

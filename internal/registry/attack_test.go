package registry

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The attacks here bear the names of published faults of registries' clients and servers.

// containerd: credentials went to whoever a manifest or a registry named (see also skopeo's and BuildKit's).
func TestCVE_2020_15157(t *testing.T) {
	t.Run("layer of a foreign host", foreignLayer)
	t.Run("realm of a foreign host", foreignRealm)
}

// A manifest names a layer on another host, which asks for credentials.
func foreignLayer(t *testing.T) {
	foreign := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	withURL := strings.Replace(testManifest, `"size":3`, `"size":3,"urls":["`+foreign.URL+`/layer"]`, 1)
	withURL = strings.Replace(withURL, "application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", 1)
	user := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:secret"))
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != user:
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case strings.Contains(r.URL.Path, "/blobs/"):
			http.NotFound(w, r)
		case strings.Contains(r.URL.Path, "/manifests/"):
			serveManifest(w, withURL, oci)
		}
	})
	o := local(t)
	auth := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, s.host(), strings.TrimPrefix(user, "Basic "))
	if err := os.WriteFile(o.AuthFile, []byte(auth), 0o600); err != nil {
		t.Fatal(err)
	}
	ref, _ := Normalize(s.host() + "/x:1")
	src, err := Open(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	doc, err := src.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(doc.Layers[0].URLs) != 1 {
		t.Fatal("the test serves no foreign layer")
	}
	if _, err := src.Blob(t.Context(), doc.Layers[0], 0); err == nil {
		t.Error("a layer that the registry does not have was opened")
	}
	if len(s.authorized()) == 0 {
		t.Error("the registry itself was sent no credentials")
	}
	if len(foreign.seen) > 0 {
		t.Errorf("the foreign host was asked: %v", foreign.seen[0].URL)
	}
}

// A realm on another port is asked for a token, and sent only credentials that are for the registry it serves: none here.
func foreignRealm(t *testing.T) {
	realm := newServer(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"token":"t"}`) })
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="x"`, realm.URL))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		good(w, r)
	})
	o := local(t)
	if err := os.WriteFile(o.AuthFile, []byte(`{"auths":{"other.example.com":{"auth":"dXNlcjpzZWNyZXQ="}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := root(t, s.host()+"/x:1", o); err != nil {
		t.Fatal(err)
	}
	if got := realm.authorized(); len(got) > 0 || len(realm.seen) == 0 {
		t.Errorf("the realm was asked %d times, with %v", len(realm.seen), got)
	}
}

// OCI: one blob that is an index for one reader and an image for another.
func TestCVE_2021_41190(t *testing.T) {
	for _, test := range []struct{ name, body, contentType, err string }{
		{"both members", `{"schemaVersion":2,` + config + `,"layers":[` + layer + `],"manifests":[{"digest":"` + emptyHash + `","size":1}]}`, oci, "ambiguous"},
		{"both members, as an index", `{"schemaVersion":2,` + config + `,"layers":[],"manifests":[]}`, index, "ambiguous"},
		{"names in another case", `{"schemaVersion":2,` + config + `,"layers":[],"MANIFESTS":[]}`, oci, "ambiguous"},
		{"only a config beside the index", `{"schemaVersion":2,` + config + `,"manifests":[]}`, index, "ambiguous"},
		{"schema 1 beside schema 2", `{"schemaVersion":1,"fsLayers":[],` + config + `,"layers":[]}`, oci, "ambiguous"},
		{"own media type is another", `{"mediaType":"` + index + `",` + config + `,"layers":[]}`, oci, "was served as"},
		{"both media types are wrong", `{"mediaType":"` + index + `",` + config + `,"layers":[]}`, index, "members of another kind"},
	} {
		if _, err := ParseDocument([]byte(test.body), test.contentType, ""); err == nil || !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.err)
		}
	}
}

// distribution: what a manifest may be was not bounded. Here it is the client that is at stake: the server counts what was read of it.
func TestCVE_2017_11468(t *testing.T) {
	many := `{"schemaVersion":2,` + config + `,"layers":[` + strings.Repeat(layer+",", 10_000) + layer + `]}`
	indexed := `{"manifests":[` + strings.TrimSuffix(strings.Repeat(`{"digest":"`+emptyHash+`","size":1},`, maxManifests+1), ",") + `]}`
	deep := strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20)
	for _, test := range []struct {
		name, prefix string
		endless      bool
	}{
		{"1e4 layers", many, false},
		{"index of 4097", indexed, false},
		{"deep", `{"config":` + deep + `}`, false},
		{"1 GiB that is a manifest", `{"schemaVersion":2,` + config + `,"layers":[],"annotations":{"a":"`, true},
		{"1 GiB that is an index", `{"manifests":[],"annotations":{"a":"`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var sent atomic.Int64
			s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.URL.Path, "/manifests/") {
					return
				}
				serveManifest(w, test.prefix, oci)
				for block := bytes.Repeat([]byte("x"), 1<<20); test.endless && sent.Load() < 1<<30; {
					n, err := w.Write(block)
					if sent.Add(int64(n)); err != nil {
						return
					}
				}
			})
			if _, err := root(t, s.host()+"/x:1", local(t)); err == nil || strings.Contains(err.Error(), "\n") || len(err.Error()) > 500 {
				t.Errorf("error %v, want one line", err)
			}
			s.Close() // waits until the server has found that nobody reads
			if sent.Load() > 64<<20 {
				t.Errorf("%d bytes were read", sent.Load())
			}
		})
	}
}

// distribution: a number that a client sent was how much memory was taken. Here sizes come from the server.
func TestCVE_2023_2253(t *testing.T) {
	for _, size := range []string{"9223372036854775807", "-9223372036854775808", "1125899906842625", "1e30", "18446744073709551616"} {
		body := `{"schemaVersion":2,` + config + `,"layers":[` + strings.Replace(layer, `"size":3`, `"size":`+size, 1) + `]}`
		if _, err := ParseDocument([]byte(body), oci, ""); err == nil {
			t.Errorf("a layer of %s bytes was taken", size)
		}
	}
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(1<<62))
		_, _ = io.WriteString(w, "x")
	})
	ref, _ := Normalize(s.host() + "/x:1")
	if src, err := Open(t.Context(), ref, local(t)); err == nil {
		defer src.Close()
		if body, err := src.Blob(t.Context(), ocispec.Descriptor{Digest: digest.Digest(emptyHash), Size: 10}, 0); err == nil {
			data, err := io.ReadAll(body)
			body.Close()
			if err == nil || len(data) > 10 {
				t.Errorf("%d bytes of a blob of 10, %v", len(data), err)
			}
		}
	}
}

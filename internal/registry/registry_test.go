package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const testManifest = `{"schemaVersion":2,"mediaType":"` + oci + `",` + config + `,"layers":[` + layer + `]}`

// server is a registry that answers as told and remembers what it was asked.
type server struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
}

func newServer(t *testing.T, answer http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, r.Clone(context.Background()))
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.CloseClientConnections)
	return s
}

func (s *server) host() string { return strings.TrimPrefix(s.URL, "http://") }

// authorized are the Authorization headers that came.
func (s *server) authorized() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, r := range s.seen {
		if a := r.Header.Get("Authorization"); a != "" {
			out = append(out, a)
		}
	}
	return out
}

func serveManifest(w http.ResponseWriter, body, contentType string) {
	w.Header().Set("Content-Type", contentType)
	io.WriteString(w, body)
}

func good(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/v2/":
	case strings.Contains(r.URL.Path, "/manifests/"):
		serveManifest(w, testManifest, oci)
	default:
		http.NotFound(w, r)
	}
}

// conf writes a registries.conf.
func conf(t *testing.T, text string) string {
	t.Helper()
	t.Setenv("HOME", t.TempDir()) // no user's own aliases
	file := filepath.Join(t.TempDir(), "registries.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func local(t *testing.T) Options {
	return Options{Insecure: true, Idle: 3 * time.Second, RegistriesConf: conf(t, ""), AuthFile: filepath.Join(t.TempDir(), "none.json")}
}

func root(t *testing.T, name string, o Options) (*Document, error) {
	t.Helper()
	ref, err := Normalize(name)
	if err != nil {
		t.Fatal(err)
	}
	src, err := Open(t.Context(), ref, o)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { src.Close() })
	return src.Root(t.Context())
}

func TestCandidates(t *testing.T) {
	some := conf(t, `
unqualified-search-registries = ["one.example.com", "two.example.com"]
[aliases]
"short" = "quay.io/org/long"
`)
	none := conf(t, "")
	for _, test := range []struct{ conf, name, want string }{
		{none, "nginx", "docker.io/library/nginx:latest"},
		{none, "nginx:1.7.9", "docker.io/library/nginx:1.7.9"},
		{none, "org/app", "docker.io/org/app:latest"},
		{none, "localhost/app", "localhost/app:latest"},
		{none, "localhost:5000/app:1", "localhost:5000/app:1"},
		{none, "app@" + emptyHash, "docker.io/library/app@" + emptyHash},
		{some, "nginx:1", "one.example.com/nginx:1 two.example.com/nginx:1"},
		{some, "short:2", "quay.io/org/long:2"},
		{some, "docker.io/nginx", "docker.io/library/nginx:latest"},
		{none, "UPPER", "error"},
		{none, "a b", "error"},
		{none, "x\ny", "error"},
		{none, "../../etc", "error"},
		{none, "", "error"},
		{none, strings.Repeat("a", 300), "error"},
		{none, "x:" + strings.Repeat("t", 129), "error"},
	} {
		refs, err := Options{RegistriesConf: test.conf}.Candidates(test.name)
		var words []string
		for _, r := range refs {
			words = append(words, r.String())
		}
		have := strings.Join(words, " ")
		if err != nil {
			have = "error"
		}
		if have != test.want {
			t.Errorf("%q: %s (%v), want %s", test.name, have, err, test.want)
		}
	}
}

func TestMirrorsAndBlocks(t *testing.T) {
	s := newServer(t, good)
	dead := httptest.NewServer(nil)
	dead.Close()
	o := Options{Idle: 3 * time.Second, RegistriesConf: conf(t, fmt.Sprintf(`
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "%s/gone"
insecure = true
[[registry.mirror]]
location = "%s/mirror"
insecure = true

[[registry]]
location = "blocked.example.com"
blocked = true

[[registry]]
prefix = "name.example.com"
location = "%s/rewritten"
insecure = true
`, strings.TrimPrefix(dead.URL, "http://"), s.host(), s.host()))}
	if doc, err := root(t, "nginx:1.7.9", o); err != nil || doc.Digest != digest.FromString(testManifest) {
		t.Errorf("through a mirror: %v", err)
	}
	if path := s.seen[len(s.seen)-1].URL.Path; path != "/v2/mirror/library/nginx/manifests/1.7.9" {
		t.Errorf("the mirror was asked for %s", path)
	}
	if _, err := root(t, "name.example.com/x/y:1", o); err != nil {
		t.Errorf("rewritten: %v", err)
	}
	if path := s.seen[len(s.seen)-1].URL.Path; path != "/v2/rewritten/x/y/manifests/1" {
		t.Errorf("rewritten to %s", path)
	}
	none := Options{Idle: 3 * time.Second, RegistriesConf: conf(t, fmt.Sprintf(`
[[registry]]
prefix = "own.example.com"
location = "%s/refused"
insecure = true
[[registry.mirror]]
location = "%s/gone"
insecure = true
[[registry.mirror]]
location = "%s/away"
insecure = true
`, dead.Listener.Addr(), dead.Listener.Addr(), dead.Listener.Addr()))}
	_, err := root(t, "own.example.com/x:1", none)
	want := "cannot pull image own.example.com/x:1: "
	for _, place := range []string{dead.Listener.Addr().String() + "/gone/x:1", dead.Listener.Addr().String() + "/away/x:1", dead.Listener.Addr().String() + "/refused/x:1"} {
		want += place + ": dial tcp " + dead.Listener.Addr().String() + ": connect: connection refused; "
	}
	if err == nil || err.Error()+"; " != want {
		t.Errorf("where all fail: %v, want %s", err, want)
	}
	if _, err := root(t, "blocked.example.com/x", o); err == nil || !strings.Contains(err.Error(), "blocked") {
		t.Errorf("blocked: %v", err)
	}
}

func TestBadAnswers(t *testing.T) {
	huge := `{"x":"` + strings.Repeat("x", 5<<20) + `"}`
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		err    string
	}{
		{"garbage", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "\x00\x01garbage") }, "not JSON"},
		{"html", func(w http.ResponseWriter, r *http.Request) { serveManifest(w, "<html>", "text/html") }, "not JSON"},
		{"huge", func(w http.ResponseWriter, r *http.Request) { serveManifest(w, huge, oci) }, ""},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := io.WriteString(w, strings.Repeat("x", 1<<16)); err != nil {
					return
				}
			}
		}, ""},
		{"500", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }, "500"},
		{"404", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }, ""},
		{"401 with nothing", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }, ""},
		{"cut", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, "{")
			panic(http.ErrAbortHandler)
		}, "EOF"},
		{"redirects for ever", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, "redirects"},
		{"other content type", func(w http.ResponseWriter, r *http.Request) { serveManifest(w, testManifest, docker2) }, "was served as"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v2/" {
					test.answer(w, r)
				}
			})
			_, err := root(t, s.host()+"/x:1", local(t))
			if err == nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, test.err)
			}
		})
	}
}

func TestStalls(t *testing.T) {
	release := make(chan struct{})
	var stallBlob atomic.Bool
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v2/":
		case strings.Contains(r.URL.Path, "/blobs/"):
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			<-release
		case stallBlob.Load():
			serveManifest(w, testManifest, oci)
		default:
			<-release
		}
	})
	defer close(release)
	o := local(t)
	o.Idle = 200 * time.Millisecond
	if _, err := root(t, s.host()+"/x:1", o); !errors.Is(err, ErrStalled) {
		t.Errorf("manifest: %v, want ErrStalled", err)
	}
	stallBlob.Store(true)
	ref, _ := Normalize(s.host() + "/x:1")
	src, err := Open(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	body, err := src.Blob(t.Context(), ocispec.Descriptor{Digest: emptyHash, Size: 100}, 0)
	if err == nil {
		_, err = io.ReadAll(body)
		body.Close()
	}
	if !errors.Is(err, ErrStalled) {
		t.Errorf("blob: %v, want ErrStalled", err)
	}
}

func TestBlobIsBounded(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			io.WriteString(w, strings.Repeat("x", 1000))
			return
		}
		good(w, r)
	})
	ref, _ := Normalize(s.host() + "/x:1")
	src, err := Open(t.Context(), ref, local(t))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	body, err := src.Blob(t.Context(), ocispec.Descriptor{Digest: emptyHash, Size: 10}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if data, err := io.ReadAll(body); err == nil || len(data) > 10 {
		t.Errorf("%d bytes of a blob of 10, %v", len(data), err)
	}
}

// A blob whose pull was given up before it began is an error, not a body of nothing.
func TestBlobOfTheCancelled(t *testing.T) {
	s := newServer(t, good)
	ref, _ := Normalize(s.host() + "/x:1")
	src, err := Open(t.Context(), ref, local(t))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if body, err := src.Blob(ctx, ocispec.Descriptor{Digest: emptyHash, Size: 10}, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", body, err)
	}
}

func TestUnauthorized(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	if _, err := root(t, s.host()+"/x:1", local(t)); err == nil || !strings.Contains(err.Error(), "authentication required") && !strings.Contains(err.Error(), "unauthorized") {
		t.Errorf("%v", err)
	}
}

package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tripod/internal/objects"
)

// fixture is a server over a store of its own, asked by HTTP.
type fixture struct {
	t    testing.TB
	api  *Server
	http *httptest.Server
}

func serve(t testing.TB) *fixture {
	t.Helper()
	store, err := objects.Open(t.TempDir(), Codec(), objects.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return serveOver(t, store)
}

// serveOver is serve over a store, which it closes.
func serveOver(t testing.TB, store *objects.Store) *fixture {
	t.Helper()
	s, err := New(Config{Store: store, PKI: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
		s.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &fixture{t, s, h}
}

// reply is an answer.
type reply struct {
	code   int
	header http.Header
	body   []byte
}

// ask sends a request. Headers come as NAME: VALUE.
func (f *fixture) ask(method, path, body string, headers ...string) reply {
	f.t.Helper()
	r, err := http.NewRequest(method, f.http.URL+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	resp, err := f.http.Client().Do(r)
	if err != nil {
		f.t.Error(err)
		return reply{}
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Error(err)
	}
	return reply{resp.StatusCode, resp.Header, data}
}

// must is ask, for an answer with a code.
func (f *fixture) must(code int, method, path, body string, headers ...string) reply {
	f.t.Helper()
	got := f.ask(method, path, body, headers...)
	if got.code != code {
		f.t.Fatalf("%s %s: %d %s, want %d", method, path, got.code, got.body, code)
	}
	return got
}

// at is the value at a path of keys and indices in a JSON answer, or nil.
func (r reply) at(path ...any) any {
	var v any
	if json.NewDecoder(bytes.NewReader(r.body)).Decode(&v) != nil {
		return nil
	}
	return dig(v, path...)
}

func dig(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

const onePod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"one","labels":{"app":"one"}},"spec":{"containers":[{"name":"c","image":"i"}]}}`

// podsAt is where Pods are.
const podsAt = "/api/v1/namespaces/default/pods"

func TestCreateDefaultsAndAdmits(t *testing.T) {
	f := serve(t)
	made := f.must(201, "POST", podsAt, onePod)
	for _, want := range []struct {
		path []any
		want any
	}{
		{[]any{"spec", "restartPolicy"}, "Always"},
		{[]any{"spec", "serviceAccountName"}, "default"},
		{[]any{"spec", "serviceAccount"}, "default"},
		{[]any{"spec", "priority"}, 0.0},
		{[]any{"spec", "preemptionPolicy"}, "PreemptLowerPriority"},
		{[]any{"spec", "tolerations", 0, "key"}, "node.kubernetes.io/not-ready"},
		{[]any{"spec", "volumes"}, nil},
		{[]any{"status", "phase"}, "Pending"},
		{[]any{"status", "qosClass"}, "BestEffort"},
		{[]any{"metadata", "generation"}, 1.0},
		{[]any{"metadata", "managedFields", 0, "operation"}, "Update"},
	} {
		if got := made.at(want.path...); got != want.want {
			t.Errorf("%v: %v, want %v", want.path, got, want.want)
		}
	}
	again := f.must(409, "POST", podsAt, onePod)
	if got := again.at("message"); got != `pods "one" already exists` {
		t.Errorf("second create: %v", got)
	}
}

func TestPodIsDeletedAtOnceOrByItsNode(t *testing.T) {
	f := serve(t)
	f.must(201, "POST", podsAt, onePod)
	f.must(200, "DELETE", podsAt+"/one", "")
	f.must(404, "GET", podsAt+"/one", "")

	f.must(201, "POST", podsAt, onePod)
	f.must(201, "POST", podsAt+"/one/binding", `{"apiVersion":"v1","kind":"Binding","metadata":{"name":"one"},"target":{"kind":"Node","name":"host"}}`)
	going := f.must(200, "DELETE", podsAt+"/one", "")
	if got := going.at("metadata", "deletionGracePeriodSeconds"); got != 30.0 {
		t.Errorf("grace period of a Pod that runs: %v, want 30", got)
	}
	f.must(200, "GET", podsAt+"/one", "")
	f.must(200, "DELETE", podsAt+"/one?gracePeriodSeconds=0", "")
	f.must(404, "GET", podsAt+"/one", "")
}

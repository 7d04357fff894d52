package openapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
)

func get(t *testing.T, path, accept, encoding string) *httptest.ResponseRecorder {
	t.Helper()
	mux := http.NewServeMux()
	Handle(mux)
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Accept", accept)
	r.Header.Set("Accept-Encoding", encoding)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}

func TestDocuments(t *testing.T) {
	var index struct {
		Paths map[string]struct {
			ServerRelativeURL string
		}
	}
	if err := json.Unmarshal(get(t, "/openapi/v3", "", "").Body.Bytes(), &index); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{"api/v1", "apis/apps/v1", "apis/batch/v1"} {
		at := index.Paths[root].ServerRelativeURL
		if !strings.HasPrefix(at, "/openapi/v3/"+root+"?hash=") {
			t.Errorf("%s is at %q", root, at)
			continue
		}
		w := get(t, at, "application/json", "")
		var doc struct {
			Paths      map[string]any
			Components struct{ Schemas map[string]any }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || len(doc.Paths) == 0 || len(doc.Components.Schemas) == 0 {
			t.Errorf("%s: %d paths, %d schemas, %v", root, len(doc.Paths), len(doc.Components.Schemas), err)
		}
	}
	if w := get(t, "/openapi/v3/apis/apps/v1", "application/json", "gzip"); w.Header().Get("Content-Encoding") != "gzip" {
		t.Error("what the client can unpack is sent unpacked")
	}
	for _, path := range []string{"/openapi/v3/apis/none/v1", "/openapi/v3/../v2.json.gz", "/openapi/v3/" + strings.Repeat("a/", 100)} {
		if w := get(t, path, "", ""); w.Code == http.StatusOK {
			t.Errorf("GET %s: %d", path, w.Code)
		}
	}
}

// TestOldDocument reads the second version as kubectl from before the third does.
func TestOldDocument(t *testing.T) {
	w := get(t, "/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "")
	var doc openapi_v2.Document
	if err := proto.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, d := range doc.GetDefinitions().GetAdditionalProperties() {
		found = found || d.GetName() == "io.k8s.api.apps.v1.Deployment"
	}
	if !found {
		t.Error("no Deployment")
	}
	if w := get(t, "/openapi/v2", "text/html", ""); w.Code != http.StatusNotAcceptable {
		t.Errorf("as HTML: %d", w.Code)
	}
}

// TestSchemas sees that a port without a protocol is the one with TCP: the default that lists are merged by came along.
func TestSchemas(t *testing.T) {
	c := Converter(scheme.Scheme)
	service := &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	v, err := c.ObjectToTyped(service)
	if err != nil {
		t.Fatal(err)
	}
	set, err := v.ToFieldSet()
	if err != nil {
		t.Fatal(err)
	}
	if got := set.String(); !strings.Contains(got, `.spec.ports[port=80,protocol="TCP"].port`) {
		t.Errorf("fields %s", got)
	}
}

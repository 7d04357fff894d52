// Package openapi tells clients what the kinds look like, and server-side apply how their fields are merged. The documents are
// Kubernetes' own, cut down to what is served by tools/openapi, and embedded as they are sent: they cost nothing until one is asked for.
package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"embed"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

//go:generate go run tripod/tools/openapi -o embedded

//go:embed embedded
var files embed.FS

// What the second version is sent as, besides JSON. Old clients ask for it by the name that is no media type.
const (
	protobuf    = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	protobufOld = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
)

// Handle serves the documents below /openapi.
func Handle(mux *http.ServeMux) {
	mux.HandleFunc("GET /openapi/v2", second)
	index := sync.OnceValues(index)
	mux.HandleFunc("GET /openapi/v3", func(w http.ResponseWriter, _ *http.Request) {
		data, err := index()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(data)
	})
	mux.HandleFunc("GET /openapi/v3/{root...}", third)
}

func second(w http.ResponseWriter, r *http.Request) {
	accept := r.Header.Get("Accept")
	if strings.Contains(accept, protobuf) || strings.Contains(accept, protobufOld) {
		send(w, r, "v2.pb.gz", protobuf)
		return
	}
	if !acceptsJSON(accept) {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	send(w, r, "v2.json.gz", "application/json")
}

func third(w http.ResponseWriter, r *http.Request) {
	if !acceptsJSON(r.Header.Get("Accept")) {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	send(w, r, document(r.PathValue("root")), "application/json")
}

func acceptsJSON(accept string) bool {
	return accept == "" || strings.Contains(accept, "json") || strings.Contains(accept, "*/*") || strings.Contains(accept, "application/*")
}

// document is the file of a version of a group: api/v1, apis/apps/v1.
func document(root string) string {
	return "v3/" + strings.ReplaceAll(strings.Trim(root, "/"), "/", "__") + "_openapi.json.gz"
}

// send writes a document as it is embedded, if the client can unpack it.
func send(w http.ResponseWriter, r *http.Request, name, kind string) {
	data, err := files.ReadFile("embedded/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Vary", "Accept, Accept-Encoding")
	tag := `"` + hash(data) + `"`
	h.Set("Etag", tag)
	if strings.Contains(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		_, _ = w.Write(data)
		return
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = io.Copy(w, z) //nolint:gosec // our own document
}

func hash(data []byte) string {
	sum := sha512.Sum512(data)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// index names the documents of the third version, by the roots that they belong to.
func index() ([]byte, error) {
	list, err := files.ReadDir("embedded/v3")
	if err != nil {
		return nil, err
	}
	type link struct {
		URL string `json:"serverRelativeURL"`
	}
	paths := map[string]link{}
	for _, f := range list {
		data, err := files.ReadFile("embedded/v3/" + f.Name())
		if err != nil {
			return nil, err
		}
		root := strings.ReplaceAll(strings.TrimSuffix(f.Name(), "_openapi.json.gz"), "__", "/")
		paths[root] = link{"/openapi/v3/" + root + "?hash=" + hash(data)}
	}
	return json.Marshal(map[string]any{"paths": paths})
}

// Converter reads the schemas when fields are first tracked. It is a managedfields.TypeConverter.
func Converter(scheme *runtime.Scheme) managedfields.TypeConverter {
	return converter(sync.OnceValues(func() (managedfields.TypeConverter, error) {
		data, err := files.ReadFile("embedded/schemas.gob.gz")
		if err != nil {
			return nil, err
		}
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("cannot read schemas: %w", err)
		}
		gob.Register(map[string]any{}) // a default
		var types []schema.TypeDef
		if err := gob.NewDecoder(z).Decode(&types); err != nil {
			return nil, fmt.Errorf("cannot read schemas: %w", err)
		}
		return managedfields.NewSchemeTypeConverter(scheme, &typed.Parser{Schema: schema.Schema{Types: types}}), nil
	}))
}

type converter func() (managedfields.TypeConverter, error)

// ObjectToTyped implements managedfields.TypeConverter.
func (c converter) ObjectToTyped(obj runtime.Object, o ...typed.ValidationOptions) (*typed.TypedValue, error) {
	to, err := c()
	if err != nil {
		return nil, err
	}
	return to.ObjectToTyped(obj, o...)
}

// TypedToObject implements managedfields.TypeConverter.
func (c converter) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	to, err := c()
	if err != nil {
		return nil, err
	}
	return to.TypedToObject(v)
}

package api

import (
	"encoding/json"
	"net/http"
	"runtime"

	"k8s.io/apimachinery/pkg/version"

	"tripod/internal/api/openapi"
)

// served is the version whose API is served, and whose code serves it.
var served = version.Info{
	Major: "1", Minor: "37", EmulationMajor: "1", EmulationMinor: "37", MinCompatibilityMajor: "1", MinCompatibilityMinor: "36",
	GitVersion: "v1.37.2+tripod", GitTreeState: "clean", Compiler: runtime.Compiler, GoVersion: runtime.Version(),
	Platform: runtime.GOOS + "/" + runtime.GOARCH,
}

// serveOther serves what is no API group.
func (r *routes) serveOther() {
	ok := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write([]byte("ok"))
	}
	for _, path := range []string{"/healthz", "/livez", "/readyz"} {
		r.other.HandleFunc("GET "+path, ok)
	}
	openapi.Handle(r.other)
	r.other.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, served) })
	r.other.HandleFunc("GET /version/{$}", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, served) })
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v)
}

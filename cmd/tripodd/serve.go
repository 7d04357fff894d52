package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
)

// server answers on all sockets: the daemon's own questions here, all others by the API.
func (d *daemon) server() *http.Server {
	s := d.api.HTTP()
	own := http.NewServeMux()
	own.HandleFunc("/healthz", d.health)
	own.HandleFunc("/livez", d.health)
	own.HandleFunc("/readyz", d.health)
	own.Handle("/metrics", d.meter.handler())
	own.Handle("/", d.counted(d.api))
	s.Handler = own
	return s
}

// tlsListener speaks TLS on l. Both versions of HTTP are offered.
func tlsListener(l net.Listener, config *tls.Config) net.Listener { return tls.NewListener(l, config) }

// health answers whether the daemon lives and is ready, as an API server does.
func (d *daemon) health(w http.ResponseWriter, r *http.Request) {
	checks := []struct {
		name string
		good bool
	}{{"ping", true}, {"store", d.store.Version() > 0}, {"shutdown", d.draining.Err() == nil}, {"startup", d.begun.Load() || r.URL.Path != "/readyz"}}
	good, text := true, ""
	for _, c := range checks {
		mark := "+"
		if !c.good {
			good, mark = false, "-"
		}
		text += fmt.Sprintf("[%s]%s ok\n", mark, c.name)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, verbose := r.URL.Query()["verbose"]
	switch name := r.URL.Path[1:]; {
	case !good:
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, text+name+" check failed\n")
	case verbose:
		_, _ = io.WriteString(w, text+name+" check passed\n")
	default:
		_, _ = io.WriteString(w, "ok")
	}
}

// answers asks the daemon a question from inside, as the watchdog does.
func (d *daemon) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://tripod/api/v1/namespaces/default", nil)
	w := httptest.NewRecorder()
	d.api.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		return fmt.Errorf("cannot read namespace default: code %d", w.Code)
	}
	return nil
}

// asked tells what a request is about.
func asked() *request.RequestInfoFactory {
	return &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
}

// lasts says that a request does not end by itself.
func lasts(info *request.RequestInfo, r *http.Request) bool {
	switch info.Subresource {
	case "exec", "attach", "portforward":
		return true
	case "log":
		return r.URL.Query().Get("follow") == "true"
	}
	return info.Verb == "watch"
}

// counted counts requests, and ends those that last when the daemon stops.
func (d *daemon) counted(to http.Handler) http.Handler {
	factory := asked()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, err := factory.NewRequestInfo(r)
		if err != nil {
			to.ServeHTTP(w, r)
			return
		}
		if !lasts(info, r) {
			begin := time.Now()
			c := &coded{ResponseWriter: w, code: http.StatusOK}
			to.ServeHTTP(responsewriter.WrapForHTTP1Or2(c), r)
			d.meter.answered(info, c.code, time.Since(begin))
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(d.draining, cancel)()
		defer d.meter.lasting(info)()
		to.ServeHTTP(w, r.WithContext(ctx))
	})
}

// coded remembers the code of an answer.
type coded struct {
	http.ResponseWriter
	code int
}

func (c *coded) WriteHeader(code int) {
	c.code = code
	c.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (c *coded) Unwrap() http.ResponseWriter { return c.ResponseWriter }

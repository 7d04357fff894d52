package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

const (
	// maxRequests is how many requests that end are served at once; who comes on top is asked to come again.
	maxRequests = 400
	// maxLasting is how many watches and streams are open at once.
	maxLasting = 10000
	// maxRequest is how long, in the daemon, a request that ends may take, the reading of its body included.
	maxRequest = time.Minute
)

// lasting are requests that do not end by themselves.
var (
	lastingVerbs        = sets.New("watch")
	lastingSubresources = sets.New("attach", "exec", "log", "portforward")
)

// chain is what every request goes through on its way to the routes.
func (s *Server) chain(to http.Handler) http.Handler {
	h := s.bounded(to)
	h = filters.WithCacheControl(h)
	h = filters.WithWarningRecorder(h)
	h = known(h)
	h = filters.WithRequestInfo(h, &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")})
	h = filters.WithRequestReceivedTimestamp(h)
	h = filters.WithAuditInit(h) // Kubernetes' handlers count on it
	return s.caught(h)
}

// fail answers with a Status.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	responsewriters.ErrorNegotiated(err, legacyscheme.Codecs, schema.GroupVersion{Version: "v1"}, w, r)
}

// caught makes a panic an answer.
func (s *Server) caught(to http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(http.ErrAbortHandler) // the answer has begun: the server cuts it off
			}
			s.config.Log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			fail(w, r, apierrors.NewInternalError(errors.New("this request caused apiserver to panic. Look in the logs for details")))
		}()
		to.ServeHTTP(w, r)
	})
}

// known says who asks. Who has got to the socket is its owner; a certificate names its holder.
func known(to http.Handler) http.Handler {
	owner := &user.DefaultInfo{Name: "system:admin", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := owner
		if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
			subject := r.TLS.PeerCertificates[0].Subject
			who = &user.DefaultInfo{Name: subject.CommonName, Groups: append(append([]string(nil), subject.Organization...), user.AllAuthenticated)}
		}
		to.ServeHTTP(w, r.WithContext(request.WithUser(r.Context(), who)))
	})
}

// lasts says that a request does not end by itself.
func lasts(info *request.RequestInfo) bool {
	return info != nil && info.IsResourceRequest && (lastingVerbs.Has(info.Verb) || lastingSubresources.Has(info.Subresource))
}

// bounded keeps the number of requests, their time, and the time of their bodies.
func (s *Server) bounded(to http.Handler) http.Handler {
	ending, staying := make(chan struct{}, maxRequests), make(chan struct{}, maxLasting)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, _ := request.RequestInfoFrom(r.Context())
		seats, stays := ending, lasts(info)
		if stays {
			seats = staying
		}
		select {
		case seats <- struct{}{}:
			defer func() { <-seats }()
		default:
			w.Header().Set("Retry-After", "1")
			fail(w, r, apierrors.NewTooManyRequests("too many requests, please try again later", 1))
			return
		}
		if stays {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			defer context.AfterFunc(s.life, cancel)()
			to.ServeHTTP(w, r.WithContext(ctx))
			return
		}
		// A connection of HTTP/1 keeps its deadline, a stream of HTTP/2 has its own; our own process has none.
		c := http.NewResponseController(w)
		if err := c.SetReadDeadline(time.Now().Add(s.patience)); err == nil {
			defer c.SetReadDeadline(time.Time{}) //nolint:errcheck // it could be set
		}
		ctx, cancel := context.WithTimeout(r.Context(), s.patience)
		defer cancel()
		r = r.WithContext(ctx)
		r.Body = timely{r.Body}
		to.ServeHTTP(w, r)
	})
}

// timely is a body whose lateness has a status of its own.
type timely struct{ io.ReadCloser }

func (t timely) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		late := apierrors.NewTimeoutError("", 0) // a client's: with a code of its own
		late.ErrStatus.Code, late.ErrStatus.Message = http.StatusRequestTimeout, "the body of the request did not come in time"
		return n, late
	}
	return n, err
}

// HTTP is a server for the API on sockets, with bounds on what has not become a request yet.
func (s *Server) HTTP() *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       3 * time.Minute,
		MaxHeaderBytes:    1 << 18,
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 1000, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
}

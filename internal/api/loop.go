package api

import (
	"context"
	"io"
	"net/http"
	"sync"
)

// loop carries requests of our own process to a handler. It is an http.RoundTripper.
type loop struct{ to http.Handler }

// RoundTrip implements http.RoundTripper.
func (l loop) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	asked := r.Clone(ctx)
	asked.RequestURI, asked.RemoteAddr, asked.Host = r.URL.RequestURI(), "@", r.URL.Host
	asked.Proto, asked.ProtoMajor, asked.ProtoMinor = "HTTP/2.0", 2, 0
	if asked.Body == nil {
		asked.Body = http.NoBody
	}
	out, in := io.Pipe()
	a := &answer{header: http.Header{}, body: in, begun: make(chan struct{}), context: ctx}
	go func() {
		defer func() {
			// The chain answers panics; what aborts the answer on purpose comes through.
			if p := recover(); p != nil {
				in.CloseWithError(io.ErrUnexpectedEOF) //nolint:errcheck // it never fails
			}
			a.WriteHeader(http.StatusOK)
			in.Close()         //nolint:errcheck // it never fails
			asked.Body.Close() //nolint:errcheck // the handler has read what it wanted
		}()
		l.to.ServeHTTP(a, asked)
	}()
	select {
	case <-a.begun:
	case <-ctx.Done():
		out.CloseWithError(ctx.Err()) //nolint:errcheck // it never fails
		cancel()
		return nil, ctx.Err()
	}
	stop := context.AfterFunc(ctx, func() { out.CloseWithError(ctx.Err()) }) //nolint:errcheck // it never fails
	return &http.Response{
		Status: http.StatusText(a.status), StatusCode: a.status,
		Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: a.sent, Body: answerBody{out, func() { stop(); cancel() }}, ContentLength: -1, Request: r,
	}, nil
}

// answer is the http.ResponseWriter of a loop.
type answer struct {
	header  http.Header
	body    *io.PipeWriter
	once    sync.Once
	begun   chan struct{}
	context context.Context //nolint:containedctx // of the request that is answered
	status  int
	sent    http.Header
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	a.once.Do(func() {
		a.status, a.sent = status, a.header.Clone()
		close(a.begun)
	})
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// Flush implements http.Flusher: nothing is held back.
func (a *answer) Flush() { a.WriteHeader(http.StatusOK) }

// CloseNotify implements http.CloseNotifier, by which Kubernetes' handlers know a writer that can flush.
func (a *answer) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	context.AfterFunc(a.context, func() { gone <- true })
	return gone
}

// answerBody ends the request when its reader closes it.
type answerBody struct {
	*io.PipeReader
	end func()
}

func (b answerBody) Close() error {
	b.end()
	return b.PipeReader.Close()
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	gwebsocket "github.com/gorilla/websocket"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	//lint:ignore SA1019 client-go's round tripper is of this package's type
	"k8s.io/apimachinery/pkg/util/httpstream/spdy"
	"k8s.io/client-go/transport/websocket"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// statusLimit is how much of an answer that refuses a stream is read.
const statusLimit = 64 << 10

// upgrades takes the place of what opens exec's, attach's and port-forward's streams: those dial TCP, whatever rest.Config
// says. All else passes.
func (c *client) upgrades(rt http.RoundTripper) http.RoundTripper {
	switch rt := rt.(type) {
	case *websocket.RoundTripper:
		return &upgrader{rt, c.dial}
	case *spdy.SpdyRoundTripper:
		return unspoken{}
	}
	return rt
}

// unspoken is SPDY, which is only ever asked for by who forbids WebSockets.
type unspoken struct{}

func (unspoken) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("cannot open a stream over SPDY: tripod speaks WebSocket on its socket")
}

// upgrader opens a WebSocket on tripodd's socket and leaves it where client-go looks for it.
type upgrader struct {
	*websocket.RoundTripper
	dial func(context.Context) (net.Conn, error)
}

func (u *upgrader) RoundTrip(req *http.Request) (*http.Response, error) {
	size := u.DataBufferSize() + 1024 // client-go's messages are a buffer and a byte
	d := gwebsocket.Dialer{
		NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return u.dial(ctx) },
		Subprotocols:   req.Header[wsstream.WebSocketProtocolHeader], ReadBufferSize: size, WriteBufferSize: size,
	}
	header, url := req.Header.Clone(), *req.URL
	delete(header, wsstream.WebSocketProtocolHeader) // the dialer writes it
	url.Scheme = "ws"
	conn, resp, err := d.DialContext(req.Context(), url.String(), header)
	if errors.Is(err, gwebsocket.ErrBadHandshake) && resp != nil {
		return nil, refusal(resp)
	}
	if err != nil {
		return nil, err
	}
	if conn.Subprotocol() == "" {
		conn.Close()
		return nil, fmt.Errorf("cannot open a stream: the server speaks none of %q", d.Subprotocols)
	}
	u.Conn = conn
	return resp, nil
}

// refusal is what the server says in the place of a stream.
func refusal(resp *http.Response) error {
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, statusLimit))
	if err != nil {
		return fmt.Errorf("cannot open a stream: %s: %w", resp.Status, err)
	}
	var status metav1.Status
	if json.Unmarshal(text, &status) == nil && status.Kind == "Status" {
		return &apierrors.StatusError{ErrStatus: status}
	}
	return fmt.Errorf("cannot open a stream: %s: %s", resp.Status, text)
}

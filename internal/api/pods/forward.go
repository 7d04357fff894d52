package pods

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

func (s source) portForward(ctx context.Context, name string, options runtime.Object) (http.Handler, error) {
	o, ok := options.(*api.PodPortForwardOptions)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("port-forward with options of %T", options))
	}
	if _, _, err := pod.PortForwardLocation(ctx, s.store, here{}, name, o); err != nil {
		return nil, err
	}
	p, node, err := s.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	return forward{node, p}, nil
}

// forward carries connections to a Pod's ports: SPDY streams, in WebSocket frames or not, or the channels of old WebSockets.
type forward struct {
	node Node
	pod  *corev1.Pod
}

// ServeHTTP implements http.Handler.
func (f forward) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var o *portforward.V4Options
		if wsstream.IsWebSocketRequest(r) {
			given, err := portforward.NewV4Options(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			o = given
		}
		portforward.ServePortForward(w, r, f, f.pod.Name, string(f.pod.UID), o, idle, opening, portforward.SupportedProtocols)
	})
	if wsstream.IsWebSocketRequestWithTunnelingProtocol(r) {
		tunnel := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			serve(&tunnelled{ResponseWriter: w, header: http.Header{}}, r)
		})
		proxy.NewTunnelingHandler(tunnel).ServeHTTP(w, r)
		return
	}
	serve(w, r)
}

// tunnelled stands between an end of SPDY and Kubernetes' tunnel, which is made for a proxy: the answer that switches protocols must
// come as bytes of the connection, not by WriteHeader.
type tunnelled struct {
	http.ResponseWriter
	header   http.Header
	switched bool
}

// Header implements http.ResponseWriter.
func (t *tunnelled) Header() http.Header { return t.header }

// WriteHeader implements http.ResponseWriter.
func (t *tunnelled) WriteHeader(status int) {
	if t.switched = status == http.StatusSwitchingProtocols; t.switched {
		return
	}
	maps.Copy(t.ResponseWriter.Header(), t.header)
	t.ResponseWriter.WriteHeader(status)
}

// Hijack implements http.Hijacker.
func (t *tunnelled) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h, ok := t.ResponseWriter.(http.Hijacker)
	if !ok {
		return nil, nil, http.ErrNotSupported
	}
	conn, _, err := h.Hijack()
	if err != nil {
		return nil, nil, err
	}
	if t.switched {
		answer := http.Response{StatusCode: http.StatusSwitchingProtocols, ProtoMajor: 1, ProtoMinor: 1, Header: t.header}
		if err := answer.Write(conn); err != nil {
			conn.Close() //nolint:errcheck // what went wrong is told
			return nil, nil, err
		}
	}
	return conn, bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn)), nil
}

// PortForward implements portforward.PortForwarder.
func (f forward) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	return f.node.PortForward(ctx, f.pod, port, stream)
}

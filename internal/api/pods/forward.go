package pods

import (
	"context"
	"fmt"
	"io"
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
		proxy.NewTunnelingHandler(serve).ServeHTTP(w, r)
		return
	}
	serve(w, r)
}

// PortForward implements portforward.PortForwarder.
func (f forward) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	return f.node.PortForward(ctx, f.pod, port, stream)
}

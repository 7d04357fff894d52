// Package pods serves what a Pod's node does: logs, exec, attach and port-forward. Which container is meant, and what is wrong with
// a request, is told by Kubernetes' own code; what then flows is carried between the client and the node.
package pods

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	api "k8s.io/kubernetes/pkg/apis/core"
	corev1convert "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/client"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// Node is what the API asks of the node.
type Node interface {
	Logs(ctx context.Context, pod *corev1.Pod, o *corev1.PodLogOptions, w io.Writer) error
	// Exec runs a command. Its exit code comes as a CodeExitError of k8s.io/utils/exec.
	Exec(ctx context.Context, pod *corev1.Pod, container string, command []string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error
	Attach(ctx context.Context, pod *corev1.Pod, container string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error
	PortForward(ctx context.Context, pod *corev1.Pod, port int32, stream io.ReadWriteCloser) error
	PodMetrics(ctx context.Context) ([]metricsv1beta1.PodMetrics, error)
	NodeMetrics(ctx context.Context) ([]metricsv1beta1.NodeMetrics, error)
}

// Parts are the subresources of Pods that the node serves.
type Parts struct {
	Log         *LogREST
	Exec        *StreamREST
	Attach      *StreamREST
	PortForward *StreamREST
}

// New makes the subresources of the Pods in a store.
func New(store *genericregistry.Store, node func() Node) Parts {
	s := source{store, node}
	return Parts{
		Log:         &LogREST{source: s},
		Exec:        &StreamREST{source: s, kind: func() runtime.Object { return &api.PodExecOptions{} }, serve: s.exec},
		Attach:      &StreamREST{source: s, kind: func() runtime.Object { return &api.PodAttachOptions{} }, serve: s.attach},
		PortForward: &StreamREST{source: s, kind: func() runtime.Object { return &api.PodPortForwardOptions{} }, serve: s.portForward},
	}
}

// source finds Pods, and the node that runs them.
type source struct {
	store *genericregistry.Store
	node  func() Node
}

// pod is the Pod as the node knows it.
func (s source) pod(ctx context.Context, name string) (*corev1.Pod, Node, error) {
	obj, err := s.store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	in, ok := obj.(*api.Pod)
	if !ok {
		return nil, nil, apierrors.NewInternalError(fmt.Errorf("cannot read pod %s: it is a %T", name, obj))
	}
	var out corev1.Pod
	if err := corev1convert.Convert_core_Pod_To_v1_Pod(in.DeepCopy(), &out, nil); err != nil {
		return nil, nil, apierrors.NewInternalError(err)
	}
	node := s.node()
	if node == nil {
		return nil, nil, apierrors.NewServiceUnavailable("the node has not started yet")
	}
	return &out, node, nil
}

// here stands for the address of a node: Kubernetes asks for it when it judges a request.
type here struct{}

// GetConnectionInfo implements client.ConnectionInfoGetter.
func (here) GetConnectionInfo(context.Context, types.NodeName) (*client.ConnectionInfo, error) {
	return &client.ConnectionInfo{Scheme: "https", Hostname: "localhost", Port: "0"}, nil
}

// StreamREST serves a subresource that streams both ways.
type StreamREST struct {
	source
	kind  func() runtime.Object
	serve func(ctx context.Context, name string, options runtime.Object) (http.Handler, error)
}

var _ rest.Connecter = (*StreamREST)(nil)

// New implements rest.Storage.
func (r *StreamREST) New() runtime.Object { return r.kind() }

// Destroy implements rest.Storage.
func (r *StreamREST) Destroy() {}

// NewConnectOptions implements rest.Connecter.
func (r *StreamREST) NewConnectOptions() (runtime.Object, bool, string) { return r.kind(), false, "" }

// ConnectMethods implements rest.Connecter: WebSockets begin with GET, SPDY with POST.
func (r *StreamREST) ConnectMethods() []string { return []string{http.MethodGet, http.MethodPost} }

// Connect implements rest.Connecter.
func (r *StreamREST) Connect(ctx context.Context, name string, options runtime.Object, _ rest.Responder) (http.Handler, error) {
	return r.serve(ctx, name, options)
}

func (s source) exec(ctx context.Context, name string, options runtime.Object) (http.Handler, error) {
	o, ok := options.(*api.PodExecOptions)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("exec with options of %T", options))
	}
	at, _, err := pod.ExecLocation(ctx, s.store, here{}, name, o)
	if err != nil {
		return nil, err
	}
	p, node, err := s.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	container := path.Base(at.Path)
	return session{
		want: streams(o.Stdin, o.Stdout, o.Stderr, o.TTY),
		run: func(ctx context.Context, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
			return node.Exec(ctx, p, container, o.Command, in, out, errs, tty, resize)
		},
	}, nil
}

func (s source) attach(ctx context.Context, name string, options runtime.Object) (http.Handler, error) {
	o, ok := options.(*api.PodAttachOptions)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("attach with options of %T", options))
	}
	at, _, err := pod.AttachLocation(ctx, s.store, here{}, name, o)
	if err != nil {
		return nil, err
	}
	p, node, err := s.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	container := path.Base(at.Path)
	return session{
		attach: true,
		want:   streams(o.Stdin, o.Stdout, o.Stderr, o.TTY),
		run: func(ctx context.Context, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
			return node.Attach(ctx, p, container, in, out, errs, tty, resize)
		},
	}, nil
}

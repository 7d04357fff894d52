package pods

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	api "k8s.io/kubernetes/pkg/apis/core"
	corev1convert "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/registry/core/pod"
)

// quiet is how long the header of a log's answer waits for its first line, so that what goes wrong at once has a status of its own.
const quiet = 500 * time.Millisecond

// LogREST serves a container's log.
type LogREST struct{ source }

var (
	_ rest.GetterWithOptions = (*LogREST)(nil)
	_ rest.StorageMetadata   = (*LogREST)(nil)
)

// New implements rest.Storage.
func (r *LogREST) New() runtime.Object { return &api.Pod{} }

// Destroy implements rest.Storage.
func (r *LogREST) Destroy() {}

// ProducesMIMETypes implements rest.StorageMetadata.
func (r *LogREST) ProducesMIMETypes(string) []string { return []string{"text/plain"} }

// ProducesObject implements rest.StorageMetadata.
func (r *LogREST) ProducesObject(string) any { return "" }

// NewGetOptions implements rest.GetterWithOptions.
func (r *LogREST) NewGetOptions() (runtime.Object, bool, string) {
	return &api.PodLogOptions{}, false, ""
}

// OverrideMetricsVerb keeps those who read a log apart from those who read a Pod.
func (r *LogREST) OverrideMetricsVerb(verb string) string {
	if verb == "GET" {
		return "CONNECT"
	}
	return verb
}

// Get implements rest.GetterWithOptions.
func (r *LogREST) Get(ctx context.Context, name string, options runtime.Object) (runtime.Object, error) {
	o, ok := options.(*api.PodLogOptions)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("log with options of %T", options))
	}
	if errs := validation.ValidatePodLogOptions(o, false); len(errs) > 0 {
		return nil, apierrors.NewInvalid(api.Kind("PodLogOptions"), name, errs)
	}
	at, _, err := pod.LogLocation(ctx, r.store, here{}, name, o)
	if err != nil {
		return nil, err
	}
	if at == nil {
		return &log{}, nil // no node has the Pod yet: an empty answer
	}
	p, node, err := r.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	var out corev1.PodLogOptions
	if err := corev1convert.Convert_core_PodLogOptions_To_v1_PodLogOptions(o, &out, nil); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	out.Container = path.Base(at.Path)
	return &log{node: node, pod: p, options: &out}, nil
}

// log is a log that is asked for.
type log struct {
	node    Node
	pod     *corev1.Pod
	options *corev1.PodLogOptions
}

var _ rest.ResourceStreamer = (*log)(nil)

// GetObjectKind implements runtime.Object.
func (l *log) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object.
func (l *log) DeepCopyObject() runtime.Object { return &log{l.node, l.pod, l.options} }

// InputStream implements rest.ResourceStreamer.
func (l *log) InputStream(ctx context.Context, _, _ string) (io.ReadCloser, bool, string, error) {
	if l.node == nil {
		return nil, false, "", nil
	}
	r, w := io.Pipe()
	first := &begun{w: w, first: make(chan struct{})}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		err := l.node.Logs(ctx, l.pod, l.options, first)
		ended <- err
		w.CloseWithError(err) //nolint:errcheck // it never fails
	}()
	wait := time.NewTimer(quiet)
	defer wait.Stop()
	select {
	case err := <-ended:
		if err != nil && !first.has() {
			return nil, false, "", asStatus(err)
		}
	case <-first.first:
	case <-wait.C:
	}
	return reading{r, cancel}, l.options.Follow, "text/plain", nil
}

// asStatus makes an error of the node one that a client understands.
func asStatus(err error) error {
	var s apierrors.APIStatus
	if errors.As(err, &s) {
		return err
	}
	return apierrors.NewBadRequest(err.Error())
}

// begun is a writer that tells when the first bytes come.
type begun struct {
	w     io.Writer
	once  sync.Once
	first chan struct{}
}

func (b *begun) Write(p []byte) (int, error) {
	b.once.Do(func() { close(b.first) })
	return b.w.Write(p)
}

func (b *begun) has() bool {
	select {
	case <-b.first:
		return true
	default:
		return false
	}
}

// reading ends the writer when the reader is closed.
type reading struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (r reading) Close() error {
	r.cancel()
	return r.PipeReader.Close()
}

package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	clientexec "k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/utils/exec"
)

// echo is a node whose containers say what they were asked.
type echo struct{}

func (echo) Logs(ctx context.Context, pod *corev1.Pod, o *corev1.PodLogOptions, w io.Writer) error {
	if o.Previous {
		return fmt.Errorf("previous terminated container %q in pod %q not found", o.Container, pod.Name)
	}
	if _, err := fmt.Fprintf(w, "%s of %s\n", o.Container, pod.Name); err != nil || !o.Follow {
		return err
	}
	<-ctx.Done()
	return nil
}

func (echo) Exec(ctx context.Context, pod *corev1.Pod, container string, command []string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	fmt.Fprintf(out, "%s/%s %s tty=%v\n", pod.Name, container, strings.Join(command, " "), tty) //nolint:errcheck // the test reads it
	if errs != nil {
		io.WriteString(errs, "errors\n") //nolint:errcheck // the test reads it
	}
	switch command[0] {
	case "size":
		size := <-resize
		fmt.Fprintf(out, "%dx%d\n", size.Width, size.Height) //nolint:errcheck // the test reads it
	case "cat":
		_, err := io.Copy(out, in)
		return err
	case "forever":
		<-ctx.Done()
		return ctx.Err()
	case "exit":
		return fmt.Errorf("cannot exec: %w", exec.CodeExitError{Err: errors.New("exit 3"), Code: 3})
	}
	return nil
}

func (e echo) Attach(ctx context.Context, pod *corev1.Pod, container string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return e.Exec(ctx, pod, container, []string{"attached"}, in, out, errs, tty, resize)
}

func (echo) PortForward(_ context.Context, _ *corev1.Pod, port int32, stream io.ReadWriteCloser) error {
	buf := make([]byte, 4)
	if _, err := io.ReadFull(stream, buf); err != nil {
		return err
	}
	_, err := fmt.Fprintf(stream, "%s at %d", buf, port)
	return err
}

func (echo) PodMetrics(context.Context) ([]metricsv1beta1.PodMetrics, error) {
	usage := corev1.ResourceList{"cpu": resource.MustParse("250m"), "memory": resource.MustParse("64Mi")}
	m := metricsv1beta1.PodMetrics{ObjectMeta: metav1.ObjectMeta{Name: "one", Namespace: "default", Labels: map[string]string{"app": "one"}}}
	m.Containers = []metricsv1beta1.ContainerMetrics{{Name: "a", Usage: usage}, {Name: "b", Usage: usage}}
	return []metricsv1beta1.PodMetrics{m}, nil
}

func (echo) NodeMetrics(context.Context) ([]metricsv1beta1.NodeMetrics, error) {
	return []metricsv1beta1.NodeMetrics{{ObjectMeta: metav1.ObjectMeta{Name: "host"}}}, nil
}

// running is a fixture with a Pod of two containers that has a node.
func running(t *testing.T) *fixture {
	t.Helper()
	f := serve(t)
	f.api.SetNode(echo{})
	f.must(201, "POST", podsAt, `{"metadata":{"name":"one"},"spec":{"nodeName":"host","containers":[{"name":"a","image":"i"},{"name":"b","image":"i"}]}}`)
	return f
}

// streamer is one way to stream, for a subresource and its query.
type streamer func(c *rest.Config, r *rest.Request) (clientexec.Executor, error)

func bySPDY(c *rest.Config, r *rest.Request) (clientexec.Executor, error) {
	return clientexec.NewSPDYExecutor(c, "POST", r.URL())
}

func byWebSocket(c *rest.Config, r *rest.Request) (clientexec.Executor, error) {
	return clientexec.NewWebSocketExecutor(c, "GET", r.URL().String())
}

func TestExec(t *testing.T) {
	f := running(t)
	c := &rest.Config{Host: f.http.URL}
	client := kubernetes.NewForConfigOrDie(c)
	for name, way := range map[string]streamer{"SPDY": bySPDY, "WebSocket": byWebSocket} {
		for _, tt := range []struct {
			name, subresource string
			o                 corev1.PodExecOptions
			in, out, errs     string
			code              int
		}{
			{"first container", "exec", corev1.PodExecOptions{Command: []string{"ls", "-l"}, Container: "a", Stdout: true, Stderr: true}, "", "one/a ls -l tty=false\n", "errors\n", 0},
			{"input", "exec", corev1.PodExecOptions{Command: []string{"cat"}, Container: "b", Stdin: true, Stdout: true}, "bytes", "one/b cat tty=false\nbytes", "", 0},
			{"exit code", "exec", corev1.PodExecOptions{Command: []string{"exit"}, Container: "b", Stdout: true}, "", "one/b exit tty=false\n", "", 3},
			{"terminal", "exec", corev1.PodExecOptions{Command: []string{"size"}, Container: "b", Stdin: true, Stdout: true, TTY: true}, "", "one/b size tty=true\n80x24\n", "", 0},
			{"attach", "attach", corev1.PodExecOptions{Container: "b", Stdout: true, Stderr: true}, "", "one/b attached tty=false\n", "errors\n", 0},
		} {
			t.Run(name+" "+tt.name, func(t *testing.T) {
				r := client.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("one").SubResource(tt.subresource).VersionedParams(&tt.o, scheme.ParameterCodec)
				e, err := way(c, r)
				if err != nil {
					t.Fatal(err)
				}
				var out, errs bytes.Buffer
				o := clientexec.StreamOptions{Stdout: &out, Tty: tt.o.TTY}
				if tt.o.Stdin {
					o.Stdin = strings.NewReader(tt.in)
				}
				if tt.o.Stderr {
					o.Stderr = &errs
				}
				if tt.o.TTY {
					o.TerminalSizeQueue = &oneSize{size: &clientexec.TerminalSize{Width: 80, Height: 24}}
				}
				err = e.StreamWithContext(t.Context(), o)
				var exit interface{ ExitStatus() int }
				switch {
				case tt.code == 0 && err != nil:
					t.Error(err)
				case tt.code != 0 && (!errors.As(err, &exit) || exit.ExitStatus() != tt.code):
					t.Errorf("ended with %v, want code %d", err, tt.code)
				}
				if out.String() != tt.out || errs.String() != tt.errs {
					t.Errorf("said %q and %q, want %q and %q", out.String(), errs.String(), tt.out, tt.errs)
				}
			})
		}
	}
}

// TestOldWebSocket speaks the protocol from before v5: a channel's number before its bytes.
func TestOldWebSocket(t *testing.T) {
	f := running(t)
	d := websocket.Dialer{Subprotocols: []string{"v4.channel.k8s.io"}}
	conn, resp, err := d.Dial("ws"+strings.TrimPrefix(f.http.URL, "http")+podsAt+"/one/exec?container=a&stdout=true&command=exit", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()  //nolint:errcheck // it is empty
	defer conn.Close() //nolint:errcheck // the test is over
	said := map[byte]string{}
	for {
		_, data, err := conn.ReadMessage()
		if err != nil {
			break
		}
		said[data[0]] += string(data[1:])
	}
	if said[1] != "one/a exit tty=false\n" || !strings.Contains(said[3], `"reason":"ExitCode","message":"3"`) {
		t.Errorf("said %q", said)
	}
}

// oneSize is a terminal that is never resized.
type oneSize struct{ size *clientexec.TerminalSize }

func (q *oneSize) Next() *clientexec.TerminalSize {
	size := q.size
	q.size = nil
	return size
}

// TestExecEndsWithItsClient sees that a command is told when its client has gone.
func TestExecEndsWithItsClient(t *testing.T) {
	f := running(t)
	c := &rest.Config{Host: f.http.URL}
	r := kubernetes.NewForConfigOrDie(c).CoreV1().RESTClient().Get().Resource("pods").Namespace("default").Name("one").SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"forever"}, Container: "a", Stdout: true}, scheme.ParameterCodec)
	e, err := byWebSocket(c, r)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = e.StreamWithContext(ctx, clientexec.StreamOptions{Stdout: in})
	}()
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, out) //nolint:errcheck // until it is closed
	cancel()
	<-done
	// The fixture's end waits for the handler, which waits for the command.
}

func TestPortForward(t *testing.T) {
	f := running(t)
	c := &rest.Config{Host: f.http.URL}
	at := kubernetes.NewForConfigOrDie(c).CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("one").SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(c)
	if err != nil {
		t.Fatal(err)
	}
	tunnel, err := portforward.NewSPDYOverWebsocketDialerForStreaming(at, c)
	if err != nil {
		t.Fatal(err)
	}
	spdyDialer := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, "POST", at)
	for name, dial := range map[string]func() (io.ReadWriteCloser, func(), error){
		"SPDY":      func() (io.ReadWriteCloser, func(), error) { return forwarded(spdyDialer) },
		"WebSocket": func() (io.ReadWriteCloser, func(), error) { return forwarded(tunnel) },
	} {
		t.Run(name, func(t *testing.T) {
			stream, end, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			defer end()
			if _, err := io.WriteString(stream, "ping"); err != nil {
				t.Fatal(err)
			}
			stream.Close() //nolint:errcheck // nothing more is written
			got, err := io.ReadAll(stream)
			if err != nil || string(got) != "ping at 8080" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestLogs(t *testing.T) {
	f := running(t)
	if got := string(f.must(200, "GET", podsAt+"/one/log?container=b", "").body); got != "b of one\n" {
		t.Errorf("log %q", got)
	}
	for path, want := range map[string]struct {
		code    int
		message string
	}{
		"/one/log":                           {400, "a container name must be specified for pod one, choose one of: [a b]"},
		"/one/log?container=z":               {400, "container z is not valid for pod one"},
		"/one/log?container=a&previous=true": {400, `previous terminated container "a" in pod "one" not found`},
		"/one/log?container=a&tailLines=-1":  {422, `PodLogOptions "one" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0`},
		"/none/log":                          {404, `pods "none" not found`},
	} {
		if got := f.must(want.code, "GET", podsAt+path, "").at("message"); got != want.message {
			t.Errorf("%s: %v, want %s", path, got, want.message)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", f.http.URL+podsAt+"/one/log?container=a&follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // it is cut off
	line := make([]byte, 9)
	if _, err := io.ReadFull(resp.Body, line); err != nil || string(line) != "a of one\n" {
		t.Errorf("followed %q, %v", line, err)
	}
}

func TestMetrics(t *testing.T) {
	f := running(t)
	list := f.must(200, "GET", "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods?labelSelector=app%3Done", "")
	if got := list.at("items", 0, "containers", 0, "usage", "cpu"); got != "250m" {
		t.Errorf("cpu %v in %s", got, list.body)
	}
	if got := f.must(200, "GET", "/apis/metrics.k8s.io/v1beta1/namespaces/other/pods", "").at("items"); len(got.([]any)) != 0 {
		t.Errorf("another namespace has %v", got)
	}
	table := f.must(200, "GET", "/apis/metrics.k8s.io/v1beta1/pods", "", "Accept: application/json;as=Table;v=v1;g=meta.k8s.io")
	if got := table.at("rows", 0, "cells"); fmt.Sprint(got) != "[one 500m 128Mi 0s]" {
		t.Errorf("row %v", got)
	}
	f.must(200, "GET", "/apis/metrics.k8s.io/v1beta1/nodes/host", "")
	f.must(404, "GET", "/apis/metrics.k8s.io/v1beta1/nodes/none", "")
}

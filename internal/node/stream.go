package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"tripod/internal/keeper"
	"tripod/internal/life"
	"tripod/internal/sandbox"
)

// errLimit ends the reading of a log that was to be no longer.
var errLimit = errors.New("as much as was asked for")

// Logs writes what a container of a Pod has written, as kubelet does.
func (n *Node) Logs(ctx context.Context, pod *corev1.Pod, o *corev1.PodLogOptions, w io.Writer) error {
	box, err := n.box(pod)
	if err != nil {
		return notBegun(pod, o.Container)
	}
	c, err := box.Container(o.Container)
	if err != nil {
		return err
	}
	attempt := box.Attempt(c.Name)
	if o.Previous {
		if attempt--; attempt < 0 {
			return fmt.Errorf("previous terminated container %q in pod %q not found", c.Name, pod.Name)
		}
	}
	read := sandbox.LogOptions{Since: since(o, time.Now())}
	if o.TailLines != nil {
		if read.Tail = int(*o.TailLines); read.Tail == 0 {
			read.Tail = -1
		}
	}
	if o.Follow {
		read.Follow = func() bool { return box.Over(c.Name, attempt) }
	}
	out := &logText{w: w, stamps: o.Timestamps, left: -1}
	if o.LimitBytes != nil {
		out.left = *o.LimitBytes
	}
	if o.Stream != nil && *o.Stream != corev1.LogStreamAll {
		out.only = *o.Stream
	}
	err = sandbox.ReadLog(ctx, box.Host.Log(box.Pod, c.Name, attempt), read, out.line)
	switch {
	case errors.Is(err, errLimit):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return notBegun(pod, c.Name)
	}
	return err
}

// notBegun says of a container that it has written nothing yet, as a kubelet does.
func notBegun(pod *corev1.Pod, container string) error {
	why := life.ReasonContainerCreating
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if s.Name == container && s.State.Waiting != nil {
			why = s.State.Waiting.Reason
		}
	}
	switch why {
	case reasonPull:
		why = "image can't be pulled"
	case reasonPause:
		why = "trying and failing to pull image"
	}
	return fmt.Errorf("container %q in pod %q is waiting to start: %s", container, pod.Name, why)
}

func since(o *corev1.PodLogOptions, now time.Time) time.Time {
	switch {
	case o.SinceSeconds != nil:
		return now.Add(-time.Duration(*o.SinceSeconds) * time.Second)
	case o.SinceTime != nil:
		return o.SinceTime.Time
	}
	return time.Time{}
}

// Exec runs a command in a container. An exit code other than 0 is an utilexec.CodeExitError.
func (n *Node) Exec(ctx context.Context, pod *corev1.Pod, container string, cmd []string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	client, err := n.keeper(pod)
	if err != nil {
		return fmt.Errorf("cannot exec in Pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	streams, stop := streamsOf(in, out, errs, resize)
	defer stop()
	exit, err := client.Exec(ctx, keeper.ExecRequest{Container: container, Args: cmd, TTY: tty, Kill: true, Streams: streams})
	var refused *keeper.RefusedError
	if errors.As(err, &refused) && refused.Code > 0 {
		return utilexec.CodeExitError{Err: err, Code: refused.Code}
	}
	return exited(exit, err)
}

// Attach connects to a container's own input and output.
func (n *Node) Attach(ctx context.Context, pod *corev1.Pod, container string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	client, err := n.keeper(pod)
	if err != nil {
		return fmt.Errorf("cannot attach to Pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	if tty {
		errs = nil
	}
	streams, stop := streamsOf(in, out, errs, resize)
	defer stop()
	exit, err := client.Attach(ctx, keeper.AttachRequest{Container: container, Streams: streams})
	return exited(exit, err)
}

func (n *Node) keeper(pod *corev1.Pod) (*keeper.Client, error) {
	box, err := n.box(pod)
	if err != nil {
		return nil, &sandbox.EndedError{}
	}
	return box.Keeper()
}

func exited(exit keeper.Exit, err error) error {
	if err == nil && exit.Code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", exit.Code), Code: exit.Code}
	}
	return err
}

// streamsOf are a client's streams as a keeper takes them. Stop ends the passing on of sizes.
func streamsOf(in io.Reader, out, errs io.WriteCloser, resize <-chan remotecommand.TerminalSize) (s keeper.Streams, stop func()) {
	s.Stdin = in
	if out != nil { // a nil of an interface's type would be a writer
		s.Stdout = out
	}
	if errs != nil {
		s.Stderr = errs
	}
	if resize == nil {
		return s, func() {}
	}
	sizes, done := make(chan keeper.Size), make(chan struct{})
	s.Resize = sizes
	go func() {
		defer close(sizes)
		for {
			select {
			case <-done:
				return
			case size, ok := <-resize:
				if !ok {
					return
				}
				select {
				case sizes <- keeper.Size{Width: size.Width, Height: size.Height}:
				case <-done:
					return
				}
			}
		}
	}()
	return s, func() { close(done) }
}

// PortForward connects a stream to a port in the Pod's network namespace, until one side ends.
func (n *Node) PortForward(ctx context.Context, pod *corev1.Pod, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	if port < 1 || port > 65535 {
		return fmt.Errorf("cannot forward port %d of Pod %s/%s: no such port", port, pod.Namespace, pod.Name)
	}
	box, err := n.box(pod)
	if err != nil {
		return fmt.Errorf("cannot forward port %d of Pod %s/%s: %w", port, pod.Namespace, pod.Name, &sandbox.EndedError{})
	}
	conn, err := box.Dial(uint16(port))
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.Copy(conn, stream)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // the Pod may answer to what ends
		}
	}()
	_, err = io.Copy(stream, conn)
	if ctx.Err() != nil {
		err = nil
	}
	return err
}

package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"tripod/internal/sandbox"
)

// TestStreams has a Pod's terminal, its input, its log and a port of it.
func TestStreams(t *testing.T) {
	s := newStand(t)
	p := pod("io", `while read -r line; do echo "got $line"; done; exit 4`, "exec python3 -m http.server 8080 --bind 127.0.0.1 --directory /usr/share", "echo one; echo two >&2; "+steady)
	p.Spec.Containers[0].Stdin = true
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	s.create(p)
	got := s.await("io", "ready", ready)

	sizes := make(chan remotecommand.TerminalSize, 1)
	sizes <- remotecommand.TerminalSize{Width: 123, Height: 45}
	var out bytes.Buffer
	err := s.node.Exec(s.ctx, got, "c0", []string{"sh", "-c", "until stty size | grep '45 123'; do sleep 0.05; done; exit 6"}, nil, nop{&out}, nil, true, sizes)
	var code utilexec.CodeExitError
	if !errors.As(err, &code) || code.Code != 6 || !strings.Contains(out.String(), "45 123") {
		t.Errorf("terminal: %v, %q", err, &out)
	}
	err = s.node.Exec(s.ctx, got, "c0", []string{"/no/such"}, nil, nop{&out}, nil, false, nil)
	if !errors.As(err, &code) || code.Code != 127 {
		t.Errorf("no such command: %v", err)
	}

	t.Run("port", func(t *testing.T) { forwarded(t, s, got) })

	s.until("it has written all", func() bool { return strings.Contains(s.logs(got, corev1.PodLogOptions{Container: "c2"}), "up") })
	if text := s.logs(got, corev1.PodLogOptions{Container: "c2", Stream: new("Stderr")}); text != "two\n" {
		t.Errorf("stderr alone: %q", text)
	}
	if text := s.logs(got, corev1.PodLogOptions{Container: "c2", LimitBytes: new(int64(2)), Stream: new("Stderr")}); text != "tw" {
		t.Errorf("two bytes of it: %q", text)
	}
	stamped := s.logs(got, corev1.PodLogOptions{Container: "c2", Timestamps: true})
	first, _, _ := strings.Cut(stamped, " ")
	if _, err := time.Parse(time.RFC3339Nano, first); err != nil {
		t.Errorf("no time: %q", stamped)
	}

	in, write := io.Pipe()
	var said bytes.Buffer
	go func() {
		io.WriteString(write, "hello\n") //nolint:errcheck // what comes of it is looked at
		write.Close()
	}()
	// Its input ends with ours only when it is asked to: another may come.
	attached, cancel := context.WithCancel(s.ctx)
	done := make(chan error, 1)
	go func() { done <- s.node.Attach(attached, got, "c0", in, nop{&guarded{w: &said}}, nil, false, nil) }()
	s.until("it has answered", func() bool {
		return strings.Contains(s.logs(got, corev1.PodLogOptions{Container: "c0"}), "got hello")
	})
	cancel()
	<-done
	if said.String() != "got hello\n" {
		t.Errorf("attached: %q", &said)
	}
}

// forwarded asks a server that listens on the Pod's loopback alone.
func forwarded(t *testing.T, s *stand, pod *corev1.Pod) {
	box, err := s.node.box(pod)
	if err != nil {
		t.Fatal(err)
	}
	s.until("it listens", func() bool {
		c, err := box.Dial(8080)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	ours, theirs := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- s.node.PortForward(s.ctx, pod, 8080, theirs) }()
	if _, err := io.WriteString(ours, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(ours).ReadString('\n')
	if err != nil || !strings.Contains(line, "200 OK") {
		t.Errorf("answer %q, %v", line, err)
	}
	ours.Close()
	<-done
	if _, err := box.Dial(8081); err == nil || !strings.HasPrefix(err.Error(), "cannot connect to port 8081 in Pod io: ") {
		t.Errorf("where nobody listens: %v", err)
	}
	var ended *sandbox.EndedError
	other := pod.DeepCopy()
	other.UID = "none"
	if err := s.node.PortForward(s.ctx, other, 8080, nopConn{}); !errors.As(err, &ended) {
		t.Errorf("of no Pod: %v", err)
	}
}

type nopConn struct{ io.ReadWriter }

func (nopConn) Close() error { return nil }

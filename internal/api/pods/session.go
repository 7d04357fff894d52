package pods

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	"k8s.io/utils/exec"
)

const (
	// idle is how long a stream may be silent, and opening how long its client may take to open it.
	idle    = 4 * time.Hour
	opening = 30 * time.Second

	v5 = "v5.channel.k8s.io"
)

// older are the protocols that come before v5: over SPDY, and over WebSockets that cannot close a channel.
var older = []string{"v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"}

// The channels of a WebSocket, and what is said on them besides bytes.
const (
	chStdin = iota
	chStdout
	chStderr
	chStatus
	chResize
	channels
)

// runner is a process in a container, or one that is attached to.
type runner func(ctx context.Context, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error

// session carries a process's streams to a client.
type session struct {
	want   *remotecommand.Options
	attach bool
	run    runner
}

// streams are those that a client wants. A terminal has one output.
func streams(stdin, stdout, stderr, tty bool) *remotecommand.Options {
	return &remotecommand.Options{Stdin: stdin, Stdout: stdout, Stderr: stderr && !tty, TTY: tty}
}

// ServeHTTP implements http.Handler.
func (s session) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if wsstream.IsWebSocketRequest(r) && offers(r, v5) {
		s.webSocket(w, r)
		return
	}
	if s.attach {
		remotecommand.ServeAttach(w, r, s, "", "", "", s.want, idle, opening, older)
		return
	}
	remotecommand.ServeExec(w, r, s, "", "", "", nil, s.want, idle, opening, older)
}

// AttachContainer implements remotecommand.Attacher.
func (s session) AttachContainer(ctx context.Context, _, _, _ string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return s.run(ctx, in, out, errs, tty, resize)
}

// ExecInContainer implements remotecommand.Executor.
func (s session) ExecInContainer(ctx context.Context, _, _, _ string, _ []string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	err := s.run(ctx, in, out, errs, tty, resize)
	var exit exec.ExitError
	if errors.As(err, &exit) {
		return exit // its caller looks at no wrapped one
	}
	return err
}

func offers(r *http.Request, protocol string) bool {
	return slices.ContainsFunc(strings.Split(r.Header.Get(wsstream.WebSocketProtocolHeader), ","), func(p string) bool {
		return strings.TrimSpace(p) == protocol
	})
}

// webSocket serves v5.channel.k8s.io.
func (s session) webSocket(w http.ResponseWriter, r *http.Request) {
	use := make([]wsstream.ChannelType, channels)
	use[chStatus], use[chResize] = wsstream.WriteChannel, wsstream.ReadChannel
	for ch, wanted := range []bool{chStdin: s.want.Stdin, chStdout: s.want.Stdout, chStderr: s.want.Stderr} {
		switch {
		case !wanted:
			use[ch] = wsstream.IgnoreChannel
		case ch == chStdin:
			use[ch] = wsstream.ReadChannel
		default:
			use[ch] = wsstream.WriteChannel
		}
	}
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{v5: {Binary: true, Channels: use}})
	conn.SetIdleTimeout(idle)
	_, ch, err := conn.Open(w, r)
	if err != nil {
		return // the client has been told
	}
	defer conn.Close() //nolint:errcheck // nobody is left to be told
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	resize := make(chan remotecommand.TerminalSize, 4)
	go func() {
		defer cancel() // the channel ends with the connection
		sizes(ctx, ch[chResize], resize)
	}()
	var in io.Reader
	var out, errs io.WriteCloser
	if s.want.Stdin {
		in = ch[chStdin]
	}
	if s.want.Stdout {
		out = ch[chStdout]
	}
	if s.want.Stderr {
		errs = ch[chStderr]
	}
	err = s.run(ctx, in, out, errs, s.want.TTY, resize)
	_ = json.NewEncoder(ch[chStatus]).Encode(status(err))
}

// sizes tells of a terminal's sizes until the connection ends.
func sizes(ctx context.Context, r io.Reader, to chan<- remotecommand.TerminalSize) {
	defer close(to)
	d := json.NewDecoder(r)
	for {
		var size remotecommand.TerminalSize
		if err := d.Decode(&size); err != nil {
			_, _ = io.Copy(io.Discard, r)
			return
		}
		select {
		case to <- size:
		case <-ctx.Done():
			return
		}
	}
}

// status says how a process ended, in the words that kubectl reads its exit code from.
func status(err error) metav1.Status {
	var exit exec.ExitError
	switch {
	case err == nil:
		return metav1.Status{Status: metav1.StatusSuccess}
	case errors.As(err, &exit) && exit.Exited():
		return metav1.Status{
			Status: metav1.StatusFailure, Reason: "NonZeroExitCode",
			Message: "command terminated with non-zero exit code: " + exit.Error(),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: "ExitCode", Message: strconv.Itoa(exit.ExitStatus())}}},
		}
	}
	return metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Code: http.StatusInternalServerError, Message: err.Error()}
}

package keeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/life"
)

func TestExec(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "sleep 1000", nil).apply()
	s := p.running("a")
	_ = s
	uid := &specs.User{UID: 1000, GID: 1001}
	for _, tt := range []struct {
		name     string
		req      ExecRequest
		in       string
		out, err string
		exit     Exit
	}{
		{name: "true", req: ExecRequest{Args: []string{"true"}}},
		{name: "code", req: ExecRequest{Args: []string{"sh", "-c", "exit 7"}}, exit: Exit{Code: 7}},
		{name: "signal", req: ExecRequest{Args: []string{"sh", "-c", "kill -KILL $$"}}, exit: Exit{Code: 137, Signal: 9}},
		{name: "streams", req: ExecRequest{Args: []string{"sh", "-c", "cat; echo bad >&2"}}, in: "hello", out: "hello", err: "bad\n"},
		{name: "env", req: ExecRequest{Args: []string{"sh", "-c", "echo $NAME $MORE"}, Env: []string{"MORE=x"}}, out: "a x\n"},
		{name: "env instead", req: ExecRequest{Args: []string{"sh", "-c", "echo $NAME"}, Env: []string{"NAME=y"}}, out: "y\n"},
		{name: "cwd", req: ExecRequest{Args: []string{"pwd"}, Cwd: "/proc"}, out: "/proc\n"},
		{name: "user", req: ExecRequest{Args: []string{"sh", "-c", "echo $(id -u) $(id -g) > /dev/stdout"}, User: uid}, out: "1000 1001\n"},
		{name: "privileged", req: ExecRequest{Args: []string{"sh", "-c", "hostname changed && hostname"}, Privileged: true}, out: "changed\n"},
		{name: "container's own rights", req: ExecRequest{Args: []string{"hostname", "x"}}, err: "hostname: sethostname: Operation not permitted\n", exit: Exit{Code: 1}},
		{name: "terminal", req: ExecRequest{Args: []string{"sh", "-c", "stty size; test -t 0 && test -t 2 && echo tty"}, TTY: true, Size: Size{Width: 91, Height: 33}}, out: "33 91\r\ntty\r\n"},
		{name: "much", req: ExecRequest{Args: []string{"sh", "-c", "seq 1 100000 | wc -c; seq 1 100000"}}, out: "588895\n" + numbers(100000)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			tt.req.Container, tt.req.Stdout, tt.req.Stderr = "a", &out, &errs
			if tt.in != "" {
				tt.req.Stdin = strings.NewReader(tt.in)
			}
			exit, err := p.Exec(p.ctx, tt.req)
			if err != nil || exit != tt.exit || out.String() != tt.out || errs.String() != tt.err {
				t.Errorf("%+v, %v, out %.100q, err %.100q", exit, err, out.String(), errs.String())
			}
		})
	}
}

func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i+1)
	}
	return b.String()
}

func TestExecFails(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "sleep 1000", nil).container("b", "exit 0", nil).apply()
	p.until("b is over", func(s *Status) bool {
		return s.Container("b").State == life.Exited && s.Container("a").State == life.Running
	})
	for _, tt := range []struct {
		container string
		args      []string
		code      int
		text      string
	}{
		{"a", []string{"/no/such"}, 127, "no such file"},
		{"a", []string{"nosuch"}, 127, "no such file"},
		{"a", []string{"/bin"}, 126, "permission denied"},
		{"a", nil, 0, "no command"},
		{"b", []string{"true"}, 0, "does not run"},
		{"c", []string{"true"}, 0, "no such container"},
	} {
		_, err := p.Exec(p.ctx, ExecRequest{Container: tt.container, Args: tt.args, Streams: Streams{Stdout: io.Discard}})
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Code != tt.code || !strings.Contains(refused.Text, tt.text) {
			t.Errorf("%s %q: %v", tt.container, tt.args, err)
		}
	}
}

func TestExecSignalAndKill(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "sleep 1000", nil).apply()
	p.running("a")
	signals := make(chan Signal, 1)
	w := writer(func(b []byte) { signals <- Signal(unix.SIGUSR1) })
	exit, err := p.Exec(p.ctx, ExecRequest{
		Container: "a", Args: []string{"sh", "-c", "trap 'exit 9' USR1; echo up; while :; do sleep 0.01; done"},
		Streams: Streams{Stdout: w, Signals: signals},
	})
	if err != nil || exit.Code != 9 {
		t.Errorf("%+v, %v", exit, err)
	}
	// A client that goes away takes its process along if it asked for that.
	for _, kill := range []bool{true, false} {
		ctx, cancel := context.WithCancel(p.ctx)
		var pid int
		w := writer(func(b []byte) { _, _ = fmt.Sscan(string(b), &pid); cancel() })
		_, err := p.Exec(ctx, ExecRequest{
			Container: "a", Args: []string{"sh", "-c", "echo $$; exec sleep 999"}, Kill: kill, Streams: Streams{Stdout: w},
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		is := func() bool {
			exit, err := p.Exec(p.ctx, ExecRequest{Container: "a", Args: []string{"test", "-d", fmt.Sprint("/proc/", pid)}})
			return err == nil && exit.Code == 0
		}
		if kill {
			p.wait("the process is gone", func() bool { return !is() })
		} else if !is() {
			t.Error("the process is gone")
		}
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

// A process that is left behind and holds the output open does not keep an exec from ending (GHSA-7jxh-36q5-gcqv), and a
// container's end from being told.
func TestGHSA_7jxh_36q5_gcqv(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "sleep 1000", nil).apply()
	p.running("a")
	before := descriptors(t, p.Hello().Pid)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			var out bytes.Buffer
			exit, err := p.Exec(p.ctx, ExecRequest{Container: "a", Args: []string{"sh", "-c", "sleep 1000 & echo done"}, Streams: Streams{Stdout: &out}})
			if err != nil || exit.Code != 0 || out.String() != "done\n" {
				t.Errorf("%+v, %v, %q", exit, err, out.String())
			}
		})
	}
	group.Wait()
	p.wait("the keeper's descriptors are back", func() bool { return descriptors(t, p.Hello().Pid) <= before })
}

// One who reads late gets all of it.
func TestExecReadLate(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "sleep 1000", nil).apply()
	p.running("a")
	var out bytes.Buffer
	first := true
	w := writer(func(b []byte) {
		if first {
			time.Sleep(lateOutput + 200*time.Millisecond)
		}
		first = false
		out.Write(b)
	})
	// A process that is left behind holds the pipe, so that there is no end of it.
	exit, err := p.Exec(p.ctx, ExecRequest{Container: "a", Args: []string{"sh", "-c", "sleep 1000 & seq 1 5000"}, Streams: Streams{Stdout: w}})
	if err != nil || exit.Code != 0 || out.String() != numbers(5000) {
		t.Errorf("%+v, %v, %d bytes of %d", exit, err, out.Len(), len(numbers(5000)))
	}
}

func descriptors(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestAttach(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "cat; echo end; exit 3", func(c *life.Container, _ *specs.Spec) { c.Stdin, c.StdinOnce = true, true })
	var one, two bytes.Buffer
	var group sync.WaitGroup
	ready := make(chan struct{}, 2)
	for out, in := range map[*bytes.Buffer]io.Reader{&one: strings.NewReader("typed\n"), &two: nil} {
		group.Go(func() {
			exit, err := p.Attach(p.ctx, AttachRequest{
				Container: "a", Attached: func() { ready <- struct{}{} }, Streams: Streams{Stdin: in, Stdout: out},
			})
			if err != nil || exit.Code != 3 {
				t.Errorf("%+v, %v", exit, err)
			}
		})
	}
	<-ready
	<-ready
	p.apply()
	group.Wait()
	p.finished()
	for name, got := range map[string]string{"first": one.String(), "second": two.String(), "log": p.log("a", 0)[stdout]} {
		if got != "typed\nend\n" {
			t.Errorf("%s got %q", name, got)
		}
	}
	if _, err := p.Attach(p.ctx, AttachRequest{Container: "a"}); !errors.Is(err, ErrNoKeeper) {
		t.Errorf("attach to a Pod that has finished: %v", err)
	}
}

func TestAttachTerminal(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "stty -echo; echo ready; read x; stty size; echo got $x", func(c *life.Container, _ *specs.Spec) { c.Stdin, c.TTY = true, true })
	in, typed := io.Pipe()
	var out bytes.Buffer
	sizes := make(chan Size, 1)
	w := writer(func(b []byte) {
		out.Write(b)
		if strings.HasSuffix(out.String(), "ready\r\n") {
			go func() {
				if err := p.Resize(p.ctx, "a", Size{Width: 77, Height: 22}); err != nil {
					t.Error(err)
				}
				fmt.Fprintln(typed, "word")
			}()
		}
	})
	exit, err := p.Attach(p.ctx, AttachRequest{
		Container: "a", Attached: func() { p.apply() }, Streams: Streams{Stdin: in, Stdout: w, Resize: sizes},
	})
	if err != nil || exit.Code != 0 || out.String() != "ready\r\n22 77\r\ngot word\r\n" {
		t.Errorf("%+v, %v, %q", exit, err, out.String())
	}
	p.finished()
	if got := p.log("a", 0)[stdout]; got != out.String() {
		t.Errorf("log %q", got)
	}
}

func TestAttachFails(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "sleep 1000", nil).container("b", "exit 0", nil).apply()
	p.until("b is over", func(s *Status) bool { return s.Container("b").State == life.Exited })
	for name, want := range map[string]string{"b": "does not run", "c": "no such container"} {
		if _, err := p.Attach(p.ctx, AttachRequest{Container: name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("attach to %s: %v", name, err)
		}
	}
}

// All of a large output reaches one who reads slowly, also after the container's end.
func TestAttachSlowly(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "seq 1 60000 > /dev/shm/n; cat /dev/shm/n", nil)
	var out bytes.Buffer
	w := writer(func(b []byte) {
		time.Sleep(time.Millisecond)
		out.Write(b)
	})
	exit, err := p.Attach(p.ctx, AttachRequest{Container: "a", Attached: func() { p.apply() }, Streams: Streams{Stdout: w}})
	if err != nil || exit.Code != 0 || out.String() != numbers(60000) {
		t.Errorf("%+v, %v, %d bytes", exit, err, out.Len())
	}
	p.finished()
	if got := p.log("a", 0)[stdout]; got != numbers(60000) {
		t.Errorf("log has %d bytes", len(got))
	}
}

// Clients that begin and never go on cost the keeper nothing in the end (CVE-2022-23471).
func TestCVE_2022_23471(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "sleep 1000", nil).apply()
	p.running("a")
	pid := p.Hello().Pid
	before := descriptors(t, pid)
	half := []byte(`{"version":1,"op":"attach","container":"a","stdio":[true,`)
	for range 5 {
		var open []int
		for i := range 200 {
			fd, err := connect(p.dir)
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, fd)
			if i%2 == 0 {
				var pipe [2]int
				if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
					t.Fatal(err)
				}
				_, _ = send(fd, half, pipe[0], pipe[1])
				closeAll(pipe[:])
			}
			if i%10 == 9 {
				_, _ = send(fd, []byte("[true,true]}\n"))
			}
		}
		closeAll(open)
	}
	p.wait("the keeper's descriptors are back", func() bool { return descriptors(t, pid) <= before })
	if _, err := p.Status(p.ctx); err != nil {
		t.Error(err)
	}
}

func TestBadRequests(t *testing.T) {
	p := newPod(t, nil).spawn()
	before := descriptors(t, p.Hello().Pid)
	for _, tt := range []struct{ name, line, want string }{
		{"no JSON", "hello\n", "not understood"},
		{"no request", `{"version":1,"op":"dance"}` + "\n", "no request is called"},
		{"version", `{"version":9,"op":"hello"}` + "\n", "speaks version 1"},
		{"too long", strings.Repeat("x", maxRequest+2), "longer than"},
		{"missing descriptor", `{"version":1,"op":"attach","stdio":[true,false,false]}` + "\n", "descriptor is missing"},
		{"bad life", `{"version":1,"op":"life","life":{"version":1,"containers":[]}}` + "\n", "0 containers"},
		{"no such container", `{"version":1,"op":"kill","container":"x"}` + "\n", "does not run"},
	} {
		l, err := open(p.ctx, p.dir)
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.f.Write([]byte(tt.line))
		got, _, herr := l.hear()
		if herr != nil || !strings.Contains(got.Error, tt.want) {
			t.Errorf("%s: answer %+v, %v (%v)", tt.name, got, herr, err)
		}
		l.close()
	}
	p.wait("the keeper's descriptors are back", func() bool { return descriptors(t, p.Hello().Pid) <= before })
}

// Whatever a container prints, the keeper's memory stays what it is.
func TestMemoryIsBounded(t *testing.T) {
	p := newPod(t, nil).spawn()
	flood := func(c *life.Container, _ *specs.Spec) { c.LogMaxBytes, c.LogMaxFiles = 1<<20, 2 }
	p.container("lines", "yes | head -c 60000000", flood)
	p.container("noline", "head -c 60000000 /dev/zero", flood)
	p.container("wait", "sleep 1000", nil).apply()
	p.until("the flood is over", func(s *Status) bool {
		return s.Container("lines").State == life.Exited && s.Container("noline").State == life.Exited
	})
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Hello().Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "RssAnon:")
	var kb int
	if _, err := fmt.Sscan(rest, &kb); err != nil || kb > 12<<10 {
		t.Errorf("RssAnon %d kB, %v", kb, err)
	}
	t.Logf("RssAnon %d kB", kb)
}

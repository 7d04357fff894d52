package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/endpoints/request"
)

func TestOneDaemonAFolder(t *testing.T) {
	root, run := t.TempDir(), t.TempDir()
	held, err := claim(root, run)
	if err != nil {
		t.Fatal(err)
	}
	for _, dirs := range [][]string{{root, t.TempDir()}, {t.TempDir(), run}} {
		if second, err := claim(dirs...); err == nil {
			second.Close()
			t.Errorf("a second daemon took %v", dirs)
		} else if text := err.Error(); !strings.Contains(text, "runs there already, PID ") || strings.Contains(text, "\n") {
			t.Errorf("refused with %q", text)
		}
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := claim(root, run)
	if err != nil {
		t.Fatalf("after the first: %v", err)
	}
	again.Close()
}

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.sock")
	l, err := listenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 || l.Addr().String() != path {
		t.Errorf("socket at %s: %v, %v", l.Addr(), st, err)
	}
	if _, err := listenUnix(path); err == nil || !strings.Contains(err.Error(), "somebody listens") {
		t.Errorf("a second listener: %v", err)
	}
	// A daemon that was killed leaves its socket behind; the next takes its place.
	if err := l.(*ownersOnly).Listener.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	l, err = listenUnix(path)
	if err != nil {
		t.Fatalf("in the place of a stale socket: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket stays after the end")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(path); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("over a file: %v", err)
	}
}

// TestStrangersAreRefused dials a socket whose mode lets everybody in, as a user that is not its owner.
func TestStrangersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becomes another user: needs root")
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	// A name that is no file, since no file of a test is open to others.
	l, err := net.Listen("unix", "@tripodd-test-"+strconv.Itoa(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	guarded := &ownersOnly{Listener: l, owner: 4711}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "in") })}
	go server.Serve(guarded) //nolint:errcheck // it ends with the test
	defer server.Close()
	for uid, want := range map[int]int{0: 200, 4711: 200, 4712: 403} {
		if got := askAs(t, uid, l.Addr().String()); got != want {
			t.Errorf("uid %d: code %d, want %d", uid, got, want)
		}
	}
}

// askAs is the code of an answer to a request of a user. Who dials is who the thread is then.
func askAs(t *testing.T, uid int, path string) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		done <- asUser(uid, func() error { return syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}) })
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "client")
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}}
	answer, err := client.Get("http://x/")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

func TestInherited(t *testing.T) {
	t.Setenv("LISTEN_FDS", "1")
	for _, pid := range []string{"", "1", "x"} {
		t.Setenv("LISTEN_PID", pid)
		if l, err := inherited(); l != nil || err != nil {
			t.Errorf("LISTEN_PID=%q: %v, %v; it is not for us", pid, l, err)
		}
	}
}

func TestLoopback(t *testing.T) {
	for address, good := range map[string]bool{
		"127.0.0.1:7443": true, "127.1.2.3:0": true, "[::1]:7443": true, "localhost:1": true,
		"0.0.0.0:7443": false, ":7443": false, "192.168.1.1:1": false, "example.com:1": false, "127.0.0.1": false,
	} {
		if _, err := loopback(address); (err == nil) != good {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "2000")
	t.Setenv("WATCHDOG_PID", "")
	notify("READY=1")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { watchdog(ctx, func() error { return nil }); close(ended) }()
	text := make([]byte, 64)
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(text); err != nil || string(text[:n]) != want {
			t.Errorf("%q, %v; want %q", text[:n], err, want)
		}
	}
	cancel()
	<-ended
	// One that does not live says nothing; one of another process is not ours to feed.
	sick := 0
	ctx, cancel = context.WithCancel(context.Background())
	watchdog(ctx, func() error {
		if sick++; sick == 3 {
			cancel()
		}
		return errors.New("sick")
	})
	t.Setenv("WATCHDOG_PID", "1")
	watchdog(context.Background(), func() error { t.Error("asked"); return nil })
	for {
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(text)
		if err != nil {
			break
		}
		if string(text[:n]) != "WATCHDOG=1" {
			t.Errorf("%q", text[:n])
		}
	}
}

func TestAbout(t *testing.T) {
	list := &request.RequestInfo{IsResourceRequest: true, Verb: "list", Resource: "made-up"}
	if verb, resource := about(list, 404); verb != "list" || resource != "" {
		t.Errorf("what is not there is counted as %s %s", verb, resource)
	}
	scale := &request.RequestInfo{IsResourceRequest: true, Verb: "get", Resource: "deployments", Subresource: "scale"}
	if _, resource := about(scale, 200); resource != "deployments/scale" {
		t.Errorf("a subresource is counted as %s", resource)
	}
}

func TestUnchanging(t *testing.T) {
	const self = "/usr/bin/tripodd"
	for line, want := range map[string]bool{
		"00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/tripodd": true,
		"00651000-00652000 r--p 00051000 08:02 173521      /usr/bin/tripodd": true,
		"00652000-00655000 rw-p 00052000 08:02 173521      /usr/bin/tripodd": false,
		"7f0000000000-7f0000001000 r-xp 00000000 08:02 1   /usr/lib/libc.so": false,
		"00e03000-00e24000 rw-p 00000000 00:00 0           [heap]":           false,
		"00400000 r-xp 00000000 08:02 173521               /usr/bin/tripodd": false,
		"zz-00452000 r-xp 00000000 08:02 173521            /usr/bin/tripodd": false,
	} {
		if _, _, ok := unchanging(line, self); ok != want {
			t.Errorf("%s: %v", line, ok)
		}
	}
}

// asUser does f as another user, on a thread that ends after it.
func asUser(uid int, f func() error) error {
	runtime.LockOSThread() // and never unlocked: the thread goes with its goroutine
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
		return errno
	}
	return f()
}

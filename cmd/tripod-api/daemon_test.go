package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gwebsocket "github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/remotecommand"
)

// TestMain makes this program a daemon when it is called tripodd: one that is ready a while after it listens, as long as a
// file says, and that ends with whoever started it.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "tripodd" {
		if err := serve(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "tripodd:", err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func serve(args []string) error {
	if len(args) != 4 || args[0] != "--root" || args[2] != "--run-root" {
		return fmt.Errorf("unexpected words %q", args)
	}
	root, runRoot := args[1], args[3]
	if _, err := os.Stat(filepath.Join(root, "broken")); err == nil {
		return fmt.Errorf("the store is damaged")
	}
	log, err := os.OpenFile(filepath.Join(root, "starts"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	fmt.Fprintln(log, os.Getpid())
	l, err := net.Listen("unix", filepath.Join(runRoot, "tripod.sock"))
	if err != nil {
		return err
	}
	asked := 0
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/readyz":
			if asked++; asked < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		case "/end":
			l.Close()
		}
	}))
}

// testClient is a client of a daemon of its own, which ends with the test.
func testClient(t *testing.T) (*client, *strings.Builder) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "tripodd")); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	c := &client{root: dir, runRoot: filepath.Join(dir, "run"), daemon: filepath.Join(dir, "tripodd"), timeout: "0", say: &said}
	t.Cleanup(func() {
		asker := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) }}}
		if resp, err := asker.Get(host + "/end"); err == nil {
			resp.Body.Close()
		}
	})
	return c, &said
}

func TestStart(t *testing.T) {
	first, said := testClient(t)
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		c := *first
		if i > 0 {
			c.say = io.Discard
		}
		all.Go(func() { errs[i] = c.reach() })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	starts, err := os.ReadFile(filepath.Join(first.root, "starts"))
	if n := strings.Count(string(starts), "\n"); n != 1 || err != nil {
		t.Errorf("%d clients started %d daemons, %v", len(errs), n, err)
	}
	if err := first.reach(); err != nil || strings.Count(said.String(), "\n") > 1 {
		t.Errorf("a daemon that runs: %v, said %q", err, said)
	}
	if said.Len() > 0 && !strings.HasPrefix(said.String(), "tripod: started tripodd, process ") {
		t.Errorf("said %q", said)
	}
}

func TestStartRefused(t *testing.T) {
	c, _ := testClient(t)
	if err := os.WriteFile(filepath.Join(c.root, "broken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.reach(); err == nil || err.Error() != "cannot start tripodd: it ended at once (exit status 3)\ntripodd: the store is damaged" {
		t.Errorf("a daemon that ends: %v", err)
	}
	c.quiet = true
	if err := c.reach(); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("while completing: %v", err)
	}
	c.quiet, c.socket = false, filepath.Join(c.root, "foreign.sock")
	if err := c.reach(); err == nil || err.Error() != "cannot reach tripodd at "+c.socket+": no such file or directory" {
		t.Errorf("somebody else's socket: %v", err)
	}
	if _, err := os.Stat(filepath.Join(c.root, "starts")); err == nil {
		t.Error("a daemon was started")
	}
}

// streams answers what opens a stream: for Pod web with exec's protocol, for others with a Status.
func streams(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "/pods/web/") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"pods \"other\" not found","reason":"NotFound","code":404}`)
		return
	}
	up := gwebsocket.Upgrader{Subprotocols: []string{"v5.channel.k8s.io"}}
	conn, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.WriteMessage(gwebsocket.BinaryMessage, append([]byte{1}, "out"...))
	conn.WriteMessage(gwebsocket.BinaryMessage, append([]byte{3}, `{"status":"Success"}`...))
	conn.WriteControl(gwebsocket.CloseMessage, gwebsocket.FormatCloseMessage(gwebsocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
}

func TestUpgrades(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(streams)}
	go server.Serve(l)
	defer server.Close()
	c := &client{socket: path, timeout: "0"}
	config, err := c.ToRESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	exec := func(pod string) (string, error) {
		e, err := remotecommand.NewWebSocketExecutor(config, http.MethodGet, host+"/api/v1/namespaces/default/pods/"+pod+"/exec?command=true&stdout=true")
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		err = e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out})
		return out.String(), err
	}
	if out, err := exec("web"); out != "out" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	if _, err := exec("other"); !apierrors.IsNotFound(err) {
		t.Errorf("a refused stream: %v", err)
	}
	spdy, err := remotecommand.NewSPDYExecutor(config, http.MethodPost, &url.URL{Scheme: "http", Host: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	if err := spdy.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: io.Discard}); err == nil || !strings.Contains(err.Error(), "tripod speaks WebSocket") {
		t.Errorf("SPDY: %v", err)
	}
}

// Every verb says what to type by tripod's name.
func TestNames(t *testing.T) {
	root := newRoot(genericiooptions.NewTestIOStreamsDiscard())
	for _, verb := range root.Commands() {
		for _, text := range []string{verb.Short, verb.Long, verb.Example} {
			if strings.Contains(text, "kubectl ") {
				t.Errorf("%s says %q", verb.Name(), text)
			}
		}
	}
	c := &client{namespace: "shop"}
	if ns, chosen, err := c.ToRawKubeConfigLoader().Namespace(); ns != "shop" || !chosen || err != nil {
		t.Errorf("-n shop: %s, %v, %v", ns, chosen, err)
	}
	c.namespace = ""
	if ns, chosen, err := c.ToRawKubeConfigLoader().Namespace(); ns != corev1.NamespaceDefault || chosen || err != nil {
		t.Errorf("without -n: %s, %v, %v", ns, chosen, err)
	}
}

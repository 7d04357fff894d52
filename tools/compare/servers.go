package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"tripod/internal/api"
	"tripod/internal/objects"
)

const (
	module   = "tools/compare/real" // the module that pins both programs, from the top of the repository
	program  = "k8s.io/kubernetes/cmd/kube-apiserver"
	database = "go.etcd.io/etcd/server/v3"
	release  = "v1.37.2"
	bearer   = "compare"
)

// patience is how long the real server may take to be ready: it starts with some seconds of work, on a machine that may be busy.
const patience = 5 * time.Minute

// server is one of the two that are compared.
type server struct {
	name   string
	url    string
	client *http.Client
	stop   func()
}

// startOurs starts tripod's API over a store below dir.
func startOurs(dir string) (*server, error) {
	store, err := objects.Open(filepath.Join(dir, "objects"), api.Codec(), objects.Options{})
	if err != nil {
		return nil, err
	}
	s, err := api.New(api.Config{Store: store, PKI: filepath.Join(dir, "pki")})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	h := httptest.NewServer(s)
	return &server{"tripod", h.URL, &http.Client{}, func() {
		h.CloseClientConnections()
		h.Close()
		s.Close()
		if err := store.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "compare:", err)
		}
	}}, nil
}

// startReal starts etcd and a kube-apiserver, which is built if there is none yet, and waits until it is ready.
func startReal(ctx context.Context, dir, built string) (*server, error) {
	if built == "" {
		built = dir
		if err := build(ctx, dir); err != nil {
			return nil, err
		}
	}
	etcdProgram, apiserver := filepath.Join(built, "etcd"), filepath.Join(built, "kube-apiserver")
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	etcd, peer := "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]
	stopEtcd, err := start(dir, etcdProgram, "--data-dir", filepath.Join(dir, "objects.etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", etcd, "--advertise-client-urls", etcd,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	if err != nil {
		return nil, err
	}
	stopReal, err := startAPIServer(dir, apiserver, etcd, ports[2])
	if err != nil {
		stopEtcd()
		return nil, err
	}
	s := &server{
		"kube-apiserver", "https://127.0.0.1:" + ports[2],
		// The certificate is one that the server makes for itself, on this host's loopback.
		&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}, //nolint:gosec
		func() { stopReal(); stopEtcd() },
	}
	if err := s.wait(ctx); err != nil {
		s.stop()
		said, _ := os.ReadFile(filepath.Join(dir, "kube-apiserver.log"))
		return nil, fmt.Errorf("%w; it said: %s", err, last(said, 4000))
	}
	return s, nil
}

// build makes etcd and the API server, which says which version it is as its release does.
func build(ctx context.Context, dir string) error {
	fmt.Fprintln(os.Stderr, "building kube-apiserver", release, "and etcd")
	const version = "-X k8s.io/component-base/version."
	flags := "-s -w " + version + "gitVersion=" + release + " " + version + "gitMajor=1 " + version + "gitMinor=37 " + version + "gitTreeState=clean"
	for _, p := range [][2]string{{"etcd", database}, {"kube-apiserver", program}} {
		cmd := exec.CommandContext(ctx, "go", "-C", module, "build", "-tags", "grpcnotrace", "-ldflags", flags, "-o", filepath.Join(dir, p[0]), p[1])
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build %s: %w: %s", p[1], err, out)
		}
	}
	return nil
}

// startAPIServer starts the API server as one who is asked by tripod's owner sees it: everything is allowed.
func startAPIServer(dir, program, etcd, port string) (stop func(), err error) {
	key := filepath.Join(dir, "accounts.key")
	if err := writeKey(key); err != nil {
		return nil, err
	}
	known := filepath.Join(dir, "tokens.csv")
	if err := os.WriteFile(known, []byte(bearer+",system:admin,,system:masters\n"), 0o600); err != nil {
		return nil, err
	}
	return start(dir, program, "--etcd-servers", etcd, "--bind-address", "127.0.0.1", "--secure-port", port, "--advertise-address", "127.0.0.1",
		"--endpoint-reconciler-type", "none", "--cert-dir", filepath.Join(dir, "certs"), "--token-auth-file", known,
		"--authorization-mode", "AlwaysAllow", "--service-cluster-ip-range", "10.96.0.0/12", "--allow-privileged",
		"--service-account-issuer", "https://kubernetes.default.svc.cluster.local", "--service-account-key-file", key, "--service-account-signing-key-file", key,
		"--service-account-extend-token-expiration=false",
		"--disable-admission-plugins", "TaintNodesByCondition,StorageObjectInUseProtection")
}

func writeKey(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

// start starts a program that dies with us, and whose words go to a file in dir.
func start(dir, program string, args ...string) (stop func(), err error) {
	log, err := os.Create(filepath.Join(dir, filepath.Base(program)+".log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start %s: %w", program, err), log.Close())
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed, which is what the error says
		_ = log.Close()
	}, nil
}

// wait returns when the server is ready and has made the objects that every cluster has.
func (s *server) wait(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	for _, path := range []string{"/readyz", "/api/v1/namespaces/default", "/api/v1/namespaces/kube-node-lease", "/api/v1/namespaces/default/services/kubernetes"} {
		for {
			got, err := s.ask(ctx, &request{method: http.MethodGet, path: path})
			if err == nil && got.code == http.StatusOK {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("cannot wait for %s: %s does not come", s.name, path)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return nil
}

// freePorts are ports of the loopback that nobody listens on.
func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all are held until all are known
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}

// last is the end of a text.
func last(text []byte, n int) []byte {
	return bytes.TrimSpace(text[max(0, len(text)-n):])
}

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serve is a server with the certificates of dir that answers with its client's name.
func serve(t *testing.T, dir string) string {
	t.Helper()
	config, err := Server(dir, []string{"127.0.0.1", "localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	s.TLS = config
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

// ask is one request by the client of dir; without a certificate when bare.
func ask(t *testing.T, url, dir string, bare bool) (string, error) {
	t.Helper()
	c, err := ReadClient(dir)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(c.CA)
	config := &tls.Config{RootCAs: trusted}
	if !bare {
		cert, err := tls.X509KeyPair(c.Cert, c.Key)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	defer client.CloseIdleConnections()
	answer, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

func TestOnlyTheClientComesIn(t *testing.T) {
	ours, theirs := filepath.Join(t.TempDir(), "pki"), filepath.Join(t.TempDir(), "pki")
	url := serve(t, ours)
	if who, err := ask(t, url, ours, false); err != nil || who != ClientUser {
		t.Errorf("the client of the folder: %q, %v", who, err)
	}
	if who, err := ask(t, url, ours, true); err == nil {
		t.Errorf("a client without a certificate came in as %q", who)
	}
	serve(t, theirs)
	// The other folder's client trusts this server, but comes with a certificate of its own authority.
	for _, name := range []string{"client.crt", "client.key"} {
		data, err := os.ReadFile(filepath.Join(theirs, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(ours, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if who, err := ask(t, url, ours, false); err == nil {
		t.Errorf("a client of another authority came in as %q", who)
	}
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	serve(t, dir)
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%s: %v, %v", dir, st.Mode(), err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 6 {
		t.Fatalf("%d files, %v; want 6", len(files), err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: mode %v, %v", f.Name(), info.Mode(), err)
		}
	}
}

// TestWhatIsThereIsUsedAgain starts a second time, with a file gone, with one cut short, with other names, and near the end.
func TestWhatIsThereIsUsedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	p, now := In(dir), time.Now()
	start := func(hosts []string, now time.Time) map[string]string {
		t.Helper()
		if _, err := Server(dir, hosts, now); err != nil {
			t.Fatal(err)
		}
		all := map[string]string{}
		for _, path := range []string{p.CA, p.Server, p.Client} {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all[path] = string(data)
		}
		return all
	}
	first := start([]string{"127.0.0.1"}, now)
	for _, c := range []struct {
		name    string
		before  func() error
		hosts   []string
		now     time.Time
		changed string
	}{
		{"nothing", func() error { return nil }, []string{"127.0.0.1"}, now, ""},
		{"a key is gone", func() error { return os.Remove(p.ServerKey) }, []string{"127.0.0.1"}, now, p.Server},
		{"a certificate is cut short", func() error { return os.Truncate(p.Client, 100) }, []string{"127.0.0.1"}, now, p.Client},
		{"another name", func() error { return nil }, []string{"localhost"}, now, p.Server},
	} {
		if err := c.before(); err != nil {
			t.Fatal(err)
		}
		second := start(c.hosts, c.now)
		for path, text := range second {
			if changed := text != first[path]; changed != (path == c.changed) {
				t.Errorf("%s: %s is new: %v", c.name, filepath.Base(path), changed)
			}
		}
		first = second
	}
	if near := start([]string{"localhost"}, now.Add(life-renew/2)); near[p.CA] != first[p.CA] || near[p.Server] == first[p.Server] {
		t.Error("near its end the server's certificate is to be new, and the authority's not")
	}
}

func TestAuthorityIsNeverReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	serve(t, dir)
	p := In(dir)
	if err := os.WriteFile(p.CAKey, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Server(dir, nil, time.Now()); err == nil || !strings.Contains(err.Error(), p.CA) {
		t.Errorf("with a damaged authority: %v, want an error that names %s", err, p.CA)
	}
	// A start that was killed before the certificate was there told nobody of the key.
	if err := os.Remove(p.CA); err != nil {
		t.Fatal(err)
	}
	if _, err := Server(dir, nil, time.Now()); err != nil {
		t.Errorf("after a start that was cut short: %v", err)
	}
	if _, err := Server(dir, nil, time.Now().Add(2*life)); err == nil || !strings.Contains(err.Error(), "ended on") {
		t.Errorf("after the authority's end: %v", err)
	}
}

package image

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fakeHost is a host with unmerged /usr and things that must not be taken.
func fakeHost(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for path, data := range map[string]string{
		"usr/lib/os-release":             "NAME=x\n",
		"bin/sh":                         "",
		"etc/passwd":                     "root:$6$secret:0:0:root:/root:/bin/sh\n",
		"etc/group":                      "root:x:0:\n",
		"etc/shadow":                     "root:$6$secret:::::::\n",
		"etc/ssl/private/key.pem":        "secret",
		"etc/ssl/certs/a.pem":            "certificate",
		"etc/ssl/certs/private.pem":      "secret",
		"etc/ssh/ssh_host_rsa_key":       "secret",
		"etc/ld.so.conf":                 "include /etc/ld.so.conf.d/*.conf\n",
		"etc/ld.so.conf.d/libc.conf":     "/usr/local/lib\n",
		"home/user/data":                 "secret",
		"root/.ssh/id_rsa":               "secret",
		"srv/backup/certificate-and-key": "secret",
	} {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(root, "etc/ssl/certs/private.pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{
		"lib":                   "usr/lib",
		"etc/os-release":        "../usr/lib/os-release",
		"etc/alternatives/vi":   "/usr/bin/vim.basic",
		"etc/alternatives/evil": "/home/user/data.gone",
		"etc/ssl/certs/b.0":     "a.pem",
	} {
		full := filepath.Join(root, link)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, full); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestPlanHostTakesNoSecrets(t *testing.T) {
	plan, err := planHost(fakeHost(t))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]node{}
	for _, n := range plan.Nodes {
		got[n.Path] = n
		if strings.Contains(string(n.Data), "secret") {
			t.Errorf("%s holds a secret: %q", n.Path, n.Data)
		}
	}
	for _, want := range []string{
		"etc/passwd", "etc/group", "etc/ld.so.conf", "etc/ld.so.conf.d/libc.conf", "etc/ssl/certs/a.pem", "etc/ssl/certs/b.0",
		"etc/os-release", "etc/alternatives/vi", "lib", "bin", "tmp", "proc",
	} {
		if _, ok := got[want]; !ok {
			t.Errorf("no %s in host:/", want)
		}
	}
	for _, deny := range []string{
		"etc/shadow", "etc/ssl/private/key.pem", "etc/ssl/certs/private.pem", "etc/ssh/ssh_host_rsa_key", "home/user", "root/.ssh",
		"etc/alternatives/evil", "srv/backup",
	} {
		if _, ok := got[deny]; ok {
			t.Errorf("%s of the host is in host:/", deny)
		}
	}
	if got["lib"].Link != "usr/lib" {
		t.Errorf("lib is %+v, want a link to usr/lib", got["lib"])
	}
	if got["tmp"].Mode != fs.ModeDir|fs.ModeSticky|0o777 || got["root"].Mode != fs.ModeDir|0o700 {
		t.Errorf("modes of tmp and root: %v %v", got["tmp"].Mode, got["root"].Mode)
	}
	var dests []string
	for _, m := range plan.Mounts {
		dests = append(dests, m.Destination)
		if !slices.Contains(m.Options, "ro") {
			t.Errorf("mount %s is writable: %v", m.Destination, m.Options)
		}
	}
	if !slices.Equal(dests, []string{"/usr", "/bin"}) {
		t.Errorf("mounts %v, want /usr and /bin: lib is a link", dests)
	}
}

func TestHostImage(t *testing.T) {
	s := openStore(t)
	img, err := s.Ensure(t.Context(), "host:/", Never, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Ensure(t.Context(), "host:/", Always, PullOptions{})
	if err != nil || again.ID != img.ID {
		t.Fatalf("a second host:/ is %v, %v; want %v", again.ID, err, img.ID)
	}
	root, err := s.Root(img, "pod_web")
	if err != nil {
		t.Fatal(err)
	}
	if len(root.Lower) != 1 || len(root.Mounts) == 0 {
		t.Fatalf("root %+v", root)
	}
	if info, err := os.Stat(filepath.Join(root.Lower[0], "tmp")); err != nil || info.Mode() != fs.ModeDir|fs.ModeSticky|0o777 {
		t.Errorf("/tmp: %v %v", info, err)
	}
	if data, err := s.ReadFile(img, "/etc/passwd", 1<<20); err != nil || !strings.HasPrefix(string(data), "root:x:0:0:") {
		t.Errorf("passwd: %.40q %v", data, err)
	}
	if data, err := s.ReadFile(img, "/etc/os-release", 1<<20); err != nil || len(data) == 0 {
		t.Errorf("os-release through a link into the bound /usr: %q %v", data, err)
	}
	if _, err := s.ReadFile(img, "/etc/shadow", 1<<20); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("shadow: %v, want not found", err)
	}
	if err := s.Release("pod_web"); err != nil {
		t.Error(err)
	}
	if err := s.Release("pod_web"); err != nil {
		t.Errorf("second release: %v", err)
	}
}

func TestHostImageIsOnlyTheRoot(t *testing.T) {
	if _, err := openStore(t).Ensure(t.Context(), "host:/etc", Always, PullOptions{}); err == nil {
		t.Fatal("host:/etc was taken")
	}
}

func openStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestHostIsRememberedUntilItChanges(t *testing.T) {
	later := time.Now().Add(time.Hour)
	for _, change := range []struct {
		name string
		do   func(root string) error
	}{
		{"a file", func(root string) error { return os.WriteFile(root+"/etc/ld.so.conf", []byte("new"), 0o644) }},
		{"a new file", func(root string) error { return os.WriteFile(root+"/etc/nsswitch.conf", nil, 0o644) }},
		{"a file gone", func(root string) error { return os.Remove(root + "/etc/ssl/certs/a.pem") }},
		{"a new link", func(root string) error { return os.Symlink("/usr/bin/x", root+"/etc/alternatives/x") }},
		{"a new directory", func(root string) error { return os.MkdirAll(root+"/etc/pki/tls/certs", 0o755) }},
		{"a mode", func(root string) error { return os.Chmod(root+"/etc/ssl/certs/private.pem", 0o644) }},
		{"a new program directory", func(root string) error { return os.Mkdir(root+"/lib64", 0o755) }},
	} {
		s, root := openStore(t), fakeHost(t)
		plan, err := planHost(root)
		if err != nil {
			t.Fatal(err)
		}
		key := plan.digest()
		if err := s.makeHost(plan, s.snapshotPath(key)); err != nil {
			t.Fatal(err)
		}
		if err := s.rememberHost(plan.inputs, key, time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.rememberedHost(); ok {
			t.Error("files that changed only just were remembered")
		}
		if err := s.rememberHost(plan.inputs, key, later); err != nil {
			t.Fatal(err)
		}
		if have, ok := s.rememberedHost(); !ok || have != key {
			t.Errorf("%s: not remembered before the change", change.name)
		}
		if err := change.do(root); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.rememberedHost(); ok {
			t.Errorf("%s: remembered after the change", change.name)
		}
	}
}

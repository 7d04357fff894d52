package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tripod/contrib/systemd"
)

func newTestService(t *testing.T) (*service, *bytes.Buffer, *[]string) {
	t.Helper()
	dir := t.TempDir()
	var said bytes.Buffer
	var calls []string
	a := &app{out: &said, root: filepath.Join(dir, "root"), runRoot: filepath.Join(dir, "run")}
	s := &service{a: a, dir: filepath.Join(dir, "units"), booted: true, call: func(words ...string) error {
		calls = append(calls, strings.Join(words, " "))
		return nil
	}}
	return s, &said, &calls
}

func TestServiceInstall(t *testing.T) {
	s, _, calls := newTestService(t)
	for range 2 { // a second time replaces the first
		if err := s.doInstall([]string{"--listen", "127.0.0.1:7443", "--manifests", "/my 100% own"}); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(s.dir, systemd.ServiceName))
	if err != nil {
		t.Fatal(err)
	}
	want := "ExecStart=" + beside("tripodd") + " --root " + s.a.root + " --run-root " + s.a.runRoot + ` --listen 127.0.0.1:7443 --manifests "/my 100%% own"` + "\n"
	if !strings.Contains(string(text), want) {
		t.Errorf("no line %q in\n%s", want, text)
	}
	if text, err := os.ReadFile(filepath.Join(s.dir, systemd.SocketName)); err != nil || !strings.Contains(string(text), "ListenStream="+s.socket()+"\n") {
		t.Errorf("socket unit, %v:\n%s", err, text)
	}
	if !slices.Contains(*calls, "daemon-reload") || !slices.Contains(*calls, "enable tripod.service tripod.socket") {
		t.Errorf("systemctl was asked %q", *calls)
	}
	if err := s.doUninstall(); err != nil {
		t.Fatal(err)
	}
	if left := names(s.dir); len(left) > 0 || (*calls)[len(*calls)-2] != "disable --now tripod.service tripod.socket" {
		t.Errorf("left %q; systemctl was asked %q", left, *calls)
	}
	if err := s.doUninstall(); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestServiceWithoutSystemd(t *testing.T) {
	s, said, calls := newTestService(t)
	s.booted = false
	if err := s.doInstall(nil); err != nil {
		t.Fatal(err)
	}
	if len(*calls) > 0 || !strings.Contains(said.String(), "systemd does not run") {
		t.Errorf("systemctl was asked %q; said:\n%s", *calls, said)
	}
}

// TestServiceLeavesOthersUnits has a file of the same name that an administrator wrote.
func TestServiceLeavesOthersUnits(t *testing.T) {
	s, _, calls := newTestService(t)
	path := filepath.Join(s.dir, systemd.SocketName)
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("[Socket]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if s.doInstall(nil) == nil || s.doUninstall() == nil {
		t.Error("took a unit that it did not write")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "[Socket]\n" || len(names(s.dir)) != 1 || len(*calls) > 0 {
		t.Errorf("%q, %v, %v; systemctl was asked %q", text, err, names(s.dir), *calls)
	}
}

func TestServiceVerify(t *testing.T) {
	s, said, _ := newTestService(t)
	if err := s.remember(); err != nil {
		t.Fatal(err)
	}
	before := s.host()
	if err := s.doInstall(nil); err != nil {
		t.Fatal(err)
	}
	if err := s.compare(before); err == nil || !strings.Contains(said.String(), "left: file "+filepath.Join(s.dir, systemd.ServiceName)) {
		t.Errorf("with units in place: %v, said:\n%s", err, said)
	}
	if err := s.doUninstall(); err != nil {
		t.Fatal(err)
	}
	// Others may come and go on this host meanwhile: what is compared here is ours.
	for _, line := range differences(before, s.host()) {
		if strings.Contains(line, filepath.Dir(s.dir)) {
			t.Errorf("after uninstall %s", line)
		}
	}
	was := host{Mounts: []string{"/a x", "/b x"}, Rules: nil, Links: []string{"eth0"}, Cgroups: []string{"/c/user"}}
	is := host{Mounts: []string{"/a x", "/a x"}, Rules: []string{"r"}, Links: []string{"eth0", "br"}, Cgroups: []string{"/c/tripod"}}
	want := []string{"gone: mount /b x", "left: cgroup /c/tripod", "left: link br", "left: mount /a x"}
	if got := differences(was, is); !slices.Equal(got, want) {
		t.Errorf("differences %q, want %q", got, want)
	}
}

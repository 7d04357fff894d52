package container

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// confinement lets everything be done but to read one file.
const confinement = `profile tripod-test flags=(attach_disconnected,mediate_deleted) {
  file, capability, network, signal, ptrace, unix, mount, umount, pivot_root,
  deny /etc/denied r,
}
`

// TestAppArmor runs under a profile of this test's own, on a kernel that has AppArmor.
func TestAppArmor(t *testing.T) {
	if l := labels(&specs.Process{ApparmorProfile: "x"}, ""); !l.AppArmor {
		t.Skip("this kernel has no AppArmor; the machine's has")
	}
	if _, err := os.Stat("/sys/kernel/security/apparmor"); err != nil {
		if err := unix.Mount("securityfs", "/sys/kernel/security", "securityfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount("/sys/kernel/security", 0) })
	}
	file := filepath.Join(t.TempDir(), "profile")
	if err := os.WriteFile(file, []byte(confinement), 0o644); err != nil {
		t.Fatal(err)
	}
	load := func(word string) {
		if out, err := exec.Command("apparmor_parser", word, "--skip-cache", file).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	load("--replace")
	t.Cleanup(func() { load("--remove") })
	const shown = "cat /proc/self/attr/current; cat /etc/denied 2>/dev/null || echo denied"
	root := layers(t)
	owned(t, filepath.Join(root.Lower[1], "etc/denied"), 0, 0)
	for _, nnp := range []bool{true, false} {
		spec := sample("sh", "-c", shown)
		spec.Process.NoNewPrivileges = nnp
		spec.Process.ApparmorProfile = "tripod-test"
		if out, _, err := runs(t, Config{Spec: spec, Root: root}); err != nil || out != "tripod-test (enforce)\ndenied\n" {
			t.Errorf("no new privileges %v: %q, %v", nnp, out, err)
		}
		spec.Process.ApparmorProfile = "unconfined"
		if out, _, err := runs(t, Config{Spec: spec, Root: root}); err != nil || !strings.HasPrefix(out, "unconfined\n") {
			t.Errorf("unconfined: %q, %v", out, err)
		}
		spec.Process.ApparmorProfile = "no-such-profile"
		if _, _, err := runs(t, Config{Spec: spec, Root: root}); !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "process.apparmorProfile") {
			t.Errorf("no such profile: %v", err)
		}
	}
	spec := sample("sleep", "1000")
	spec.Process.ApparmorProfile = "tripod-test"
	cfg := Config{ID: "x", Spec: spec, Host: look(t), Root: root, CgroupPath: cgroupName(t)}
	c, err := Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	proc := *spec.Process
	proc.Args = []string{"sh", "-c", shown}
	p, err := c.Exec(ExecConfig{Process: &proc, Stdio: [3]*os.File{nil, w, w}})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(r)
	r.Close()
	if _, err := p.Wait(); err != nil || string(out) != "tripod-test (enforce)\ndenied\n" {
		t.Errorf("exec: %q, %v", out, err)
	}
	if err := errors.Join(c.Kill(), waited(c), c.Delete()); err != nil {
		t.Error(err)
	}
	gone(t, cfg)
}

package container

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/plan"
)

// nobody is the user without any rights that these tests run containers as.
const nobody = 65534

// orders is what a copy of this test that is nobody's is to do.
type orders struct {
	Spec   *specs.Spec
	Root   plan.Rootfs
	Cgroup string
	Exec   *specs.Process // run in the container too, with a terminal of its own if it has one
}

// TestRootlessChild is that copy: it runs one container, as a caller without privileges, and prints what it printed.
func TestRootlessChild(t *testing.T) {
	if os.Getenv("TRIPOD_TEST_ROOTLESS") == "" {
		t.Skip("it is TestRootless that runs this")
	}
	err := rootlessChild()
	if err != nil {
		os.Stdout.WriteString("error: " + err.Error() + "\n")
	}
	os.Exit(0)
}

func rootlessChild() error {
	var o orders
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return err
	}
	host, err := Look()
	if err != nil {
		return err
	}
	c, err := Create(Config{
		ID: "x", Spec: o.Spec, Host: host, Root: o.Root, CgroupPath: o.Cgroup, Stdio: [3]*os.File{nil, os.Stdout, os.Stderr},
		Warn: func(err error) { os.Stdout.WriteString("warning: " + err.Error() + "\n") },
	})
	if err != nil {
		return err
	}
	defer c.Delete()
	if err := c.Start(); err != nil {
		return err
	}
	if o.Exec != nil {
		p, err := c.Exec(ExecConfig{Process: o.Exec, Stdio: [3]*os.File{nil, os.Stdout, os.Stderr}})
		if err != nil {
			return errors.Join(err, c.Kill(), waited(c))
		}
		if p.Console != nil {
			_, _ = io.Copy(os.Stdout, p.Console)
			p.Console.Close()
		}
		if _, err := p.Wait(); err != nil {
			return err
		}
		if err := c.Kill(); err != nil {
			return err
		}
	}
	return waited(c)
}

// asNobody runs a container as a user who has no rights, and the ids 300000 and following in /etc/subuid, in a mount
// namespace where only that file is changed.
func asNobody(t *testing.T, o orders) string {
	t.Helper()
	return apartFrom(t, o, `for f in /etc/subuid /etc/subgid; do mount --bind "$0/ids" $f; done
		exec setpriv --reuid 65534 --regid 65534 --clear-groups "$0/test" -test.run '^TestRootlessChild$'`)
}

// apartFrom runs a shell script in a mount namespace of its own, that is to execute the copy of this test at $0/test.
func apartFrom(t *testing.T, o orders, script string) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "test")
	if err := errors.Join(os.WriteFile(program, self, 0o755), os.WriteFile(filepath.Join(dir, "ids"), []byte("nobody:300000:65536\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "-m", "sh", "-ec", script, dir)
	cmd.Env = []string{"TRIPOD_TEST_ROOTLESS=1", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// rootless is a spec and a root for nobody: own ids alone, or with the range of /etc/subuid.
func rootless(t *testing.T, ranges bool, args ...string) orders {
	t.Helper()
	spec := sample(args...)
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: nobody, Size: 1}}
	if ranges {
		spec.Linux.UIDMappings = append(spec.Linux.UIDMappings, specs.LinuxIDMapping{ContainerID: 1, HostID: 300000, Size: 65536})
	}
	spec.Linux.GIDMappings = spec.Linux.UIDMappings
	root := plainRoot(t)
	err := filepath.Walk(root.Path, func(path string, _ os.FileInfo, err error) error {
		return errors.Join(err, os.Lchown(path, nobody, nobody))
	})
	if err != nil {
		t.Fatal(err)
	}
	root.Owned = true
	return orders{Spec: spec, Root: root, Cgroup: cgroupName(t)}
}

// TestRootless: a whole container for a caller who has nothing but the right to make user namespaces.
func TestRootless(t *testing.T) {
	const proc = "grep -h 'Cap.*' /proc/self/status | cut -f2 | head -n5 | tr '\\n' ' '; cat /proc/self/uid_map | tr -s ' ' | tr '\\n' ';'; ls /dev/pts; cat /proc/keys | wc -c; echo x >/new; stat -c %u /new; cat /sys/class/net/lo/flags"
	o := rootless(t, false, "sh", "-c", proc)
	applets(t, o.Root.Path, "cut", "head", "tr", "wc")
	for i, m := range o.Spec.Mounts {
		if m.Type == "devpts" {
			o.Spec.Mounts[i].Options = append(m.Options, "gid=5")
		}
	}
	want := "warning: mounts[2].options: gid=5 is left out: linux.gidMappings does not have it\n" +
		"0000000000000000 0000000000000021 0000000000000021 0000000000000421 0000000000000000  0 65534 1;ptmx\n0\n0\n0x9\n"
	if got := asNobody(t, o); got != want {
		t.Errorf("single id:\n%s\nwant\n%s", got, want)
	}
	if st, err := os.Stat(filepath.Join(o.Root.Path, "new")); err != nil || owner(st) != nobody {
		t.Errorf("on the host the file is %v, %v", st, err)
	}

	o = rootless(t, true, "sh", "-c", "id; cat /proc/self/uid_map | wc -l; touch /tmp/mine")
	applets(t, o.Root.Path, "wc")
	o.Spec.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{7}}
	if err := errors.Join(os.Mkdir(filepath.Join(o.Root.Path, "tmp"), 0o777), os.Chmod(filepath.Join(o.Root.Path, "tmp"), 0o777)); err != nil {
		t.Fatal(err)
	}
	if got, want := asNobody(t, o), "uid=1000 gid=1000 groups=7\n2\n"; got != want {
		t.Errorf("a range: %q, want %q", got, want)
	}
	if st, err := os.Stat(filepath.Join(o.Root.Path, "tmp/mine")); err != nil || owner(st) != 300999 {
		t.Errorf("on the host the file is %v, %v", st, err)
	}
}

func owner(st os.FileInfo) int { return int(st.Sys().(*syscall.Stat_t).Uid) }

// TestRootlessShares: the host's network, so that sysfs is the host's too; binds, clocks, an exec with a terminal, hooks.
func TestRootlessShares(t *testing.T) {
	o := rootless(t, false, "sleep", "1000")
	l := o.Spec.Linux
	l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	for i, n := range l.Namespaces {
		if n.Type == specs.NetworkNamespace {
			l.Namespaces = append(l.Namespaces[:i], l.Namespaces[i+1:]...)
			break
		}
	}
	l.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1 << 24}}
	score := 500
	o.Spec.Process.OOMScoreAdj = &score
	dir := t.TempDir()
	owned(t, filepath.Join(dir, "file"), 0, 0)
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	o.Spec.Mounts = append(o.Spec.Mounts, binds(dir, "rbind", "ro"))
	o.Spec.Hooks = &specs.Hooks{
		CreateRuntime:   []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "grep -q creating"}, Env: []string{"PATH=/bin"}}},
		CreateContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "grep -q '\"pid\":1,' && test -d /usr"}, Env: []string{"PATH=/bin"}}},
		StartContainer:  []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo hooked >/hooked"}}},
	}
	proc := *o.Spec.Process
	proc.OOMScoreAdj = nil
	proc.Terminal = true
	proc.Args = []string{"sh", "-c", "tty; cat /hooked /data/file; echo; ls -d /sys/kernel; cat /proc/1/oom_score_adj; touch /data/x /sys/x 2>/dev/null || echo refused"}
	o.Exec = &proc
	got := strings.ReplaceAll(asNobody(t, o), "\r", "")
	if want := "/dev/pts/0\nhooked\nx\n/sys/kernel\n500\nrefused\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRootlessErrors: what takes rights on the host is told so.
func TestRootlessErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*orders)
		want   string
	}{
		{"no user namespace", func(o *orders) {
			l := o.Spec.Linux
			l.Namespaces, l.UIDMappings, l.GIDMappings = l.Namespaces[:len(l.Namespaces)-1], nil, nil
		}, "linux.namespaces: no user namespace, and the caller has no privileges"},
		{"ids of others", func(o *orders) {
			o.Spec.Linux.UIDMappings[0].HostID = 5
			o.Spec.Linux.GIDMappings = o.Spec.Linux.UIDMappings
		}, "newuidmap"},
		{"a limit", func(o *orders) {
			limit := int64(1 << 20)
			o.Spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
		}, "cgroup"},
		{"idmap", func(o *orders) { o.Spec.Mounts = append(o.Spec.Mounts, binds(o.Root.Path, "bind", "idmap")) }, "need privileges on the host"},
		{"tmpcopyup", func(o *orders) {
			o.Spec.Mounts = append(o.Spec.Mounts, specs.Mount{Destination: "/etc", Type: "tmpfs", Options: []string{"tmpcopyup"}})
		}, "tmpcopyup needs a plain directory as root, and privileges"},
	} {
		o := rootless(t, false, "true")
		c.change(&o)
		if got := asNobody(t, o); !strings.HasPrefix(got, "error: ") || !strings.Contains(got, c.want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: %q, want …%s…", c.name, got, c.want)
		}
	}
}

// TestCoveredProc has something lie over what the runtime itself writes to in /proc: nothing is written to it, and there is
// no container (CVE-2025-52881, seen from the runtime's side).
func TestCoveredProc(t *testing.T) {
	score := 500
	spec := sample("true")
	spec.Process.OOMScoreAdj = &score
	spec.Linux.Sysctl = map[string]string{"kernel.domainname": "here"}
	root := plainRoot(t)
	fake := t.TempDir()
	file := filepath.Join(fake, "domainname")
	owned(t, file, 0, 0)
	for _, c := range []struct{ script, want string }{
		{"true", ""},
		{"mount --bind " + file + " /proc/sys/kernel/domainname", "(linux.sysctl.kernel.domainname): invalid cross-device link"},
		{"mount --bind " + file + " /proc/$$/oom_score_adj", ""}, // that of another process
		{"mount --bind /proc/sys /proc", "no such file"},
	} {
		got := apartFrom(t, orders{Spec: spec, Root: root, Cgroup: cgroupName(t)}, c.script+`; exec "$0/test" -test.run '^TestRootlessChild$'`)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.script, got, c.want)
		}
		if data, err := os.ReadFile(file); err != nil || string(data) != "x" {
			t.Errorf("%s: the file in its place has %q, %v", c.script, data, err)
		}
	}
}

// Without root and without a cgroup namespace of its own a container saw the caller's cgroups, to write to, whatever its mount's options
// were: the host's /sys, which it has instead of one of its own, brought them along. Seen to fail when the options of the
// mount are not set on what is shown of the cgroups.
func TestCVE_2023_25809(t *testing.T) {
	o := rootless(t, false, "sh", "-c", `grep ' /sys/fs/cgroup' /proc/self/mountinfo
		for d in /sys/fs/cgroup /sys/fs/cgroup/* /sys/fs/cgroup/*/*; do mkdir "$d/made" 2>/dev/null && echo "made in $d"; done; exit 0`)
	var own []specs.LinuxNamespace
	for _, ns := range o.Spec.Linux.Namespaces {
		if ns.Type != specs.CgroupNamespace {
			own = append(own, ns)
		}
	}
	o.Spec.Linux.Namespaces = own
	o.Spec.Mounts = append(without(o.Spec, "/sys").Mounts,
		specs.Mount{Destination: "/sys", Type: "none", Source: "/sys", Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"}},
		specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}})
	out := asNobody(t, o)
	if !strings.Contains(out, " /sys/fs/cgroup") || strings.Contains(out, "made in") {
		t.Errorf("%s", out)
	}
	// What lies below the container's own mount is covered: on v1 by a tmpfs and what is on it, on v2 by the last one.
	top := out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]
	if i := strings.LastIndex(out, " - tmpfs "); i >= 0 {
		top = out[i:]
	}
	if !strings.Contains(top, " /sys/fs/cgroup") {
		t.Errorf("no mount of the container's own:\n%s", out)
	}
	for line := range strings.Lines(top) {
		if f := strings.Fields(line); len(f) > 5 && strings.HasPrefix(f[4], "/sys/fs/cgroup") && !strings.HasPrefix(f[5], "ro") {
			t.Errorf("writable: %s", line)
		}
	}
}

package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// plainRoot is a root as a bundle has it: one directory of busybox.
func plainRoot(t *testing.T) plan.Rootfs {
	t.Helper()
	return plan.Rootfs{Path: layers(t).Lower[1]}
}

// hostMount mounts a tmpfs on the host, at a directory of this test's own, until its end.
func hostMount(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

func owned(t *testing.T, file string, uid, gid int) {
	t.Helper()
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, uid, gid); err != nil {
		t.Fatal(err)
	}
}

func binds(source string, words ...string) specs.Mount {
	return specs.Mount{Destination: "/data", Type: "none", Source: source, Options: words}
}

// TestMappedMounts: owners on disk are what the mount's own mapping, or the user namespace's, says; ridmap's reach the
// mounts below.
func TestMappedMounts(t *testing.T) {
	dir := t.TempDir()
	// Of the disk's file system: a tmpfs maps owners only from Linux 6.3 on.
	for _, d := range []string{"top", "top/sub"} {
		at := filepath.Join(dir, d)
		if err := errors.Join(os.Mkdir(at, 0o755), unix.Mount(at, at, "", unix.MS_BIND, "")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(at, 0); err != nil {
				t.Error(err)
			}
		})
	}
	owned(t, filepath.Join(dir, "top/file"), 7, 8)
	owned(t, filepath.Join(dir, "top/sub/file"), 7, 8)
	uids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 5000, Size: 100}}
	gids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 6000, Size: 100}}
	const look = "stat -c %u:%g /data/file /data/sub/file"
	for _, c := range []struct {
		name string
		spec *specs.Spec
		own  bool
		word string
		want string
	}{
		{"idmap", sample("sh", "-c", look), true, "idmap", "5007:6008\n7:8\n"},
		{"no word", sample("sh", "-c", look), true, "", "5007:6008\n7:8\n"},
		{"ridmap", sample("sh", "-c", look), true, "ridmap", "5007:6008\n5007:6008\n"},
		{"container's", userNamespace("sh", "-c", look), false, "ridmap", "7:8\n7:8\n"},
		{"neither", userNamespace("sh", "-c", look), false, "", "65534:65534\n65534:65534\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := binds(filepath.Join(dir, "top"), "rbind", c.word)
			if c.own {
				m.UIDMappings, m.GIDMappings = uids, gids
			}
			c.spec.Mounts = append(c.spec.Mounts, m)
			if out, _, err := runs(t, Config{Spec: c.spec}); err != nil || out != c.want {
				t.Errorf("%q, %v; want %q", out, err, c.want)
			}
		})
	}
}

// TestRecursiveAttributes: each word as the kernel then shows it, on the mount and on the one below.
func TestRecursiveAttributes(t *testing.T) {
	dir := t.TempDir()
	hostMount(t, filepath.Join(dir, "top"))
	hostMount(t, filepath.Join(dir, "top/sub"))
	for words, want := range map[string]string{
		"ro":                  "ro,relatime rw,relatime",
		"rro":                 "ro,relatime ro,relatime",
		"rro,rw":              "ro,relatime ro,relatime",
		"rnosuid,rnodev":      "rw,nosuid,nodev,relatime rw,nosuid,nodev,relatime",
		"rnoexec":             "rw,noexec,relatime rw,noexec,relatime",
		"rnoatime":            "rw,noatime rw,noatime",
		"rstrictatime":        "rw rw",
		"rnodiratime":         "rw,nodiratime,relatime rw,nodiratime,relatime",
		"rnosymfollow":        "rw,relatime,nosymfollow rw,relatime,nosymfollow",
		"rnoexec,rexec":       "rw,relatime rw,relatime",
		"noexec,nosuid,nodev": "rw,nosuid,nodev,noexec,relatime rw,relatime",
	} {
		spec := sample("grep", " /data", "/proc/self/mountinfo")
		spec.Mounts = append(spec.Mounts, binds(filepath.Join(dir, "top"), append([]string{"rbind"}, strings.Split(words, ",")...)...))
		out, _, err := runs(t, Config{Spec: spec})
		var got []string
		for line := range strings.Lines(out) {
			got = append(got, strings.Fields(line)[5])
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %s, %v; want %s", words, got, err, want)
		}
	}
}

// TestCopyUp: a tmpfs that begins with the image's files, their owners, modes and times; what is written stays in it.
func TestCopyUp(t *testing.T) {
	root := plainRoot(t)
	old := time.Unix(1e9, 0)
	for _, d := range []string{"var/deep", "var/empty"} {
		if err := os.MkdirAll(filepath.Join(root.Path, d), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	owned(t, filepath.Join(root.Path, "var/deep/file"), 5, 6)
	if err := os.Chtimes(filepath.Join(root.Path, "var/deep/file"), old, old); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/../../../etc/passwd", filepath.Join(root.Path, "var/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(root.Path, "var"), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("var", filepath.Join(root.Path, "alias")); err != nil {
		t.Fatal(err)
	}
	const look = "cd /alias && stat -c '%n %u %g %a %Y' deep/file && stat -c %a . && readlink link && echo new >deep/new && grep -c ' /var .*tmpfs' /proc/self/mountinfo"
	const want = "deep/file 5 6 644 1000000000\n711\n/etc/../../../etc/passwd\n1\n"
	spec := sample("sh", "-c", look)
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/alias", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup", "nosuid", "size=1m"}})
	if out, _, err := runs(t, Config{Spec: spec, Root: root}); err != nil || out != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
	if _, err := os.Stat(filepath.Join(root.Path, "var/deep/new")); err == nil {
		t.Error("the image was written to")
	}
	if err := os.WriteFile(filepath.Join(root.Path, "var/large"), make([]byte, 2<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := runs(t, Config{Spec: spec, Root: root}); err == nil || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), fmt.Sprintf("mounts[%d]", len(spec.Mounts)-1)) {
		t.Errorf("more than it holds: %v", err)
	}
}

// TestRootPropagation: what the root says of itself, and whether a mount of the host's comes in.
func TestRootPropagation(t *testing.T) {
	for word, want := range map[string]string{
		"": "", "private": "", "rprivate": "", "shared": "shared", "rshared": "shared", "slave": "master", "rslave": "master", "unbindable": "unbindable",
	} {
		dir := t.TempDir()
		hostMount(t, dir)
		if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
			t.Fatal(err)
		}
		from := plainRoot(t)
		root := plan.Rootfs{Path: filepath.Join(dir, "rootfs")}
		if err := os.CopyFS(root.Path, os.DirFS(from.Path)); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(root.Path, "mnt"), 0o755); err != nil {
			t.Fatal(err)
		}
		spec := sample("sh", "-c", "grep ' / / ' /proc/self/mountinfo || grep '/rootfs / ' /proc/self/mountinfo; read x; ls /mnt")
		spec.Linux.RootfsPropagation = word
		in, out := pipes(t)
		cfg := Config{ID: "x", Spec: spec, Host: look(t), Root: root, CgroupPath: cgroupName(t), Stdio: [3]*os.File{in[0], out[1], out[1]}}
		c, err := Run(cfg)
		out[1].Close()
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(root.Path, "mnt")
		hostMount(t, at)
		owned(t, filepath.Join(at, "came"), 0, 0)
		in[1].Close()
		text := drained(out[0])
		if _, err := c.Wait(); err != nil {
			t.Fatal(err)
		}
		if err := c.Delete(); err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(text, "\n")
		optional, _, _ := strings.Cut(line, " - ")
		if want == "" && strings.ContainsAny(optional[strings.LastIndex(optional, " ")+1:], ":") || !strings.Contains(optional, want) {
			t.Errorf("%q: %s; want %q", word, line, want)
		}
		if came := strings.Contains(text, "came"); came != (want == "master") {
			t.Errorf("%q: the host's mount came in: %v", word, came)
		}
	}
}

func pipes(t *testing.T) (in, out [2]*os.File) {
	t.Helper()
	for _, p := range []*[2]*os.File{&in, &out} {
		var err error
		if p[0], p[1], err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p[0].Close(); p[1].Close() })
	}
	return in, out
}

func drained(f *os.File) string {
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := f.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

// TestRelativePaths: a source below the bundle, a destination below /.
func TestRelativePaths(t *testing.T) {
	dir := t.TempDir()
	owned(t, filepath.Join(dir, "file"), 0, 0)
	spec := sample("cat", "/etc/inside")
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "etc/inside", Type: "bind", Source: "file", Options: []string{"bind"}})
	if out, _, err := runs(t, Config{Spec: spec, Bundle: dir}); err != nil || out != "x" {
		t.Errorf("%q, %v", out, err)
	}
}

// TestRemount: a later entry changes the mount of an earlier one, without a hole between.
func TestRemount(t *testing.T) {
	dir := t.TempDir()
	spec := sample("grep", " /data ", "/proc/self/mountinfo")
	spec.Mounts = append(spec.Mounts, binds(dir, "bind"), binds(dir, "remount", "bind", "ro", "nosuid"))
	if out, _, err := runs(t, Config{Spec: spec}); err != nil || strings.Fields(out + "     ? ")[5] != "ro,nosuid,relatime" {
		t.Errorf("%q, %v", out, err)
	}
}

// TestPropagation of mounts that are not the root.
func TestPropagation(t *testing.T) {
	dir := t.TempDir()
	hostMount(t, dir)
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]string{
		"": "", "private": "", "rprivate": "", "shared": "shared:", "rshared": "shared:", "slave": "master:", "rslave": "master:", "unbindable": "unbindable", "runbindable": "unbindable",
	} {
		spec := sample("grep", " /data ", "/proc/self/mountinfo")
		spec.Mounts = append(spec.Mounts, binds(dir, "rbind", word))
		out, _, err := runs(t, Config{Spec: spec})
		f := strings.Fields(out)
		if err != nil || len(f) < 7 || want == "" && f[6] != "-" || !strings.HasPrefix(f[6], want) {
			t.Errorf("%q: %q, %v; want %q", word, out, err, want)
		}
	}
}

// TestUserNamespaceDevices: a device that the host has under another number is not bound in its place.
func TestUserNamespaceDevices(t *testing.T) {
	spec := userNamespace("stat", "-c", "%t:%T", "/dev/urandom")
	spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/urandom", Type: "c", Major: 1, Minor: 9}}
	if out, _, err := runs(t, Config{Spec: spec}); err != nil || out != "1:9\n" {
		t.Errorf("%q, %v", out, err)
	}
	spec.Linux.Devices[0].Minor = 1
	if _, _, err := runs(t, Config{Spec: spec}); err == nil || !strings.Contains(err.Error(), "linux.devices[0]") || !strings.Contains(err.Error(), "is not the device 1:1") {
		t.Errorf("error %v", err)
	}
}

// TestUnmappedTerminalGroup: podman and docker write gid=5 for every container.
func TestUnmappedTerminalGroup(t *testing.T) {
	spec := userNamespace("ls", "/dev/pts")
	spec.Linux.UIDMappings[0].Size = 1
	spec.Linux.GIDMappings = spec.Linux.UIDMappings
	for i, m := range spec.Mounts {
		if m.Type == "devpts" {
			spec.Mounts[i].Options = append(m.Options, "gid=5")
		}
	}
	var warned []string
	out, _, err := runs(t, Config{Spec: spec, Warn: func(err error) { warned = append(warned, err.Error()) }})
	if err != nil || out != "ptmx\n" || len(warned) != 1 || !strings.Contains(warned[0], "gid=5 is left out") {
		t.Errorf("%q, %v, warnings %q", out, err, warned)
	}
}

// TestRootOfHost: the host's own root, by any of its names, is no container's.
func TestRootOfHost(t *testing.T) {
	for _, path := range []string{"/", "/.", "//", "/tmp/.."} {
		_, _, err := runs(t, Config{Spec: sample("true"), Root: plan.Rootfs{Path: path}})
		if err == nil || !strings.HasPrefix(err.Error(), "root.path: / is the host's own root") {
			t.Errorf("%s: %v", path, err)
		}
	}
	at := t.TempDir()
	if err := unix.Mount("/", at, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(at, 0); err != nil {
			t.Error(err)
		}
	}()
	spec := sample("/bin/busybox", "true")
	spec.Linux.MaskedPaths = nil
	spec.Root.Readonly = true
	if _, exit, err := runs(t, Config{Spec: spec, Root: plan.Rootfs{Path: at}}); err != nil || exit.Code != 0 {
		t.Errorf("a bind of it: %d, %v", exit.Code, err)
	}
}

// TestStagedTwice: a file system of a namespace that is not the user namespace's is mounted as often as it is asked for.
func TestStagedTwice(t *testing.T) {
	spec := userNamespace("sh", "-c", "ls -d /sys/kernel /other/kernel; touch /sys/x 2>/dev/null || echo refused; grep -E ' / /(sys|other) ' /proc/self/mountinfo | cut -d' ' -f5,6")
	setPath(spec, specs.NetworkNamespace, "/proc/self/ns/net")
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/other", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid"}})
	root := layers(t)
	applets(t, root.Lower[1], "cut")
	want := "/other/kernel\n/sys/kernel\nrefused\n/sys ro,nosuid,nodev,noexec,relatime\n/other rw,nosuid,nodev,noexec,relatime\n"
	if out, _, err := runs(t, Config{Spec: spec, Root: root}); err != nil || out != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
}

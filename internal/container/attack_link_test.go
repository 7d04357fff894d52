package container

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/plan"
)

// Attacks by the symbolic links of an image, and by its mounts.

// A volume over /proc would take the runtime's own writes. Seen to fail when the plan does not look at where mounts go;
// Debian's crun 1.8.1 takes a volume over /proc.
func TestCVE_2019_16884(t *testing.T) {
	volume := t.TempDir()
	for _, m := range []specs.Mount{
		{Destination: "/proc", Type: "tmpfs"},
		{Destination: "/proc", Type: "bind", Source: volume, Options: []string{"rbind"}},
		{Destination: "/proc/", Type: "bind", Source: volume, Options: []string{"rbind"}},
		{Destination: "/./proc", Source: volume, Options: []string{"bind"}},
	} {
		spec := without(sample("true"), "/proc")
		spec.Mounts = append(spec.Mounts, m)
		if _, _, err := runs(t, Config{Spec: spec}); err == nil || !strings.Contains(err.Error(), "/proc cannot be") {
			t.Errorf("%v: %v", m, err)
		}
	}
}

// The destination of a mount is a link that leads out. Seen to fail without RESOLVE_IN_ROOT.
func TestCVE_2019_18837(t *testing.T) {
	c := newCanary(t)
	for _, way := range ways(c.dir) {
		for _, below := range []string{"", "/sub", "/new/deep"} {
			root := layers(t)
			put(t, root, "data", way)
			spec := sample("true")
			spec.Mounts = append(spec.Mounts,
				specs.Mount{Destination: "/data" + below, Type: "tmpfs", Source: "tmpfs"},
				specs.Mount{Destination: "/data" + below, Type: "bind", Source: t.TempDir(), Options: []string{"rbind"}})
			t.Logf("%s%s: %s", way, below, exits(t, Config{Spec: spec, Root: root}))
		}
	}
	c.sings(t)
}

// /proc or /sys is a link to a directory of a volume: what the runtime hides would be hidden there. Seen to fail when the
// way to /proc may hold links.
func TestCVE_2019_19921(t *testing.T) { procLinks(t) }

// The same again: runc lost its protection once.
func TestCVE_2023_27561(t *testing.T) { procLinks(t) }

// The same for /sys and /proc of an image.
func TestCVE_2023_28642(t *testing.T) { procLinks(t) }

func procLinks(t *testing.T) {
	volume := t.TempDir()
	for _, name := range []string{"proc", "sys"} {
		for _, where := range []string{"/vol", "vol/new", "/", "/tmp"} {
			root := layers(t)
			put(t, root, name, where)
			spec := sample("true")
			spec.Mounts = append([]specs.Mount{{Destination: "/vol", Type: "bind", Source: volume, Options: []string{"rbind"}}}, spec.Mounts...)
			out := exits(t, Config{Spec: spec, Root: root})
			if !strings.Contains(out, "symbolic link") || !strings.Contains(out, "/"+name) {
				t.Errorf("/%s is a link to %s: %s", name, where, out)
			}
		}
	}
	if left, _ := os.ReadDir(volume); len(left) > 0 {
		t.Errorf("%v was made in the volume", left)
	}
}

// The file that hides another is one of the image's, and a link. Two things keep it out, so it is not seen to fail with one
// of them weakened: the mask is a clone of the host's device, and a device of the image's is replaced before.
func TestCVE_2025_31133(t *testing.T) {
	c := newCanary(t)
	for _, where := range append(ways(c.dir+"/file"), "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/nothing") {
		for _, dev := range []bool{true, false} {
			root := layers(t)
			put(t, root, "dev/null", where)
			spec := sample("stat", "-L", "-c", "%n %F %t:%T", "/dev/null", "/proc/keys")
			if !dev {
				spec = without(spec, "/dev")
			}
			want := "/dev/null character special file 1:3\n/proc/keys character special file 1:3\nexit 0"
			if out := exits(t, Config{Spec: spec, Root: root}); out != want {
				t.Errorf("/dev/null is a link to %s, /dev a mount: %v: %s", where, dev, out)
			}
		}
	}
	c.sings(t)
}

// /dev/console and /dev/pts/N are links of the image's. Not seen to fail without RESOLVE_IN_ROOT: what is bound then on a
// file of the host is so in a mount namespace that the container has left.
func TestCVE_2025_52565(t *testing.T) {
	c := newCanary(t)
	for _, where := range append(ways(c.dir+"/console"), "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern") {
		root := layers(t)
		put(t, root, "dev/console", where)
		put(t, root, "dev/pts/0", where)
		put(t, root, "dev/ptmx", where)
		out := terminal(t, sample("sh", "-c", "tty; stat -c %F /dev/console; echo x 2>/dev/null >/proc/sys/kernel/hostname || echo refused"), root)
		if want := "/dev/pts/0\r\ncharacter special file\r\nrefused\r\n"; out != want {
			t.Errorf("links to %s: %q", where, out)
		}
	}
	c.sings(t)
}

// The same without a /dev of the runtime's. Debian's crun 1.8.1 makes the file on the host.
func TestCVE_2026_88264(t *testing.T) {
	c := newCanary(t)
	for _, where := range append(ways(c.dir+"/console"), ways(c.dir+"/new")...) {
		root := layers(t)
		put(t, root, "dev/console", where)
		spec := sample("tty")
		var mounts []specs.Mount
		for _, m := range spec.Mounts {
			if m.Destination != "/dev" {
				mounts = append(mounts, m)
			}
		}
		spec.Mounts = mounts
		t.Logf("link to %s: %q", where, terminal(t, spec, root))
		// With no devpts either, there is no terminal to be had, whatever the image shows in its place.
		root = layers(t)
		put(t, root, "dev/pts/ptmx", c.dir+"/ptmx")
		if out := terminal(t, without(sample("tty"), "/dev"), root); !strings.Contains(out, "terminal") {
			t.Errorf("a terminal without devpts: %q", out)
		}
	}
	c.sings(t)
}

// terminal runs a container with one and returns what it printed there, or the error.
func terminal(t *testing.T, spec *specs.Spec, root plan.Rootfs) string {
	t.Helper()
	spec.Process.Terminal = true
	cfg := Config{ID: "x", Spec: spec, Host: look(t), Root: root, CgroupPath: cgroupName(t)}
	defer gone(t, cfg)
	c, err := Run(cfg)
	if err != nil {
		return err.Error()
	}
	defer c.Console.Close()
	var out strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := c.Console.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			break // EIO: the container's end of it is closed
		}
	}
	if _, err := c.Wait(); err != nil {
		t.Error(err)
	}
	if err := c.Delete(); err != nil {
		t.Error(err)
	}
	return out.String()
}

// What the runtime writes to /proc goes to what a mount, or a link, has put into its place. Seen to fail when kernel
// parameters are written by way of the container's own /proc.
func TestCVE_2025_52881(t *testing.T) {
	volume := t.TempDir()
	for _, dest := range []string{"/proc/self", "/proc/self/attr", "/proc/sys", "/proc/sys/kernel", "/proc/1/attr", "/proc/thread-self/attr/exec", "/proc/./sys/", "/proc/sysrq-trigger"} {
		for _, m := range []specs.Mount{
			{Destination: dest, Type: "tmpfs"},
			{Destination: dest, Type: "bind", Source: volume, Options: []string{"bind"}},
		} {
			spec := sample("true")
			spec.Mounts = append(spec.Mounts, m)
			if _, _, err := runs(t, Config{Spec: spec}); err == nil || !strings.Contains(err.Error(), "lies inside /proc") {
				t.Errorf("%s at %s: %v", m.Type, dest, err)
			}
		}
	}
	// By a link of the image the mount may be made; then the write has to reach the kernel all the same.
	root := layers(t)
	put(t, root, "x", "/proc/sys")
	spec := sample("hostname")
	spec.Hostname = ""
	spec.Linux.Sysctl = map[string]string{"kernel.hostname": "by-sysctl"}
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/x/kernel", Type: "bind", Source: volume, Options: []string{"bind"}})
	if out := exits(t, Config{Spec: spec, Root: root}); out != "by-sysctl\nexit 0" && !strings.Contains(out, "symbolic link") {
		t.Errorf("sysctl behind a mount: %s", out)
	}
	if left, _ := os.ReadDir(volume); len(left) > 0 {
		t.Errorf("%v was written to the volume", left)
	}
}

// Files that the runtime puts into a root are links there.
func TestCVE_2025_24965(t *testing.T) {
	c := newCanary(t)
	source := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(source, []byte("127.0.0.1 localhost\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, where := range append(ways(c.dir+"/file"), ways(c.dir+"/new")...) {
		for _, name := range []string{"/etc/hosts", "/etc/resolv.conf", "/run/.containerenv"} {
			root := layers(t)
			put(t, root, name, where)
			spec := sample("cat", name)
			spec.Mounts = append(spec.Mounts, specs.Mount{Destination: name, Type: "bind", Source: source, Options: []string{"bind"}})
			if out := exits(t, Config{Spec: spec, Root: root}); strings.Contains(out, secret+"\nexit") || strings.HasPrefix(out, secret) {
				t.Errorf("%s, a link to %s, shows the host's file: %s", name, where, out)
			}
		}
	}
	c.sings(t)
}

// /etc is a link, and a file is made in it (CRI-O: /etc/mtab).
func TestCVE_2024_5154(t *testing.T) {
	c := newCanary(t)
	source := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(source, []byte("127.0.0.1 localhost\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, where := range append(ways(c.dir), ways(c.dir+"/sub")...) {
		root := layers(t)
		put(t, root, "etc", where)
		spec := sample("true")
		for _, name := range []string{"/etc/hosts", "/etc/mtab", "/etc/deep/resolv.conf"} {
			spec.Mounts = append(spec.Mounts, specs.Mount{Destination: name, Type: "bind", Source: source, Options: []string{"bind"}})
		}
		t.Logf("link to %s: %s", where, exits(t, Config{Spec: spec, Root: root}))
	}
	c.sings(t)
}

// /dev is a link to a directory of the host that has a ptmx. Seen to fail without RESOLVE_IN_ROOT; Debian's runc 1.1.5 and
// crun 1.8.1 replace the host's ptmx, and crun makes devices beside it.
func TestCVE_2026_41579(t *testing.T) {
	c := newCanary(t)
	for _, where := range ways(c.dir) {
		root := layers(t)
		put(t, root, "dev", where)
		t.Logf("link to %s, no mounts: %s", where, exits(t, Config{Spec: without(sample("true"), "/dev"), Root: root}))
		t.Logf("link to %s: %s", where, exits(t, Config{Spec: sample("true"), Root: root}))
		t.Logf("link to %s, terminal: %q", where, terminal(t, sample("true"), root))
	}
	c.sings(t)
}

// Missing standard streams come from /dev/null, which is a link; they are given to the container's user.
func TestCVE_2026_88265(t *testing.T) {
	c := newCanary(t)
	before, err := os.Stat("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	for _, where := range ways(c.dir + "/file") {
		for _, dev := range []bool{true, false} {
			root := layers(t)
			put(t, root, "dev/null", where)
			spec := sample("true")
			if !dev {
				spec = without(spec, "/dev")
			}
			spec.Process.User = specs.User{UID: 1000, GID: 1000}
			r, err := Run(Config{ID: "x", Spec: spec, Host: look(t), Root: root, CgroupPath: cgroupName(t), OwnStdio: [3]bool{true, true, true}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Wait(); err != nil {
				t.Error(err)
			}
			if err := r.Delete(); err != nil {
				t.Error(err)
			}
		}
	}
	after, err := os.Stat("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if b, a := before.Sys().(*syscall.Stat_t), after.Sys().(*syscall.Stat_t); a.Uid != b.Uid || a.Gid != b.Gid || a.Mode != b.Mode {
		t.Errorf("the host's /dev/null was %d:%d %o, is %d:%d %o", b.Uid, b.Gid, b.Mode, a.Uid, a.Gid, a.Mode)
	}
	c.sings(t)
}

// The working directory is behind a link: it is made, on the host. Seen to fail without RESOLVE_IN_ROOT.
func TestCVE_2026_55686(t *testing.T) {
	c := newCanary(t)
	for _, where := range ways(c.dir) {
		for _, below := range []string{"", "/sub", "/new/deep"} {
			root := layers(t)
			put(t, root, "link", where)
			spec := sample("sh", "-c", "pwd; ls")
			spec.Process.Cwd = "/link" + below
			if out := exits(t, Config{Spec: spec, Root: root}); strings.Contains(out, "file") && strings.HasSuffix(out, "exit 0") {
				t.Errorf("link to %s: in the host's directory: %s", where, out)
			}
		}
	}
	c.sings(t)
}

// A mapping or a path longer than 64 KiB wrapped the length of an attribute, and what followed it was obeyed.
func TestCVE_2021_43784(t *testing.T) {
	spec := userNamespace("true")
	for i := range 10000 {
		spec.Linux.UIDMappings = append(spec.Linux.UIDMappings, specs.LinuxIDMapping{ContainerID: uint32(70000 + i), HostID: uint32(400000 + i), Size: 1})
	}
	if _, _, err := runs(t, Config{Spec: spec}); err == nil || !strings.Contains(err.Error(), "linux.uidMappings: 10001 ranges") {
		t.Errorf("10000 mappings: %v", err)
	}
	for _, length := range []int{4096, 1 << 16, 1<<16 + 10} {
		spec := sample("true")
		spec.Linux.Namespaces[1].Path = "/proc/self/ns/net" + strings.Repeat("/", length)
		if _, _, err := runs(t, Config{Spec: spec}); err == nil || !strings.Contains(err.Error(), "linux.namespaces[1]") {
			t.Errorf("a path of %d bytes: %v", length, fmt.Sprintf("%.80v", err))
		}
	}
}

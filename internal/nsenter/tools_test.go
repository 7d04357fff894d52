package nsenter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/container"
	"tripod/internal/plan"
)

// box is how a container of the matrix is made.
type box struct {
	shell, readonly, nonroot, userns bool
	deep                             bool // its image is an overlay itself
	among                            bool // its volume is mounted in /usr/bin
}

func (b box) String() string {
	words := []string{}
	for _, w := range []struct {
		on      bool
		yes, no string
	}{{b.shell, "shell", "distroless"}, {b.readonly, "read-only", "writable"}, {b.nonroot, "non-root", "root"}, {b.userns, "userns", "host-users"}} {
		if w.on {
			words = append(words, w.yes)
		} else {
			words = append(words, w.no)
		}
	}
	return strings.Join(words, ",")
}

// idsFrom is where the ids of a container with a user namespace begin on the host.
const idsFrom = 300000

// contain runs a container whose program waits, of an image that has nothing else, or busybox too, and returns its
// first process and the directory of the image.
func contain(t *testing.T, b box) (int, string) {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"low/data", "rw/upper", "rw/work", "root", "volume"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The program is this test's own: one static file.
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte, mode os.FileMode) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("low/sleeper", self, 0o755)
	write("low/data/file", []byte("of the image\n"), 0o644)
	write("volume/kept", []byte("of the volume\n"), 0o666)
	if err := os.Chmod(filepath.Join(dir, "volume/kept"), 0o666); err != nil {
		t.Fatal(err)
	}
	if b.shell {
		busybox, err := os.ReadFile("/bin/busybox")
		if err != nil {
			t.Fatalf("busybox-static is needed: %v", err)
		}
		write("low/usr/bin/busybox", busybox, 0o755)
		write("low/usr/bin/own", []byte("#!/bin/sh\necho own program\n"), 0o755)
		for _, l := range [][2]string{{"busybox", "low/usr/bin/sh"}, {"usr/bin", "low/bin"}} {
			if err := os.Symlink(l[0], filepath.Join(dir, l[1])); err != nil {
				t.Fatal(err)
			}
		}
	}
	low := filepath.Join(dir, "low")
	if b.deep {
		low = filepath.Join(dir, "deep")
		if err := os.MkdirAll(low, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, "none"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("overlay", low, "overlay", unix.MS_RDONLY, "lowerdir="+filepath.Join(dir, "none")+":"+filepath.Join(dir, "low")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(low, unix.MNT_DETACH) })
	}
	host, err := container.Look()
	if err != nil {
		t.Fatal(err)
	}
	cfg := container.Config{
		ID: "test", Host: host, Spec: specOf(b, dir),
		CgroupPath: fmt.Sprintf("tripod-enter-%d-%s", os.Getpid(), strings.ReplaceAll(filepath.Base(t.Name()), ",", "-")),
		Root: plan.Rootfs{
			Lower: []string{low}, Upper: filepath.Join(dir, "rw/upper"), Work: filepath.Join(dir, "rw/work"),
			Mountpoint: filepath.Join(dir, "root"),
		},
	}
	c, err := container.Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Kill()
		_, _ = c.Wait()
		if err := c.Delete(); err != nil {
			t.Error(err)
		}
	})
	return c.Pid, dir
}

func specOf(b box, dir string) *specs.Spec {
	keep := []string{"CAP_CHOWN", "CAP_KILL"}
	caps := &specs.LinuxCapabilities{Bounding: keep, Effective: keep, Permitted: keep}
	if b.nonroot {
		caps = &specs.LinuxCapabilities{Bounding: keep}
	}
	s := &specs.Spec{
		Version: "1.3.0", Hostname: "box",
		Root: &specs.Root{Readonly: b.readonly},
		Process: &specs.Process{
			Args: []string{"/sleeper", "-test.run=^TestSleeper$"}, Cwd: "/data", Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", sleeping + "=1", "GREETING=hello"},
			NoNewPrivileges: true, Capabilities: caps,
			Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 77, Hard: 99}},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/usr/share/volume", Type: "bind", Source: filepath.Join(dir, "volume"), Options: []string{"bind"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace},
			{Type: specs.NetworkNamespace},
			{Type: specs.IPCNamespace},
			{Type: specs.UTSNamespace},
			{Type: specs.MountNamespace},
			{Type: specs.CgroupNamespace},
		}},
	}
	if b.among {
		s.Mounts[3].Destination = "/usr/bin/volume"
	}
	if b.nonroot {
		s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{20}}
	}
	if b.userns {
		ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: idsFrom, Size: 65536}}
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		s.Linux.UIDMappings, s.Linux.GIDMappings = ids, ids
	}
	return s
}

// sleeping is set in the program of a container.
const sleeping = "TRIPOD_TEST_SLEEPER"

// TestSleeper is the program of the containers of these tests.
func TestSleeper(*testing.T) {
	if os.Getenv(sleeping) != "" {
		for {
			_ = unix.Pause()
		}
	}
}

// TestTools lays tools over each of the sixteen kinds of container, of three origins, and sees that the program has
// them, is who the container's program is, and leaves nothing.
func TestTools(t *testing.T) {
	ours := tool(t)
	for n := range 16 {
		b := box{shell: n&1 != 0, readonly: n&2 != 0, nonroot: n&4 != 0, userns: n&8 != 0}
		t.Run(b.String(), func(t *testing.T) {
			pid, dir := contain(t, b)
			image := tree(t, filepath.Join(dir, "low"))
			for _, tools := range []string{"/", "/bin/busybox"} {
				got := run(t, ours, "-t", strconv.Itoa(pid), "-a", "-e", "-c", "--like-container", "-W", "--tools="+tools, "sh", "-c", `
					pwd; cat file; cat /usr/share/volume/kept; id -u; id -g; echo $GREETING; hostname; ulimit -Hn
					grep -E "CapBnd|CapEff|NoNew" /proc/self/status; ls -d /sleeper /proc/1/stat
					echo x >/data/new 2>/dev/null && echo written
					echo x >/usr/bin/new 2>/dev/null && echo written to usr
					echo x >/new 2>/dev/null && echo written to root
					test -e /bin/own && /bin/own; awk 'BEGIN{print 6*7}'; find / -maxdepth 1 | wc -l >/dev/null`)
				want := expected(b)
				if tools != "/" && b.shell && !b.readonly && !b.nonroot {
					// /usr is the container's own then, and /bin alone an overlay.
					want = strings.Replace(want, "written\n", "written\nwritten to usr\n", 1)
				}
				if got.code != 0 || got.out != want {
					t.Fatalf("%s: exit %d\n%s%s\nwant:\n%s", tools, got.code, got.out, got.err, want)
				}
				_ = os.Remove(filepath.Join(dir, "rw/upper/data/new"))
				_ = os.Remove(filepath.Join(dir, "rw/upper/usr/bin/new"))
			}
			if now := tree(t, filepath.Join(dir, "low")); now != image {
				t.Errorf("the image has changed:\n%s\nwas:\n%s", now, image)
			}
			if mounts, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid)); strings.Contains(string(mounts), "tools") || strings.Contains(string(mounts), "lowerdir=/usr") {
				t.Errorf("the container has a mount of the tools:\n%s", mounts)
			}
			if left, _ := exec.Command("pgrep", "-f", ours).Output(); len(left) > 0 {
				t.Errorf("left: %s", left)
			}
		})
	}
}

func expected(b box) string {
	uid, gid, eff := "0", "0", "0000000000000021"
	if b.nonroot {
		uid, gid, eff = "1000", "1001", "0000000000000000"
	}
	s := "/data\nof the image\nof the volume\n" + uid + "\n" + gid + "\nhello\nbox\n99\n" +
		"CapEff:\t" + eff + "\nCapBnd:\t0000000000000021\nNoNewPrivs:\t1\n/proc/1/stat\n/sleeper\n"
	if !b.readonly && !b.nonroot {
		s += "written\n"
	}
	if b.shell {
		s += "own program\n"
	}
	return s + "42\n"
}

// TestToolsWhereOverlaysEnd: file systems are stacked two deep at most, and the container's root is that deep already.
func TestToolsWhereOverlaysEnd(t *testing.T) {
	ours := tool(t)
	pid, _ := contain(t, box{shell: true, deep: true})
	got := run(t, ours, "-t", strconv.Itoa(pid), "-a", "-e", "-W", "--tools=/", "bash", "-c", "cat file; awk 'BEGIN{print 6*7}'; test -e /usr/bin/own || echo covered; echo x >/data/new && echo written")
	if want := "of the image\n42\ncovered\nwritten\n"; got.out != want {
		t.Errorf("%+v, want %q", got, want)
	}
}

// TestToolsAroundMounts: something is mounted among the target's programs, and stays to be seen among the tools.
func TestToolsAroundMounts(t *testing.T) {
	ours := tool(t)
	for _, b := range []box{{among: true}, {among: true, userns: true, readonly: true}} {
		pid, _ := contain(t, b)
		got := run(t, ours, "-t", strconv.Itoa(pid), "-a", "--tools=/", "bash", "-c", "cat /usr/bin/volume/kept; awk 'BEGIN{print 6*7}'; ls /usr/bin/env")
		if want := "of the volume\n42\n/usr/bin/env\n"; got.out != want {
			t.Errorf("%s: %+v, want %q", b, got, want)
		}
	}
}

// TestToolsOfLayers takes tools of two directories as of an image's layers: what the upper one removed is not there.
func TestToolsOfLayers(t *testing.T) {
	ours := tool(t)
	pid, _ := contain(t, box{userns: true})
	dir := t.TempDir()
	for _, d := range []string{"low/bin", "top/bin"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/low/bin/busybox", data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "ls", "tr"} {
		if err := os.Symlink("busybox", dir+"/low/bin/"+name); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mknod(dir+"/top/bin/ls", unix.S_IFCHR, 0); err != nil {
		t.Fatal(err)
	}
	got := run(t, ours, "-t", strconv.Itoa(pid), "-a", "--tools="+dir+"/top:"+dir+"/low", "sh", "-c", "echo /bin/* | tr ' ' ,")
	if want := "/bin/busybox,/bin/sh,/bin/tr\n"; got.out != want {
		t.Errorf("%+v, want %q", got, want)
	}
}

// TestLays has what each name of a view is, for each way in which a target and tools may lie.
func TestLays(t *testing.T) {
	dir := func(name string) entry { return entry{Name: name, Mode: unix.S_IFDIR} }
	file := func(name string) entry { return entry{Name: name, Mode: unix.S_IFREG} }
	to := func(name, link string) entry { return entry{name, unix.S_IFLNK, link} }
	merged := map[string][]entry{"": {dir("usr"), to("bin", "usr/bin"), to("lib", "/usr/lib")}, "usr": {dir("bin"), dir("lib"), file("odd")}}
	apart := map[string][]entry{"": {dir("bin"), dir("usr")}, "usr": {dir("bin")}}
	for _, c := range []struct {
		name          string
		target, tools map[string][]entry
		mounts        []string
		want          string
	}{
		{
			"nothing",
			map[string][]entry{"": {file("app"), dir("proc")}},
			merged, nil,
			"app:SameFile proc:Same usr:TheTools=usr bin:Symlink=usr/bin lib:Symlink=/usr/lib",
		},
		{
			"both merged",
			map[string][]entry{"": {dir("usr"), to("bin", "usr/bin")}},
			merged, nil,
			"usr:Merge=usr bin:Symlink=usr/bin lib:Symlink=/usr/lib",
		},
		{
			"target apart",
			map[string][]entry{"": {dir("usr"), dir("bin"), dir("lib")}},
			merged, nil,
			"usr:Merge=usr bin:Merge=usr/bin lib:Merge=usr/lib",
		},
		{"tools apart", map[string][]entry{"": {dir("usr"), to("bin", "usr/bin")}}, apart, nil, "usr:Merge=usr bin:Merge=bin"},
		{"a file in the way", map[string][]entry{"": {file("usr")}}, merged, nil, "usr:SameFile bin:Symlink=usr/bin lib:Symlink=/usr/lib"},
		{
			"a mount below",
			map[string][]entry{"": {dir("usr")}, "usr": {dir("share"), dir("bin")}},
			merged,
			[]string{"/usr/share/x", "/usrx/y"},
			"usr:Apart usr/share:Same usr/bin:Merge=usr/bin usr/lib:TheTools=usr/lib usr/odd:ToolFile=usr/odd bin:Symlink=usr/bin lib:Symlink=/usr/lib",
		},
	} {
		kinds := []string{"Same", "SameFile", "Symlink", "TheTools", "ToolFile", "Merge", "Apart"}
		var got []string
		for _, l := range lays("", "", c.mounts, func(tools bool, dir string) []entry {
			if tools {
				return c.tools[dir]
			}
			return c.target[dir]
		}) {
			s := l.Name + ":" + kinds[l.Kind]
			if l.Link != "" {
				s += "=" + l.Link
			}
			got = append(got, s)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.name, s, c.want)
		}
	}
}

// tree is every file below a directory, with size and mode.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		size := info.Size()
		if d.IsDir() {
			size = 0
		}
		fmt.Fprintln(&b, path, info.Mode(), size)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func podOf(volumes ...corev1.Volume) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Volumes: volumes}}
	p.Name, p.UID = "web", "1111-22"
	return p
}

func emptyDir(name string, medium corev1.StorageMedium, size string) corev1.Volume {
	e := &corev1.EmptyDirVolumeSource{Medium: medium}
	if size != "" {
		q := resource.MustParse(size)
		e.SizeLimit = &q
	}
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: e}}
}

func hostPath(name, path string, kind corev1.HostPathType) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &kind}}}
}

func stat(t *testing.T, path string) (fs.FileMode, int, int) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	s := info.Sys().(*syscall.Stat_t)
	return info.Mode(), int(s.Uid), int(s.Gid)
}

func TestEmptyDirs(t *testing.T) {
	needRoot(t)
	root, run := t.TempDir(), t.TempDir()
	group := int64(2000)
	for name, c := range map[string]struct {
		fsGroup  *int64
		owner    Owner
		mode     fs.FileMode
		uid, gid int
	}{
		"plain":               {nil, Owner{}, 0o777, 0, 0},
		"group":               {&group, Owner{}, 0o777 | fs.ModeSetgid, 0, 2000},
		"user namespace":      {nil, Owner{524288, 524288}, 0o777, 524288, 524288},
		"group and namespace": {&group, Owner{524288, 524288}, 0o777 | fs.ModeSetgid, 524288, 526288},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOf(emptyDir("disk", "", ""), emptyDir("mem", corev1.StorageMediumMemory, "16Mi"))
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: c.fsGroup}
			set, err := Make(root, run, pod, c.owner)
			if err != nil {
				t.Fatal(err)
			}
			mode, uid, gid := stat(t, set[0].Path)
			if mode != c.mode|fs.ModeDir || uid != c.uid || gid != c.gid {
				t.Errorf("disk is %v %d:%d", mode, uid, gid)
			}
			m := set[1].Memory
			if m == nil || m.Size != 16<<20 || m.Mode != c.mode || m.UID != c.uid || m.GID != c.gid {
				t.Errorf("memory is %+v", m)
			}
			if set[1].Path != filepath.Join(run, "pods/1111-22/volumes/mem") {
				t.Errorf("memory is at %s", set[1].Path)
			}
			// Made again it is the same, with what is in it.
			keep := filepath.Join(set[0].Path, "keep")
			if err := os.WriteFile(keep, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Make(root, run, pod, c.owner); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(keep); err != nil {
				t.Error(err)
			}
			if err := Remove(root, run, "1111-22"); err != nil {
				t.Fatal(err)
			}
			if left, _ := os.ReadDir(filepath.Join(root, "volumes")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestHostPathTypes(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for name, kind := range map[string]uint32{"c": unix.S_IFCHR, "b": unix.S_IFBLK} {
		if err := unix.Mknod(filepath.Join(dir, name), kind|0o600, int(unix.Mkdev(1, 3))); err != nil {
			t.Fatal(err)
		}
	}
	are := map[corev1.HostPathType]string{
		corev1.HostPathDirectory: "d", corev1.HostPathDirectoryOrCreate: "d", corev1.HostPathFile: "f",
		corev1.HostPathFileOrCreate: "f", corev1.HostPathSocket: "s", corev1.HostPathCharDev: "c", corev1.HostPathBlockDev: "b",
	}
	for kind, good := range are {
		for _, there := range []string{"d", "f", "s", "c", "b"} {
			_, err := Make(dir, dir, podOf(hostPath("v", filepath.Join(dir, there), kind)), Owner{})
			if (err == nil) != (there == good) || (err != nil && !errors.Is(err, ErrHostPathType)) {
				t.Errorf("%s of type %s: %v", there, kind, err)
			}
		}
		made := filepath.Join(dir, "new-"+string(kind))
		_, err := Make(dir, dir, podOf(hostPath("v", made, kind)), Owner{})
		if create := strings.HasSuffix(string(kind), "OrCreate"); (err == nil) != create {
			t.Errorf("missing of type %s: %v", kind, err)
		}
	}
	if mode, _, _ := stat(t, filepath.Join(dir, "new-DirectoryOrCreate")); mode != fs.ModeDir|0o755 {
		t.Errorf("directory made with %v", mode)
	}
	if mode, _, _ := stat(t, filepath.Join(dir, "new-FileOrCreate")); mode != 0o644 {
		t.Errorf("file made with %v", mode)
	}
	for _, bad := range []string{"relative", "/a/../b", "/a\x00b"} {
		if _, err := Make(dir, dir, podOf(hostPath("v", bad, "")), Owner{}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if err := os.Symlink("d", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	set, err := Make(dir, dir, podOf(hostPath("v", filepath.Join(dir, "link"), "")), Owner{})
	if err != nil || set[0].Path != filepath.Join(dir, "d") {
		t.Errorf("link gives %v, %v", set, err)
	}
}

// A volume that cannot be made takes the ones before it away again.
func TestUndo(t *testing.T) {
	needRoot(t)
	root, run, host := t.TempDir(), t.TempDir(), t.TempDir()
	pod := podOf(
		emptyDir("disk", "", ""), emptyDir("mem", corev1.StorageMediumMemory, ""),
		hostPath("made", filepath.Join(host, "a/b"), corev1.HostPathDirectoryOrCreate),
		hostPath("bad", filepath.Join(host, "none"), corev1.HostPathSocket),
	)
	_, err := Make(root, run, pod, Owner{})
	want := fmt.Sprintf("cannot make volume bad of pod web: hostPath type check failed: %s/none does not exist", host)
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	for _, dir := range []string{root, run, host} {
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("left in %s: %v", dir, left)
		}
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", "a\nb", "a\x00b", strings.Repeat("x", 256)} {
		pod := podOf()
		pod.UID = "x"
		pod.Spec.Volumes = []corev1.Volume{emptyDir(name, "", "")}
		if _, err := Make(t.TempDir(), t.TempDir(), pod, Owner{}); err == nil {
			t.Errorf("volume %q was made", name)
		}
		if err := Remove(t.TempDir(), t.TempDir(), name); err == nil {
			t.Errorf("volumes of pod %q were removed", name)
		}
	}
}

// What a container mounted into its volume, and where a link in it leads, is not the Pod's to remove.
func TestRemoveLeavesMounts(t *testing.T) {
	needRoot(t)
	root, run, canary := t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(canary, "sings"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := Make(root, run, podOf(emptyDir("v", "", "")), Owner{})
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(set[0].Path, "mnt")
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(canary, filepath.Join(set[0].Path, "link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(canary, at, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	if err := Sweep(root, run, func(string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(at); err != nil {
		t.Errorf("a living Pod's volume is gone: %v", err)
	}
	if err := Sweep(root, run, func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(canary, "sings")); err != nil {
		t.Errorf("the canary is silent: %v", err)
	}
	if _, err := os.Stat(set[0].Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the volume is left: %v", err)
	}
	if mounts, err := below(root); err != nil || len(mounts) > 0 {
		t.Errorf("mounts left: %v %v", mounts, err)
	}
}

package sandbox

import (
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A container exchanges a directory for a link that leads out while files are copied, both ways: nothing of the host is
// read, written or made (also CVE-2019-18466, CVE-2020-1726, CVE-2026-41568, CVE-2026-42306, CVE-2023-0778). Seen to fail
// without RESOLVE_IN_ROOT.
func TestCVE_2018_15664(t *testing.T) {
	canary, inside, host := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, canary+"/file", "canary")
	old := time.Unix(1e9, 0)
	os.Chtimes(canary+"/file", old, old)
	os.Mkdir(inside+"/a", 0o755)
	write(t, inside+"/a/file", "inside")
	os.Symlink(strings.Repeat("../", 12)+canary, inside+"/b")
	write(t, host+"/file", "host")
	write(t, host+"/new", "host")
	fd, err := unix.Open(inside, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	end := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
			}
			_ = unix.Renameat2(fd, "a", fd, "b", unix.RENAME_EXCHANGE)
			time.Sleep(10 * time.Microsecond)
		}
	})
	ran := 0
	for range 1000 {
		out := filepath.Join(host, "out")
		if Copy(tree(t, inside), "/a/file", tree(t, host), "/out", CopyOptions{Follow: true}) == nil {
			ran++
			if got, _ := os.ReadFile(out); string(got) == "canary" {
				t.Fatal("the host's file was read")
			}
		}
		_ = Copy(tree(t, host), "/new", tree(t, inside), "/a/", CopyOptions{})
		_ = Copy(tree(t, host), "/file", tree(t, inside), "/a/file", CopyOptions{})
	}
	close(end)
	done.Wait()
	t.Logf("%d copies out", ran)
	left, _ := os.ReadDir(canary)
	got, _ := os.ReadFile(canary + "/file")
	info, err := os.Stat(canary + "/file")
	if err != nil || len(left) != 1 || string(got) != "canary" || !info.ModTime().Equal(old) {
		t.Errorf("the canary: %v, %q, %v, %v", left, got, info, err)
	}
}

// docker: what copied out of a container loaded the container's libraries when it looked up a user. What copies here loads nothing:
// neither this program nor any that it would start has a loader.
func TestCVE_2019_14271(t *testing.T) {
	self, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	loader := func() bool {
		for _, p := range self.Progs {
			if p.Type == elf.PT_INTERP {
				return true
			}
		}
		return false
	}
	if libs, _ := self.ImportedLibraries(); len(libs) > 0 || loader() {
		t.Skip("this test was linked with C") // make race; make build never does
	}
	before, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	inside, host := t.TempDir(), t.TempDir()
	for _, lib := range []string{"libnss_files.so.2", "libnss_compat.so.2", "libc.so.6"} {
		os.MkdirAll(inside+"/lib", 0o755)
		write(t, inside+"/lib/"+lib, "evil")
	}
	write(t, inside+"/file", "inside")
	if err := Copy(tree(t, inside), "/file", tree(t, host), "/out", CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile("/proc/self/maps")
	if err != nil || strings.Count(string(after), ".so") > strings.Count(string(before), ".so") {
		t.Errorf("mapped now: %s %v", after, err)
	}
}

// The node of a device that a container may make and not open is not opened for it.
func TestCopyOpensNoDevice(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	from, to := t.TempDir(), t.TempDir()
	write(t, from+"/file", "text")
	if err := unix.Mknod(to+"/disk", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 7))); err != nil {
		t.Fatal(err)
	}
	err := Copy(tree(t, from), "/file", tree(t, to), "/disk", CopyOptions{})
	if err == nil || !strings.Contains(err.Error(), "neither file nor directory") {
		t.Errorf("a copy onto a device: %v", err)
	}
}

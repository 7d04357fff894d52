package ns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tripod/internal/ns/alone"
)

func inodeOfFile(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

func nsOf(t *testing.T, pid int, name string) uint64 {
	t.Helper()
	return inodeOfFile(t, "/proc/"+strconv.Itoa(pid)+"/ns/"+name)
}

func end(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
}

// TestSources makes a namespace for each way in which one can live without a process, and looks for it.
func TestSources(t *testing.T) {
	if !alone.Inside(t) {
		return
	}
	dir := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}

	byFD := alone.Script(t, unix.CLONE_NEWNET, "ip addr add 10.9.8.7/24 dev lo; ip link set lo up; ip addr add fd01::5/64 dev lo; "+alone.Sleeper)
	fdNS := nsOf(t, byFD.Process.Pid, "net")
	held, err := os.Open("/proc/" + strconv.Itoa(byFD.Process.Pid) + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	end(t, byFD)

	// With a number far from all others.
	const far = 900
	byFar := alone.Script(t, unix.CLONE_NEWUTS, alone.Sleeper)
	farNS := nsOf(t, byFar.Process.Pid, "uts")
	near, err := os.Open("/proc/" + strconv.Itoa(byFar.Process.Pid) + "/ns/uts")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Dup3(int(near.Fd()), far, unix.O_CLOEXEC), near.Close()); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(far)
	end(t, byFar)

	sock, sockNS := socketElsewhere(t)
	defer unix.Close(sock)

	mount := file("uts mount")
	byMount := alone.Script(t, unix.CLONE_NEWUTS, alone.Sleeper)
	mountNS := nsOf(t, byMount.Process.Pid, "uts")
	if err := unix.Mount("/proc/"+strconv.Itoa(byMount.Process.Pid)+"/ns/uts", mount, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(mount, unix.MNT_DETACH)
	end(t, byMount)

	elsewhere := file("ipc")
	mounter := alone.Script(t, unix.CLONE_NEWNS, `mount --make-rprivate /; unshare --ipc="$1" true; `+alone.Sleeper, elsewhere)
	otherNS := inodeOfFile(t, "/proc/"+strconv.Itoa(mounter.Process.Pid)+"/root"+elsewhere)

	nested := alone.Script(t, 0, "exec unshare -Ur sh -ec 'readlink /proc/self/ns/user >\"$1\"; exec unshare -Ur sh -ec \"echo ready; exec sleep 1000\"' sh \"$1\"", file("outer"))
	text, err := os.ReadFile(filepath.Join(dir, "outer"))
	if err != nil {
		t.Fatal(err)
	}
	_, ghostNS, _ := ParseLink(strings.TrimSpace(string(text)))

	waits := alone.Script(t, 0, "exec unshare -p sh -ec 'true & wait; echo ready; exec sleep 1000'")
	waitNS := nsOf(t, waits.Process.Pid, "pid_for_children")

	s, err := Scan(Options{Waiting: true, NSID: true})
	if err != nil {
		t.Fatal(err)
	}
	if s.Partial {
		t.Error("something may not be read by root")
	}
	for _, c := range []struct {
		what string
		id   uint64
		t    Type
		want Holder
	}{
		{"descriptor", fdNS, Net, Holder{Kind: ByDescriptor, PID: 1, FD: int(held.Fd())}},
		{"far descriptor", farNS, UTS, Holder{Kind: ByDescriptor, PID: 1, FD: far}},
		{"socket", sockNS, Net, Holder{Kind: BySocket, PID: 1, FD: sock}},
		{"mount", mountNS, UTS, Holder{Kind: ByMount, Path: mount, MntNS: nsOf(t, 1, "mnt")}},
		{"mount elsewhere", otherNS, IPC, Holder{Kind: ByMount, PID: mounter.Process.Pid, Path: elsewhere, MntNS: nsOf(t, mounter.Process.Pid, "mnt")}},
		{"child", ghostNS, User, Holder{Kind: ByChild, Child: nsOf(t, nested.Process.Pid, "user")}},
		{"waiting", waitNS, PID, Holder{Kind: ByWaiting, PID: waits.Process.Pid}},
	} {
		n := s.Find(c.id)
		if n == nil {
			t.Errorf("%s: namespace %d is not found", c.what, c.id)
			continue
		}
		if n.Type != c.t || len(n.Members) > 0 || len(n.Holders) == 0 || n.Holders[0] != c.want {
			t.Errorf("%s: %+v, want held by %+v", c.what, *n, c.want)
		}
		if !n.Opened || c.t != User && n.Owner != nsOf(t, 1, "user") {
			t.Errorf("%s: owner %d", c.what, n.Owner)
		}
	}
	if n := s.Find(nsOf(t, nested.Process.Pid, "user")); n == nil || n.Parent != ghostNS || len(n.Members) != 1 {
		t.Errorf("nested user namespace: %+v", n)
	}
	if len(s.Mounts) == 0 || s.Mounts[0] != (Mount{UTS, mountNS, mount}) {
		t.Errorf("mounts %+v", s.Mounts)
	}
	if n := s.Find(fdNS); n != nil {
		own := nsOf(t, 1, "net")
		if all := fmt.Sprint(s.Addresses(n)); all != "[10.9.8.7 fd01::5]" {
			t.Errorf("addresses of a network namespace that has no process: %s", all)
		}
		if nsOf(t, 1, "net") != own {
			t.Error("looking at addresses has moved us")
		}
	}
}

// socketElsewhere makes a socket in a network namespace that nothing else holds.
func socketElsewhere(t *testing.T) (fd int, id uint64) {
	t.Helper()
	done := make(chan error)
	aside(func() {
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		}
		if err == nil {
			var link string
			link, err = os.Readlink("/proc/thread-self/ns/net")
			_, id, _ = ParseLink(link)
		}
		done <- err
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return fd, id
}

// aside runs a function on a thread of its own, which ends with it. It is never the process's first: that would not end.
func aside(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			aside(f)
			select {}
		}
		f()
	}()
}

// TestThreads finds the namespace of a thread that left its process.
func TestThreads(t *testing.T) {
	if !alone.Inside(t) {
		return
	}
	ids, leave := make(chan uint64), make(chan bool)
	aside(func() {
		if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
			t.Error(err)
		}
		link, _ := os.Readlink("/proc/thread-self/ns/uts")
		_, id, _ := ParseLink(link)
		ids <- id
		<-leave
	})
	id := <-ids
	defer close(leave)
	for _, threads := range []bool{false, true} {
		s, err := Scan(Options{Threads: threads})
		if err != nil {
			t.Fatal(err)
		}
		n := s.Find(id)
		if threads != (n != nil) {
			t.Errorf("threads %v: %+v", threads, n)
		}
		if n != nil && (len(n.Members) != 1 || s.Processes[n.Members[0]].TGID != 1) {
			t.Errorf("members of a thread's namespace: %+v", n)
		}
	}
}

// TestScanWhileProcessesDie looks while others come and go: that is no error, and who stays is always seen.
func TestScanWhileProcessesDie(t *testing.T) {
	if !alone.Inside(t) {
		return
	}
	stays := alone.Script(t, unix.CLONE_NEWUTS|unix.CLONE_NEWNET, alone.Sleeper)
	id := nsOf(t, stays.Process.Pid, "uts")
	churn := exec.Command("sh", "-c", "while :; do (true) & (true) & (true) & (true); done")
	if err := churn.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		churn.Process.Kill()
		churn.Wait()
	}()
	for range 50 {
		s, err := Scan(Options{Waiting: true, Relations: true})
		if err != nil {
			t.Fatal(err)
		}
		if n := s.Find(id); n == nil || len(n.Members) != 1 {
			t.Fatalf("the namespace of a process that stays: %+v", n)
		}
		if s.Partial {
			t.Fatal("a process that ended counts as one that may not be read")
		}
		for i := range s.Processes {
			s.Process(i, Stat|Owner|Cmdline)
		}
	}
}

// TestNotAllowed looks as nobody, with processes hidden and not: what may not be read makes a snapshot partial.
func TestNotAllowed(t *testing.T) {
	const mark = "TRIPOD_TEST_NOBODY"
	if os.Getenv(mark) != "" {
		s, err := Scan(Options{})
		if err != nil {
			t.Fatal(err)
		}
		self := false
		for _, n := range s.Namespaces {
			for _, m := range n.Members {
				self = self || s.Processes[m].PID == os.Getpid()
			}
		}
		if !s.Partial || !self {
			t.Errorf("partial %v, self %v, %d processes", s.Partial, self, len(s.Processes))
		}
		return
	}
	if !alone.Inside(t) {
		return
	}
	for _, hide := range []string{"", "hidepid=1", "hidepid=2"} {
		if hide != "" {
			if err := unix.Mount("none", "/proc", "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, hide); err != nil {
				t.Fatal(err)
			}
		}
		nobody := exec.Command("/proc/self/exe", "-test.run=^TestNotAllowed$", "-test.v")
		nobody.Dir = "/"
		nobody.Env = append(os.Environ(), mark+"=1")
		nobody.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := nobody.CombinedOutput(); err != nil {
			t.Errorf("%s: %v:\n%s", hide, err, out)
		}
		if s, err := Scan(Options{}); err != nil || s.Partial {
			t.Errorf("%s: root: partial %v, error %v", hide, s.Partial, err)
		}
	}
}

// TestInitial: the host's namespaces are those of a thread of the kernel, which cannot leave them.
func TestInitial(t *testing.T) {
	p, err := ReadProcess("", 2)
	if err != nil || p.PPID != 0 || p.Cmdline != "" || p.NS[Mnt] == 0 {
		t.Skip("process 2 is no thread of the kernel that may be read")
	}
	s := Snapshot{Proc: "/proc"}
	if got := s.Initial(); got != p.NS {
		t.Errorf("%v, want %v", got, p.NS)
	}
}

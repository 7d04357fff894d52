package nsenter

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tripod/internal/ns"
)

// as1000 runs a command as a user of no privilege.
func as1000(t *testing.T, name string, args ...string) outcome {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	return finish(t, cmd)
}

// TestUnprivileged: a user enters what its own user namespace owns, user namespace first, and is told by name what it
// may not enter and what would help.
func TestUnprivileged(t *testing.T) {
	ours := tool(t)
	foreign := strconv.Itoa(isolated(t, "--net"))
	if got := as1000(t, ours, "-t", foreign, "-n", "true"); got.code != 1 || got.err != "nsenter: cannot open /proc/"+foreign+"/ns/net: Permission denied\n" {
		t.Errorf("%+v", got)
	}
	// A user namespace of the user's own, with others in it.
	own := asleep(t, "unshare --user --map-root-user --net --uts --mount sleep 600 & echo $!; wait")
	at := strconv.Itoa(own)
	for _, c := range []struct {
		args []string
		want outcome
	}{
		{[]string{"-t", at, "-U", "-n", "-u", "-m", "--preserve-credentials", "sh", "-c", "id -u; readlink /proc/self/ns/net"}, outcome{"0\n" + link(t, own, "net"), "", 0}},
		{[]string{"-t", at, "-a", "--preserve-credentials", "id", "-u"}, outcome{"0\n", "", 0}},
		{[]string{"-t", at, "-U", "-n", "true"}, outcome{"", "nsenter: setgroups failed: Operation not permitted\n", 1}},
		{[]string{"-t", at, "-n", "true"}, outcome{"", "nsenter: reassociate to namespace 'ns/net' failed: Operation not permitted\nhint: net namespace " +
			number(link(t, own, "net")) + " is owned by user namespace " + number(link(t, own, "user")) + ", where you hold no CAP_SYS_ADMIN; add -U --preserve-credentials\n", 1}},
		{[]string{"-t", at, "-p", "true"}, outcome{"", "nsenter: reassociate to namespace 'ns/pid' failed: Operation not permitted\nhint: pid namespace " +
			number(link(t, own, "pid")) + " is owned by your own user namespace " + number(link(t, os.Getpid(), "user")) + ", where you hold no CAP_SYS_ADMIN\n", 1}},
		{[]string{"-t", at, "-m", "--tools=/", "true"}, outcome{"", "nsenter: cannot lay tools over the target: it takes CAP_SYS_ADMIN of whoever calls\n", 1}},
	} {
		if got := as1000(t, ours, c.args...); got != c.want {
			t.Errorf("%v:\n%+v, want\n%+v", c.args, got, c.want)
		}
	}
}

// asleep runs a script as user 1000 that prints the PID of an unshare which becomes sleep, and returns that PID then.
func asleep(t *testing.T, script string) int {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL); _ = cmd.Wait() })
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	until(t, "unshare has become sleep", func() bool {
		p := ns.Process{PID: pid}
		return p.ReadStat("") == nil && p.Comm == "sleep"
	})
	return pid
}

// number is the inode number of a namespace's link.
func number(link string) string {
	_, rest, _ := strings.Cut(strings.TrimSpace(link), "[")
	return strings.TrimSuffix(rest, "]")
}

// TestChain: a program in a user namespace within the one that owns its other namespaces, as bubblewrap leaves it, is
// entered by a user of no privilege (util-linux issue 1592).
func TestChain(t *testing.T) {
	ours := tool(t)
	pid := asleep(t, "unshare --user --map-root-user --net unshare --user --map-root-user sleep 600 & echo $!; wait")
	want := link(t, pid, "user") + link(t, pid, "net")
	got := as1000(t, ours, "-t", strconv.Itoa(pid), "-U", "-n", "--preserve-credentials", "readlink", "/proc/self/ns/user", "/proc/self/ns/net")
	if got.out != want {
		t.Errorf("%+v, want %q", got, want)
	}
	parent := as1000(t, ours, "-t", strconv.Itoa(pid), "--user-parent", "-n", "--preserve-credentials", "readlink", "/proc/self/ns/user", "/proc/self/ns/net")
	if parent.code != 0 || strings.HasPrefix(parent.out, link(t, pid, "user")) || !strings.HasSuffix(parent.out, link(t, pid, "net")) {
		t.Errorf("%+v", parent)
	}
}

// TestNetSocket enters by a socket what no process is in any more.
func TestNetSocket(t *testing.T) {
	ours := tool(t)
	var sock int
	var inside string
	done := make(chan error)
	go func() {
		// The thread is in the new namespace, and ends with this goroutine: locked, and never unlocked.
		done <- func() error {
			runtime.LockOSThread()
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			var err error
			if inside, err = os.Readlink("/proc/thread-self/ns/net"); err != nil {
				return err
			}
			sock, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
			return err
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sock)
	got := run(t, ours, "-t", strconv.Itoa(os.Getpid()), "-N", strconv.Itoa(sock), "readlink", "/proc/self/ns/net")
	if got.out != inside+"\n" {
		t.Errorf("%+v, want %s", got, inside)
	}
	if got := run(t, ours, "-t", strconv.Itoa(os.Getpid()), "-N", "99", "true"); got.code != 1 || !strings.Contains(got.err, "cannot duplicate descriptor 99") {
		t.Errorf("%+v", got)
	}
}

// TestByID enters a namespace by its 64-bit id.
func TestByID(t *testing.T) {
	ours := tool(t)
	pid := isolated(t, "--net")
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	h, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH)
	if err != nil {
		t.Skipf("namespaces have no ids on this kernel: %v", err)
	}
	id := binary.NativeEndian.Uint64(h.Bytes())
	for _, form := range []string{"-n:%d", "--net=:%d", "-n=:%d"} {
		if got := run(t, ours, fmt.Sprintf(form, id), "readlink", "/proc/self/ns/net"); got.out != link(t, pid, "net") {
			t.Errorf("%s: %+v", form, got)
		}
	}
	if got := run(t, ours, "-n:x", "true"); got.code != 1 || !strings.Contains(got.err, "failed to parse namespace ID: 'x'") {
		t.Errorf("%+v", got)
	}
	if got := run(t, ours, "-n:18446744073709551615", "true"); got.code != 1 {
		t.Errorf("%+v", got)
	}
}

// TestIdentity has who the program is: followed, mapped, kept.
func TestIdentity(t *testing.T) {
	ours := tool(t)
	pid, _ := contain(t, box{shell: true, nonroot: true, userns: true})
	at := strconv.Itoa(pid)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-S", "follow", "-G", "follow", "sh", "-c", "echo $(id -u) $(id -g)"}, "1000 1001"},
		{[]string{"-S", "5", "sh", "-c", "echo $(id -u) $(id -g)"}, "5 0"},
		{[]string{"sh", "-c", "echo $(id -u) $(id -g)"}, "0 0"},
		{[]string{"-S", "5", "--keep-caps", "grep", "CapAmb", "/proc/self/status"}, "CapAmb:\t000001ffffffffff"},
		{[]string{"-S", "5", "grep", "CapEff", "/proc/self/status"}, "CapEff:\t0000000000000000"},
		{[]string{"--like-container", "grep", "-e", "Groups", "-e", "CapBnd", "/proc/self/status"}, "Groups:\t20 \nCapBnd:\t0000000000000021"},
	} {
		got := run(t, ours, append([]string{"-t", at, "-U", "-n"}, c.args...)...)
		if c.args[0] == "--like-container" {
			// The host's /proc tells groups as the host has them.
			got = run(t, ours, append([]string{"-t", at, "-a", "--tools=/bin/busybox"}, c.args...)...)
		}
		if strings.TrimSpace(got.out) != c.want || got.code != 0 {
			t.Errorf("%v: %+v, want %q", c.args, got, c.want)
		}
	}
}

// TestEnviron takes all of the target's environment, and nothing of the caller's.
func TestEnviron(t *testing.T) {
	ours := tool(t)
	cmd := exec.Command("unshare", "--net", "sleep", "600")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HERS=1\nx", "EMPTY="}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	until(t, "unshare has become sleep", func() bool {
		p := ns.Process{PID: cmd.Process.Pid}
		return p.ReadStat("") == nil && p.Comm == "sleep"
	})
	t.Setenv("OURS", "2")
	got := run(t, ours, "-t", strconv.Itoa(cmd.Process.Pid), "-e", "-n", "env")
	if got.out != "PATH=/usr/bin:/bin\nHERS=1\nx\nEMPTY=\n" {
		t.Errorf("%+v", got)
	}
}

// procMounts are the mounts of procfs among this process's own, which nothing else makes meanwhile.
func procMounts(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, " - proc ") {
			all.WriteString(line)
		}
	}
	return all.String()
}

// TestProcesses: --mount-proc shows the PID namespace without its mount namespace; --pid-for-children enters the one that
// is not the target's own.
func TestProcesses(t *testing.T) {
	ours := tool(t)
	pid := isolated(t, everything)
	before := procMounts(t)
	got := run(t, ours, "-t", strconv.Itoa(pid), "-p", "--mount-proc", "sh", "-c", "cat /proc/1/comm; echo $$ $(ls -d /proc/[0-9]* | wc -l)")
	if got.code != 0 || !strings.HasPrefix(got.out, "sleep\n") {
		t.Errorf("%+v", got)
	}
	if after := procMounts(t); after != before {
		t.Errorf("mounts are left:\n%s", after)
	}
	cmd := exec.Command("unshare", "--pid", "sh", "-c", "sleep 600 & wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL); _ = cmd.Wait() })
	until(t, "the namespace has an init", func() bool { return link2(cmd.Process.Pid) != "" })
	want := link2(cmd.Process.Pid)
	if got := run(t, ours, "-t", strconv.Itoa(cmd.Process.Pid), "--pid-for-children", "readlink", "/proc/"+strconv.Itoa(cmd.Process.Pid)+"/ns/pid_for_children"); got.code != 0 || strings.TrimSpace(got.out) != want {
		t.Errorf("%+v, want %s", got, want)
	}
}

func link2(pid int) string {
	s, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid_for_children", pid))
	own, _ := os.Readlink("/proc/self/ns/pid")
	if s == own {
		return ""
	}
	return s
}

// TestNoGroupsLeft: a leaf that was made for the program in a cgroup that hands controllers down is gone afterwards.
func TestLeafIsRemoved(t *testing.T) {
	dir := t.TempDir()
	v := &view{given: map[string]int{}}
	if err := os.WriteFile(dir+"/cgroup.subtree_control", []byte("memory\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	leaf, err := v.leaf(dir)
	if err != nil || !v.Leaf || leaf == dir {
		t.Fatalf("%s %v", leaf, err)
	}
	v.remove()
	if _, err := os.Stat(leaf); err == nil {
		t.Errorf("%s is left", leaf)
	}
	if err := os.WriteFile(dir+"/cgroup.subtree_control", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if leaf, err := v.leaf(dir); err != nil || leaf != dir {
		t.Errorf("%s %v", leaf, err)
	}
}

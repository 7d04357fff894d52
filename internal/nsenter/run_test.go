package nsenter

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripod/internal/ns"
)

// TestMain is nsenter itself when it is called by that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "nsenter" {
		os.Exit(Command(os.Args[1:], Config{Version: "test"}))
	}
	os.Exit(m.Run())
}

const theirs238 = "/usr/bin/nsenter"

// tool is our nsenter as a program.
func tool(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("namespaces are made by root")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// A copy: others than root are to execute it too.
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/nsenter", data, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir + "/nsenter"
}

// isolated starts a program in new namespaces, by unshare(1) with these options, and returns its PID.
func isolated(t *testing.T, options string, program ...string) int {
	t.Helper()
	if len(program) == 0 {
		program = []string{"sleep", "600"}
	}
	args := append(append(strings.Fields(options), "--"), program...)
	cmd := exec.Command("unshare", args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	pid := cmd.Process.Pid
	want := filepath.Base(program[0])
	for range 500 {
		at := pid
		if list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)); err == nil && len(bytes.Fields(list)) > 0 {
			at, _ = strconv.Atoi(string(bytes.Fields(list)[0]))
		}
		p := ns.Process{PID: at}
		if p.ReadStat("") == nil && strings.HasPrefix(want, p.Comm) && (at != pid || !strings.Contains(options, "fork")) {
			return at
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("unshare %v started nothing", args)
	return 0
}

const everything = "--fork --kill-child --pid --mount-proc --net --uts --ipc --cgroup --time"

// outcome is what a command did.
type outcome struct {
	out, err string
	code     int
}

func run(t *testing.T, name string, args ...string) outcome {
	t.Helper()
	return finish(t, exec.Command(name, args...))
}

func finish(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	rerr := cmd.Run()
	var exit *exec.ExitError
	if rerr != nil && !errors.As(rerr, &exit) {
		t.Fatal(rerr)
	}
	code := cmd.ProcessState.ExitCode()
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	return outcome{out.String(), err.String(), code}
}

// TestAgainstDebian has both nsenters do the same, and wants the same of them: what the program sees of namespaces,
// directories, ids and environment; exit codes; messages.
func TestAgainstDebian(t *testing.T) {
	ours := tool(t)
	if _, err := os.Stat(theirs238); err != nil {
		t.Skip("no util-linux")
	}
	all := strconv.Itoa(isolated(t, everything))
	user := strconv.Itoa(isolated(t, "--user --map-root-user "+everything))
	like := strconv.Itoa(isolated(t, strings.TrimSuffix(everything, " --time"))) // as containers are
	dead := strconv.Itoa(deadPID(t))
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("echo script $0 $1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	const look = "for n in mnt net ipc user pid uts cgroup time; do readlink /proc/self/ns/$n; done; pwd; id; echo $A; umask; ls -i -d /; ulimit -n; cat /proc/self/status | grep -E 'Cap|Sig[BIC]|Groups|NoNew'"
	for _, args := range [][]string{
		{"-t", all, "-a", "sh", "-c", look},
		{"-t", all, "-m", "sh", "-c", look},
		{"-t", like, "-a", "sh", "-c", look},
		{"-t", like, "-a", "-S", "7", "-G", "8", "sh", "-c", look},
		{"-t", like, "-a", "no-such"},
		{"-t", like, "-a", "/etc/passwd"},
		{"-t", like, "-a", "sh", "-c", "kill -TERM $$"},
		{"-t", all, "-n", "sh", "-c", look},
		{"-t", all, "-u", "-i", "-C", "sh", "-c", look},
		{"-t", all, "-T", "sh", "-c", look},
		{"-t", all, "-p", "sh", "-c", look},
		{"-t", all, "-p", "-F", "readlink", "/proc/self/ns/pid_for_children"},
		{"-t", all, "-m", "-p", "-r", "-w", "sh", "-c", look},
		{"-t", all, "-n", "-w/tmp", "sh", "-c", look},
		{"-t", all, "-n", "-W/tmp", "sh", "-c", look},
		{"-t", all, "-n", "-r/", "sh", "-c", look},
		{"-t", all, "-n", "-S", "7", "-G", "8", "sh", "-c", look},
		{"-t", all, "-n", "-S", "7", "sh", "-c", look},
		{"-n/proc/" + all + "/ns/net", "sh", "-c", look},
		{"--net=/proc/" + all + "/ns/net", "--uts=/proc/" + all + "/ns/uts", "sh", "-c", look},
		{"-t", user, "-a", "sh", "-c", look},
		{"-t", user, "-U", "-m", "sh", "-c", look},
		{"-t", user, "-U", "--preserve-credentials", "sh", "-c", look},
		{"-t", user, "-U", "-S", "0", "-G", "0", "sh", "-c", look},
		{"-t", user, "-n", "sh", "-c", look},
		{"-t", all, "-a", "sh", "-c", "exit 7"},
		{"-t", all, "-n", "sh", "-c", "exit 7"},
		{"-t", all, "-a", "sh", "-c", "kill -TERM $$"},
		{"-t", all, "-a", "sh", "-c", "kill -KILL $$"},
		{"-t", all, "-n", "sh", "-c", "kill -KILL $$"},
		{"-t", all, "-n", "/no/such"},
		{"-t", all, "-a", "no-such"},
		{"-t", all, "-n", "no-such"},
		{"-t", all, "-n", "/etc/passwd"},
		{"-t", all, "-a", "/etc/passwd"},
		{"-t", all, "-n", "/etc"},
		{"-t", all, "-n", script, "arg"},
		{"-t", all, "-a", script, "arg"},
		{"-t", all, "-n", "/etc/passwd/x"},
		{"-t", all, "-U", "true"},
		{"-t", dead, "-m", "true"},
		{"-t", dead, "-a", "true"},
		{"-t", "abc", "-n", "true"},
		{"-t", all, "-w", "-W", "true"},
		{"-n/etc/passwd", "true"},
		{"-n/no/such", "true"},
		{"-t", all, "-r/no/such", "true"},
		{"-t", all, "-n/proc/" + all + "/ns/uts", "true"},
		{"-t", all, "-n", "-r/etc", "sh"},
		{"-t", all, "-m", "-W/no/such", "true"},
		{"-m", "true"},
		{"-a", "true"},
		{"--foo"},
		{"-x"},
		{"-t"},
		{"--target"},
		{"--all=3"},
		{"-t", all, "-S", "abc", "-n", "true"},
	} {
		want, got := twice(t, args, theirs238), twice(t, args, ours)
		// A process knows itself by another number each time; our message for a bad address space is the same line.
		if got.code != want.code || got.out != want.out || got.err != want.err {
			t.Errorf("nsenter %v:\nours   %d %q %q\ntheirs %d %q %q", args, got.code, got.out, got.err, want.code, want.out, want.err)
		}
	}
}

// twice runs a nsenter with an environment and descriptors that are told apart.
func twice(t *testing.T, args []string, name string) outcome {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Args[0] = "nsenter" // getopt_long(3) begins with it as it is typed
	cmd.Dir = "/usr"
	cmd.Env = []string{"PATH=/usr/bin:/bin", "A=b", "LC_ALL=C"}
	return finish(t, cmd)
}

// deadPID is the PID of a process that has ended.
func deadPID(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.Pid()
}

// TestInPlace: without a PID namespace the program is nsenter's own process, and inherits its descriptors.
func TestInPlace(t *testing.T) {
	ours := tool(t)
	pid := strconv.Itoa(isolated(t, "--user --map-root-user --net"))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(ours, "-t", pid, "-U", "-n", "sh", "-c", "echo $$; echo here >&3; ls -l /proc/$$/fd | grep -c -e net: -e user:; trap '' TERM; kill -TERM $$; echo left")
	cmd.ExtraFiles = []*os.File{w}
	got := finish(t, cmd)
	w.Close()
	said, _ := bufRead(r)
	if want := fmt.Sprintf("%d\n0\nleft\n", cmd.Process.Pid); got.out != want || said != "here\n" {
		t.Errorf("%q and %q, want %q; %s", got.out, said, want, got.err)
	}
}

// TestDescriptors: what was open for nsenter is open for the program, as a child too; not with --like-container.
func TestDescriptors(t *testing.T) {
	ours := tool(t)
	pid := strconv.Itoa(isolated(t, everything))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-a"}, "here\n"},
		{[]string{"-a", "--like-container"}, ""},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(ours, append(append([]string{"-t", pid}, c.args...), "sh", "-c", "echo here >&3; ls -l /proc/$$/fd | grep -c -e net: -e user: -e memfd")...)
		cmd.ExtraFiles = []*os.File{w}
		got := finish(t, cmd)
		w.Close()
		said, _ := bufRead(r)
		r.Close()
		if said != c.want || got.out != "0\n" {
			t.Errorf("%v: %q, %+v, want %q", c.args, said, got, c.want)
		}
	}
}

func bufRead(f *os.File) (string, error) {
	var b bytes.Buffer
	_, err := b.ReadFrom(f)
	return b.String(), err
}

// TestInode: a PID alone may have passed to another process; its inode may not.
func TestInode(t *testing.T) {
	ours := tool(t)
	pid := isolated(t, "--net")
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if unix.Fstatfs(fd, &fs) != nil || fs.Type != 0x50494446 {
		t.Skip("no pidfs on this kernel")
	}
	if got := run(t, ours, "-t", fmt.Sprintf("%d:%d", pid, st.Ino), "-n", "readlink", "/proc/self/ns/net"); got.code != 0 || got.out != link(t, pid, "net") {
		t.Errorf("%+v", got)
	}
	want := fmt.Sprintf("nsenter: cannot enter process %d: its inode is %d, not %d: the PID has passed to another process\n", pid, st.Ino, st.Ino+1)
	if got := run(t, ours, "-t", fmt.Sprintf("%d:%d", pid, st.Ino+1), "-n", "true"); got.code != 1 || got.err != want {
		t.Errorf("%+v, want %q", got, want)
	}
}

func link(t *testing.T, pid int, name string) string {
	t.Helper()
	s, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return s + "\n"
}

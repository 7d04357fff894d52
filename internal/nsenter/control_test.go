package nsenter

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripod/internal/ns"
)

// started runs nsenter and returns it when its program has printed a line.
func started(t *testing.T, name string, args ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v printed nothing: %v", args, err)
	}
	return cmd, strings.TrimSpace(line)
}

// until waits for a condition of the kernel's making.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("waited in vain until %s", what)
}

// state is the letter of a process's state, 0 when it is gone.
func state(pid int) byte {
	p := ns.Process{PID: pid}
	if p.ReadStat("") != nil {
		return 0
	}
	return p.State
}

// childOf is the only child of a process.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	var child int
	until(t, "nsenter has a child", func() bool {
		entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		for _, e := range entries {
			list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, e.Name()))
			if f := strings.Fields(string(list)); len(f) > 0 {
				child, _ = strconv.Atoi(f[0])
			}
		}
		return child != 0
	})
	return child
}

// TestStopAndContinue is job control: a program that stops takes nsenter with it, and both go on together.
func TestStopAndContinue(t *testing.T) {
	ours := tool(t)
	target := strconv.Itoa(isolated(t, everything))
	cmd, _ := started(t, ours, "-t", target, "-a", "sh", "-c", "echo ready; kill -STOP $$; exit 3")
	child := childOf(t, cmd.Process.Pid)
	until(t, "both have stopped", func() bool { return state(child) == 'T' && state(cmd.Process.Pid) == 'T' })
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
}

// TestSignals: as ever a signal to nsenter leaves the program running; --forward-signals passes it on, --kill-child ends
// the program when nsenter dies, however it does.
func TestSignals(t *testing.T) {
	ours := tool(t)
	target := strconv.Itoa(isolated(t, everything))
	t.Run("as ever", func(t *testing.T) {
		cmd, _ := started(t, ours, "-t", target, "-a", "sh", "-c", "echo ready; exec sleep 600")
		child := childOf(t, cmd.Process.Pid)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGTERM || state(child) == 0 {
			t.Errorf("%v, program in state %q", cmd.ProcessState, state(child))
		}
		_ = unix.Kill(child, unix.SIGKILL)
	})
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1} {
		t.Run("forward "+unix.SignalName(sig), func(t *testing.T) {
			cmd, _ := started(t, ours, "-t", target, "-a", "--forward-signals", "sh", "-c", "trap 'exit 7' TERM INT QUIT HUP USR1; echo ready; while :; do sleep 0.01; done")
			_ = cmd.Process.Signal(sig)
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 7 {
				t.Errorf("%v, want exit code 7", cmd.ProcessState)
			}
		})
	}
	t.Run("kill child", func(t *testing.T) {
		cmd, _ := started(t, ours, "-t", target, "-a", "--kill-child", "sh", "-c", "echo ready; exec sleep 600")
		child := childOf(t, cmd.Process.Pid)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		until(t, "the program is dead", func() bool { return state(child) == 0 || state(child) == 'Z' })
	})
	t.Run("no goroutines are shown", func(t *testing.T) {
		cmd, _ := started(t, ours, "-t", target, "-a", "sh", "-c", "trap '' QUIT; echo ready; exec sleep 0.3")
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		_ = cmd.Wait()
		if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGQUIT {
			t.Errorf("%v, want SIGQUIT", cmd.ProcessState)
		}
	})
}

// TestPTY: the program has a terminal of its own, with a session; its end is told, and what it printed comes through.
func TestPTY(t *testing.T) {
	ours := tool(t)
	for _, b := range []box{{shell: true}, {shell: true, nonroot: true, userns: true}} {
		pid, _ := contain(t, b)
		cmd := exec.Command(ours, "-t", strconv.Itoa(pid), "-a", "--pty", "--like-container", "--tools=/bin/busybox", "sh", "-c",
			"tty; test -t 0 && test -t 1 && test -t 2 && echo terminal; echo x >$(tty) && echo opened; read line; echo got $line; seq 1 2000 | tail -1; exit 4")
		cmd.Stdin = strings.NewReader("typed\n")
		got := finish(t, cmd)
		lines := strings.Fields(strings.ReplaceAll(got.out, "\r", ""))
		want := []string{"/dev/pts/0", "terminal", "x", "opened", "typed", "got", "typed", "2000"}
		for _, w := range want {
			found := false
			for _, l := range lines {
				found = found || l == w
			}
			if !found {
				t.Errorf("%s: no %q in %q %q", b, w, got.out, got.err)
			}
		}
		if got.code != 4 {
			t.Errorf("%s: exit code %d, want 4", b, got.code)
		}
	}
}

// TestJoinCgroup: util-linux before 2.43 closed the program's stdin on the way (its issue 1946).
func TestJoinCgroup(t *testing.T) {
	ours := tool(t)
	pid, _ := contain(t, box{shell: true})
	cmd := exec.Command(ours, "-t", strconv.Itoa(pid), "-n", "-c", "cat", "-", "/proc/self/cgroup")
	cmd.Stdin = strings.NewReader("stdin is there\n")
	got := finish(t, cmd)
	theirs, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	if want := "stdin is there\n" + string(theirs); got.code != 0 || got.out != want {
		t.Errorf("%+v, want %q", got, want)
	}
}

// TestHostile: what the target has made of its own root does not hold nsenter up, or lead it astray.
func TestHostile(t *testing.T) {
	ours := tool(t)
	dir := t.TempDir()
	script := `mount -t tmpfs none ` + dir + ` && cd ` + dir + ` && mkdir etc bin proc old && cp /bin/busybox bin/sh && mkfifo etc/passwd &&
		ln -s /etc/nowhere dev && ln -s / loop && mount -t proc none proc && pivot_root . old && exec /bin/sh -c 'while :; do read x </etc/fifo; done; true' sleeper`
	script = strings.ReplaceAll(script, "read x </etc/fifo", "read x <&9")
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", "exec 9<"+fifo(t)+"; "+script)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	pid := childOf(t, cmd.Process.Pid)
	until(t, "the target has its root", func() bool {
		_, err := os.Lstat(fmt.Sprintf("/proc/%d/root/loop", pid))
		return err == nil
	})
	// The shell of a passwd that is a FIFO; a /dev that leads nowhere has no terminal to take.
	shell := exec.Command(ours, "-t", strconv.Itoa(pid), "-m", "-p")
	shell.Env, shell.Stdin = []string{"PATH=/bin"}, strings.NewReader("echo $0 $((6*7))\n")
	if got := finish(t, shell); got.code != 0 || got.out != "-sh 42\n" {
		t.Errorf("%+v", got)
	}
	pty := exec.Command(ours, "-t", strconv.Itoa(pid), "-m", "-p", "--pty", "--tools=/bin/busybox", "sh", "-c", "echo $((6*7)); ls -d /loop/etc")
	if got := finish(t, pty); got.code != 0 || !strings.HasPrefix(got.out, "42\r\n/loop/etc") {
		t.Errorf("%+v", got)
	}
}

// fifo is a pipe with a name that somebody writes to, never a word.
func fifo(t *testing.T) string {
	t.Helper()
	name := t.TempDir() + "/fifo"
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return name
}

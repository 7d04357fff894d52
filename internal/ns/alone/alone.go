// Package alone runs a test as process 1 of a PID namespace of its own. No binary is built from it.
//
// What the test finds there is what it made, and is gone when it ends.
package alone

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Inside runs the test again as process 1 of a PID namespace of its own, with its own /proc and mounts, so that what it finds is
// what it made, and is gone with it. It says whether this is there.
func Inside(t *testing.T) bool {
	t.Helper()
	const mark = "TRIPOD_TEST_INSIDE"
	if os.Getenv(mark) != "" {
		for _, m := range []struct {
			source, target, kind string
			flags                uintptr
		}{
			{"none", "/", "", unix.MS_REC | unix.MS_PRIVATE},
			{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		} {
			if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
				t.Fatal(err)
			}
		}
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	again := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=10m")
	again.Env = append(os.Environ(), mark+"=1")
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	out, err := again.CombinedOutput()
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("%s", out)
	}
	return false
}

// Start starts a program in new namespaces, of the flags of clone(2), and returns when it has said that it is ready: a line on its
// output. It is killed when the test ends.
func Start(t *testing.T, flags uintptr, argv ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("%q: %q, %v", argv, line, err)
	}
	return cmd
}

// Script starts a shell script, which is to say that it is ready.
func Script(t *testing.T, flags uintptr, text string, args ...string) *exec.Cmd {
	t.Helper()
	return Start(t, flags, append([]string{"sh", "-ec", text, "sh"}, args...)...)
}

// Sleeper is the end of a script that stays.
const Sleeper = "echo ready; exec sleep 1000"

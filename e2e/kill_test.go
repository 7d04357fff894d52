package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stage is a tripod with folders and a network namespace of its own.
type stage struct {
	t    *testing.T
	work string
	bin  string
	was  inventory
}

// newStage makes one. The test's goroutine keeps its thread: both end with the test.
func newStage(t *testing.T) *stage {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers are made by root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, work: t.TempDir(), bin: binaries(t)}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { sweep(s.work) })
	s.was = s.look()
	return s
}

func (s *stage) look() inventory {
	s.t.Helper()
	seen, err := look(s.work)
	if err != nil {
		s.t.Fatal(err)
	}
	return seen
}

// command is a run of tripod that has not begun. It has no session with ours, as if typed elsewhere.
func (s *stage) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, "tripod"), args...)
	cmd.Env = append(os.Environ(), "TRIPOD_ROOT="+filepath.Join(s.work, "root"), "TRIPOD_RUN_ROOT="+filepath.Join(s.work, "run"))
	cmd.Dir = s.work
	return cmd
}

// tripod runs one and returns what it printed.
func (s *stage) tripod(args ...string) (string, error) {
	out, err := s.command(args...).Output()
	if e := (*exec.ExitError)(nil); err != nil {
		e, _ = err.(*exec.ExitError)
		if e != nil {
			err = fmt.Errorf("tripod %s: %w: %s", strings.Join(args, " "), err, e.Stderr)
		}
	}
	return string(out), err
}

func (s *stage) must(args ...string) string {
	s.t.Helper()
	out, err := s.tripod(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// clean sees that nothing is left of what was not there at first. The kernel may need a moment.
func (s *stage) clean() {
	s.t.Helper()
	var left []string
	for range 100 * patience() {
		left = nil
		for _, thing := range slices.Sorted(maps.Keys(s.look())) {
			if !s.was[thing] && !strings.Contains(thing, "/tripod-") { // package tests may run beside

				left = append(left, thing)
			}
		}
		if len(left) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Errorf("left behind:\n\t%s", strings.Join(left, "\n\t"))
}

const pairYAML = `apiVersion: v1
kind: Pod
metadata: {name: pair}
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
  - {name: first, image: 'host:/', command: ['true']}
  containers:
  - {name: one, image: 'host:/', command: [sleep, '36000'], ports: [{containerPort: 80, hostPort: 8123}], volumeMounts: [{name: v, mountPath: /v}]}
  - {name: two, image: 'host:/', command: [sleep, '36000'], volumeMounts: [{name: v, mountPath: /v}]}
  volumes:
  - {name: v, emptyDir: {}}
`

// TestKillAnywhere kills `tripod run -d` at one moment after another. Whatever it was at: the Pod goes on, or what there was of
// it is taken away by the next command; then a Pod of the same name can be made, and in the end nothing is left.
func TestKillAnywhere(t *testing.T) {
	s := newStage(t)
	if err := os.WriteFile(filepath.Join(s.work, "pair.yaml"), []byte(pairYAML), 0o644); err != nil {
		t.Fatal(err)
	}
	var gone, lives int
	for i := range 60 {
		cmd := s.command("run", "-d", "-f", "pair.yaml")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * 5 * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil && !strings.Contains(err.Error(), "finished") {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed, or it had ended
		// Any command copes with what is there. Doctor changes nothing, and fails when it has found something.
		if i%3 == 0 {
			_, _ = s.tripod("doctor")
		}
		if i%3 == 1 {
			s.must("run", "--rm", "--name", "other", "host:/", "true")
		}
		names := s.must("ps", "-o", "name")
		if !strings.Contains(names, "pair") {
			gone++
			continue
		}
		// A Pod that is there is a whole one, which comes to run without its command, or is taken away by a later one.
		var now string
		var err error
		for range 100 * patience() {
			if now, err = s.tripod("ps", "pair", "-o", "json"); err != nil || strings.Count(now, `"running"`) == 2 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		switch {
		case err != nil && strings.Contains(err.Error(), "no such Pod"):
			gone++
			continue
		case err != nil:
			t.Fatal(err)
		case strings.Count(now, `"running"`) != 2:
			t.Fatalf("killed after %d ms: the Pod is there and does not run:\n%s", 5*i, now)
		}
		lives++
		s.must("rm", "-f", "pair")
	}
	t.Logf("killed in time %d, the Pod went on %d", gone, lives)
	s.must("ps")
	s.clean()
}

// keeperOf is the PID of a Pod's keeper.
func (s *stage) keeperOf(pod string) int {
	s.t.Helper()
	uid := s.must("ps", pod, "-o", "jsonpath={.metadata.uid}")
	found := 0
	err := eachProcess(func(pid int, cmdline, _ string) {
		if strings.Contains(cmdline, "keep "+filepath.Join(s.work, "run", "pods", uid)) {
			found = pid
		}
	})
	if err != nil || found == 0 {
		s.t.Fatalf("Pod %s has no keeper: %v", pod, err)
	}
	return found
}

// TestKillKeeper kills the keeper of Pods that run. Their containers end; the next command puts 137, ContainerStatusUnknown on
// record and starts them again, or leaves them ended, by their policy.
func TestKillKeeper(t *testing.T) {
	s := newStage(t)
	for _, policy := range []string{"always", "no"} {
		for range 3 {
			s.must("run", "-d", "--restart", policy, "--name", "a", "host:/", "sleep", "36000")
			if err := unix.Kill(s.keeperOf("a"), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			field, again := "lastState", `"running"`
			if policy == "no" {
				field, again = "state", "Failed"
			}
			want, got := "137 ContainerStatusUnknown", ""
			for range 100 * patience() {
				s.must("ps")
				term := "{.status.containerStatuses[0]." + field + ".terminated"
				got, _ = s.tripod("ps", "a", "-o", "jsonpath="+term+".exitCode} "+term+".reason}")
				if got == want && strings.Contains(s.must("ps", "a", "-o", "json"), again) {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			if got != want {
				t.Errorf("restart %s: %s is %q, want %q\n%s", policy, field, got, want, s.must("ps", "a", "-o", "yaml"))
			}
			s.must("rm", "-f", "a")
		}
	}
	s.clean()
}

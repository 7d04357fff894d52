package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/life"
)

// molted waits until the keeper has executed its program anew.
func (p *pod) molted() {
	p.t.Helper()
	p.wait("the keeper has molted", func() bool {
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.Hello().Pid))
		return bytes.Contains(env, []byte(moltEnv+"="))
	})
}

// Nothing that a keeper does is interrupted when it molts.
func TestMolt(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.life.RestartPolicy = life.Always
	p.life.OnOrphan, p.life.Grace = life.OrphanStop, 0
	owner, err := p.Own()
	if err != nil {
		t.Fatal(err)
	}
	p.container("i1", "true", nil)
	p.container("a", "echo -n begun-; until test -e /dev/shm/go; do sleep 0.01; done; echo ended; cat; exit 5", func(c *life.Container, _ *specs.Spec) { c.Stdin, c.StdinOnce = true, true })
	p.container("tty", "stty -echo; read x; echo $x; sleep 1000", func(c *life.Container, _ *specs.Spec) { c.Stdin, c.TTY = true, true })
	p.apply()
	p.running("a", "tty")
	seen := make(chan *Status, 100)
	go func() {
		_ = p.Watch(p.ctx, func(s *Status) error { seen <- s; return nil })
		close(seen)
	}()
	before := <-seen
	p.molted()

	// It answers, and knows what it knew.
	s, err := p.Status(p.ctx)
	if err != nil || s.Container("a").Pid != before.Container("a").Pid || s.Pause != before.Pause || s.Phase != life.PhaseRunning {
		t.Fatalf("%+v, %v\n%s", s, err, p.keeperLog())
	}
	exit, err := p.Exec(p.ctx, ExecRequest{Container: "a", Args: []string{"sh", "-c", "touch /dev/shm/go; exit 4"}})
	if err != nil || exit.Code != 4 {
		t.Errorf("exec: %+v, %v", exit, err)
	}
	// Input, output and the end of a container are seen.
	exit, err = p.Attach(p.ctx, AttachRequest{Container: "a", Streams: Streams{Stdin: strings.NewReader("typed\n")}})
	if err != nil || exit.Code != 5 {
		t.Errorf("attach: %+v, %v", exit, err)
	}
	s = p.until("a runs again", func(s *Status) bool { r := s.Container("a"); return r.Attempt == 1 && r.State == life.Running })
	if got := p.log("a", 0)[stdout]; got != "begun-ended\ntyped\n" || s.Container("a").Last.ExitCode != 5 {
		t.Errorf("log %q, record %+v", got, s.Container("a"))
	}
	for told := false; !told; {
		now, open := <-seen
		if !open {
			t.Fatal("who watched was not told")
		}
		told = now.Container("a").Attempt == 1
	}
	// The terminal is the same one.
	go func() {
		_, _ = p.Attach(p.ctx, AttachRequest{Container: "tty", Streams: Streams{Stdin: strings.NewReader("word\n")}})
	}()
	p.wait("the terminal answers", func() bool { return p.log("tty", 0)[stdout] == "word\r\n" })
	// Pause is still watched.
	if err := unix.Kill(s.Pause.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.until("another pause", func(now *Status) bool { return now.Pause.Pid != 0 && now.Pause != s.Pause })
	// The owner is still the owner.
	owner.l.close()
	for s = range seen {
		if s.Finished {
			break
		}
	}
	if s == nil || !s.Finished {
		t.Error("who watched was not told of the end")
	}
	p.finished()
}

// A program can be interrupted, hung up and have its pipe broken, though its keeper ignores that: a shell cannot trap a
// signal that was ignored when it began.
func TestNoIgnoredSignals(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.life.RestartPolicy = life.Never
	p.container("a", "grep SigIgn /proc/self/status; sleep 1000", nil).apply()
	p.running("a")
	const none = "SigIgn:\t0000000000000000\n"
	p.wait("a has looked", func() bool { return p.log("a", 0)[stdout] != "" })
	if got := p.log("a", 0)[stdout]; got != none {
		t.Errorf("the container has %q", got)
	}
	look := func(when string) {
		var out bytes.Buffer
		_, err := p.Exec(p.ctx, ExecRequest{Container: "a", Args: []string{"grep", "SigIgn", "/proc/self/status"}, Streams: Streams{Stdout: &out}})
		if err != nil || out.String() != none {
			t.Errorf("%s an exec has %q, %v", when, out.String(), err)
		}
	}
	look("at first")
	p.molted()
	look("later")
}

// A keeper that has molted still stops its Pod on SIGTERM.
func TestMoltAndTerm(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.life.RestartPolicy = life.Always
	p.container("a", "sleep 1000", nil)
	p.life.Grace = 0
	p.apply()
	p.running("a")
	p.molted()
	if _, err := p.Status(p.ctx); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(p.Hello().Pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.wait("the keeper has left", func() bool { return !Alive(p.dir) })
	p.finished()
}

// A process that an exec left behind is reaped by a keeper that does not know it any more.
func TestMoltReapsStrays(t *testing.T) {
	p := newPod(t, func(s *Sandbox) { s.Namespaces.PID = OfHost }).spawn()
	p.container("a", "sleep 1000", nil).apply()
	p.running("a")
	var out bytes.Buffer
	_, err := p.Exec(p.ctx, ExecRequest{Container: "a", Args: []string{"sh", "-c", "sleep 2 >/dev/null 2>&1 & echo $!"}, Streams: Streams{Stdout: &out}})
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(out.String(), &pid); err != nil {
		t.Fatal(err)
	}
	p.molted()
	p.wait("the process is gone", func() bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) })
}

// The whole of what a quiet keeper and its pause cost.
func TestQuietKeeperIsSmall(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.container("a", "sleep 1000", nil).container("b", "sleep 1000", nil).apply()
	s := p.running("a", "b")
	p.molted()
	time.Sleep(10 * time.Millisecond)
	for name, pid := range map[string]int{"keeper": p.Hello().Pid, "pause": s.Pause.Pid} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "RssAnon:")
		var kb int
		if _, err := fmt.Sscan(rest, &kb); err != nil || name == "pause" && kb > 64 || kb > 2<<10 {
			t.Errorf("%s: RssAnon %d kB, %v", name, kb, err)
		}
		t.Logf("%s: RssAnon %d kB", name, kb)
	}
}

package keeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tripod/internal/life"
	"tripod/internal/ns"
)

// Execs, attachments, kills and restarts at once: every exec is answered, nothing is left, and the keeper lives.
func TestStorm(t *testing.T) {
	p := newPod(t, nil).spawn()
	p.life.RestartPolicy = life.Always
	p.life.Backoff = life.Backoff{Base: time.Millisecond, Max: time.Millisecond}
	p.container("a", "echo up; sleep 1000", nil).container("b", "echo up; sleep 1000", nil).container("c", "sleep 1000", nil).apply()
	p.running("a", "b", "c")
	pid := p.Hello().Pid
	before := descriptors(t, pid)
	end := time.Now().Add(3 * time.Second)
	var group sync.WaitGroup
	for i := range 6 {
		group.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			for time.Now().Before(end) {
				name := []string{"a", "b", "c"}[rnd.IntN(3)]
				if err := p.disturb(rnd.IntN(10), name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	s := p.running("a", "b", "c")
	t.Logf("attempts %d, %d, %d", s.Container("a").Attempt, s.Container("b").Attempt, s.Container("c").Attempt)
	p.wait("the keeper's descriptors are back", func() bool { return descriptors(t, pid) <= before })
	p.wait("no zombie is the keeper's", func() bool { return zombies(t, pid) == 0 })
}

// disturb does one thing to a container. What a kill in between can cause is no error.
func (p *pod) disturb(what int, name string) error {
	var out bytes.Buffer
	var refused *RefusedError
	switch what {
	case 0:
		err := p.Kill(p.ctx, name)
		if err != nil && !errors.As(err, &refused) {
			return fmt.Errorf("kill: %w", err)
		}
	case 1:
		// The kill may meet a container that has not begun; then the attachment would last.
		ctx, cancel := context.WithTimeout(p.ctx, time.Second)
		defer cancel()
		_, err := p.Attach(ctx, AttachRequest{Container: name, Attached: func() { _ = p.Kill(p.ctx, name) }, Streams: Streams{Stdout: &out}})
		if err != nil && !errors.As(err, &refused) && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("attach: %w", err)
		}
	default:
		exit, err := p.Exec(p.ctx, ExecRequest{Container: name, Args: []string{"echo", "x"}, TTY: what == 2, Streams: Streams{Stdout: &out}})
		if err != nil && !errors.As(err, &refused) || err == nil && exit.Code != 137 && strings.TrimSpace(out.String()) != "x" {
			return fmt.Errorf("exec: %+v, %w, %q", exit, err, out.String())
		}
	}
	return nil
}

// zombies counts the children of a process that it has not waited for.
func zombies(t *testing.T, parent int) int {
	t.Helper()
	procs, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range procs {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil {
			continue
		}
		if p := (ns.Process{PID: pid}); p.ReadStat("/proc") == nil && p.State == 'Z' && p.PPID == parent {
			n++
		}
	}
	return n
}

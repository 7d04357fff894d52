package cgroup

import (
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestProcsFreezeKill(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, h)
			p := start(t, g, "sleep")
			pids, err := g.Procs()
			if err != nil || len(pids) != 1 || pids[0] != p.Process.Pid {
				t.Fatalf("Procs: %v, %v; want %d", pids, err, p.Process.Pid)
			}
			if err := g.Freeze(true); err != nil {
				t.Fatal(err)
			}
			if frozen, err := g.Frozen(); !frozen || err != nil {
				t.Errorf("Frozen: %v, %v", frozen, err)
			}
			if err := g.Freeze(false); err != nil {
				t.Fatal(err)
			}
			if frozen, err := g.Frozen(); frozen || err != nil {
				t.Errorf("Frozen after a thaw: %v, %v", frozen, err)
			}
			if err := g.Freeze(true); err != nil {
				t.Fatal(err)
			}
			if err := g.Kill(); err != nil { // while it is frozen
				t.Fatal(err)
			}
			err = p.Wait()
			if ws, ok := p.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
				t.Errorf("it ended with %v", err)
			}
			if err := g.Kill(); err != nil {
				t.Errorf("Kill of an empty group: %v", err)
			}
		})
	}
}

func TestKillForkBomb(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			if _, ok := h.v1("pids"); !ok && h.Mode != V2 {
				t.Skip("the pids controller, which keeps the bomb small, is not on this part of the host")
			}
			g := newGroup(t, h)
			limit := int64(60)
			if err := g.Limit(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}}); err != nil {
				t.Fatal(err)
			}
			start(t, g, "bomb")
			until(t, "the bomb at its limit", func() (bool, error) {
				s, err := g.Stats()
				if s.Pids.Limit != uint64(limit) {
					t.Fatalf("limit is %d", s.Pids.Limit)
				}
				return s.Pids.Current >= uint64(limit)*9/10, err
			})
			if err := g.Kill(); err != nil {
				t.Fatal(err)
			}
			if pids, err := g.Procs(); len(pids) > 0 || err != nil {
				t.Errorf("left: %v, %v", pids, err)
			}
		})
	}
}

// A process that has left the unified part, as a privileged container's can, is killed all the same.
func TestKillStray(t *testing.T) {
	h := needHost(t)
	if h.Mode != Hybrid {
		t.Skip("only on a hybrid host can a process be in one hierarchy and not in another")
	}
	y, _ := h.unified()
	g := newGroup(t, h)
	p := start(t, g, "sleep")
	if err := os.WriteFile(y.Mountpoint+"/cgroup.procs", []byte(strconv.Itoa(p.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
}

package network

import (
	"context"
	"testing"
)

// TestPrepare: what is prepared for a Pod that never comes is taken away by a Detach of it, or by a sweep.
func TestPrepare(t *testing.T) {
	h := newHost(t)
	cfg := h.cfg
	for _, end := range []func() error{
		func() error { return Detach(context.Background(), cfg, "never-came") },
		func() error { return Sweep(context.Background(), cfg, func(string) bool { return false }) },
	} {
		for range 2 {
			if err := Prepare(context.Background(), cfg); err != nil {
				t.Fatal(err)
			}
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if left := Leaks(cfg); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// host makes a Host with the folder of one Pod.
func host(t *testing.T) Host {
	t.Helper()
	h := Host{Root: t.TempDir(), RunRoot: t.TempDir()}
	mkdir(t, h.Pods(), "lives")
	return h
}

func mkdir(t *testing.T, elements ...string) string {
	t.Helper()
	path := filepath.Join(elements...)
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSweepOrphans(t *testing.T) {
	h := host(t)
	var kept, gone []string
	for _, dir := range []string{"containers", "volumes"} {
		kept = append(kept, mkdir(t, h.Root, dir, "lives"))
		gone = append(gone, mkdir(t, h.Root, dir, "dead", "x"))
	}
	kept = append(kept, mkdir(t, h.Root, "logs", "default_web_dead"))
	owners := []string{"lives_a", "dead_a", "somebody"}
	var released []string
	release := func(owner string) error { released = append(released, owner); return nil }

	// Nothing says that this Root is ours: nothing is touched.
	if err := h.SweepOrphans(t.Context(), owners, release); err != nil || len(released) > 0 {
		t.Fatalf("swept another's root: %v, %q", err, released)
	}
	if err := h.pair(); err != nil {
		t.Fatal(err)
	}
	if err := h.SweepOrphans(t.Context(), owners, release); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(released, []string{"dead_a"}) {
		t.Errorf("released %q", released)
	}
	for _, path := range kept {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("swept %s", path)
		}
	}
	for _, path := range gone {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("left %s", path)
		}
	}
}

func TestPair(t *testing.T) {
	h := host(t)
	other := Host{Root: h.Root, RunRoot: t.TempDir()}
	var wrong *PairError
	if err := errors.Join(h.pair(), h.pair()); err != nil {
		t.Fatal(err)
	}
	if err := other.pair(); !errors.As(err, &wrong) || wrong.Other != h.RunRoot {
		t.Errorf("a second run root: %v", err)
	}
	if err := os.Remove(filepath.Join(h.Pods(), "lives")); err != nil {
		t.Fatal(err)
	}
	if err := other.pair(); err != nil {
		t.Errorf("a second run root when the first has no Pods: %v", err)
	}
	if err := h.pair(); err != nil {
		t.Errorf("back to the first: %v", err)
	}
}

package main

import (
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/container"
	"tripod/internal/record"
)

// TestExecIsFiltered: an exec has the container's seccomp filter, whether what was kept of it is whole, damaged or missing.
func TestExecIsFiltered(t *testing.T) {
	const noMedium = 123
	g := newGround(t, func(s *specs.Spec) {
		number := uint(noMedium)
		s.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow,
			Syscalls:      []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: &number}},
		}
	})
	g.must("run", "-d", "-b", g.dir, g.id)
	file := filepath.Join(g.root(), g.id, "state.json")
	var r container.Record
	if err := record.Get(file, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Filter) < 16 {
		t.Errorf("%d bytes of the filter were kept", len(r.Filter))
	}
	for name, kept := range map[string][]byte{"whole": r.Filter, "damaged": r.Filter[:len(r.Filter)-8], "missing": nil} {
		r.Filter = kept
		if err := record.PutFast(file, r); err != nil {
			t.Fatal(err)
		}
		if code, out, told := g.oci("exec", g.id, "busybox", "mkdir", "/tmp/new"); code != 1 || !strings.Contains(told, "No medium found") {
			t.Errorf("%s: exit code %d, %q, %q, want the errno of the filter", name, code, out, told)
		}
	}
}

package container

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/seccomp/profile"
)

// BenchmarkRun is a whole life of `true`: create, start, wait, delete, from a process that is up.
func BenchmarkRun(b *testing.B) {
	host, err := Look()
	if err != nil {
		b.Fatal(err)
	}
	bare := func() *specs.Spec {
		s := sample("true")
		s.Process.Capabilities, s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil, nil
		return s
	}
	for _, c := range []struct {
		name   string
		spec   *specs.Spec
		cgroup bool
	}{
		{"whole", sample("true"), true},
		{"seccomp", withFilter(b, sample("true")), true},
		{"no-cgroup", sample("true"), false},
		{"bare", bare(), false},
		{"user-namespace", userNamespace("true"), false},
	} {
		b.Run(c.name, func(b *testing.B) {
			cfg := Config{ID: "x", Spec: c.spec, Host: host, Root: layers(b)}
			if c.cgroup {
				cfg.CgroupPath = "tripod-bench-" + strings.ReplaceAll(c.name, "/", "-")
			}
			for b.Loop() {
				c, err := Create(cfg)
				if err != nil {
					b.Fatal(err)
				}
				if err := c.Start(); err != nil {
					b.Fatal(err)
				}
				if _, err := c.Wait(); err != nil {
					b.Fatal(err)
				}
				if err := c.Delete(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func withFilter(b *testing.B, s *specs.Spec) *specs.Spec {
	b.Helper()
	p, err := profile.Default(s.Process.Capabilities.Bounding)
	if err != nil {
		b.Fatal(err)
	}
	s.Linux.Seccomp = p
	return s
}

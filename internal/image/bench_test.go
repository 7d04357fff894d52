package image

import (
	"bytes"
	"testing"
)

func BenchmarkHost(b *testing.B) {
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.host("/"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPlanHost(b *testing.B) {
	for b.Loop() {
		plan, err := planHost("/")
		if err != nil {
			b.Fatal(err)
		}
		plan.digest()
	}
}

// BenchmarkEnsure is what a container start pays for an image that is here.
func BenchmarkEnsure(b *testing.B) {
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	r := newRegistry(b, nil)
	o := plainHTTP(b)
	mustPull(b, s, r.push(b, "app:1", bigImage(b, 5, 1000)), o)
	for b.Loop() {
		img, err := s.Ensure(b.Context(), r.host+"/app:1", IfNotPresent, o)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Root(img, "owner"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEnsureShortName is the same for a name that registries.conf must resolve.
func BenchmarkEnsureShortName(b *testing.B) {
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.Import(b.Context(), bytes.NewReader(tarOf(b, entry{name: "x"})), ImportOptions{Name: "busybox"}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Ensure(b.Context(), "busybox", IfNotPresent, PullOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

package main

import (
	"fmt"
	"math/rand/v2"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"tripod/e2e"
)

// largeImage has five layers and 200 MB of files, half of it noise and half zeros: it shrinks by half, as programs do.
func largeImage() (e2e.Tagged, error) {
	const layers, files, size = 5, 400, 100 << 10
	noise := rand.NewChaCha8([32]byte{1})
	var list []v1.Layer
	for n := range layers {
		layer, err := e2e.Layer(types.OCILayer, func(t *e2e.Tree) {
			dir := fmt.Sprintf("data/%d", n)
			t.Dir("data", 0o755)
			t.Dir(dir, 0o755)
			for i := range files {
				data := make([]byte, size)
				for at := 0; at < size; at += 1024 {
					_, _ = noise.Read(data[at : at+512])
				}
				t.File(fmt.Sprintf("%s/%03d", dir, i), 0o644, data)
			}
		})
		if err != nil {
			return e2e.Tagged{}, err
		}
		list = append(list, layer)
	}
	image, err := e2e.Image(v1.Config{Cmd: []string{"/data"}}, types.OCIManifestSchema1, list...)
	return e2e.Tagged{Name: "bench/large:1", Image: image}, err
}

// pull compares the pull of that image from a registry on loopback into an empty store.
func pull(f *Field) ([]Benchmark, error) {
	const image = registryAddr + "/bench/large:1"
	just := func(_ string, err error) error { return err }
	return []Benchmark{{
		Name: "pull five layers of 40 MB from loopback", Unit: "ms", Rounds: 5,
		Targets: []Target{{"podman", atMost, 0.6}},
		Contenders: []Contender{
			{
				Name:    "tripod",
				Measure: timed(func() error { return just(f.ours("image", "pull", "-q", image)) }),
				Reset:   func() error { return just(f.ours("image", "rm", image)) },
			},
			{
				Name:    "podman",
				Measure: timed(func() error { return just(f.podman("pull", "-q", image)) }),
				Reset:   func() error { return just(f.podman("rmi", image)) },
			},
		},
	}}, nil
}

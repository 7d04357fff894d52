package image

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is one image for one platform, ready to be run.
type Image struct {
	ID      digest.Digest   `json:"id"`               // of the config blob; what docker calls the image ID
	Digest  digest.Digest   `json:"digest,omitempty"` // of the manifest, or of the index that named it
	Names   []string        `json:"names,omitempty"`
	Config  ocispec.Image   `json:"config"`
	Size    int64           `json:"size"` // bytes of manifest, config and compressed layers
	Created time.Time       `json:"created"`
	Layers  []digest.Digest `json:"layers,omitempty"` // diff IDs, lowest first

	// Source is the whole reference of an image that is not in the store: host:/ or dir:PATH.
	Source string `json:"source,omitempty"`
	// Manifest is the digest of this platform's own manifest, a blob of the store.
	Manifest digest.Digest `json:"manifest,omitempty"`
}

// Policy says when Ensure asks a registry. Its values are Kubernetes' imagePullPolicy.
type Policy string

const (
	Always       Policy = "Always"       // ask the registry what the name means now; layers that are here are not fetched again
	IfNotPresent Policy = "IfNotPresent" // ask only for a name that is not here
	Never        Policy = "Never"        // never ask
)

// transport splits a reference like "oci:DIR" into its transport and the rest. A name in a registry has the transport "docker".
func transport(ref string) (kind, rest string) {
	for _, t := range []string{"host", "dir", "oci", "oci-archive", "docker-archive"} {
		if rest, ok := strings.CutPrefix(ref, t+":"); ok {
			return t, rest
		}
	}
	if rest, ok := strings.CutPrefix(ref, "docker://"); ok {
		return "docker", rest
	}
	return "docker", ref
}

// inPlace resolves an image that is used in place and never copied into the store.
func (s *Store) inPlace(kind, rest string) (*Image, error) {
	if kind == "host" {
		return s.host(rest)
	}
	return openDir(rest)
}

// Ensure returns the image that ref names, fetching it when policy asks for that. ref is a name in a registry, or one of
// host:/, dir:PATH, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:TAG].
//
// An image that is not here under Never is an error that errors.Is ErrNotFound.
func (s *Store) Ensure(ctx context.Context, ref string, policy Policy, o PullOptions) (*Image, error) {
	switch kind, rest := transport(ref); kind {
	case "host", "dir":
		return s.inPlace(kind, rest)
	default:
		return nil, fmt.Errorf("cannot pull image %s: not yet", ref)
	}
}

// openDir is a plain root file system, used where it lies and never written.
func openDir(path string) (*Image, error) {
	abs, err := filepath.Abs(path)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err == nil {
		err = checkDir(abs)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open image dir:%s: %w", path, err)
	}
	ref := "dir:" + abs
	return &Image{
		ID:     digest.FromString(ref),
		Names:  []string{ref},
		Config: plainConfig(),
		Source: ref,
	}, nil
}

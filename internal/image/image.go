package image

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"tripod/internal/registry"
)

// Image is one image for one platform, ready to be run.
type Image struct {
	ID      digest.Digest   `json:"id"`               // of the config blob; what docker calls the image ID
	Digest  digest.Digest   `json:"digest,omitempty"` // of the manifest, or of the index that named it
	Names   []string        `json:"names,omitempty"`
	Config  ocispec.Image   `json:"config"`
	Size    int64           `json:"size"` // bytes of manifest, config and compressed layers
	Disk    int64           `json:"disk"` // bytes of the files in its layers, unpacked
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

// OnHost says whether a reference names an image by a path of this host, and not by a name in a registry.
func OnHost(ref string) bool {
	kind, _ := transport(ref)
	return kind != "docker"
}

// inPlace resolves an image that is used in place and never copied into the store.
func (s *Store) inPlace(kind, rest string) (*Image, error) {
	if kind == "host" {
		return s.host(rest)
	}
	return openDir(rest)
}

// DefaultPolicy is kubelet's: Always for a name with the tag latest or none, IfNotPresent for all others.
func DefaultPolicy(ref string) Policy {
	kind, rest := transport(ref)
	if kind != "docker" {
		return IfNotPresent
	}
	named, err := registry.Normalize(rest)
	if err != nil {
		return IfNotPresent
	}
	if _, digested := named.(reference.Digested); digested {
		return IfNotPresent
	}
	if tagged, ok := named.(reference.Tagged); ok && tagged.Tag() == "latest" {
		return Always
	}
	return IfNotPresent
}

// Ensure returns the image that ref names, fetching it when policy asks for that. ref is a name in a registry, or one of
// host:/, dir:PATH, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME]; these four are not a registry, so
// policy does not matter for them.
//
// An image that is not here under Never is an error that errors.Is ErrNotFound.
func (s *Store) Ensure(ctx context.Context, ref string, policy Policy, o PullOptions) (*Image, error) {
	kind, rest := transport(ref)
	switch {
	case kind == "host" || kind == "dir":
		return s.inPlace(kind, rest)
	case kind != "docker" || policy == Always:
		return s.Pull(ctx, ref, o)
	case policy != IfNotPresent && policy != Never:
		return nil, fmt.Errorf("cannot pull image %s: bad pull policy %q: want Always, IfNotPresent or Never", ref, policy)
	}
	img, err := s.Resolve(ref, o)
	switch {
	case err == nil && s.whole(img):
		return img, nil
	case err == nil && policy == Never:
		return s.restore(ctx, img, o)
	case errors.Is(err, ErrNotFound) && policy == Never:
		return nil, fmt.Errorf("%w, and its pull policy is Never", err)
	case err != nil && !errors.Is(err, ErrNotFound):
		return nil, err
	}
	return s.Pull(ctx, ref, o)
}

// whole tells whether all snapshots of an image are here.
func (s *Store) whole(img *Image) bool {
	for _, chain := range chainIDs(img.Layers) {
		if !s.trusted(chain) {
			return false
		}
	}
	return true
}

// restore unpacks an image again from the blobs that are here.
func (s *Store) restore(ctx context.Context, img *Image, o PullOptions) (*Image, error) {
	lease, err := s.startPulling()
	if err != nil {
		return nil, err
	}
	defer lease.end()
	if _, err := s.copy(ctx, stored{s, img.Manifest}, o, lease); err != nil {
		return nil, fmt.Errorf("cannot restore image %s: %w", img.name(), err)
	}
	return img, nil
}

// Pull fetches an image whether or not it is here, and gives it its name. Layers that are here are not fetched again, a
// download that broke off is taken up where it ended.
func (s *Store) Pull(ctx context.Context, ref string, o PullOptions) (*Image, error) {
	kind, rest := transport(ref)
	switch kind {
	case "host", "dir":
		return s.inPlace(kind, rest)
	case "docker":
		return s.pullNamed(ctx, rest, o)
	}
	name, err := transportName(kind, rest)
	if err != nil {
		return nil, err
	}
	src, err := s.openFile(kind, name)
	if err != nil {
		return nil, fmt.Errorf("cannot open image %s: %w", ref, err)
	}
	return s.take(ctx, src, name, o)
}

func (s *Store) pullNamed(ctx context.Context, name string, o PullOptions) (*Image, error) {
	refs, err := o.Registry.Candidates(name)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, ref := range refs {
		src, err := registry.Open(ctx, ref, o.Registry)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		return s.take(ctx, remote{src}, canonical(ref), o)
	}
	return nil, oneLine(errs)
}

// oneLine joins errors without breaking the line.
func oneLine(errs []error) error {
	err := errs[0]
	for _, next := range errs[1:] {
		err = fmt.Errorf("%w; %w", err, next)
	}
	return err
}

// take copies an image from src, points name to it, and closes src.
func (s *Store) take(ctx context.Context, src source, name string, o PullOptions) (*Image, error) {
	defer src.Close()
	lease, err := s.startPulling()
	if err != nil {
		return nil, err
	}
	defer lease.end()
	c, err := s.copy(ctx, src, o, lease)
	if err != nil {
		if broken := (fetchError{}); c != nil && ctx.Err() == nil && !errors.As(err, &broken) {
			lease.end()
			s.forsake(c)
		}
		return nil, fmt.Errorf("cannot pull image %s: %w", name, err)
	}
	l := label{Name: name, Target: c.top, Manifest: digest.FromBytes(c.manifest.Data), Pulled: time.Now().UTC()}
	if err := s.setName(l); err != nil {
		return nil, err
	}
	return s.labelled(l)
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

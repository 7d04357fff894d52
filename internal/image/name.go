package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"tripod/internal/record"
	"tripod/internal/registry"
)

// label is the record names/HASH.json: what a name points to.
type label struct {
	Name     string        `json:"name"`     // a full reference, or one with a transport
	Target   digest.Digest `json:"target"`   // what the source called by that name: an index or a manifest
	Manifest digest.Digest `json:"manifest"` // of the platform that was pulled
	Pulled   time.Time     `json:"pulled"`
}

// labelPath is the record of a name. A name may be longer than a file's, and holds slashes, so its hash stands for it.
func (s *Store) labelPath(name string) string {
	return filepath.Join(s.names(), digest.FromString(name).Encoded()+".json")
}

// setName points a name to an image that is in the store. The record is durable: the blobs were settled before.
func (s *Store) setName(l label) error {
	guard, err := s.share()
	if err != nil {
		return err
	}
	defer guard.Release()
	if err := record.Put(s.labelPath(l.Name), l); err != nil {
		return fmt.Errorf("cannot name image %s: %w", l.Name, err)
	}
	return nil
}

// labels are all names, sorted.
func (s *Store) labels() ([]label, error) {
	entries, err := os.ReadDir(s.names())
	if err != nil {
		return nil, fmt.Errorf("cannot list images: %w", err)
	}
	var out []label
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		var l label
		err := record.Get(filepath.Join(s.names(), e.Name()), &l)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("cannot list images: %w", err)
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b label) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// load reads the image of a manifest that is in the store.
func (s *Store) load(manifest digest.Digest) (*Image, error) {
	if err := registry.CheckDigest(manifest); err != nil {
		return nil, err
	}
	data, err := s.getBlob(manifest, registry.MaxDocument)
	if err != nil {
		return nil, err
	}
	doc, err := registry.ParseDocument(data, "", manifest)
	if err != nil {
		return nil, err
	}
	raw, err := s.getBlob(doc.Config.Digest, registry.MaxConfig)
	if err != nil {
		return nil, err
	}
	config, err := parseConfig(raw, len(doc.Layers))
	if err != nil {
		return nil, err
	}
	img := &Image{
		ID: doc.Config.Digest, Digest: manifest, Manifest: manifest, Config: *config,
		Layers: config.RootFS.DiffIDs, Size: int64(len(data)) + doc.Config.Size,
	}
	for _, l := range doc.Layers {
		img.Size += l.Size
	}
	for _, chain := range chainIDs(img.Layers) {
		var unpacked size
		if err := record.Get(filepath.Join(s.snapshotPath(chain), "layer.json"), &unpacked); err == nil {
			img.Disk += unpacked.Bytes
		}
	}
	if config.Created != nil {
		img.Created = *config.Created
	}
	return img, nil
}

// Resolve finds an image that is here: by a full or short name, by name@digest, by its ID or 4 or more hexadecimal
// digits of it, or by a transport reference. One that is not here is an error that errors.Is ErrNotFound.
func (s *Store) Resolve(ref string, o PullOptions) (*Image, error) {
	kind, rest := transport(ref)
	switch kind {
	case "host", "dir":
		return s.inPlace(kind, rest)
	case "docker":
	default:
		name, err := transportName(kind, rest)
		if err != nil {
			return nil, err
		}
		return s.byNames(ref, []string{name})
	}
	refs, nameErr := o.Registry.Candidates(rest)
	names := make([]string, len(refs))
	for i, r := range refs {
		names[i] = canonical(r)
	}
	img, err := s.byNames(ref, names)
	if !errors.Is(err, ErrNotFound) {
		return img, err
	}
	all, err := s.labels()
	if err != nil {
		return nil, err
	}
	img, err = s.byDigest(ref, refs, all)
	if errors.Is(err, ErrNotFound) {
		img, err = s.byID(ref, all)
	}
	if errors.Is(err, ErrNotFound) && nameErr != nil {
		return nil, nameErr
	}
	return img, err
}

// canonical is the name under which a reference is kept: of name:tag@digest the digest alone decides.
func canonical(ref reference.Named) string {
	if digested, ok := ref.(reference.Digested); ok {
		return reference.TrimNamed(ref).Name() + "@" + digested.Digest().String()
	}
	return ref.String()
}

func notFound(ref string) error { return fmt.Errorf("cannot find image %s: %w", ref, ErrNotFound) }

// byNames returns the image of the first name that is here.
func (s *Store) byNames(ref string, names []string) (*Image, error) {
	for _, name := range names {
		var l label
		err := record.Get(s.labelPath(name), &l)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return s.labelled(l)
	}
	return nil, notFound(ref)
}

func (s *Store) labelled(l label) (*Image, error) {
	img, err := s.load(l.Manifest)
	if err != nil {
		return nil, fmt.Errorf("cannot open image %s: %w", l.Name, err)
	}
	img.Digest = l.Target
	if l.Name != "" {
		img.Names = []string{l.Name}
	}
	return img, nil
}

// byID finds an image by (the beginning of) its ID. That of two images is an error.
func (s *Store) byID(ref string, all []label) (*Image, error) {
	hex := strings.TrimPrefix(ref, "sha256:")
	if len(hex) < 4 || len(hex) > 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return nil, notFound(ref)
	}
	var found *Image
	for _, l := range all {
		data, err := s.getBlob(l.Manifest, registry.MaxDocument)
		if err != nil {
			continue
		}
		var m ocispec.Manifest
		if err := json.Unmarshal(data, &m); err != nil || !strings.HasPrefix(m.Config.Digest.Encoded(), hex) {
			continue
		}
		if found != nil && found.ID != m.Config.Digest {
			return nil, fmt.Errorf("cannot find image %s: more than one ID begins so", ref)
		}
		if found != nil {
			found.Names = append(found.Names, l.Name)
			continue
		}
		if found, err = s.labelled(l); err != nil {
			return nil, err
		}
	}
	if found == nil {
		return nil, notFound(ref)
	}
	return found, nil
}

// byDigest finds name@sha256:… under any tag of that name.
func (s *Store) byDigest(name string, refs []reference.Named, all []label) (*Image, error) {
	for _, ref := range refs {
		digested, ok := ref.(reference.Digested)
		if !ok {
			continue
		}
		for _, l := range all {
			named, err := reference.ParseNormalizedNamed(l.Name)
			if err != nil || named.Name() != ref.Name() {
				continue
			}
			if d := digested.Digest(); d == l.Target || d == l.Manifest {
				return s.labelled(l)
			}
		}
	}
	return nil, notFound(name)
}

// List returns all images, each once with all its names, sorted by its first name; then those that have lost their
// names and are still leased. An image that cannot be read is left out and told in the error, beside the others.
func (s *Store) List() ([]*Image, error) {
	all, err := s.labels()
	if err != nil {
		return nil, err
	}
	leases, err := s.readLeases()
	if err != nil {
		return nil, err
	}
	for _, l := range leases {
		if l.Manifest != "" {
			all = append(all, label{Target: l.Manifest, Manifest: l.Manifest})
		}
	}
	var out []*Image
	var errs []error
	seen := map[digest.Digest]*Image{}
	for _, l := range all {
		img := seen[l.Manifest]
		switch {
		case img != nil && l.Name != "":
			img.Names = append(img.Names, l.Name)
		case img == nil:
			if img, err = s.labelled(l); err != nil {
				errs = append(errs, err)
				continue
			}
			seen[l.Manifest] = img
			out = append(out, img)
		}
	}
	return out, errors.Join(errs...)
}

package image

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"tripod/internal/registry"
)

// Save writes images as one tar that is an OCI layout and, by a manifest.json beside it, what docker load reads: docker,
// podman, skopeo and Load take it. The same images give the same bytes.
func (s *Store) Save(w io.Writer, refs []string, o PullOptions) error {
	lease, err := s.startPulling()
	if err != nil {
		return err
	}
	defer lease.end()
	out := &saver{store: s, tar: tar.NewWriter(w), written: map[string]bool{}, index: ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
	}}
	for _, ref := range refs {
		if err := out.add(ref, o, lease); err != nil {
			return fmt.Errorf("cannot save image %s: %w", ref, err)
		}
	}
	if err := out.finish(); err != nil {
		return fmt.Errorf("cannot save images: %w", err)
	}
	return nil
}

type saver struct {
	store   *Store
	tar     *tar.Writer
	written map[string]bool
	index   ocispec.Index
	docker  []dockerImage
}

func (w *saver) add(ref string, o PullOptions, lease *pulling) error {
	img, err := w.store.Resolve(ref, o)
	if err != nil {
		return err
	}
	if img.Source != "" {
		return errors.New("it is not in the store")
	}
	data, err := w.store.getBlob(img.Manifest, registry.MaxDocument)
	if err != nil {
		return err
	}
	doc, err := registry.ParseDocument(data, "", img.Manifest)
	if err != nil {
		return err
	}
	if err := lease.hold(&contents{manifest: doc, diffs: img.Layers}); err != nil {
		return err
	}
	self := ocispec.Descriptor{MediaType: doc.MediaType, Digest: img.Manifest, Size: int64(len(data))}
	entry := dockerImage{Config: blobName(doc.Config.Digest), RepoTags: []string{}}
	for _, desc := range append([]ocispec.Descriptor{self, doc.Config}, doc.Layers...) {
		if err := w.blob(desc); err != nil {
			return err
		}
	}
	for _, l := range doc.Layers {
		entry.Layers = append(entry.Layers, blobName(l.Digest))
	}
	for _, name := range img.Names {
		if named, err := reference.ParseNormalizedNamed(name); err == nil {
			self.Annotations = map[string]string{ocispec.AnnotationRefName: named.String(), "io.containerd.image.name": named.String()}
			if _, ok := named.(reference.Tagged); ok {
				entry.RepoTags = append(entry.RepoTags, named.String())
			}
		}
		w.index.Manifests = append(w.index.Manifests, self)
	}
	w.docker = append(w.docker, entry)
	return nil
}

// blob writes one blob, once, and verifies it on the way.
func (w *saver) blob(desc ocispec.Descriptor) error {
	name := blobName(desc.Digest)
	if w.written[name] {
		return nil
	}
	w.written[name] = true
	f, err := os.Open(w.store.blobPath(desc.Digest))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := w.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: desc.Size}); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.CopyN(w.tar, io.TeeReader(f, sum), desc.Size); err != nil {
		return fmt.Errorf("blob %s: %w", desc.Digest, err)
	}
	if have := digest.NewDigest(digest.SHA256, sum); have != desc.Digest {
		return fmt.Errorf("blob %s is damaged", desc.Digest)
	}
	return nil
}

func (w *saver) finish() error {
	for _, file := range []struct {
		name string
		v    any
	}{
		{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}},
		{ocispec.ImageIndexFile, w.index},
		{"manifest.json", w.docker},
	} {
		data, err := json.Marshal(file.v)
		if err != nil {
			return err
		}
		if err := w.tar.WriteHeader(&tar.Header{Name: file.name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			return err
		}
		if _, err := w.tar.Write(data); err != nil {
			return err
		}
	}
	return w.tar.Close()
}

// archivedImage is one image of an archive that is loaded, and the names it is to get.
type archivedImage struct {
	src   source
	names []string
}

// nopClose keeps a tree open that several sources share.
type nopClose struct{ tree }

func (nopClose) Close() error { return nil }

// archiveImages finds all images of an archive and their names.
func archiveImages(t *tarTree) ([]archivedImage, error) {
	kind, err := archiveKind(t)
	if err != nil {
		return nil, err
	}
	var out []archivedImage
	if kind == "docker-archive" {
		list, err := dockerImages(t)
		if err != nil {
			return nil, err
		}
		for _, img := range list {
			src, err := describeDocker(nopClose{t}, img)
			if err != nil {
				return nil, err
			}
			out = append(out, archivedImage{src, img.RepoTags})
		}
		return out, nil
	}
	data, err := readSmall(t, ocispec.ImageIndexFile, registry.MaxDocument)
	if err != nil {
		return nil, err
	}
	index, err := registry.ParseDocument(data, ocispec.MediaTypeImageIndex, "")
	if err != nil {
		return nil, err
	}
	for _, desc := range index.Manifests {
		img := archivedImage{src: &layout{nopClose{t}, desc}}
		for _, key := range []string{"io.containerd.image.name", ocispec.AnnotationRefName} {
			// A bare word is a tag of a repository that is not told.
			if name := desc.Annotations[key]; strings.ContainsAny(name, "/:") && !slices.Contains(img.names, name) {
				img.names = append(img.names, name)
				break
			}
		}
		out = append(out, img)
	}
	return out, nil
}

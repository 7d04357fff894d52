package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"tripod/internal/registry"
)

// transportName is a path reference with its path made absolute: oci:/srv/app:v1. It is also the image's name in the store.
func transportName(kind, rest string) (string, error) {
	file, tag, tagged := strings.Cut(rest, ":")
	if file == "" || tagged && tag == "" {
		return "", fmt.Errorf("bad image name %q: want %s:PATH or %s:PATH:TAG", kind+":"+rest, kind, kind)
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", fmt.Errorf("bad image name %q: %w", kind+":"+rest, err)
	}
	if tagged {
		return kind + ":" + abs + ":" + tag, nil
	}
	return kind + ":" + abs, nil
}

// openFile opens a name that transportName made.
func (s *Store) openFile(kind, name string) (source, error) {
	file, tag, _ := strings.Cut(strings.TrimPrefix(name, kind+":"), ":")
	if kind == "oci" {
		root, err := os.OpenRoot(file)
		if err != nil {
			return nil, err
		}
		return newLayout(dirTree{root}, tag)
	}
	tree, err := s.openArchive(file)
	if err != nil {
		return nil, err
	}
	if kind == "docker-archive" {
		return newDockerArchive(tree, tag)
	}
	return newLayout(tree, tag)
}

// tree is the files of a layout or archive by their slash-separated names.
type tree interface {
	open(name string) (section, error)
	Close() error
}

// section is an open regular file, or a part of one.
type section struct {
	*io.SectionReader
	close func() error
}

// readSmall reads a whole file of a tree.
func readSmall(t tree, name string, limit int64) ([]byte, error) {
	f, err := t.open(name)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if f.Size() > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	data := make([]byte, f.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	return data, nil
}

// dirTree is a directory. Links are followed inside it only.
type dirTree struct{ root *os.Root }

func (t dirTree) Close() error { return t.root.Close() }

func (t dirTree) open(name string) (section, error) {
	info, err := t.root.Stat(name)
	if err != nil {
		return section{}, err
	}
	if !info.Mode().IsRegular() {
		return section{}, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := t.root.Open(name)
	if err != nil {
		return section{}, err
	}
	return section{io.NewSectionReader(f, 0, info.Size()), f.Close}, nil
}

// layout is an OCI image layout (OCI image-spec, image-layout.md) as a source.
type layout struct {
	tree tree
	top  ocispec.Descriptor
}

func newLayout(t tree, tag string) (*layout, error) {
	data, err := readSmall(t, ocispec.ImageIndexFile, registry.MaxDocument)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	index, err := registry.ParseDocument(data, ocispec.MediaTypeImageIndex, "")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", ocispec.ImageIndexFile, err), t.Close())
	}
	top, err := pickTag(index.Manifests, tag)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return &layout{t, top}, nil
}

// pickTag finds the image of a tag; with no tag there must be just one image.
func pickTag(list []ocispec.Descriptor, tag string) (ocispec.Descriptor, error) {
	var tags []string
	for _, d := range list {
		name := d.Annotations[ocispec.AnnotationRefName]
		if tag != "" && (name == tag || d.Annotations["io.containerd.image.name"] == tag) {
			return d, nil
		}
		if name != "" {
			tags = append(tags, name)
		}
	}
	switch {
	case tag != "":
		return ocispec.Descriptor{}, fmt.Errorf("no image with tag %q: there are %q", tag, tags)
	case len(list) == 1:
		return list[0], nil
	case len(list) == 0:
		return ocispec.Descriptor{}, errors.New("there is no image in it")
	}
	return ocispec.Descriptor{}, fmt.Errorf("there are %d images in it: choose one of the tags %q", len(list), tags)
}

func (l *layout) Root(ctx context.Context) (*registry.Document, error) { return l.Manifest(ctx, l.top) }

func (l *layout) Manifest(_ context.Context, desc ocispec.Descriptor) (*registry.Document, error) {
	data, err := readSmall(l.tree, blobName(desc.Digest), registry.MaxDocument)
	if err != nil {
		return nil, err
	}
	return registry.ParseDocument(data, desc.MediaType, desc.Digest)
}

func (l *layout) Blob(_ context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	f, err := l.tree.open(blobName(desc.Digest))
	if err != nil {
		return nil, fmt.Errorf("cannot open blob %s: %w", desc.Digest, err)
	}
	return f.from(offset)
}

// from reads on from an offset.
func (f section) from(offset int64) (io.ReadCloser, error) {
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return struct {
		io.Reader
		io.Closer
	}{f.SectionReader, closer(f.close)}, nil
}

type closer func() error

func (c closer) Close() error { return c() }

func (l *layout) retry(error) bool { return false }
func (l *layout) Close() error     { return l.tree.Close() }

func blobName(d digest.Digest) string { return path.Join("blobs", d.Algorithm().String(), d.Encoded()) }

// stored is an image of the store itself as a source: for unpacking again what was unpacked before.
type stored struct {
	store    *Store
	manifest digest.Digest
}

func (s stored) Root(context.Context) (*registry.Document, error) {
	data, err := s.store.getBlob(s.manifest, registry.MaxDocument)
	if err != nil {
		return nil, err
	}
	return registry.ParseDocument(data, "", s.manifest)
}

func (s stored) Manifest(context.Context, ocispec.Descriptor) (*registry.Document, error) {
	return nil, errors.New("an image of the store has one manifest")
}

func (s stored) Blob(_ context.Context, desc ocispec.Descriptor, _ int64) (io.ReadCloser, error) {
	return nil, fmt.Errorf("blob %s is not here", desc.Digest)
}

func (s stored) retry(error) bool { return false }
func (s stored) Close() error     { return nil }

package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"tripod/internal/registry"
)

// maxArchived bounds the files of one archive.
const maxArchived = 1 << 16

// tarTree is an uncompressed tar, indexed, never unpacked.
type tarTree struct {
	file  *os.File
	files map[string]archived
}

// archived is where a regular file lies in the tar, or what a link points to.
type archived struct {
	offset, size int64
	link         string
}

// openArchive indexes a tar. A compressed one is first decompressed to an unnamed file in the store.
func (s *Store) openArchive(file string) (*tarTree, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", file)
	}
	if err == nil {
		f, err = s.plain(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	t := &tarTree{f, map[string]archived{}}
	if err := t.index(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", file, err), f.Close())
	}
	return t, nil
}

// plain returns f, rewound, or an unnamed copy of what it decompresses to. On an error it returns the file to close.
func (s *Store) plain(f *os.File) (*os.File, error) {
	var magic [4]byte
	if _, err := f.ReadAt(magic[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return f, err
	}
	if mediaTypeOf(magic[:]) == ocispec.MediaTypeImageLayer {
		return f, nil
	}
	in, err := decompress(f)
	if err != nil {
		return f, err
	}
	defer in.Close()
	spool, err := s.newSpool()
	if err != nil {
		return f, err
	}
	defer f.Close()
	tmp := spool.File()
	if err := os.Remove(tmp.Name()); err != nil {
		return tmp, err
	}
	if _, err := io.Copy(tmp, &bounded{in, DefaultLimits.Bytes, DefaultLimits.Bytes}); err != nil {
		return tmp, fmt.Errorf("cannot decompress archive: %w", err)
	}
	_, err = tmp.Seek(0, io.SeekStart)
	return tmp, err
}

func (t *tarTree) index() error {
	for tr := tar.NewReader(t.file); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("bad tar: %w", err)
		}
		if len(t.files) == maxArchived {
			return fmt.Errorf("more than %d files", maxArchived)
		}
		name, err := local(hdr.Name)
		if err != nil {
			return fmt.Errorf("entry %.200q: %w", hdr.Name, err)
		}
		switch hdr.Typeflag {
		case tar.TypeReg:
			at, err := t.file.Seek(0, io.SeekCurrent) // tar.Reader does not read ahead
			if err != nil {
				return err
			}
			t.files[name] = archived{offset: at, size: hdr.Size}
		case tar.TypeSymlink:
			t.files[name] = archived{link: path.Join("/", path.Dir(name), hdr.Linkname)[1:]}
		case tar.TypeLink:
			t.files[name] = archived{link: path.Join("/", hdr.Linkname)[1:]}
		}
	}
}

func (t *tarTree) open(name string) (section, error) {
	for range 8 { // docker save links equal layers to each other
		f, ok := t.files[path.Clean(name)]
		if !ok {
			return section{}, fmt.Errorf("archive has no file %.200q", name)
		}
		if f.link == "" {
			return section{io.NewSectionReader(t.file, f.offset, f.size), func() error { return nil }}, nil
		}
		name = f.link
	}
	return section{}, fmt.Errorf("archive has a loop of links at %.200q", name)
}

func (t *tarTree) Close() error { return t.file.Close() }

// mediaTypeOf is that of a layer that begins with these bytes.
func mediaTypeOf(magic []byte) string {
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return ocispec.MediaTypeImageLayerGzip
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return ocispec.MediaTypeImageLayerZstd
	}
	return ocispec.MediaTypeImageLayer
}

// dockerImage is one entry of the file manifest.json that docker save writes.
type dockerImage struct {
	Config   string   `json:"Config"`
	RepoTags []string `json:"RepoTags"`
	Layers   []string `json:"Layers"`
}

// dockerArchive is what docker save writes, as a source. It has no manifest of the registry's kind, so one is made.
type dockerArchive struct {
	tree   tree
	doc    *registry.Document
	config []byte
	layers map[digest.Digest]string
}

func dockerImages(t tree) ([]dockerImage, error) {
	data, err := readSmall(t, "manifest.json", registry.MaxDocument)
	if err != nil {
		return nil, err
	}
	var list []dockerImage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("manifest.json is malformed: %w", err)
	}
	return list, nil
}

func newDockerArchive(t tree, tag string) (*dockerArchive, error) {
	list, err := dockerImages(t)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	i, err := pickRepoTag(list, tag)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	a, err := describeDocker(t, list[i])
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return a, nil
}

func pickRepoTag(list []dockerImage, tag string) (int, error) {
	var tags []string
	for i, img := range list {
		for _, t := range img.RepoTags {
			if tag != "" && sameName(t, tag) {
				return i, nil
			}
			tags = append(tags, t)
		}
	}
	switch {
	case tag != "":
		return 0, fmt.Errorf("no image with name %q: there are %q", tag, tags)
	case len(list) == 0:
		return 0, errors.New("there is no image in it")
	case len(list) > 1:
		return 0, fmt.Errorf("there are %d images in it: choose one of the names %q", len(list), tags)
	}
	return 0, nil
}

func sameName(a, b string) bool {
	x, err1 := registry.Normalize(a)
	y, err2 := registry.Normalize(b)
	return a == b || err1 == nil && err2 == nil && x.String() == y.String()
}

// describeDocker makes the manifest. An uncompressed layer is named by its diff ID, which unpacking verifies; a compressed
// one is read once for its digest.
func describeDocker(t tree, img dockerImage) (*dockerArchive, error) {
	raw, err := readSmall(t, img.Config, registry.MaxConfig)
	if err != nil {
		return nil, err
	}
	if len(img.Layers) > registry.MaxLayers {
		return nil, fmt.Errorf("image has %d layers, more than %d", len(img.Layers), registry.MaxLayers)
	}
	config, err := parseConfig(raw, len(img.Layers))
	if err != nil {
		return nil, err
	}
	a := &dockerArchive{tree: t, config: raw, layers: map[digest.Digest]string{}}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(raw), Size: int64(len(raw))},
		Layers:    []ocispec.Descriptor{},
	}
	for i, name := range img.Layers {
		desc, err := describeLayer(t, name, config.RootFS.DiffIDs[i])
		if err != nil {
			return nil, err
		}
		a.layers[desc.Digest] = name
		m.Layers = append(m.Layers, desc)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	a.doc, err = registry.ParseDocument(data, "", "")
	return a, err
}

func describeLayer(t tree, name string, diff digest.Digest) (ocispec.Descriptor, error) {
	f, err := t.open(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer f.close()
	var magic [4]byte
	if _, err := f.ReadAt(magic[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: mediaTypeOf(magic[:]), Digest: diff, Size: f.Size()}
	if desc.MediaType != ocispec.MediaTypeImageLayer {
		desc.Digest, err = digest.FromReader(f)
	}
	return desc, err
}

func (a *dockerArchive) Root(context.Context) (*registry.Document, error) { return a.doc, nil }

func (a *dockerArchive) Manifest(context.Context, ocispec.Descriptor) (*registry.Document, error) {
	return nil, errors.New("a docker archive has no index")
}

func (a *dockerArchive) Blob(_ context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	if desc.Digest == a.doc.Config.Digest {
		return io.NopCloser(newBytes(a.config, offset)), nil
	}
	f, err := a.tree.open(a.layers[desc.Digest])
	if err != nil {
		return nil, err
	}
	return f.from(offset)
}

// newBytes reads data from an offset on.
func newBytes(data []byte, offset int64) io.Reader {
	return bytes.NewReader(data[min(offset, int64(len(data))):])
}

func (a *dockerArchive) retry(error) bool { return false }
func (a *dockerArchive) Close() error     { return a.tree.Close() }

// archiveKind tells what wrote an archive. One that is both keeps its manifests' digests as an OCI layout.
func archiveKind(t *tarTree) (string, error) {
	if _, ok := t.files[ocispec.ImageIndexFile]; ok {
		return "oci-archive", nil
	}
	if _, ok := t.files["manifest.json"]; ok {
		return "docker-archive", nil
	}
	return "", errors.New("neither a docker nor an OCI image archive: it has no manifest.json and no index.json")
}

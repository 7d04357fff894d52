package image

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"tripod/internal/record"
	"tripod/internal/registry"
)

// Load brings the images of an archive into the store under the names that the archive gives them: what Save, docker
// save or podman save wrote, or a tar of an OCI layout. name, if not "", is given to the one image of the archive instead.
func (s *Store) Load(ctx context.Context, r io.Reader, name string, o PullOptions) ([]*Image, error) {
	file, remove, err := s.spool(r)
	if err != nil {
		return nil, err
	}
	defer remove()
	t, err := s.openArchive(file)
	if err != nil {
		return nil, fmt.Errorf("cannot load images: %w", err)
	}
	defer t.Close()
	list, err := archiveImages(t)
	if err != nil {
		return nil, fmt.Errorf("cannot load images: %w", err)
	}
	if name != "" {
		if len(list) != 1 {
			return nil, fmt.Errorf("cannot load images: there are %d in the archive, one name is not enough", len(list))
		}
		list[0].names = []string{name}
	}
	// All names are checked before anything is brought in.
	for i, img := range list {
		if len(img.names) == 0 {
			return nil, fmt.Errorf("cannot load images: image %d of the archive has no name; give it one", i)
		}
		for j, name := range img.names {
			ref, err := registry.Normalize(name)
			if err != nil {
				return nil, fmt.Errorf("cannot load images: %w", err)
			}
			list[i].names[j] = canonical(ref)
		}
	}
	var out []*Image
	for _, img := range list {
		for i, name := range img.names {
			loaded, err := s.take(ctx, img.src, name, o)
			if err != nil {
				return out, err
			}
			if i == 0 {
				out = append(out, loaded)
			} else {
				out[len(out)-1].Names = append(out[len(out)-1].Names, name)
			}
		}
	}
	return out, nil
}

// spool makes a file of a stream, for archives are read out of order. remove takes the copy away; a regular file is used as it is.
func (s *Store) spool(r io.Reader) (file string, remove func(), err error) {
	if f, ok := r.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return fmt.Sprintf("/proc/self/fd/%d", f.Fd()), func() {}, nil
		}
	}
	tmp, err := s.newSpool()
	if err != nil {
		return "", nil, fmt.Errorf("cannot load images: %w", err)
	}
	if _, err := io.Copy(tmp.File(), &bounded{r, DefaultLimits.Bytes, DefaultLimits.Bytes}); err != nil {
		tmp.Remove()
		return "", nil, fmt.Errorf("cannot load images: %w", err)
	}
	return tmp.File().Name(), func() { tmp.Remove() }, nil
}

// newSpool is a file for bytes on their way through. It is locked, so that Prune leaves it to its maker.
func (s *Store) newSpool() (*record.Lock, error) {
	return record.Try(filepath.Join(s.partial(), scratchPrefix+random()))
}

// ImportOptions says what an imported root file system is to be.
type ImportOptions struct {
	Name    string
	Config  ocispec.ImageConfig
	Message string // of its one history entry
	Pull    PullOptions
}

// Import makes an image of one layer from a tar of a root file system, compressed or not.
func (s *Store) Import(ctx context.Context, r io.Reader, o ImportOptions) (*Image, error) {
	ref, err := registry.Normalize(o.Name)
	if err != nil {
		return nil, err
	}
	lease, err := s.startPulling()
	if err != nil {
		return nil, err
	}
	defer lease.end()
	platform, err := registry.ParsePlatform(o.Pull.Platform)
	if err != nil {
		return nil, err
	}
	src, err := s.importLayer(r, o, platform)
	if err != nil {
		return nil, fmt.Errorf("cannot import image %s: %w", o.Name, err)
	}
	return s.take(ctx, src, canonical(ref), o.Pull)
}

// importLayer writes the tar to the disk once and describes an image of it.
func (s *Store) importLayer(r io.Reader, o ImportOptions, platform ocispec.Platform) (source, error) {
	tmp, err := s.newSpool()
	if err != nil {
		return nil, err
	}
	src := &imported{spool: tmp, file: tmp.File()}
	if err := src.read(r, o.Pull.Limits.orDefault().Bytes); err != nil {
		return nil, errors.Join(err, src.Close())
	}
	now := time.Now().UTC()
	config := ocispec.Image{
		Created: &now, Platform: platform, Config: o.Config,
		RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{src.diff}},
		History: []ocispec.History{{Created: &now, CreatedBy: "tripod image import", Comment: o.Message}},
	}
	if src.config, err = json.Marshal(config); err != nil {
		return nil, errors.Join(err, src.Close())
	}
	data, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(src.config), Size: int64(len(src.config))},
		Layers:    []ocispec.Descriptor{src.layer},
	})
	if err == nil {
		src.doc, err = registry.ParseDocument(data, "", "")
	}
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return src, nil
}

// imported is a root file system's tar as a source.
type imported struct {
	spool  *record.Lock
	file   *os.File // the spool's
	layer  ocispec.Descriptor
	diff   digest.Digest
	config []byte
	doc    *registry.Document
}

func (i *imported) read(r io.Reader, limit int64) error {
	sum := sha256.New()
	in := &counter{r: io.TeeReader(io.TeeReader(r, sum), i.file), note: func(int64) {}}
	var err error
	if i.diff, err = diffID(in, limit); err != nil {
		return err
	}
	var magic [4]byte
	if _, err := i.file.ReadAt(magic[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	i.layer = ocispec.Descriptor{MediaType: mediaTypeOf(magic[:]), Digest: digest.NewDigest(digest.SHA256, sum), Size: in.n}
	return nil
}

func (i *imported) Root(context.Context) (*registry.Document, error) { return i.doc, nil }

func (i *imported) Manifest(context.Context, ocispec.Descriptor) (*registry.Document, error) {
	return nil, errors.New("an imported image has no index")
}

func (i *imported) Blob(_ context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	if desc.Digest == i.doc.Config.Digest {
		return io.NopCloser(newBytes(i.config, offset)), nil
	}
	return io.NopCloser(io.NewSectionReader(i.file, offset, i.layer.Size-offset)), nil
}

func (i *imported) retry(error) bool { return false }

func (i *imported) Close() error { return i.spool.Remove() }

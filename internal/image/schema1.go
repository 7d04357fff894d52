package image

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"golang.org/x/sync/errgroup"

	"tripod/internal/registry"
)

// convertSchema1 makes an OCI manifest and config of a Docker schema 1 manifest, the form of images from before 2016.
// Such a manifest names its layers, but neither their sizes nor their diff IDs: they must be downloaded to tell.
func (s *Store) convertSchema1(ctx context.Context, src source, doc *registry.Document, o PullOptions) (*registry.Document, error) {
	v1, err := manifest.Schema1FromManifest(doc.Data)
	if err != nil {
		return nil, fmt.Errorf("manifest is malformed: %w", err)
	}
	diffs := make([]digest.Digest, len(doc.Layers))
	layers := make([]ocispec.Descriptor, len(doc.Layers))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i, desc := range doc.Layers {
		group.Go(func() (err error) {
			layers[i], diffs[i], err = s.measure(ctx, src, desc, o)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	config, err := v1.ToSchema2Config(diffs)
	if err != nil {
		return nil, fmt.Errorf("cannot convert schema 1 manifest: %w", err)
	}
	if len(config) > registry.MaxConfig {
		return nil, fmt.Errorf("cannot convert schema 1 manifest: its config is larger than %d bytes", registry.MaxConfig)
	}
	id, err := s.putBlob(config)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: id, Size: int64(len(config))},
		Layers:    layers,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot convert schema 1 manifest: %w", err)
	}
	return registry.ParseDocument(data, ocispec.MediaTypeImageManifest, "")
}

// measure brings a layer's blob into the store and tells its size and diff ID.
func (s *Store) measure(ctx context.Context, src source, desc ocispec.Descriptor, o PullOptions) (ocispec.Descriptor, digest.Digest, error) {
	blob, down, err := s.openBlob(ctx, ctx, src, desc, func(done int64) { o.layer(desc.Digest, Downloading, done, 0) })
	if err != nil {
		return desc, "", err
	}
	in := &counter{note: func(int64) {}}
	if blob != nil {
		defer blob.Close()
		in.r = blob
	} else {
		in.r = down
	}
	diff, err := diffID(in, o.Limits.orDefault().Bytes)
	switch {
	case err != nil && down != nil:
		down.abandon(err)
		return desc, "", err
	case err == nil && down != nil:
		err = down.commit()
	}
	desc.Size = in.n
	desc.MediaType = ocispec.MediaTypeImageLayerGzip
	return desc, diff, err
}

// diffID is the digest of what a compressed stream unpacks to. It reads the stream to its end.
func diffID(r io.Reader, limit int64) (digest.Digest, error) {
	plain, err := decompress(r)
	if err != nil {
		return "", fmt.Errorf("cannot decompress layer: %w", err)
	}
	defer plain.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, &bounded{plain, limit, limit}); err != nil {
		return "", fmt.Errorf("cannot decompress layer: %w", err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return "", err
	}
	return digest.NewDigest(digest.SHA256, sum), nil
}

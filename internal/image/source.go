package image

import (
	"context"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"tripod/internal/registry"
)

// source is where an image comes from: a registry, an OCI layout, an archive.
type source interface {
	// Root is the document that the reference names: an index, or the manifest itself.
	Root(ctx context.Context) (*registry.Document, error)
	// Manifest is a document that an index of this source names, its digest verified.
	Manifest(ctx context.Context, desc ocispec.Descriptor) (*registry.Document, error)
	// Blob opens a blob at an offset; nothing of it is verified.
	Blob(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error)
	// retry tells whether asking again after this error may help.
	retry(err error) bool
	Close() error
}

// remote is a registry as a source.
type remote struct{ *registry.Source }

func (remote) retry(err error) bool { return registry.Temporary(err) }

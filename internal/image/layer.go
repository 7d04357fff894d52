package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"tripod/internal/record"
)

// layer is one layer of one image on its way into the store.
type layer struct {
	store  *Store
	src    source
	o      PullOptions
	desc   ocispec.Descriptor
	diff   digest.Digest
	chains []digest.Digest // of all layers up to this one
	parent <-chan struct{} // closed when the parent's snapshot is there; nil for the lowest
}

func (l *layer) chain() digest.Digest { return l.chains[len(l.chains)-1] }

// ensure makes the layer's blob and snapshot exist.
//
// The lock of the snapshot is taken before that of the blob, and held while the parent is waited for; the blob's holder
// waits for nobody. So processes that pull images of the same layers, in whatever order these have them, never wait in a ring.
func (l *layer) ensure(ctx context.Context) error {
	if l.present() {
		l.o.layer(l.desc.Digest, Present, l.desc.Size, l.desc.Size)
		return nil
	}
	lock, err := await(ctx, filepath.Join(l.store.locks(), l.chain().Encoded()))
	if err != nil {
		return err
	}
	defer lock.Remove()
	if l.present() {
		l.o.layer(l.desc.Digest, Done, l.desc.Size, l.desc.Size)
		return nil
	}
	if err := l.store.dropUntrusted(l.chain()); err != nil {
		return err
	}
	err = l.make(ctx)
	if errors.Is(err, errStale) {
		err = l.make(ctx) // what an earlier attempt left was damaged, and is gone now
	}
	if err == nil {
		l.o.layer(l.desc.Digest, Done, l.desc.Size, l.desc.Size)
	}
	return err
}

func (l *layer) present() bool {
	return l.store.hasBlob(l.desc.Digest, sizeOf(l.desc)) && l.store.trusted(l.chain())
}

// errStale says that the layer was bad, but came partly from this disk: it is worth a second try from the source.
var errStale = errors.New("stored bytes were damaged")

// make reads the layer once: to disk, through its digest, decompressed, through its diff ID, and unpacked.
func (l *layer) make(ctx context.Context) error {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	blob, down, err := l.store.openBlob(ctx, reading, l.src, l.desc, func(done int64) {
		l.o.layer(l.desc.Digest, Downloading, done, l.desc.Size)
	})
	if err != nil {
		return err
	}
	if blob != nil {
		defer blob.Close()
		err := l.unpackFrom(ctx, l.counted(blob), stop, func() error { return nil })
		if err != nil && errors.Is(err, errWrongDiff) {
			os.Remove(blob.Name())
			return fmt.Errorf("%w: %w", errStale, err)
		}
		return err
	}
	resumed := down.old != nil
	committed := false
	err = l.unpackFrom(ctx, down, stop, func() error {
		committed = true
		return down.commit()
	})
	if !committed {
		down.abandon(err)
	}
	if resumed && err != nil && !down.unfinished(err) && !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%w: %w", errStale, err)
	}
	return err
}

// counted reports what is read of a blob that is here already.
func (l *layer) counted(r io.Reader) io.Reader {
	return &counter{r: r, note: func(n int64) { l.o.layer(l.desc.Digest, Unpacking, n, l.desc.Size) }}
}

type counter struct {
	r    io.Reader
	n    int64
	note func(int64)
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.note(c.n)
	return n, err
}

// errWrongDiff says that a layer decompresses to something else than the image's config says.
var errWrongDiff = errors.New("layer is not what the image's config says")

// unpackFrom unpacks a compressed layer and commits its snapshot. commit is called when all bytes were read, before the
// snapshot is; stop ends a read that waits for a registry.
func (l *layer) unpackFrom(ctx context.Context, compressed io.Reader, stop func(), commit func() error) error {
	tmp, err := l.store.newScratch()
	if err != nil {
		return err
	}
	out, err := l.fill(compressed, filepath.Join(tmp.path, "fs"), stop, commit)
	if err == nil {
		err = l.awaitParent(ctx)
	}
	if err == nil {
		err = l.store.complete(tmp.path, out, l.chains[:len(l.chains)-1])
	}
	if err != nil {
		tmp.discard() // a failure to remove is the sweeper's
		return err
	}
	return tmp.commit(l.store.snapshotPath(l.chain()))
}

func (l *layer) awaitParent(ctx context.Context) error {
	if l.parent == nil {
		return nil
	}
	select {
	case <-l.parent:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fill runs the pipeline. Both digests are over everything the source sent, also what follows the end of the tar. An error of
// the source is told as such, not as one of the archive that it cut short.
func (l *layer) fill(compressed io.Reader, dir string, stop func(), commit func() error) (*unpacked, error) {
	out, err := l.pipe(compressed, dir, stop, commit)
	if broken := (fetchError{}); errors.As(err, &broken) {
		err = broken
	}
	return out, err
}

func (l *layer) pipe(compressed io.Reader, dir string, stop func(), commit func() error) (*unpacked, error) {
	if err := mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot unpack layer: %w", err)
	}
	raw := newReadAhead(compressed, 4, 256<<10)
	defer raw.Close()
	plain, err := decompress(raw)
	if err != nil {
		stop()
		return nil, fmt.Errorf("cannot decompress layer: %w", err)
	}
	defer plain.Close()
	sum := sha256.New()
	limit := l.o.Limits.orDefault().Bytes
	tarred := newReadAhead(io.TeeReader(&bounded{plain, limit + limit/8, limit}, sum), 4, 256<<10)
	defer tarred.Close()
	defer stop()
	out, err := unpack(tarred, dir, l.o.Limits)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, tarred); err != nil {
		return nil, fmt.Errorf("cannot decompress layer: %w", err)
	}
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return nil, err
	}
	if err := commit(); err != nil {
		return nil, err
	}
	if have := digest.NewDigest(digest.SHA256, sum); have != l.diff {
		return nil, fmt.Errorf("%w: want diff ID %s, have %s", errWrongDiff, l.diff, have)
	}
	return out, nil
}

// bounded ends a decompression bomb.
type bounded struct {
	r     io.Reader
	left  int64
	limit int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("layer unpacks to more than %d bytes", b.limit)
	}
	return n, err
}

// unsettled is a file in a snapshot that was not yet written to disk for sure; it holds the boot's identity.
const unsettled = "unsettled"

// trusted tells whether a snapshot is there and whole. One that was not yet settled when the power went is not.
func (s *Store) trusted(chain digest.Digest) bool {
	path := s.snapshotPath(chain)
	if _, err := os.Lstat(path); err != nil {
		return false
	}
	mark, err := os.ReadFile(filepath.Join(path, unsettled))
	return err != nil || string(mark) == bootID()
}

// dropUntrusted takes a snapshot away that trusted refused. The caller holds its lock.
func (s *Store) dropUntrusted(chain digest.Digest) error {
	path := s.snapshotPath(chain)
	if _, err := os.Lstat(path); err != nil || s.trusted(chain) {
		return nil
	}
	return s.retire(path)
}

// retire removes a snapshot so that no reader ever sees a part of it: first its name, then what it holds.
func (s *Store) retire(path string) error {
	gone := filepath.Join(s.snapshots, scratchPrefix+random())
	if err := os.Rename(path, gone); err != nil {
		return fmt.Errorf("cannot remove snapshot: %w", err)
	}
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("cannot remove snapshot: %w", err)
	}
	return nil
}

func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return string(id)
}

// size is the record layer.json of a snapshot.
type size struct {
	Bytes int64 `json:"bytes"` // of the regular files' content
}

// complete makes a layer's directory ready to be committed on top of its parents.
func (s *Store) complete(dir string, out *unpacked, parents []digest.Digest) error {
	var below Root
	for _, chain := range parents {
		below.Lower = append([]string{s.lower(chain)}, below.Lower...)
	}
	if err := inherit(filepath.Join(dir, "fs"), out, below); err != nil {
		return fmt.Errorf("cannot complete layer: %w", err)
	}
	if err := record.PutFast(filepath.Join(dir, "layer.json"), size{out.bytes}); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, unsettled), []byte(bootID()), 0o600)
}

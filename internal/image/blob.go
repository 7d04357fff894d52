package image

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"tripod/internal/record"
	"tripod/internal/registry"
)

// hasBlob tells whether a blob is here. One of a wrong size was cut by a power loss and does not count; size < 0 is any.
func (s *Store) hasBlob(d digest.Digest, size int64) bool {
	info, err := os.Lstat(s.blobPath(d))
	return err == nil && info.Mode().IsRegular() && (size < 0 || info.Size() == size)
}

// putBlob keeps a small blob. The caller has checked data.
func (s *Store) putBlob(data []byte) (digest.Digest, error) {
	d := digest.FromBytes(data)
	if s.hasBlob(d, int64(len(data))) {
		return d, nil
	}
	guard, err := s.share()
	if err != nil {
		return "", err
	}
	defer guard.Release()
	tmp, err := os.CreateTemp(s.blobs(), scratchPrefix)
	if err != nil {
		return "", fmt.Errorf("cannot store blob: %w", err)
	}
	defer os.Remove(tmp.Name()) // an error once it is renamed
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), s.blobPath(d))
	}
	if err != nil {
		return "", fmt.Errorf("cannot store blob %s: %w", d, err)
	}
	return d, nil
}

// getBlob reads a small blob of at most limit bytes and verifies it.
func (s *Store) getBlob(d digest.Digest, limit int64) ([]byte, error) {
	f, err := os.Open(s.blobPath(d))
	if err != nil {
		return nil, fmt.Errorf("cannot read blob %s: %w", d, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && (int64(len(data)) > limit || digest.FromBytes(data) != d) {
		err = errors.New("it is damaged; remove the image and pull it again")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read blob %s: %w", d, err)
	}
	return data, nil
}

// attempts is how often a download that breaks off is taken up again before it is given up.
const attempts = 5

// download is a blob on its way into the store: read it to the end, then commit. What was read before an error stays on
// disk for the next attempt, of this process or another.
type download struct {
	store  *Store
	ctx    context.Context // of the requests
	caller context.Context
	src    source
	desc   ocispec.Descriptor
	lock   *record.Lock // of the partial file
	file   *os.File
	old    *bufio.Reader // the bytes that an earlier attempt left, until they are read
	body   io.ReadCloser
	sum    hash.Hash
	got    int64
	tries  int
	note   func(done int64)
}

// fetchError is a failure of the source, not of what it sent: what was fetched so far is kept for another attempt.
type fetchError struct{ error }

func (e fetchError) Unwrap() error { return e.error }

// openBlob returns the bytes of a blob: from the store, or through a download that whoever reads must commit or abandon.
// Two processes that want one blob share it: the second waits here until the first has it, or has died. ctx is of the
// requests; it may end before caller's, on an error of whoever reads.
func (s *Store) openBlob(caller, ctx context.Context, src source, desc ocispec.Descriptor, note func(int64)) (*os.File, *download, error) {
	path := filepath.Join(s.partial(), desc.Digest.Encoded())
	lock, err := await(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	if s.hasBlob(desc.Digest, sizeOf(desc)) {
		f, err := os.Open(s.blobPath(desc.Digest))
		return f, nil, errors.Join(err, lock.Remove())
	}
	f := lock.File()
	have, err := f.Seek(0, io.SeekEnd)
	if err == nil && desc.Size > 0 && have > desc.Size {
		have, err = 0, f.Truncate(0)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot resume blob %s: %w", desc.Digest, err), lock.Release())
	}
	d := &download{store: s, ctx: ctx, caller: caller, src: src, desc: desc, lock: lock, file: f, sum: sha256.New(), note: note}
	if have > 0 {
		d.old = bufio.NewReaderSize(io.NewSectionReader(f, 0, have), 1<<20)
	}
	return nil, d, nil
}

// sizeOf is the promised size of a blob, -1 if none was promised (schema 1).
func sizeOf(desc ocispec.Descriptor) int64 {
	if desc.Size <= 0 {
		return -1
	}
	return desc.Size
}

func (d *download) Read(p []byte) (int, error) {
	n, err := d.read(p)
	if n > 0 {
		d.sum.Write(p[:n])
		d.got += int64(n)
		d.note(d.got)
	}
	return n, err
}

func (d *download) read(p []byte) (int, error) {
	if d.old != nil {
		n, err := d.old.Read(p)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		d.old = nil
	}
	for {
		n, err := d.fetch(p)
		switch {
		case n > 0:
			if _, werr := d.file.WriteAt(p[:n], d.got); werr != nil {
				return 0, fmt.Errorf("cannot store blob %s: %w", d.desc.Digest, werr)
			}
			return n, nil // err comes back with the next read
		case err == nil:
			continue
		case errors.Is(err, registry.ErrTooLarge):
			return 0, err
		case errors.Is(err, io.EOF) && (d.desc.Size <= 0 || d.got == d.desc.Size):
			return 0, io.EOF
		case errors.Is(err, io.EOF):
			err = fmt.Errorf("cannot fetch blob %s: %w after %d of %d bytes", d.desc.Digest, io.ErrUnexpectedEOF, d.got, d.desc.Size)
		}
		if d.ctx.Err() != nil {
			return 0, context.Cause(d.ctx)
		}
		if errors.Is(err, registry.ErrStalled) {
			d.tries += 2 // each cost a minute
		}
		if d.tries++; d.tries >= attempts || !d.src.retry(err) {
			return 0, fetchError{err}
		}
		d.closeBody()
		select {
		case <-time.After(time.Duration(d.tries*d.tries) * 100 * time.Millisecond):
		case <-d.ctx.Done():
		}
	}
}

func (d *download) fetch(p []byte) (int, error) {
	if d.body == nil {
		if d.desc.Size > 0 && d.got == d.desc.Size {
			return 0, io.EOF
		}
		body, err := d.src.Blob(d.ctx, d.desc, d.got)
		if err != nil {
			return 0, err
		}
		d.body = body
	}
	return d.body.Read(p)
}

func (d *download) closeBody() {
	if d.body != nil {
		d.body.Close()
		d.body = nil
	}
}

// errWrongDigest says that a blob is not what its digest says.
var errWrongDigest = errors.New("blob is not what its digest says")

// commit verifies what was read and makes it a blob of the store. A blob that is not what was promised is thrown away.
func (d *download) commit() error {
	d.closeBody()
	have := digest.NewDigest(digest.SHA256, d.sum)
	if have != d.desc.Digest {
		return errors.Join(fmt.Errorf("%w: want %s, have %s", errWrongDigest, d.desc.Digest, have), d.lock.Remove())
	}
	if err := os.Rename(d.file.Name(), d.store.blobPath(d.desc.Digest)); err != nil {
		return errors.Join(fmt.Errorf("cannot store blob %s: %w", d.desc.Digest, err), d.lock.Release())
	}
	return d.lock.Release()
}

// abandon leaves what is here for the next attempt if the error is one of the source, and throws it away if it is bad.
func (d *download) abandon(why error) error {
	d.closeBody()
	if info, err := d.file.Stat(); !d.unfinished(why) || err == nil && info.Size() == 0 {
		return d.lock.Remove()
	}
	return d.lock.Release()
}

// unfinished tells whether why is an end of the source or of the caller's patience, not a fault of the bytes.
func (d *download) unfinished(why error) bool {
	var broken fetchError
	return errors.As(why, &broken) || d.caller.Err() != nil
}

// await takes the lock file at path, waiting for its holder as long as ctx lets it.
func await(ctx context.Context, path string) (*record.Lock, error) {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		lock, err := record.Try(path)
		if !errors.Is(err, record.ErrLocked) {
			return lock, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// fetchSmall reads a small blob, from the store if it is there, and verifies it.
func (s *Store) fetchSmall(ctx context.Context, src source, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	if s.hasBlob(desc.Digest, sizeOf(desc)) {
		if data, err := s.getBlob(desc.Digest, limit); err == nil {
			return data, nil
		}
	}
	body, err := src.Blob(ctx, desc, 0)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("cannot fetch blob %s: %w", desc.Digest, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("cannot fetch blob %s: larger than %d bytes", desc.Digest, limit)
	}
	if have := digest.FromBytes(data); have != desc.Digest {
		return nil, fmt.Errorf("%w: want %s, have %s", errWrongDigest, desc.Digest, have)
	}
	return data, nil
}

// decompress tells gzip, zstd and plain tars apart by their first bytes: media types in the wild lie, and no decision
// hangs on them, for the diff ID is verified.
func decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	magic, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(b)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		// A frame may ask its reader for gigabytes of window; 128 MiB is what zstd --long makes.
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(b), nil
}

// readAhead reads r in a goroutine of its own, some buffers ahead of its reader, so that one layer's download, hashing,
// decompression and unpacking run beside each other. Close ends the goroutine, after its current read, and waits for it.
type readAhead struct {
	full  chan []byte
	free  chan []byte
	quit  chan struct{}
	ended chan struct{}
	err   error // valid once full is closed
	rest  []byte
	whole []byte
}

func newReadAhead(r io.Reader, buffers, size int) *readAhead {
	a := &readAhead{
		full: make(chan []byte, buffers), free: make(chan []byte, buffers), quit: make(chan struct{}), ended: make(chan struct{}),
	}
	for range buffers {
		a.free <- make([]byte, size)
	}
	go a.run(r)
	return a
}

func (a *readAhead) run(r io.Reader) {
	defer close(a.ended)
	defer close(a.full)
	for {
		select {
		case buf := <-a.free:
			n, err := io.ReadAtLeast(r, buf[:cap(buf)], min(cap(buf), 32<<10))
			if n > 0 {
				a.full <- buf[:n] // never blocks: there are as many places as buffers
			}
			if errors.Is(err, io.ErrUnexpectedEOF) && n > 0 {
				continue // the next read tells whether this was the end
			}
			if err != nil {
				a.err = err
				return
			}
		case <-a.quit:
			return
		}
	}
}

func (a *readAhead) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		if a.whole != nil {
			a.free <- a.whole
			a.whole = nil
		}
		buf, ok := <-a.full
		if !ok {
			return 0, a.err
		}
		a.whole, a.rest = buf, buf
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

func (a *readAhead) Close() error {
	close(a.quit)
	<-a.ended
	return nil
}

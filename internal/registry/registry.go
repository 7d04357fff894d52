// Package registry fetches image manifests and blobs from a registry that speaks the OCI distribution protocol.
//
// Its words: a name is what a person calls an image (nginx:1.25); its candidates are the full references it may mean under
// registries.conf; a Source is one reference opened for reading; a Document is a manifest or an index, parsed and checked.
//
// The protocol itself, registries.conf (mirrors, insecure, blocked, rewrites), auth.json, credential helpers and certs.d
// are the work of go.podman.io/image, the library under podman and CRI-O. Here is what it leaves open: bounds on what a
// registry may send, an end for one that stalls, resumption in the middle of a blob, and the refusal of ambiguous documents.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/distribution/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"
)

// ErrStalled says that a registry sent nothing for Options.Idle.
var ErrStalled = errors.New("registry stalled")

// ErrTooLarge says that a blob has more bytes than its manifest says.
var ErrTooLarge = errors.New("blob is larger than its manifest says")

// DefaultIdle is how long a registry may be silent where nothing else is said.
const DefaultIdle = time.Minute

// Options says how registries are reached. The zero value is right: what the host's files say.
type Options struct {
	RegistriesConf string        // instead of /etc/containers/registries.conf
	AuthFile       string        // instead of auth.json and Docker's config.json at their usual places
	CertDir        string        // client certificates and CAs for every registry, instead of certs.d
	Insecure       bool          // allow HTTP and unverified TLS
	Idle           time.Duration // how long a registry may be silent; 0 means DefaultIdle
	UserAgent      string        // "" means tripod
}

func (o Options) idle() time.Duration {
	if o.Idle > 0 {
		return o.Idle
	}
	return DefaultIdle
}

// system is o in the library's words.
func (o Options) system() *types.SystemContext {
	disabled := types.ShortNameModeDisabled // never prompt: every candidate is tried in order
	sys := &types.SystemContext{
		SystemRegistriesConfPath: o.RegistriesConf,
		AuthFilePath:             o.AuthFile,
		DockerCertPath:           o.CertDir,
		DockerRegistryUserAgent:  "tripod",
		ShortNameMode:            &disabled,
	}
	if o.UserAgent != "" {
		sys.DockerRegistryUserAgent = o.UserAgent
	}
	if o.Insecure {
		sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	}
	return sys
}

// Source is one image reference of a registry, opened for reading. Its methods may be called concurrently.
type Source struct {
	ref  reference.Named
	src  types.ImageSource
	idle time.Duration
}

// Open asks the registry of ref (or the first of its mirrors that answers) for its manifest.
func Open(ctx context.Context, ref reference.Named, o Options) (*Source, error) {
	ref = reference.TagNameOnly(ref)
	if digested, ok := ref.(reference.Digested); ok {
		// The library refuses name:tag@digest; the digest alone decides.
		var err error
		if ref, err = reference.WithDigest(reference.TrimNamed(ref), digested.Digest()); err != nil {
			return nil, fmt.Errorf("cannot pull image %s: %w", ref, err)
		}
	}
	named, err := docker.ParseReference("//" + ref.String())
	if err != nil {
		return nil, fmt.Errorf("cannot pull image %s: %w", ref, err)
	}
	var src types.ImageSource
	err = within(ctx, o.idle(), func(ctx context.Context) (err error) {
		src, err = named.NewImageSource(ctx, o.system())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot pull image %s: %w", ref, explain(err))
	}
	return &Source{ref, src, o.idle()}, nil
}

// Close ends all connections of the source.
func (s *Source) Close() error { return s.src.Close() }

// Root is the document that the reference names: an index, or the manifest itself.
func (s *Source) Root(ctx context.Context) (*Document, error) {
	want := digest.Digest("")
	if d, ok := s.ref.(reference.Digested); ok {
		want = d.Digest()
	}
	return s.document(ctx, nil, want)
}

// Manifest is the document that an index of this source names.
func (s *Source) Manifest(ctx context.Context, desc ocispec.Descriptor) (*Document, error) {
	return s.document(ctx, &desc.Digest, desc.Digest)
}

func (s *Source) document(ctx context.Context, instance *digest.Digest, want digest.Digest) (*Document, error) {
	var data []byte
	var contentType string
	err := within(ctx, s.idle, func(ctx context.Context) (err error) {
		data, contentType, err = s.src.GetManifest(ctx, instance)
		return err
	})
	var doc *Document
	if err == nil {
		doc, err = ParseDocument(data, contentType, want)
	}
	if err != nil {
		return nil, explain(err)
	}
	return doc, nil
}

// Blob opens a blob from the byte at offset on. What it sends is not verified yet, but never more than desc.Size bytes, if that is known.
// A registry that ignores the offset is read from the start, and what was asked to be skipped is dropped.
//
// URLs in desc are never followed: they lead to hosts that nobody chose (CVE-2020-15157).
func (s *Source) Blob(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	idle := newWatchdog(s.idle, cancel)
	info := types.BlobInfo{Digest: desc.Digest, Size: desc.Size, MediaType: desc.MediaType}
	var body io.ReadCloser
	var err error
	if offset > 0 {
		body, err = getBlobFrom(ctx, s.src, info, offset)
	}
	if body == nil && ctx.Err() == nil { // also for a registry that knows no ranges
		body, _, err = s.src.GetBlob(ctx, info, none.NoCache)
		if err == nil {
			err = skip(body, offset, idle)
		}
	}
	if body == nil && err == nil { // ended before it began
		err = ctx.Err()
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		idle.stop()
		cancel(nil)
		return nil, fmt.Errorf("cannot fetch blob %s: %w", desc.Digest, explain(err))
	}
	left := desc.Size - offset
	if desc.Size <= 0 {
		left = math.MaxInt64 // schema 1 promises no size
	}
	return &blobReader{ctx: ctx, cancel: cancel, idle: idle, body: body, left: left, desc: desc}, nil
}

// skip reads over what is here already.
func skip(body io.ReadCloser, n int64, idle *watchdog) error {
	for buf := make([]byte, 64<<10); n > 0; {
		m, err := body.Read(buf[:min(n, int64(len(buf)))])
		idle.pat()
		if n -= int64(m); n > 0 && err != nil {
			return errors.Join(err, body.Close())
		}
	}
	return nil
}

// getBlobFrom asks for the rest of a blob. The library can do it, on a method that is not part of its ImageSource
// interface and whose argument type is internal to it, so it is called by reflection.
func getBlobFrom(ctx context.Context, src types.ImageSource, info types.BlobInfo, offset int64) (io.ReadCloser, error) {
	method := reflect.ValueOf(src).MethodByName("GetBlobAt")
	if !method.IsValid() || method.Type().NumIn() != 3 || method.Type().In(2).Kind() != reflect.Slice {
		return nil, errNoResume
	}
	chunks := reflect.MakeSlice(method.Type().In(2), 1, 1)
	from, length := chunks.Index(0).FieldByName("Offset"), chunks.Index(0).FieldByName("Length")
	if !from.IsValid() || !length.IsValid() {
		return nil, errNoResume
	}
	from.SetUint(uint64(offset))
	length.SetUint(math.MaxUint64) // to the end
	out := method.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(info), chunks})
	if err, _ := out[2].Interface().(error); err != nil {
		return nil, err
	}
	streams, _ := out[0].Interface().(chan io.ReadCloser)
	errs, _ := out[1].Interface().(chan error)
	select {
	case body, ok := <-streams:
		if ok {
			return body, nil
		}
		return nil, errors.Join(errNoResume, <-errs)
	case err := <-errs:
		return nil, errors.Join(errNoResume, err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var errNoResume = errors.New("cannot resume: the registry sent no range")

// blobReader ends a stalled body and one that is longer than was promised.
type blobReader struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	idle   *watchdog
	body   io.ReadCloser
	left   int64
	desc   ocispec.Descriptor
}

func (r *blobReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.idle.pat()
	if r.left -= int64(n); r.left < 0 {
		return 0, fmt.Errorf("%w: %s, more than %d bytes", ErrTooLarge, r.desc.Digest, r.desc.Size)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(r.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}

func (r *blobReader) Close() error {
	r.idle.stop()
	r.cancel(nil)
	return r.body.Close()
}

// watchdog cancels with ErrStalled when it was not patted for a while. Patting is cheap: it happens at each read.
type watchdog struct {
	last  atomic.Int64
	start time.Time
	timer *time.Timer
}

func newWatchdog(idle time.Duration, cancel context.CancelCauseFunc) *watchdog {
	w := &watchdog{start: time.Now()}
	ready := make(chan struct{})
	w.timer = time.AfterFunc(idle, func() {
		<-ready
		quiet := time.Since(w.start) - time.Duration(w.last.Load())
		if quiet < idle {
			w.timer.Reset(idle - quiet)
			return
		}
		cancel(fmt.Errorf("%w: nothing received for %v", ErrStalled, idle))
	})
	close(ready)
	return w
}

func (w *watchdog) pat()  { w.last.Store(int64(time.Since(w.start))) }
func (w *watchdog) stop() { w.timer.Stop() }

// within calls fetch and ends it with ErrStalled after d.
func within(ctx context.Context, d time.Duration, fetch func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d, fmt.Errorf("%w: no answer for %v", ErrStalled, d))
	defer cancel()
	err := fetch(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// explain makes one line of the library's errors, and keeps what they are for errors.Is and errors.As.
func explain(err error) error {
	text := inOrder(strings.Join(strings.Fields(err.Error()), " "))
	if text == err.Error() {
		return err
	}
	return oneLine{err, text}
}

// mirrored is how the library tells that all failed: the mirrors, each in brackets, and then the registry itself. noise are
// the names that it says again on the way.
var (
	mirrored = regexp.MustCompile(`^\(Mirrors also failed: \[(.*)\]\): (.*)$`)
	noise    = regexp.MustCompile(`((fetching|reading) manifest \S+ in \S+|pinging container registry \S+|Get "\S+"): `)
)

// inOrder tells where an image was looked for, one after another, and why it was not there.
func inOrder(text string) string {
	all := mirrored.FindStringSubmatch(text)
	if all == nil {
		return text
	}
	return noise.ReplaceAllString(strings.ReplaceAll(all[1], "] [", "; ")+"; "+all[2], "")
}

type oneLine struct {
	error
	text string
}

func (e oneLine) Error() string { return e.text }
func (e oneLine) Unwrap() error { return e.error }

// Temporary tells whether an error of this package may be gone at the next attempt. What a registry refuses by name
// (unknown, denied, unauthorized) stays refused.
func Temporary(err error) bool {
	var coded errcode.ErrorCoder
	if errors.As(err, &coded) {
		return coded.ErrorCode() == errcode.ErrorCodeTooManyRequests || coded.ErrorCode() == errcode.ErrorCodeUnavailable
	}
	_, unauthorized := errors.AsType[docker.ErrUnauthorizedForCredentials](err)
	return !unauthorized && !errors.Is(err, context.Canceled)
}

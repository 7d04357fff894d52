package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"tripod/internal/record"
	"tripod/internal/registry"
)

// PullOptions says how an image is fetched. The zero value is right.
type PullOptions struct {
	Registry registry.Options
	Platform string // OS/ARCH[/VARIANT]; "" is this host's
	Parallel int    // layers at a time; 0 means 4
	Limits   Limits
	Progress Progress // may be nil
}

// State is what is being done with a layer.
type State int

const (
	Waiting     State = iota // for a place, or for another process that has it in hand
	Downloading              // and unpacking at the same time
	Unpacking                // from a blob that is here already
	Present                  // nothing was to do
	Done
)

func (s State) String() string {
	return [...]string{"Waiting", "Downloading", "Unpacking", "Already exists", "Done"}[s]
}

// Progress is told how a pull goes on. Its method is called from several goroutines at once.
type Progress interface {
	// Layer says that done of total bytes of a compressed layer are here; total is 0 where it is not known.
	Layer(d digest.Digest, state State, done, total int64)
}

func (o PullOptions) layer(d digest.Digest, state State, done, total int64) {
	if o.Progress != nil {
		o.Progress.Layer(d, state, done, total)
	}
}

// contents is one image of a source, in documents.
type contents struct {
	top      digest.Digest // what the reference named: an index or the manifest
	manifest *registry.Document
	config   []byte
	diffs    []digest.Digest
}

// copy brings an image and all it stands on into the store, and returns what to point a name to. The lease guards it
// from garbage collection until the caller has done so. With an error it returns what it had begun, if anything.
func (s *Store) copy(ctx context.Context, src source, o PullOptions, lease *pulling) (*contents, error) {
	c, err := s.describe(ctx, src, o)
	if err != nil {
		return nil, err
	}
	if err := lease.hold(c); err != nil {
		return nil, err
	}
	for _, data := range [][]byte{c.manifest.Data, c.config} {
		if _, err := s.putBlob(data); err != nil {
			return c, err
		}
	}
	return c, s.fetchLayers(ctx, src, c, o)
}

// describe reads the documents of the image for the wanted platform.
func (s *Store) describe(ctx context.Context, src source, o PullOptions) (*contents, error) {
	platform, err := registry.ParsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	doc, err := src.Root(ctx)
	if err != nil {
		return nil, err
	}
	c := &contents{top: doc.Digest}
	for depth := 0; doc.Kind == registry.KindIndex; depth++ {
		if depth == 3 {
			return nil, errors.New("image index is nested too deep")
		}
		chosen, err := registry.Choose(doc, platform)
		if err != nil {
			return nil, err
		}
		if doc, err = src.Manifest(ctx, chosen); err != nil {
			return nil, err
		}
	}
	if doc.Kind == registry.KindSchema1 {
		if doc, err = s.convertSchema1(ctx, src, doc, o); err != nil {
			return nil, err
		}
	}
	c.manifest = doc
	if c.config, err = s.fetchSmall(ctx, src, doc.Config, registry.MaxConfig); err != nil {
		return nil, err
	}
	config, err := parseConfig(c.config, len(doc.Layers))
	if err != nil {
		return nil, err
	}
	c.diffs = config.RootFS.DiffIDs
	return c, nil
}

// parseConfig checks an image's config as far as the store relies on it.
func parseConfig(data []byte, layers int) (*ocispec.Image, error) {
	var config ocispec.Image
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("image config is malformed: %w", err)
	}
	if config.OS != "" && config.OS != "linux" {
		return nil, fmt.Errorf("image is for %s, not for linux", config.OS)
	}
	if len(config.RootFS.DiffIDs) != layers {
		return nil, fmt.Errorf("image config has %d layers, its manifest %d", len(config.RootFS.DiffIDs), layers)
	}
	for _, d := range config.RootFS.DiffIDs {
		if err := registry.CheckDigest(d); err != nil {
			return nil, fmt.Errorf("image config: %w", err)
		}
	}
	return &config, nil
}

// fetchLayers downloads and unpacks the layers, several at a time, and makes them durable together.
func (s *Store) fetchLayers(ctx context.Context, src source, c *contents, o PullOptions) error {
	chains := chainIDs(c.diffs)
	done := make([]chan struct{}, len(chains)) // closed when the snapshot of that layer is committed
	for i := range done {
		done[i] = make(chan struct{})
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(o.Parallel, 0))
	if o.Parallel <= 0 {
		group.SetLimit(4)
	}
	for i, desc := range c.manifest.Layers {
		o.layer(desc.Digest, Waiting, 0, desc.Size)
		// Layers start in order, so one that waits for its parent never keeps the parent from running.
		group.Go(func() error {
			l := &layer{store: s, src: src, o: o, desc: desc, diff: c.diffs[i], chains: chains[:i+1]}
			if i > 0 {
				l.parent = done[i-1]
			}
			if err := l.ensure(ctx); err != nil {
				return fmt.Errorf("layer %d: %w", i, err)
			}
			close(done[i])
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return s.settle(chains)
}

// settle makes snapshots durable. Until then each carries the identity of this boot in a file: after a power cut, one
// that still does may have lost bytes, and is made again (see trusted).
func (s *Store) settle(chains []digest.Digest) error {
	var fresh []string
	for _, chain := range chains {
		mark := filepath.Join(s.snapshotPath(chain), unsettled)
		if _, err := os.Lstat(mark); err == nil {
			fresh = append(fresh, mark)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	for _, dir := range []string{s.blobs(), s.snapshots} {
		if err := syncfs(dir); err != nil {
			return err
		}
	}
	for _, mark := range fresh {
		if err := os.Remove(mark); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot settle snapshot: %w", err)
		}
	}
	return nil
}

func syncfs(dir string) error {
	f, err := os.Open(dir)
	if err == nil {
		err = errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
	}
	if err != nil {
		return fmt.Errorf("cannot write %s to disk: %w", dir, err)
	}
	return nil
}

// pulling is the lease of a pull at work. It ends with its process: the flock on its file says who lives.
type pulling struct {
	store *Store
	lock  *record.Lock
	path  string
}

const pullingSuffix = "+pull" // no owner can be named so

func (s *Store) startPulling() (*pulling, error) {
	guard, err := s.share()
	if err != nil {
		return nil, err
	}
	defer guard.Release()
	path := filepath.Join(s.leases(), random()+pullingSuffix)
	lock, err := record.Try(path)
	if err != nil {
		return nil, err
	}
	return &pulling{s, lock, path}, nil
}

// hold keeps all that the image is made of.
func (p *pulling) hold(c *contents) error {
	guard, err := p.store.share()
	if err != nil {
		return err
	}
	defer guard.Release()
	return record.PutFast(p.path+".json", c.keep())
}

func (p *pulling) end() error {
	err := os.Remove(p.path + ".json")
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, p.lock.Remove())
}

func (c *contents) keep() keep {
	kept := keep{Blobs: []digest.Digest{digest.FromBytes(c.manifest.Data), c.manifest.Config.Digest}, Snapshots: chainIDs(c.diffs)}
	for _, l := range c.manifest.Layers {
		kept.Blobs = append(kept.Blobs, l.Digest)
	}
	return kept
}

// keep is what garbage collection must leave.
type keep struct {
	Blobs     []digest.Digest `json:"blobs"`
	Snapshots []digest.Digest `json:"snapshots"`
}

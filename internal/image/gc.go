package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"tripod/internal/record"
	"tripod/internal/registry"
)

// ErrInUse says that a container stands on the image.
var ErrInUse = errors.New("image is in use")

// Removed is what Remove and Prune took away.
type Removed struct {
	Names     []string        `json:"names,omitempty"`
	Blobs     []digest.Digest `json:"blobs,omitempty"`
	Snapshots []digest.Digest `json:"snapshots,omitempty"`
	Bytes     int64           `json:"bytes"` // of disk that became free, about: blobs and the files of snapshots
}

// marks is what a sweep must leave.
type marks struct {
	blobs     map[digest.Digest]bool
	snapshots map[digest.Digest]bool
}

// Remove takes away the name ref and, with an image's last name, its blobs and snapshots that no other image or lease uses.
// An ID stands for all names of its image. As with docker: a name is always taken if the image has another; the last
// one, or an ID, of an image that a container stands on is refused with ErrInUse unless force is set, and then its
// snapshots stay until the container is gone; an ID of several names needs force too.
func (s *Store) Remove(ref string, force bool, o PullOptions) (*Removed, error) {
	img, err := s.Resolve(ref, o)
	if err != nil {
		return nil, err
	}
	if img.Source != "" {
		return nil, fmt.Errorf("cannot remove image %s: it is not in the store", ref)
	}
	lock, err := s.exclude()
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	all, err := s.labels()
	if err != nil {
		return nil, err
	}
	var names, others []string
	for _, l := range all {
		switch {
		case l.Manifest != img.Manifest:
		case slices.Contains(img.Names, l.Name):
			names = append(names, l.Name)
		default:
			others = append(others, l.Name)
		}
	}
	if len(names) > 1 && !force {
		return nil, fmt.Errorf("cannot remove image %s: it has the names %s; remove these, or force it", ref, strings.Join(names, ", "))
	}
	if len(others) == 0 && !force {
		if err := s.unused(ref, img); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		if err := os.Remove(s.labelPath(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot remove image %s: %w", ref, err)
		}
	}
	removed, err := s.sweep()
	if removed != nil {
		removed.Names = names
	}
	return removed, err
}

// unused refuses an image that somebody leases, and names who.
func (s *Store) unused(ref string, img *Image) error {
	leases, err := s.readLeases()
	if err != nil {
		return err
	}
	var owners []string
	for _, l := range leases {
		if l.Manifest == img.Manifest {
			owners = append(owners, l.Owner)
		}
	}
	if len(owners) > 0 {
		return fmt.Errorf("cannot remove image %s: %w by %s", ref, ErrInUse, strings.Join(owners, ", "))
	}
	return nil
}

// PruneOptions says how far Prune goes.
type PruneOptions struct {
	All bool // also images that have names, but that no container stands on
}

// Prune takes away what no image and no lease uses, and what killed processes left: half-made snapshots and unfinished
// downloads. It never touches the work of a process that lives.
func (s *Store) Prune(o PruneOptions) (*Removed, error) {
	lock, err := s.exclude()
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	var names []string
	if o.All {
		if names, err = s.unname(); err != nil {
			return nil, err
		}
	}
	removed, err := s.sweep()
	if removed != nil {
		removed.Names = names
		err = errors.Join(err, s.sweepPartial(removed))
	}
	return removed, err
}

// unname takes the names of all images that nobody leases.
func (s *Store) unname() ([]string, error) {
	all, err := s.labels()
	if err != nil {
		return nil, err
	}
	leases, err := s.readLeases()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, l := range all {
		if slices.ContainsFunc(leases, func(x lease) bool { return x.Manifest == l.Manifest }) {
			continue
		}
		if err := os.Remove(s.labelPath(l.Name)); err != nil {
			return names, fmt.Errorf("cannot remove image %s: %w", l.Name, err)
		}
		names = append(names, l.Name)
	}
	return names, nil
}

// exclude keeps everybody from linking anything new into the store, for the moments of a collection.
func (s *Store) exclude() (*record.Lock, error) {
	return record.Acquire(filepath.Join(s.images, "store.lock"))
}

// mark collects what names, leases and pulls at work stand on. If one of them cannot be read, nothing may be swept.
func (s *Store) mark() (*marks, error) {
	m := &marks{map[digest.Digest]bool{}, map[digest.Digest]bool{}}
	all, err := s.labels()
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		s.markImage(m, l.Manifest)
	}
	leases, err := s.readLeases()
	if err != nil {
		return nil, err
	}
	for _, l := range leases {
		for _, chain := range l.Snapshots {
			m.snapshots[chain] = true
		}
		if l.Manifest != "" {
			s.markImage(m, l.Manifest)
		}
	}
	return m, s.markPulling(m)
}

// markImage marks a manifest and all it names. One that is damaged marks nothing more: it can never be run, and must not
// keep Prune from working.
func (s *Store) markImage(m *marks, manifest digest.Digest) {
	m.blobs[manifest] = true
	data, err := s.getBlob(manifest, registry.MaxDocument)
	if err != nil {
		return
	}
	doc, err := registry.ParseDocument(data, "", manifest)
	if err != nil {
		return
	}
	m.blobs[doc.Config.Digest] = true
	for _, l := range doc.Layers {
		m.blobs[l.Digest] = true
	}
	raw, err := s.getBlob(doc.Config.Digest, registry.MaxConfig)
	if err != nil {
		return
	}
	config, err := parseConfig(raw, len(doc.Layers))
	if err != nil {
		return
	}
	for _, chain := range chainIDs(config.RootFS.DiffIDs) {
		m.snapshots[chain] = true
	}
}

// markPulling marks what pulls at work hold, and clears away those whose process has died.
func (s *Store) markPulling(m *marks) error {
	entries, err := os.ReadDir(s.leases())
	if err != nil {
		return fmt.Errorf("cannot list leases: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), pullingSuffix) {
			continue
		}
		path := filepath.Join(s.leases(), e.Name())
		lock, err := record.Try(path)
		if err == nil {
			if err := (&pulling{s, lock, path}).end(); err != nil {
				return err
			}
			continue
		}
		if !errors.Is(err, record.ErrLocked) {
			return err
		}
		var kept keep
		if err := record.Get(path+".json", &kept); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue // it has asked for nothing yet
			}
			return err
		}
		for _, d := range kept.Blobs {
			m.blobs[d] = true
		}
		for _, d := range kept.Snapshots {
			m.snapshots[d] = true
		}
	}
	return nil
}

package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"tripod/internal/record"
)

// sweep takes away all that is not marked. The caller excludes everybody else.
//
// A snapshot first loses its name and then its files, so a kill at any point leaves no part of a snapshot that counts as one.
func (s *Store) sweep() (*Removed, error) {
	keep, err := s.mark()
	if err != nil {
		return nil, err
	}
	removed := &Removed{}
	err = errors.Join(s.sweepBlobs(keep, removed), s.sweepSnapshots(keep, removed), s.sweepLocks())
	for _, dir := range []string{s.names(), s.leases(), s.images} {
		err = errors.Join(err, sweepTemporary(dir))
	}
	return removed, err
}

// forsake takes away what a pull that can never succeed brought here and nothing else uses.
func (s *Store) forsake(c *contents) {
	lock, err := s.exclude()
	if err != nil {
		return
	}
	defer lock.Release()
	used, err := s.mark()
	if err != nil {
		return // Prune will take it, and tell
	}
	own := c.keep()
	for _, d := range own.Blobs {
		if !used.blobs[d] {
			os.Remove(s.blobPath(d))
		}
		if lock, err := record.Try(filepath.Join(s.partial(), d.Encoded())); err == nil {
			lock.Remove()
		}
	}
	for _, d := range own.Snapshots {
		if _, err := os.Lstat(s.snapshotPath(d)); err == nil && !used.snapshots[d] {
			s.retire(s.snapshotPath(d))
		}
	}
}

func (s *Store) sweepBlobs(keep *marks, removed *Removed) error {
	entries, err := os.ReadDir(s.blobs())
	if err != nil {
		return fmt.Errorf("cannot collect garbage: %w", err)
	}
	for _, e := range entries {
		d := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
		if keep.blobs[d] {
			continue
		}
		info, err := e.Info()
		if err == nil {
			err = os.Remove(filepath.Join(s.blobs(), e.Name()))
		}
		if err != nil {
			return fmt.Errorf("cannot remove blob: %w", err)
		}
		if d.Validate() == nil {
			removed.Blobs = append(removed.Blobs, d)
		}
		removed.Bytes += info.Size()
	}
	return nil
}

func (s *Store) sweepSnapshots(keep *marks, removed *Removed) error {
	entries, err := os.ReadDir(s.snapshots)
	if err != nil {
		return fmt.Errorf("cannot collect garbage: %w", err)
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(s.snapshots, e.Name())
		d := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), scratchPrefix):
			errs = append(errs, sweepScratch(path))
		case d.Validate() == nil && !keep.snapshots[d]:
			var had size
			if err := record.Get(filepath.Join(path, "layer.json"), &had); err != nil {
				had = size{} // host:/ has none
			}
			if err := s.retire(path); err != nil {
				errs = append(errs, err)
				continue
			}
			removed.Snapshots = append(removed.Snapshots, d)
			removed.Bytes += had.Bytes
		}
	}
	return errors.Join(errs...)
}

// sweepScratch removes an unfinished directory whose maker is dead.
func sweepScratch(path string) error {
	dir, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot collect garbage: %w", err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("cannot collect garbage: %w", err)
	}
	return nil
}

func (s *Store) sweepLocks() error {
	entries, err := os.ReadDir(s.locks())
	if err != nil {
		return fmt.Errorf("cannot collect garbage: %w", err)
	}
	for _, e := range entries {
		if lock, err := record.Try(filepath.Join(s.locks(), e.Name())); err == nil {
			lock.Remove()
		}
	}
	return nil
}

// sweepTemporary removes what a process that was killed while it wrote a record left. Records are written under the
// shared lock that the caller excludes.
func sweepTemporary(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("cannot collect garbage: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("cannot collect garbage: %w", err)
			}
		}
	}
	return nil
}

// sweepPartial removes unfinished downloads that nobody is at.
func (s *Store) sweepPartial(removed *Removed) error {
	entries, err := os.ReadDir(s.partial())
	if err != nil {
		return fmt.Errorf("cannot collect garbage: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue
		}
		lock, err := record.Try(filepath.Join(s.partial(), e.Name()))
		if err != nil {
			continue
		}
		if err := lock.Remove(); err != nil {
			return fmt.Errorf("cannot collect garbage: %w", err)
		}
		removed.Bytes += info.Size()
	}
	return nil
}

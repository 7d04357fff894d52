// Package image keeps container images on this disk and turns them into root file systems.
//
// Its words:
//
//   - A blob is a file named by the sha256 of its bytes: a manifest, a config or a compressed layer. Blobs lie in
//     ROOT/images/blobs/sha256, the layout of the OCI image-layout specification.
//   - A layer is one tar of changes. Its blob digest names the bytes that travel, its diff ID the bytes after
//     decompression, its chain ID the layer on top of all those below it (OCI image-spec, config.md).
//   - A snapshot is a layer unpacked: ROOT/snapshots/CHAINID/fs, in the form that overlayfs wants of a lower directory
//     (a deletion is a character device 0:0, a replaced directory carries trusted.overlay.opaque). It is never written
//     again and shared by every image and container that stands on it.
//   - A name is what a person calls an image; a record points it to a manifest. Pulling moves names, it never changes blobs.
//   - A lease keeps what one owner, such as a container, stands on out of reach of garbage collection.
//
// There is no daemon. Any number of processes use one store at a time: whatever is made appears whole by a rename, and
// whoever makes it holds a flock, so that a second process waits for the same work instead of repeating it. What a
// killed process left unfinished is told by its free lock and swept by Prune; an unfinished download is kept and resumed.
package image

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"tripod/internal/record"
)

// ErrNotFound says that the store has no such image.
var ErrNotFound = errors.New("no such image")

// Store is the images and snapshots below one root directory. It holds no state of its own: two Stores of one root, in
// one process or in two, see the same.
type Store struct {
	images    string
	snapshots string
}

// Open makes the directories of a store below root (such as /var/lib/tripod) where they are missing.
func Open(root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("cannot open image store: %w", err)
	}
	s := &Store{images: filepath.Join(root, "images"), snapshots: filepath.Join(root, "snapshots")}
	for _, dir := range []string{
		s.images, filepath.Join(s.images, "blobs"), s.blobs(), s.partial(), s.names(), s.leases(), s.locks(), s.snapshots,
	} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("cannot open image store: %w", err)
		}
	}
	layout := filepath.Join(s.images, "oci-layout")
	if _, err := os.Lstat(layout); errors.Is(err, fs.ErrNotExist) {
		if err := record.PutFast(layout, map[string]string{"imageLayoutVersion": "1.0.0"}); err != nil {
			return nil, fmt.Errorf("cannot open image store: %w", err)
		}
	}
	return s, nil
}

func (s *Store) blobs() string   { return filepath.Join(s.images, "blobs", "sha256") }
func (s *Store) partial() string { return filepath.Join(s.images, "partial") }
func (s *Store) names() string   { return filepath.Join(s.images, "names") }
func (s *Store) leases() string  { return filepath.Join(s.images, "leases") }
func (s *Store) locks() string   { return filepath.Join(s.images, "locks") }

func (s *Store) blobPath(d digest.Digest) string { return filepath.Join(s.blobs(), d.Encoded()) }

// snapshotPath is the directory of a committed snapshot; its fs below is an overlay lower directory.
func (s *Store) snapshotPath(chain digest.Digest) string {
	return filepath.Join(s.snapshots, chain.Encoded())
}

func (s *Store) lower(chain digest.Digest) string {
	return filepath.Join(s.snapshotPath(chain), "fs")
}

// share keeps garbage collection out while something new is being linked into the store. It is held for moments, never
// while bytes travel.
func (s *Store) share() (*record.Lock, error) {
	return record.Share(filepath.Join(s.images, "store.lock"))
}

// scratch is a directory being filled, which commit renames to its place. Its flock tells the sweeper that its maker lives.
type scratch struct {
	path string
	dir  *os.File
}

// scratchPrefix begins the names of unfinished directories in ROOT/snapshots.
const scratchPrefix = "tmp-"

func (s *Store) newScratch() (*scratch, error) {
	guard, err := s.share()
	if err != nil {
		return nil, err
	}
	defer guard.Release()
	path := filepath.Join(s.snapshots, scratchPrefix+random())
	if err := os.Mkdir(path, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make snapshot: %w", err)
	}
	dir, err := os.Open(path)
	if err == nil {
		err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		os.Remove(path)
		return nil, fmt.Errorf("cannot make snapshot: %w", err)
	}
	return &scratch{path, dir}, nil
}

// commit renames the directory to path. That somebody else was faster is no error: both made the same.
func (t *scratch) commit(path string) error {
	err := unix.Renameat2(unix.AT_FDCWD, t.path, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTEMPTY) {
		return t.discard()
	}
	t.dir.Close()
	if err != nil {
		os.RemoveAll(t.path)
		return fmt.Errorf("cannot commit snapshot %s: %w", filepath.Base(path), err)
	}
	return nil
}

func (t *scratch) discard() error {
	t.dir.Close()
	return os.RemoveAll(t.path)
}

// random is a short name that no other process will choose.
func random() string {
	var b [8]byte
	rand.Read(b[:]) // never fails, crypto/rand
	return hex.EncodeToString(b[:])
}

package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/record"
)

// Root is what the root file system of a container stands on.
type Root struct {
	Lower  []string      // overlay lower directories, topmost first, absolute
	Mounts []specs.Mount // made below the root before all others (host:/ has the host's programs here)
}

// lease is the record leases/OWNER: what garbage collection must leave to its owner.
type lease struct {
	Owner     string          `json:"owner"`
	Image     string          `json:"image"`
	Manifest  digest.Digest   `json:"manifest,omitempty"`
	Snapshots []digest.Digest `json:"snapshots,omitempty"`
}

var ownerPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$`)

// Root leases img to owner and returns its root file system. The lease lasts until Release, also over the death of the
// caller, so owner is something that is looked for again, such as UID_CONTAINER. Leasing again for the same owner
// replaces its lease. An owner's name is 1 to 200 letters, digits, '_', '.' and '-'.
func (s *Store) Root(img *Image, owner string) (Root, error) {
	if !ownerPattern.MatchString(owner) {
		return Root{}, fmt.Errorf("cannot lease image %s: bad owner name %q", img.name(), owner)
	}
	guard, err := s.share()
	if err != nil {
		return Root{}, err
	}
	defer guard.Release()
	root, chains, err := s.root(img)
	if err != nil {
		return Root{}, err
	}
	l := lease{Owner: owner, Image: img.name(), Manifest: img.Manifest, Snapshots: chains}
	if err := record.PutFast(s.leasePath(owner), l); err != nil {
		return Root{}, fmt.Errorf("cannot lease image %s: %w", img.name(), err)
	}
	return root, nil
}

// Release ends the lease of owner. One that does not exist is no error.
func (s *Store) Release(owner string) error {
	if !ownerPattern.MatchString(owner) {
		return fmt.Errorf("cannot release image of %q: bad owner name", owner)
	}
	if err := os.Remove(s.leasePath(owner)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot release image of %s: %w", owner, err)
	}
	return nil
}

func (s *Store) leasePath(owner string) string { return filepath.Join(s.leases(), owner+".json") }

// root finds the directories of img and the chain IDs of its snapshots. All of them must be there.
func (s *Store) root(img *Image) (Root, []digest.Digest, error) {
	if dir, ok := strings.CutPrefix(img.Source, "dir:"); ok {
		return Root{Lower: []string{dir}}, nil, nil
	}
	var root Root
	if img.Source == hostImage {
		if !s.whole(img) { // swept since: it had no lease
			if _, err := s.host("/"); err != nil {
				return Root{}, nil, err
			}
		}
		plan := hostRoot{dirs: map[string]bool{}}
		if err := plan.programs("/"); err != nil {
			return Root{}, nil, fmt.Errorf("cannot use image %s: %w", hostImage, err)
		}
		root.Mounts = plan.Mounts
	}
	chains := chainIDs(img.Layers)
	for _, chain := range chains {
		lower := s.lower(chain)
		if !s.trusted(chain) {
			return Root{}, nil, fmt.Errorf("cannot use image %s: layer %s is gone; pull it again", img.name(), chain)
		}
		root.Lower = append([]string{lower}, root.Lower...)
	}
	return root, chains, nil
}

// name is how messages call the image.
func (img *Image) name() string {
	if len(img.Names) > 0 {
		return img.Names[0]
	}
	return img.ID.String()
}

// chainIDs are the chain IDs of the layers with these diff IDs, lowest first (OCI image-spec, config.md, "Layer ChainID").
func chainIDs(diffs []digest.Digest) []digest.Digest {
	chains := make([]digest.Digest, len(diffs))
	for i, diff := range diffs {
		chains[i] = diff
		if i > 0 {
			chains[i] = digest.FromString(chains[i-1].String() + " " + diff.String())
		}
	}
	return chains
}

// readLeases are the leases of all owners. One that cannot be read is an error: what it keeps is not known.
func (s *Store) readLeases() ([]lease, error) {
	entries, err := os.ReadDir(s.leases())
	if err != nil {
		return nil, fmt.Errorf("cannot list leases: %w", err)
	}
	var out []lease
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !strings.HasSuffix(e.Name(), ".json") || strings.HasSuffix(e.Name(), pullingSuffix+".json") {
			continue
		}
		var l lease
		err := record.Get(filepath.Join(s.leases(), e.Name()), &l)
		if errors.Is(err, fs.ErrNotExist) {
			continue // released meanwhile
		}
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// Owners are the names of all who lease an image.
func (s *Store) Owners() ([]string, error) {
	leases, err := s.readLeases()
	if err != nil {
		return nil, err
	}
	owners := make([]string, len(leases))
	for i, l := range leases {
		owners[i] = l.Owner
	}
	return owners, nil
}

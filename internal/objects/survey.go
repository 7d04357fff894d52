package objects

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// place is where a living object lies in a log.
type place struct {
	id      ID
	version uint64
	at      int64  // of its data
	length  int    // of its data
	sum     uint32 // of its data
	size    int64  // of its record
}

// surveyed is what a log holds.
type surveyed struct {
	head    header
	whole   int64                           // where its last whole frame ends
	version uint64                          // the last
	living  []place                         // in the order of the file
	changed map[schema.GroupResource]uint64 // when each resource changed last, of those that did after the snapshot
}

// survey reads the first size bytes of a log.
func survey(name string, r io.ReaderAt, size int64) (s surveyed, err error) {
	living := map[ID]place{}
	s.changed = map[schema.GroupResource]uint64{}
	s.head, s.whole, err = scan(name, r, size, func(r logRecord, at int64) error {
		if r.kind != kept {
			s.version, s.changed[r.id.Resource] = r.version, r.version
		}
		if r.kind == deleted {
			delete(living, r.id)
		} else {
			living[r.id] = place{r.id, r.version, at, len(r.data), sum(r.data), int64(r.size())}
		}
		return nil
	})
	s.version = max(s.version, s.head.base)
	s.living = slices.SortedFunc(maps.Values(living), func(a, b place) int { return cmp.Compare(a.at, b.at) })
	return s, err
}

// read returns the object's data. It lies where the survey saw it, unless somebody else has written there since.
func (p place) read(name string, r io.ReaderAt) ([]byte, error) {
	data := make([]byte, p.length)
	if err := readAt(r, data, p.at); err != nil {
		return nil, fmt.Errorf("cannot read objects %s: %w", name, err)
	}
	if sum(data) != p.sum {
		return nil, &DamageError{name, p.at, p.id.String() + " has changed while it was read"}
	}
	return data, nil
}

func sum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

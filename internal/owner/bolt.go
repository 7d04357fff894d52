package owner

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
)

// A file of bbolt, as podman before 5 keeps its state in: pages in a B+ tree, two metas that take turns. The form is bbolt's
// page.go, bucket.go and meta; all numbers are in the order of the machine that wrote them.
const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltHeader     = 16 // of a page: id, flags, count, overflow
	boltElement    = 16 // of a branch or a leaf
	boltBranch     = 1  // flags of a page
	boltLeaf       = 2
	boltBucket     = 1  // flag of an element: its value is a bucket
	boltMetaSize   = 64 // with its checksum
	boltDepth      = 32 // of a tree; a true one has a handful
	boltPageLimit  = 64 << 10
	boltRootOffset = 16 // in a meta
)

// boltFile is the whole of such a file. Everything in it may be a lie: each offset is checked, and each descent ends.
type boltFile struct {
	data     []byte
	pageSize uint64
	root     uint64 // page of the top bucket
}

// openBolt finds the newer of the two metas whose checksum is right.
func openBolt(data []byte) (f boltFile, ok bool) {
	var newest uint64
	// The second meta is a page further on, and it is the first one that tells how long a page is, if it is whole.
	for _, at := range []uint64{0, 4096, 16384, 65536} {
		m := span(data, at+boltHeader, boltMetaSize)
		if m == nil || binary.NativeEndian.Uint32(m) != boltMagic || binary.NativeEndian.Uint32(m[4:]) != boltVersion {
			continue
		}
		sum := fnv.New64a()
		sum.Write(m[:boltMetaSize-8])
		if sum.Sum64() != binary.NativeEndian.Uint64(m[boltMetaSize-8:]) {
			continue
		}
		size := uint64(binary.NativeEndian.Uint32(m[8:]))
		txid := binary.NativeEndian.Uint64(m[boltMetaSize-16:])
		if size < 1024 || size > boltPageLimit || at != 0 && at != size || ok && txid <= newest {
			continue
		}
		newest, ok = txid, true
		f = boltFile{data: data, pageSize: size, root: binary.NativeEndian.Uint64(m[boltRootOffset:])}
	}
	return f, ok
}

// span is n bytes of data from at on, nil when they are not all there.
func span(data []byte, at, n uint64) []byte {
	if at > uint64(len(data)) || n > uint64(len(data))-at {
		return nil
	}
	return data[at : at+n]
}

// get is the value of a key in a bucket of the top one.
func (f boltFile) get(bucket, key string) ([]byte, bool) {
	value, flags, ok := f.find(f.page(f.root), bucket, boltDepth)
	if !ok || flags&boltBucket == 0 || len(value) < boltHeader {
		return nil, false
	}
	page := value[boltHeader:] // a small bucket lies in the value itself
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		page = f.page(root)
	}
	value, flags, ok = f.find(page, key, boltDepth)
	return value, ok && flags&boltBucket == 0
}

// page is a page and what overflows of it, nil when it is not all there.
func (f boltFile) page(id uint64) []byte {
	if id >= uint64(len(f.data))/f.pageSize {
		return nil
	}
	head := span(f.data, id*f.pageSize, boltHeader)
	if head == nil || binary.NativeEndian.Uint64(head) != id {
		return nil
	}
	return span(f.data, id*f.pageSize, (1+uint64(binary.NativeEndian.Uint32(head[12:])))*f.pageSize)
}

// find descends from a page to a key.
func (f boltFile) find(page []byte, key string, depth int) (value []byte, flags uint32, ok bool) {
	if len(page) < boltHeader || depth == 0 {
		return nil, 0, false
	}
	count := uint64(binary.NativeEndian.Uint16(page[10:]))
	switch binary.NativeEndian.Uint16(page[8:]) {
	case boltLeaf:
		for i := range count {
			e := span(page, boltHeader+i*boltElement, boltElement)
			if e == nil {
				return nil, 0, false
			}
			at := boltHeader + i*boltElement + uint64(binary.NativeEndian.Uint32(e[4:]))
			k, v := uint64(binary.NativeEndian.Uint32(e[8:])), uint64(binary.NativeEndian.Uint32(e[12:]))
			if kv := span(page, at, k+v); kv != nil && string(kv[:k]) == key {
				return kv[k:], binary.NativeEndian.Uint32(e), true
			}
		}
	case boltBranch:
		var next []byte
		for i := range count {
			e := span(page, boltHeader+i*boltElement, boltElement)
			if e == nil {
				return nil, 0, false
			}
			at := boltHeader + i*boltElement + uint64(binary.NativeEndian.Uint32(e))
			k := span(page, at, uint64(binary.NativeEndian.Uint32(e[4:])))
			if k == nil || i > 0 && string(k) > key {
				break // the keys ascend: it can only be below the one before
			}
			next = f.page(binary.NativeEndian.Uint64(e[8:]))
		}
		return f.find(next, key, depth-1)
	}
	return nil, 0, false
}

// podmanName is the name that podman's state has for the ID of a container or a Pod, "" when it is not told. A file that changes
// while it is read tells nothing.
func (h *Host) podmanName(s *storage, id string) string {
	path := s.root + "/libpod/bolt_state.db"
	data, ok := h.read(path, s.owner)
	if !ok {
		return ""
	}
	f, ok := openBolt(data)
	if !ok {
		return ""
	}
	name, ok := f.get("id-registry", id)
	if again, same := h.read(path, s.owner); !ok || !same || !bytes.Equal(data, again) {
		return ""
	}
	return string(name)
}

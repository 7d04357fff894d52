package stored

import (
	"bytes"
	"io"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"tripod/internal/objects"
)

// recent is how many changes of a resource keep their encodings: watchers are told of a change at nearly the same time.
const recent = 64

// encodings lets all watchers of a change share its bytes.
type encodings struct {
	mu   sync.Mutex
	ring [recent]*encoded
}

// of is the object of a change, with encodings that all watchers share.
func (e *encodings) of(c objects.Change) *encoded {
	e.mu.Lock()
	defer e.mu.Unlock()
	slot := &e.ring[c.Version%recent]
	if *slot == nil || (*slot).version != c.Version {
		*slot = &encoded{version: c.Version, object: c.Object, bytes: map[runtime.Identifier]*once{}}
	}
	return *slot
}

// encoded is an object that is encoded once for each encoder. It is a runtime.CacheableObject.
type encoded struct {
	version uint64
	object  runtime.Object
	mu      sync.Mutex
	bytes   map[runtime.Identifier]*once
}

type once struct {
	sync.Once
	raw []byte
	err error
}

var _ runtime.CacheableObject = (*encoded)(nil)

// GetObjectKind implements runtime.Object.
func (e *encoded) GetObjectKind() schema.ObjectKind { return e.object.GetObjectKind() }

// DeepCopyObject implements runtime.Object.
func (e *encoded) DeepCopyObject() runtime.Object { return e.object.DeepCopyObject() }

// GetObject implements runtime.CacheableObject: who gets it may change it.
func (e *encoded) GetObject() runtime.Object { return e.object.DeepCopyObject() }

// CacheEncode implements runtime.CacheableObject.
func (e *encoded) CacheEncode(id runtime.Identifier, encode func(runtime.Object, io.Writer) error, w io.Writer) error {
	e.mu.Lock()
	one := e.bytes[id]
	if one == nil {
		one = &once{}
		e.bytes[id] = one
	}
	e.mu.Unlock()
	one.Do(func() {
		var b bytes.Buffer
		one.err = encode(e.GetObject(), &b)
		one.raw = b.Bytes()
	})
	if one.err != nil {
		return one.err
	}
	if s, can := w.(runtime.Splice); can {
		s.Splice(one.raw)
		return nil
	}
	_, err := w.Write(one.raw)
	return err
}

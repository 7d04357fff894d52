// Package objects keeps the API's objects: all of them in memory, and each change in an append-only log that is fsynced
// before anybody sees it.
//
// There is one version for the whole store, a number that grows by one with each change and never goes back, also not by a
// restart or a restored backup. A watch is a place in the changes of one resource; it can be taken up again at any version
// that the bounded history still reaches.
//
// Writers that come while an fsync runs share the next one (one frame of the log, so all of them or none survive). The log
// is read whole at start, and rewritten with what is alive when the dead outgrow it. A tree of pages on disk, such as bbolt's,
// would keep objects out of memory, which is of no use here: the API answers lists and watches from decoded objects. Then it only
// makes each write dearer, by pages that are copied up to the root and a second fsync.
//
// Objects are shared between the store and all who read them: nobody changes one that it was given.
package objects

import (
	"errors"
	"log/slog"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

var (
	// ErrExists says that there is an object of that name.
	ErrExists = errors.New("it exists")
	// ErrNotFound says that there is no object of that name.
	ErrNotFound = errors.New("there is none")
	// ErrConflict says that the object is another than the writer has seen.
	ErrConflict = errors.New("it has changed meanwhile")
	// ErrTooLarge says that an object is larger than MaxSize when encoded.
	ErrTooLarge = errors.New("it is too large")
	// ErrGone says that the history of a resource does not reach back to a version.
	ErrGone = errors.New("that version is gone")
	// ErrAhead says that a version has not been yet.
	ErrAhead = errors.New("that version has not been yet")
	// ErrNotEmpty says that a folder has something in it already.
	ErrNotEmpty = errors.New("the folder is not empty")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("the store is closed")
)

// MaxSize bounds one object as its Codec encodes it, in bytes.
const MaxSize = 3 << 20

// ID names an object.
type ID struct {
	Resource        schema.GroupResource
	Namespace, Name string
}

// String is what errors call the object, such as "deployments.apps default/web".
func (id ID) String() string {
	if id.Namespace == "" {
		return id.Resource.String() + " " + id.Name
	}
	return id.Resource.String() + " " + id.Namespace + "/" + id.Name
}

// Change is what happened to one object: Added, Modified or Deleted. Object is the object after it; of a deleted one, as it was
// last, with the version of its deletion. Previous is the object before it.
//
// A Bookmark has no object: it says that all changes up to Version came before it.
type Change struct {
	Type             watch.EventType
	Version          uint64
	Object, Previous runtime.Object
}

// Codec turns objects into bytes and back. It need not keep the resource version: the store knows it.
type Codec interface {
	Encode(runtime.Object) ([]byte, error)
	Decode([]byte) (runtime.Object, error)
}

// Options are how a store is kept. The zero value is right.
type Options struct {
	Log *slog.Logger // what is said of cut tails and compactions

	// History and HistoryBytes bound the changes of each resource that a watch can still be taken up at, in number and in the
	// encoded size of their objects.
	History      int
	HistoryBytes int64

	// CompactFactor and CompactFrom say when the log is rewritten: when it is that many times as large as what is alive, and
	// at least so many bytes.
	CompactFactor, CompactFrom int64

	disk disk
}

// What holds where Options say nothing. A Pod of two containers takes some 3 kB encoded and three times that decoded.
const (
	defaultHistory       = 1024
	defaultHistoryBytes  = 4 << 20
	defaultCompactFactor = 4
	defaultCompactFrom   = 4 << 20
)

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.History == 0 {
		o.History = defaultHistory
	}
	if o.HistoryBytes == 0 {
		o.HistoryBytes = defaultHistoryBytes
	}
	if o.CompactFactor == 0 {
		o.CompactFactor = defaultCompactFactor
	}
	if o.CompactFrom == 0 {
		o.CompactFrom = defaultCompactFrom
	}
	if o.disk == nil {
		o.disk = osDisk{}
	}
	return o
}

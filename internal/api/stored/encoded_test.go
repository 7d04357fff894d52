package stored

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	api "k8s.io/kubernetes/pkg/apis/core"

	"tripod/internal/objects"
)

func change(version uint64) objects.Change {
	return objects.Change{Type: watch.Modified, Version: version, Object: &api.Pod{}}
}

// TestEncodedOnce sees that all watchers of a change share its bytes, one kind of bytes for each encoder.
func TestEncodedOnce(t *testing.T) {
	var e encodings
	var count atomic.Int32
	var all sync.WaitGroup
	for _, id := range []runtime.Identifier{"json", "protobuf"} {
		for range 50 {
			all.Go(func() {
				var b bytes.Buffer
				err := e.of(change(7)).CacheEncode(id, func(_ runtime.Object, w io.Writer) error {
					count.Add(1)
					_, err := io.WriteString(w, string(id))
					return err
				}, &b)
				if err != nil || b.String() != string(id) {
					t.Errorf("%q, %v", b.String(), err)
				}
			})
		}
	}
	all.Wait()
	if count.Load() != 2 {
		t.Errorf("encoded %d times, want 2", count.Load())
	}
	old := e.of(change(7))
	if e.of(change(7+recent)) == old || e.of(change(7)) == old {
		t.Error("a change has the bytes of another")
	}
}

package stored

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
	api "k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install" // its defaults

	"tripod/internal/objects"
)

// TestSettled sees that an object is served with the defaults that reading it from disk gives: the phase of a claim, which its strategy
// takes away.
func TestSettled(t *testing.T) {
	dir := t.TempDir()
	phase := func(do func(*Resource, *api.PersistentVolumeClaim) error) api.PersistentVolumeClaimPhase {
		t.Helper()
		store, err := objects.Open(dir, Codec(), objects.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		}()
		r := New(store, api.Resource("persistentvolumeclaims"), "/persistentvolumeclaims", func() runtime.Object { return &api.PersistentVolumeClaim{} })
		var got api.PersistentVolumeClaim
		if err := do(r, &got); err != nil {
			t.Fatal(err)
		}
		return got.Status.Phase
	}
	claim := &api.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "c"}}
	made := phase(func(r *Resource, out *api.PersistentVolumeClaim) error {
		return r.Create(context.Background(), "/persistentvolumeclaims/n/c", claim, out, 0)
	})
	read := phase(func(r *Resource, out *api.PersistentVolumeClaim) error {
		return r.Get(context.Background(), "/persistentvolumeclaims/n/c", storage.GetOptions{}, out)
	})
	if made != api.ClaimPending || read != made {
		t.Errorf("phase %q when made, %q after a restart, want %q", made, read, api.ClaimPending)
	}
}

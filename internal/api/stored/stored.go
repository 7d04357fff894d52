// Package stored lets Kubernetes' own registries keep their objects in ours: it is k8s.io/apiserver's storage.Interface over
// objects.Store, one for each resource.
//
// Objects are kept in Kubernetes' internal version, and are shared: what a reader gets has the pointers of what is kept, as with
// Kubernetes' own watch cache. Only an update works on a copy.
package stored

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"

	"tripod/internal/objects"
)

// Resource is the storage of one resource.
type Resource struct {
	store    *objects.Store
	resource schema.GroupResource
	prefix   string // of every key: /pods/
	kind     func() runtime.Object
	versions storage.APIObjectVersioner
	pages    pages
	shared   encodings
	codec    runtime.Codec
}

var _ storage.Interface = (*Resource)(nil)

// New is the storage of a resource whose keys begin with prefix and whose objects kind makes.
func New(store *objects.Store, resource schema.GroupResource, prefix string, kind func() runtime.Object) *Resource {
	return &Resource{store: store, resource: resource, prefix: strings.TrimSuffix(prefix, "/") + "/", kind: kind, codec: KubernetesCodec()}
}

// id reads a key: PREFIX/NAME or PREFIX/NAMESPACE/NAME.
func (r *Resource) id(key string) (objects.ID, error) {
	rest, ours := strings.CutPrefix(key, r.prefix)
	namespace, name, namespaced := strings.Cut(rest, "/")
	if !namespaced {
		namespace, name = "", rest
	}
	if !ours || name == "" || strings.Contains(name, "/") {
		return objects.ID{}, storage.NewInternalError(fmt.Errorf("cannot read key %q", key))
	}
	return objects.ID{Resource: r.resource, Namespace: namespace, Name: name}, nil
}

// keyOf is the key of an object.
func (r *Resource) keyOf(obj runtime.Object) string {
	m, err := meta.Accessor(obj)
	switch {
	case err != nil:
		return r.prefix
	case m.GetNamespace() == "":
		return r.prefix + m.GetName()
	}
	return r.prefix + m.GetNamespace() + "/" + m.GetName()
}

// put makes dst what src is, sharing all that is behind pointers.
func put(dst, src runtime.Object) {
	reflect.ValueOf(dst).Elem().Set(reflect.ValueOf(src).Elem())
}

// Versioner implements storage.Interface.
func (r *Resource) Versioner() storage.Versioner { return r.versions }

// Create implements storage.Interface. The lifetime is kept by Expire, out of the object's own times.
func (r *Resource) Create(_ context.Context, key string, obj, out runtime.Object, _ uint64) error {
	id, err := r.id(key)
	if err != nil {
		return err
	}
	if version, err := r.versions.ObjectResourceVersion(obj); err == nil && version != 0 {
		return storage.ErrResourceVersionSetOnCreate
	}
	kept, err := r.settled(obj)
	if err != nil {
		return err
	}
	switch err := r.store.Create(id, kept); {
	case errors.Is(err, objects.ErrExists):
		return storage.NewKeyExistsError(key, 0)
	case err != nil:
		return err
	}
	if out != nil {
		put(out, kept)
	}
	return nil
}

// settled is an object of our own as it will be read from disk, where reading gives defaults that strategies have taken away: what is
// served is the same before a restart and after it.
func (r *Resource) settled(obj runtime.Object) (runtime.Object, error) {
	own := obj.DeepCopyObject()
	if err := r.versions.PrepareObjectForStorage(own); err != nil {
		return nil, err
	}
	data, err := runtime.Encode(r.codec, own)
	if err != nil {
		return nil, fmt.Errorf("cannot write object of %s: %w", r.resource, err)
	}
	return runtime.Decode(r.codec, data)
}

// Get implements storage.Interface.
func (r *Resource) Get(_ context.Context, key string, o storage.GetOptions, out runtime.Object) error {
	id, err := r.id(key)
	if err != nil {
		return err
	}
	obj, ok := r.store.Get(id)
	if err := r.atLeast(o.ResourceVersion); err != nil {
		return err
	}
	switch {
	case ok:
		put(out, obj)
		return nil
	case o.IgnoreNotFound:
		return runtime.SetZeroValue(out)
	}
	return storage.NewKeyNotFoundError(key, 0)
}

// Delete implements storage.Interface.
func (r *Resource) Delete(ctx context.Context, key string, out runtime.Object, before *storage.Preconditions, valid storage.ValidateObjectFunc, _ runtime.Object, _ storage.DeleteOptions) error {
	id, err := r.id(key)
	if err != nil {
		return err
	}
	for {
		obj, ok := r.store.Get(id)
		if !ok {
			return storage.NewKeyNotFoundError(key, 0)
		}
		if err := before.Check(key, obj); err != nil {
			return err
		}
		if err := valid(ctx, obj); err != nil {
			return err
		}
		last, err := r.store.Delete(id, obj)
		if errors.Is(err, objects.ErrConflict) || errors.Is(err, objects.ErrNotFound) {
			continue // another was faster: judge what is there now
		}
		if err == nil {
			put(out, last)
		}
		return err
	}
}

// GuaranteedUpdate implements storage.Interface.
func (r *Resource) GuaranteedUpdate(_ context.Context, key string, out runtime.Object, ignoreNotFound bool, before *storage.Preconditions, update storage.UpdateFunc, _ runtime.Object) error {
	id, err := r.id(key)
	if err != nil {
		return err
	}
	for {
		old, ok := r.store.Get(id)
		if !ok && !ignoreNotFound {
			return storage.NewKeyNotFoundError(key, 0)
		}
		work := r.kind()
		if ok {
			work = old.DeepCopyObject()
		}
		if err := before.Check(key, work); err != nil {
			return err
		}
		version, err := r.versions.ObjectResourceVersion(work)
		if err != nil {
			return fmt.Errorf("cannot read version of %s: %w", key, err)
		}
		wanted, _, err := update(work, storage.ResponseMeta{ResourceVersion: version})
		if err != nil {
			return err
		}
		done, err := r.replace(id, old, ok, wanted)
		if errors.Is(err, objects.ErrConflict) || errors.Is(err, objects.ErrExists) || errors.Is(err, objects.ErrNotFound) {
			continue
		}
		if err == nil {
			put(out, done)
		}
		return err
	}
}

// replace keeps wanted in the place of old, which exists or not, and returns what is kept. What changes nothing is not written.
func (r *Resource) replace(id objects.ID, old runtime.Object, exists bool, wanted runtime.Object) (runtime.Object, error) {
	kept, err := r.settled(wanted)
	if err != nil {
		return nil, err
	}
	if !exists {
		return kept, r.store.Create(id, kept)
	}
	m, err := meta.Accessor(old)
	if err != nil {
		return nil, err
	}
	// With the old version set, equal means equal in all that is kept.
	version, err := strconv.ParseUint(m.GetResourceVersion(), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("cannot read version of %s: %w", id.Name, err)
	}
	if err := r.versions.UpdateObject(kept, version); err != nil {
		return nil, err
	}
	if equality.Semantic.DeepEqual(kept, old) {
		return old, nil
	}
	return kept, r.store.Update(id, old, kept)
}

// atLeast refuses what is newer than all there is.
func (r *Resource) atLeast(version string) error {
	wanted, err := r.parse(version)
	if err != nil {
		return err
	}
	if now := r.store.Version(); wanted > now {
		return storage.NewTooLargeResourceVersionError(wanted, now, 1)
	}
	return nil
}

// parse reads a version that a client gave.
func (r *Resource) parse(version string) (uint64, error) {
	v, err := r.versions.ParseResourceVersion(version)
	if err != nil {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", err))
	}
	return v, nil
}

// Stats implements storage.Interface.
func (r *Resource) Stats(context.Context) (storage.Stats, error) {
	list, _ := r.store.List(r.resource, "")
	return storage.Stats{ObjectCount: int64(len(list))}, nil
}

// ReadinessCheck implements storage.Interface: an open store is ready.
func (r *Resource) ReadinessCheck() error { return nil }

// RequestWatchProgress implements storage.Interface: our watches are never behind.
func (r *Resource) RequestWatchProgress(context.Context) error { return nil }

// GetCurrentResourceVersion implements storage.Interface.
func (r *Resource) GetCurrentResourceVersion(context.Context) (uint64, error) {
	return r.store.Version(), nil
}

// EnableResourceSizeEstimation implements storage.Interface: nobody asks.
func (r *Resource) EnableResourceSizeEstimation(storage.KeysFunc) error { return nil }

// CompactRevision implements storage.Interface.
func (r *Resource) CompactRevision() int64 { return 0 }

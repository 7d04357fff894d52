package stored

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
)

// snapshots is how many lists that clients read page by page are kept.
const snapshots = 16

// What Kubernetes says when an older state is asked for that is not kept any more.
const (
	listExpired     = "The resourceVersion for the provided list is too old."
	continueExpired = "The provided continue parameter is too old to display a consistent list result. You can start a new list without " +
		"the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the " +
		"provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk " +
		"was returned and now may show up in the list."
)

// page is a whole list as it was at a version.
type page struct {
	namespace string
	version   uint64
	list      []runtime.Object
}

// pages keeps the newest lists that were cut by a limit, so that their next pages show the same state.
type pages struct {
	mu   sync.Mutex
	kept []page
}

func (p *pages) keep(one page) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.ContainsFunc(p.kept, func(k page) bool { return k.namespace == one.namespace && k.version == one.version }) {
		return
	}
	p.kept = append(p.kept[max(0, len(p.kept)-snapshots+1):], one)
}

func (p *pages) find(namespace string, version uint64) (page, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.kept, func(k page) bool { return k.namespace == namespace && k.version == version })
	if i < 0 {
		return page{}, false
	}
	return p.kept[i], true
}

// GetList implements storage.Interface.
func (r *Resource) GetList(_ context.Context, key string, o storage.ListOptions, out runtime.Object) error {
	if o.Recursive && !strings.HasSuffix(key, "/") {
		key += "/"
	}
	at, from, err := storage.ValidateListOptions(key, r.versions, o)
	if err != nil {
		return err
	}
	whole, err := r.whole(key, o, at, from)
	if err != nil {
		return err
	}
	items, err := itemsOf(out)
	if err != nil {
		return err
	}
	rest := whole.list
	if from != "" {
		// A continuation's key is the last one's and a zero byte.
		i, _ := slices.BinarySearchFunc(rest, from, func(obj runtime.Object, from string) int { return strings.Compare(r.keyOf(obj), from) })
		rest = rest[i:]
	}
	next, left, err := r.fill(items, rest, o)
	if err != nil {
		return err
	}
	token, remaining, err := r.more(key, next, int64(whole.version), left, o)
	if err != nil {
		return err
	}
	if token != "" {
		r.pages.keep(whole)
	}
	if items.IsNil() {
		items.Set(reflect.MakeSlice(items.Type(), 0, 0))
	}
	return r.versions.UpdateList(out, whole.version, token, remaining)
}

// whole is the list, before selection, at the state that is asked for: the newest, or the one at a version.
func (r *Resource) whole(key string, o storage.ListOptions, at int64, from string) (page, error) {
	if !o.Recursive {
		id, err := r.id(key)
		if err != nil {
			return page{}, err
		}
		one := page{version: r.store.Version()}
		if obj, ok := r.store.Get(id); ok {
			one.list = append(one.list, obj)
		}
		return one, r.atLeast(o.ResourceVersion)
	}
	namespace := strings.Trim(strings.TrimPrefix(key, r.prefix), "/")
	now := page{namespace: namespace}
	now.list, now.version = r.store.List(r.resource, namespace)
	if !slices.IsSortedFunc(now.list, byKey) {
		slices.SortFunc(now.list, byKey)
	}
	if at <= 0 || uint64(at) == now.version {
		if at == 0 {
			return now, r.atLeast(o.ResourceVersion)
		}
		return now, nil
	}
	if uint64(at) > now.version {
		return page{}, storage.NewTooLargeResourceVersionError(uint64(at), now.version, 1)
	}
	if then, ok := r.pages.find(namespace, uint64(at)); ok {
		return then, nil
	}
	switch {
	case from != "":
		token, err := storage.EncodeContinue(from, key, -1)
		if err != nil {
			return page{}, err
		}
		gone := apierrors.NewResourceExpired(continueExpired)
		gone.ErrStatus.Continue = token
		return page{}, gone
	case o.ResourceVersionMatch == metav1.ResourceVersionMatchExact:
		return page{}, apierrors.NewResourceExpired(listExpired)
	}
	return now, nil
}

// byKey is the order of keys, which is not that of namespaces: a-b/x comes before a/x.
func byKey(a, b runtime.Object) int {
	x, errX := meta.Accessor(a)
	y, errY := meta.Accessor(b)
	if errX != nil || errY != nil {
		return 0
	}
	if x.GetNamespace() == y.GetNamespace() {
		return strings.Compare(x.GetName(), y.GetName())
	}
	return strings.Compare(x.GetNamespace()+"/", y.GetNamespace()+"/")
}

// itemsOf is the slice of items of a list.
func itemsOf(list runtime.Object) (reflect.Value, error) {
	ptr, err := meta.GetItemsPtr(list)
	if err != nil {
		return reflect.Value{}, err
	}
	v, err := conversion.EnforcePtr(ptr)
	if err != nil || v.Kind() != reflect.Slice {
		return reflect.Value{}, fmt.Errorf("cannot fill list %T: its items are no slice", list)
	}
	return v, nil
}

// fill appends what matches to items, up to the limit. It returns the last one looked at, or nil when nothing is left, and how many are left.
func (r *Resource) fill(items reflect.Value, list []runtime.Object, o storage.ListOptions) (last runtime.Object, left int, err error) {
	size := len(list)
	if limit := o.Predicate.Limit; limit > 0 {
		size = int(min(int64(size), limit))
	}
	if o.Predicate.Empty() {
		items.Grow(size)
	}
	for i, obj := range list {
		matches, err := o.Predicate.Matches(obj)
		if err != nil {
			return nil, 0, err
		}
		if !matches {
			continue
		}
		items.Set(reflect.Append(items, reflect.ValueOf(obj).Elem()))
		if o.Predicate.Limit > 0 && int64(items.Len()) >= o.Predicate.Limit && i+1 < len(list) {
			return obj, len(list) - i - 1, nil
		}
	}
	return nil, 0, nil
}

// more is the token that continues after last, and how many remain where that can be told.
func (r *Resource) more(key string, last runtime.Object, version int64, left int, o storage.ListOptions) (string, *int64, error) {
	if last == nil {
		return "", nil, nil
	}
	return storage.PrepareContinueToken(r.keyOf(last), key, version, int64(left)+o.Predicate.Limit, true, o)
}

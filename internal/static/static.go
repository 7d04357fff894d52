// Package static keeps the objects of folders of manifests in the API: what a file says is there as long as the file is.
//
// Words: a file is one manifest, of one or many objects. Its objects carry its path as an annotation and that path's hash as a
// label, so that they are found again when the program starts anew. A Pod is named after its node too and carries kubelet's
// annotations of a static Pod; one that somebody deletes comes back. All else is applied by server-side apply.
//
// A file that cannot be understood takes nothing away: what its last good text gave stays, one line of log and one Event say
// what is wrong, and nothing more is said until it changes.
package static

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// manager is who writes these objects, as managed fields and events show it.
const manager = "tripod-manifests"

// Waits before what did not work is tried again.
const (
	firstWait = 500 * time.Millisecond
	lastWait  = 30 * time.Second
)

// Config says which folders are kept, and where.
type Config struct {
	Dirs   []string
	Node   string // its name
	Client func(userAgent string) *rest.Config
	Log    *slog.Logger
}

// keeper is the loop over all files. Only Run's goroutine touches it.
type keeper struct {
	Config
	objects dynamic.Interface
	events  kubernetes.Interface
	files   map[string]*file // by path
	gone    chan string      // paths whose Pod somebody deleted
	minding bool             // Pods are watched
}

// file is what is known of one file.
type file struct {
	text  string // of the last try
	said  string // the last complaint
	wait  time.Duration
	again time.Time // when to try again; zero for not before it changes
}

// Run keeps the folders until ctx is done.
func Run(ctx context.Context, c Config) error {
	k := &keeper{Config: c, files: map[string]*file{}, gone: make(chan string, 64)}
	access := rest.CopyConfig(c.Client(manager))
	var err error
	if k.events, err = kubernetes.NewForConfig(access); err != nil {
		return fmt.Errorf("cannot keep manifests: %w", err)
	}
	access.ContentType, access.AcceptContentTypes = "application/json", "application/json"
	if k.objects, err = dynamic.NewForConfig(access); err != nil {
		return fmt.Errorf("cannot keep manifests: %w", err)
	}
	watch, err := watchFolders(ctx, c.Dirs)
	if err != nil {
		return err
	}
	k.all(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case path, open := <-watch:
			switch {
			case !open:
				<-ctx.Done()
			case path == "":
				k.all(ctx)
			default:
				k.one(ctx, path)
			}
		case path := <-k.gone:
			if f := k.files[path]; f != nil {
				f.text = ""
				k.one(ctx, path)
			}
		case <-k.next():
			for path, f := range k.files {
				if !f.again.IsZero() && !time.Now().Before(f.again) {
					k.one(ctx, path)
				}
			}
		}
	}
}

// next tells when a file is to be tried again; never when none is.
func (k *keeper) next() <-chan time.Time {
	var first time.Time
	for _, f := range k.files {
		if !f.again.IsZero() && (first.IsZero() || f.again.Before(first)) {
			first = f.again
		}
	}
	if first.IsZero() {
		return nil
	}
	return time.After(time.Until(first))
}

// all looks at every file that is there, was there, or has left objects behind.
func (k *keeper) all(ctx context.Context) {
	paths := map[string]bool{}
	for _, dir := range k.Dirs {
		names, err := manifests(dir)
		if err != nil {
			k.Log.Warn("cannot read folder of manifests", "dir", dir, "error", err)
			return // what is there cannot be told from what is gone
		}
		for _, path := range names {
			paths[path] = true
		}
	}
	for path := range k.files {
		paths[path] = true
	}
	left, err := k.owners(ctx)
	if err != nil {
		k.Log.Warn("cannot list objects of manifests", "error", err)
	}
	for path := range left {
		paths[path] = true
	}
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		k.one(ctx, path)
	}
}

// one brings the API to what one file says.
func (k *keeper) one(ctx context.Context, path string) {
	f := k.files[path]
	if f == nil {
		f = &file{}
		k.files[path] = f
	}
	text, err := read(path)
	if err == nil && text != nil && string(text) == f.text && f.again.IsZero() {
		return
	}
	switch {
	case err != nil:
		k.fail(ctx, path, f, err, false)
	case text == nil:
		if err := k.prune(ctx, path, nil); err != nil {
			k.fail(ctx, path, f, err, true)
			return
		}
		k.Log.Info("manifest is gone", "file", path)
		delete(k.files, path)
	default:
		f.text = string(text)
		objects, err := decode(path, text, k.Node)
		if err != nil {
			k.fail(ctx, path, f, err, false)
			return
		}
		if err := k.apply(ctx, path, objects); err != nil {
			k.fail(ctx, path, f, err, true)
			return
		}
		k.Log.Info("manifest applied", "file", path, "objects", len(objects))
		f.said, f.wait, f.again = "", 0, time.Time{}
	}
}

// fail says once what is wrong with a file, and when it is worth it, tries again later.
func (k *keeper) fail(ctx context.Context, path string, f *file, err error, retry bool) {
	f.again = time.Time{}
	if retry {
		f.wait = min(max(2*f.wait, firstWait), lastWait)
		f.again = time.Now().Add(f.wait)
	}
	if errors.Is(err, errLeaving) || ctx.Err() != nil || err.Error() == f.said {
		return
	}
	f.said = err.Error()
	k.Log.Warn("cannot use manifest", "file", path, "error", err)
	now := metav1.Now()
	_, err = k.events.CoreV1().Events(metav1.NamespaceDefault).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: "manifest-", Namespace: metav1.NamespaceDefault},
		InvolvedObject: corev1.ObjectReference{Kind: "Node", Name: k.Node, UID: types.UID(k.Node), APIVersion: "v1"},
		Type:           corev1.EventTypeWarning, Reason: "BadManifest", Message: shorten(path + ": " + f.said),
		Source: corev1.EventSource{Component: manager, Host: k.Node}, FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	if err != nil {
		k.Log.Warn("cannot write event", "error", err)
	}
}

// shorten keeps an event's message within what the API takes.
func shorten(s string) string { return s[:min(len(s), 1024)] }

// mind watches the Pods of manifests, so that one that is deleted comes back.
func (k *keeper) mind(ctx context.Context) {
	if k.minding {
		return
	}
	k.minding = true
	pods := informers.NewSharedInformerFactoryWithOptions(k.events, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.LabelSelector = Label
	}))
	_, err := pods.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: func(o any) {
		if late, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = late.Obj
		}
		if p, ok := o.(*corev1.Pod); ok {
			select {
			case k.gone <- p.Annotations[Annotation]:
			case <-ctx.Done():
			}
		}
	}})
	if err != nil {
		k.Log.Warn("cannot watch Pods of manifests", "error", err)
	}
	pods.StartWithContext(ctx)
}

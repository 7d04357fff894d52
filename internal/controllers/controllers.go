// Package controllers runs Kubernetes' own controllers in this process.
//
// Each is started when the first object that it has work with is there, so that a host with a few Pods pays for nothing
// else. All share one set of informers, which speak protobuf to the API server over a connection inside the process. Nothing
// is asked again by a clock: without changes a controller sleeps.
//
// Words: a loop is one controller as this package knows it: its name, what wakes it, and how it is made.
//
// It decides nothing itself; what a Deployment means is Kubernetes' code. Do not use it for what the node does.
package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"tripod/internal/objects"
)

// userAgent names all controllers: managed fields show it, as those of a cluster name the program that runs its controllers.
const userAgent = "kube-controller-manager"

// Config is what controllers are given.
type Config struct {
	Client func(userAgent string) *rest.Config // a client of the API
	Store  *objects.Store                      // where a kind's first object is seen
	Log    *slog.Logger
}

// Controllers are the loops: those that run, and those that wait for their first object.
type Controllers struct {
	config   Config
	access   *rest.Config
	client   kubernetes.Interface
	metadata metadata.Interface
	typed    informers.SharedInformerFactory
	slim     metadatainformer.SharedInformerFactory
	mapper   meta.ResettableRESTMapper

	mu    sync.Mutex // one loop is made at a time: they add to the same informers
	awake []string
}

// New connects controllers. Nothing runs yet.
func New(c Config) (*Controllers, error) {
	access := c.Client(userAgent)
	client, err := kubernetes.NewForConfig(access)
	if err != nil {
		return nil, fmt.Errorf("cannot connect controllers: %w", err)
	}
	slim, err := metadata.NewForConfig(access)
	if err != nil {
		return nil, fmt.Errorf("cannot connect controllers: %w", err)
	}
	return &Controllers{
		config: c, access: access, client: client, metadata: slim,
		// Managed fields are half of many an object, and no controller reads them.
		typed:  informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trim)),
		slim:   metadatainformer.NewSharedInformerFactoryWithOptions(slim, 0, metadatainformer.WithTransform(trim)),
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery())),
	}, nil
}

func trim(o any) (any, error) {
	if a, err := meta.Accessor(o); err == nil && a.GetManagedFields() != nil {
		a.SetManagedFields(nil)
	}
	return o, nil
}

// Run waits for each loop's first object and runs the loop from then on. It returns when ctx is done and all have ended.
func (c *Controllers) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, l := range loops() {
		running.Go(func() {
			if !c.await(ctx, l) {
				return
			}
			run, err := c.wake(ctx, l)
			if err != nil {
				c.config.Log.Error("controller stays out", "controller", l.name, "error", err)
				return
			}
			run(ctx)
		})
	}
	running.Wait()
	c.typed.Shutdown()
	c.slim.Shutdown()
	return nil
}

// wake makes a loop and starts the informers that it reads.
func (c *Controllers) wake(ctx context.Context, l loop) (func(context.Context), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	run, err := l.make(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("cannot start controller %s: %w", l.name, err)
	}
	c.typed.StartWithContext(ctx)
	c.slim.Start(ctx.Done())
	c.awake = append(c.awake, l.name)
	c.config.Log.Debug("controller started", "controller", l.name)
	return run, nil
}

// Awake are the names of the loops that run, sorted.
func (c *Controllers) Awake() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(slices.Values(c.awake))
}

// All are the names of all loops.
func All() []string {
	var names []string
	for _, l := range loops() {
		names = append(names, l.name)
	}
	return names
}

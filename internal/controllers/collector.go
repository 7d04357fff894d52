package controllers

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
)

const (
	// discoverAgain is when the collector asks anew which kinds there are. They do not change while the program runs.
	discoverAgain = 24 * time.Hour
	// collectAnyway is how long the collector waits for kinds that cannot be listed.
	collectAnyway = 30 * time.Second
	collectors    = 5
)

// wholly are the kinds that other controllers read as a whole, and the collector with them. Of all others it needs who owns
// whom alone, and a ConfigMap's data are not kept twice for that.
var wholly = map[schema.GroupResource]bool{
	{Resource: "pods"}:                                      true,
	{Resource: "nodes"}:                                     true,
	{Resource: "services"}:                                  true,
	{Resource: "namespaces"}:                                true,
	{Resource: "serviceaccounts"}:                           true,
	{Group: "apps", Resource: "replicasets"}:                true,
	{Group: "apps", Resource: "deployments"}:                true,
	{Group: "discovery.k8s.io", Resource: "endpointslices"}: true,
}

// informed gives the collector the informers of a kind.
type informed struct{ c *Controllers }

func (i informed) ForResource(r schema.GroupVersionResource) (informers.GenericInformer, error) {
	if wholly[r.GroupResource()] {
		return i.c.typed.ForResource(r)
	}
	return i.c.slim.ForResource(r), nil
}

func (i informed) Start(stop <-chan struct{}) {
	i.c.typed.Start(stop)
	i.c.slim.Start(stop)
}

func makeCollector(ctx context.Context, c *Controllers) (func(context.Context), error) {
	started := make(chan struct{})
	g, err := garbagecollector.NewGarbageCollector(ctx, c.client, c.metadata, c.mapper, garbagecollector.DefaultIgnoredResources(), informed{c}, started)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		close(started) // wake has started what there is; the collector starts what it adds
		var both sync.WaitGroup
		both.Go(func() { g.Sync(ctx, c.client.Discovery(), discoverAgain) })
		both.Go(func() { g.Run(ctx, collectors, collectAnyway) })
		both.Wait()
	}, nil
}

// Package kinds makes the storage of every kind that is served: Kubernetes' own registries, with their strategies, validation,
// defaults, printers and subresources, over our store.
package kinds

import (
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	policyclient "k8s.io/client-go/kubernetes/typed/policy/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
	"k8s.io/kubernetes/pkg/registry/core/service/portallocator"
	"k8s.io/kubernetes/pkg/serviceaccount"

	"tripod/internal/api/pods"
	"tripod/internal/api/stored"
	"tripod/internal/objects"
)

// EventLifetime is how long an event is kept after it was last seen, as with Kubernetes.
const EventLifetime = time.Hour

// maxToken is the longest that a token may live.
const maxToken = 365 * 24 * time.Hour

// Audience is whom tokens are for, and who makes them.
const Audience = "https://kubernetes.default.svc.cluster.local"

// Config is what storages are made of.
type Config struct {
	Store      *objects.Store
	Node       func() pods.Node
	Authorizer interface {
		authorizer.UnconditionalAuthorizer
		authorizer.Authorizer
		authorizer.RuleResolver
	}
	Budgets   policyclient.PodDisruptionBudgetsGetter
	Addresses ipallocator.Interface
	Ports     portallocator.Interface
	Tokens    serviceaccount.TokenGenerator
}

// Group is a version of a group, and what it serves by RESOURCE or RESOURCE/SUBRESOURCE.
type Group struct {
	schema.GroupVersion
	Storage map[string]rest.Storage
	// Scheme knows the group's kinds; nil is Kubernetes' own.
	Scheme *runtime.Scheme
}

// All are the groups that are served, the preferred version of a group first.
func All(c Config) ([]Group, error) {
	b := &builder{Config: c, options: options{c.Store, stored.KubernetesCodec()}}
	scaling := b.autoscaling()
	groups := []Group{
		group("", "v1", b.core()),
		group("apps", "v1", b.apps()),
		group("events.k8s.io", "v1", b.events()),
		group("authentication.k8s.io", "v1", b.authentication()),
		group("authorization.k8s.io", "v1", b.authorization()),
		group("autoscaling", "v2", scaling),
		group("autoscaling", "v1", scaling),
		group("batch", "v1", b.batch()),
		group("policy", "v1", b.policy()),
		group("coordination.k8s.io", "v1", b.coordination()),
		group("discovery.k8s.io", "v1", b.discovery()),
		b.metrics(),
	}
	return groups, b.err
}

func group(name, version string, storage map[string]rest.Storage) Group {
	return Group{GroupVersion: schema.GroupVersion{Group: name, Version: version}, Storage: storage}
}

// builder makes storages, and keeps the first thing that goes wrong.
type builder struct {
	Config
	options options
	err     error
}

// check keeps an error and says that there is none.
func (b *builder) check(err error) bool {
	if b.err == nil {
		b.err = err
	}
	return err == nil
}

// options tells Kubernetes' registries where objects are kept.
type options struct {
	store *objects.Store
	codec runtime.Codec
}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (o options) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	config := &storagebackend.ConfigForResource{GroupResource: resource}
	config.Codec = o.codec
	config.EncodeVersioner = stored.Versions
	return generic.RESTOptions{
		StorageConfig:           config,
		Decorator:               o.storage,
		EnableGarbageCollection: true,
		DeleteCollectionWorkers: 1,
		ResourcePrefix:          resource.String(),
	}, nil
}

func (o options) storage(c *storagebackend.ConfigForResource, prefix string, _ func(runtime.Object) (string, error), kind, _ func() runtime.Object, _ storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
	return stored.New(o.store, c.GroupResource, prefix, kind), func() {}, nil
}

package controllers

import (
	"context"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/kubernetes/pkg/apis/core"
)

// waker is what wakes a loop: the first object of a kind that is work for it. Without a kind it is awake from the start.
type waker struct {
	kind schema.GroupResource
	work func(runtime.Object) bool // nil: any object is
}

// on is a waker by any object of a kind.
func on(group, resource string) waker {
	return waker{kind: schema.GroupResource{Group: group, Resource: resource}}
}

func (w waker) wakes(o runtime.Object) bool { return w.work == nil || w.work(o) }

// await returns when the loop has work, or false when ctx is done before.
func (c *Controllers) await(ctx context.Context, l loop) bool {
	if l.waker.kind.Empty() {
		return ctx.Err() == nil
	}
	for ctx.Err() == nil {
		list, _, seen := c.config.Store.WatchFrom(l.waker.kind)
		found, over := slices.ContainsFunc(list, l.waker.wakes), false
		for !found && !over {
			select {
			case <-ctx.Done():
				seen.Stop()
				return false
			case change, open := <-seen.C:
				over = !open // too slow: look at all anew
				found = open && change.Type != watch.Deleted && l.waker.wakes(change.Object)
			}
		}
		seen.Stop()
		if found {
			return true
		}
	}
	return false
}

// selects is a Service whose Pods somebody must find; one without a selector gets its endpoints by hand.
func selects(o runtime.Object) bool {
	service, ok := o.(*core.Service)
	return ok && len(service.Spec.Selector) > 0
}

// byHand are Endpoints that no controller writes.
func byHand(o runtime.Object) bool {
	a, err := meta.Accessor(o)
	return err == nil && a.GetLabels()[discoveryv1.LabelSkipMirror] != "true"
}

// leaving is an object that is to be deleted once its finalizers are done.
func leaving(o runtime.Object) bool {
	a, err := meta.Accessor(o)
	return err == nil && a.GetDeletionTimestamp() != nil
}

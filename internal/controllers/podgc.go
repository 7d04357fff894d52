package controllers

import (
	"cmp"
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	podconditions "k8s.io/kubernetes/pkg/api/v1/pod"
)

// The Pod collector is written anew here, by the rules of Kubernetes' own: that one links kubelet and all of cAdvisor for one
// comparison, and looks at every Pod every 20 seconds.

// quarantine is how long the Pods of a node that is not there are left: it may be about to come.
const quarantine = 40 * time.Second

// condemned is a Pod that nobody will end.
type condemned struct {
	pod    *corev1.Pod
	orphan bool // of a node that is gone: it may still say that it runs
}

// condemn decides which Pods are to go: finished ones beyond keep, oldest first; those that are to be deleted and were never
// bound; those of nodes that are neither there nor young.
func condemn(pods []*corev1.Pod, node func(string) bool, keep int) []condemned {
	var out []condemned
	var finished []*corev1.Pod
	for _, p := range pods {
		over := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		switch {
		case p.Spec.NodeName == "" && p.DeletionTimestamp != nil:
			out = append(out, condemned{pod: p})
		case p.Spec.NodeName != "" && !node(p.Spec.NodeName):
			out = append(out, condemned{pod: p, orphan: true})
		case over && p.DeletionTimestamp == nil:
			finished = append(finished, p)
		}
	}
	slices.SortFunc(finished, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, p := range finished[:max(0, len(finished)-keep)] {
		out = append(out, condemned{pod: p})
	}
	return out
}

func makePodGC(_ context.Context, c *Controllers) (func(context.Context), error) {
	core := c.typed.Core().V1()
	queue := workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[string]{Name: "podgc"})
	// One key: whatever changed, all Pods are looked at, once for all that changes meanwhile.
	look := func(after time.Duration) { queue.AddAfter("pods", after) }
	suspect := func(o any) {
		p, ok := o.(*corev1.Pod)
		if !ok {
			return
		}
		if _, err := core.Nodes().Lister().Get(p.Spec.NodeName); p.Spec.NodeName != "" && err != nil {
			look(quarantine)
		} else if p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			look(time.Second)
		}
	}
	_, err := core.Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: suspect, UpdateFunc: func(_, now any) { suspect(now) },
	})
	if err != nil {
		return nil, err
	}
	_, err = core.Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: func(any) { look(quarantine) }})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		context.AfterFunc(ctx, queue.ShutDown)
		if !cache.WaitForCacheSync(ctx.Done(), core.Pods().Informer().HasSynced, core.Nodes().Informer().HasSynced) {
			return
		}
		for {
			key, over := queue.Get()
			if over {
				return
			}
			if !c.collectPods(ctx) {
				look(quarantine)
			}
			queue.Done(key)
		}
	}, nil
}

// collectPods deletes the condemned, and says whether all are gone.
func (c *Controllers) collectPods(ctx context.Context) bool {
	pods, err := c.typed.Core().V1().Pods().Lister().List(labels.Everything())
	if err != nil {
		return false
	}
	nodes := map[string]bool{}
	// The API is asked, not the cache: a Pod must not go because a node came a moment ago.
	list, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return false
	}
	for _, n := range list.Items {
		nodes[n.Name] = true
	}
	done := true
	for _, d := range condemn(pods, func(name string) bool { return nodes[name] }, terminatedPods) {
		if err := c.end(ctx, d); err != nil && !apierrors.IsNotFound(err) {
			c.config.Log.Warn("cannot collect Pod", "namespace", d.pod.Namespace, "pod", d.pod.Name, "error", err)
			done = false
		}
	}
	return done
}

// end deletes a condemned Pod at once; what owns it sees a failed one go.
func (c *Controllers) end(ctx context.Context, d condemned) error {
	pods := c.client.CoreV1().Pods(d.pod.Namespace)
	if over := d.pod.Status.Phase == corev1.PodSucceeded || d.pod.Status.Phase == corev1.PodFailed; !over {
		failed := d.pod.DeepCopy()
		failed.Status.Phase = corev1.PodFailed
		if d.orphan {
			podconditions.UpdatePodCondition(&failed.Status, &corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
				Reason: "DeletionByPodGC", Message: "PodGC: node no longer exists",
			})
		}
		if _, err := pods.UpdateStatus(ctx, failed, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	now := int64(0)
	return pods.Delete(ctx, d.pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &d.pod.UID}})
}

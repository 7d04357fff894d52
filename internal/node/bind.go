package node

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	schedulingcorev1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	kubetypes "k8s.io/kubernetes/pkg/kubelet/types"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/helper"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeunschedulable"
	utilpod "k8s.io/kubernetes/pkg/util/pod"
)

// bindAgain is when a binding that failed is tried again.
const bindAgain = time.Second

// binder gives Pods that have no node this one, as far as it has room. It has counted a Pod before its binding is asked for,
// so that many can be asked for at once.
type binder struct {
	n     *Node
	slots chan struct{}

	mu      sync.Mutex
	node    *corev1.Node
	info    *framework.NodeInfo
	counted map[types.UID]*corev1.Pod // what info counts
	ours    map[types.UID]bool        // that were bound by us and so have been checked
	waiting map[types.UID]*corev1.Pod // for which there is no room
	looking bool                      // a goroutine tries those that wait
	again   bool                      // it is to try once more
}

func newBinder(n *Node) *binder {
	return &binder{
		n: n, slots: make(chan struct{}, bindsAtOnce), info: framework.NewNodeInfo(),
		counted: map[types.UID]*corev1.Pod{}, ours: map[types.UID]bool{}, waiting: map[types.UID]*corev1.Pod{},
	}
}

// setNode takes the Node as it is now: labels and taints may let in Pods that wait.
func (b *binder) setNode(node *corev1.Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.node = node
	b.info.SetNode(node)
	b.retry(context.Background())
}

// heard takes note of a Pod.
func (b *binder) heard(ctx context.Context, pod *corev1.Pod) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case pod.Spec.NodeName == b.n.Name && !ended(pod):
		delete(b.waiting, pod.UID)
		b.count(pod)
	case pod.Spec.NodeName != "" || ended(pod):
		b.discount(ctx, pod.UID)
	case b.counted[pod.UID] == nil && schedulable(pod):
		b.try(ctx, pod)
	}
}

// schedulable says whether a Pod wants a node from us.
func schedulable(pod *corev1.Pod) bool {
	name := pod.Spec.SchedulerName
	return pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0 && (name == "" || name == corev1.DefaultSchedulerName)
}

// gone forgets a Pod.
func (b *binder) gone(pod *corev1.Pod) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.discount(context.Background(), pod.UID)
}

func (b *binder) count(pod *corev1.Pod) {
	if b.counted[pod.UID] == nil {
		b.counted[pod.UID] = pod
		b.info.AddPod(pod)
	}
}

func (b *binder) discount(ctx context.Context, uid types.UID) {
	delete(b.waiting, uid)
	delete(b.ours, uid)
	pod := b.counted[uid]
	if pod == nil {
		return
	}
	delete(b.counted, uid)
	_ = b.info.RemovePod(klog.Logger{}, pod) // it is there
	b.retry(ctx)
}

// retry tries those that wait, on a goroutine of its own: what comes meanwhile is one try more.
func (b *binder) retry(ctx context.Context) {
	if b.again = true; b.looking || len(b.waiting) == 0 {
		return
	}
	b.looking = true
	go func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for b.again {
			b.again = false
			var all []*corev1.Pod
			for _, pod := range b.waiting {
				all = append(all, pod)
			}
			slices.SortFunc(all, func(p, q *corev1.Pod) int { return p.CreationTimestamp.Compare(q.CreationTimestamp.Time) })
			for _, pod := range all {
				b.try(ctx, pod)
			}
		}
		b.looking = false
	}()
}

// try binds a Pod, or says why not.
func (b *binder) try(ctx context.Context, pod *corev1.Pod) {
	if why := b.unfit(pod); why != nil {
		b.waiting[pod.UID] = pod
		go b.refuse(ctx, pod, why.Error())
		return
	}
	delete(b.waiting, pod.UID)
	counted := pod.DeepCopy()
	counted.Spec.NodeName = b.n.Name
	b.count(counted)
	b.ours[pod.UID] = true
	go b.bind(ctx, pod)
}

// unfit says why the node cannot have the Pod, in the words of a scheduler whose only node it is.
func (b *binder) unfit(pod *corev1.Pod) *framework.FitError {
	var reasons []string
	helps := true // to take room from others
	if b.node == nil {
		reasons, helps = append(reasons, "node(s) were not found"), false
	} else {
		if b.node.Spec.Unschedulable {
			reasons, helps = append(reasons, nodeunschedulable.ErrReasonUnschedulable), false
		} else if _, bad := schedulingcorev1.FindMatchingUntoleratedTaint(klog.Logger{}, b.node.Spec.Taints, pod.Spec.Tolerations, helper.DoNotScheduleTaintsFilterFunc(), false); bad {
			reasons, helps = append(reasons, "node(s) had untolerated taint(s)"), false
		}
		for _, r := range scheduler.AdmissionCheck(pod, b.info, true) {
			if r.InsufficientResource != nil {
				reasons, helps = append(reasons, r.InsufficientResource.Reason), helps && !r.InsufficientResource.Unresolvable
				continue
			}
			reasons, helps = append(reasons, r.Reason), false
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	all := framework.NewDefaultNodeToStatus()
	all.Set(b.n.Name, fwk.NewStatus(fwk.Unschedulable, reasons...))
	after := "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
	if helps {
		after = "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
	}
	return &framework.FitError{Pod: pod, NumAllNodes: 1, Diagnosis: framework.Diagnosis{NodeToStatus: all, PostFilterMsg: after}}
}

// refuse writes why a Pod has no node, once.
func (b *binder) refuse(ctx context.Context, pod *corev1.Pod, why string) {
	if _, c := podutil.GetPodCondition(&pod.Status, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse && c.Message == why {
		return
	}
	b.n.teller.scheduler.Event(involved(pod, ""), corev1.EventTypeWarning, "FailedScheduling", why)
	status := pod.Status.DeepCopy()
	podutil.UpdatePodCondition(status, &corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: why,
		ObservedGeneration: podutil.CalculatePodConditionObservedGeneration(&pod.Status, pod.Generation, corev1.PodScheduled),
	})
	_, _, _, err := utilpod.PatchPodStatus(ctx, b.n.Client, pod.Namespace, pod.Name, pod.UID, pod.Status, *status)
	if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		b.n.Log.Error("cannot write status", "pod", pod.Namespace+"/"+pod.Name, "error", err)
	}
}

// bind asks for the binding of a Pod that is counted.
func (b *binder) bind(ctx context.Context, pod *corev1.Pod) {
	free, err := slot(ctx, b.slots)
	if err != nil {
		return
	}
	err = b.n.Client.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: b.n.Name},
	}, metav1.CreateOptions{})
	free()
	if err == nil {
		b.n.teller.scheduler.Eventf(involved(pod, ""), corev1.EventTypeNormal, "Scheduled", "Successfully assigned %v/%v to %v", pod.Namespace, pod.Name, b.n.Name)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.discount(ctx, pod.UID)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || ctx.Err() != nil {
		return // deleted, or bound by somebody else
	}
	b.n.Log.Error("cannot bind Pod", "pod", pod.Namespace+"/"+pod.Name, "error", err)
	b.waiting[pod.UID] = pod
	time.AfterFunc(bindAgain, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.retry(ctx)
	})
}

// reject says why a Pod that somebody else has bound to this node, and that has not begun, cannot be here: kubelet's
// admission.
func (b *binder) reject(pod *corev1.Pod) *rejection {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ours[pod.UID] || pod.Status.StartTime != nil || kubetypes.IsMirrorPod(pod) || b.node == nil {
		return nil
	}
	if counted := b.counted[pod.UID]; counted != nil {
		_ = b.info.RemovePod(klog.Logger{}, counted)
		defer b.info.AddPod(counted)
	}
	all := scheduler.AdmissionCheck(pod, b.info, false)
	if len(all) == 0 {
		return nil
	}
	r := all[0]
	if i := r.InsufficientResource; i != nil {
		e := &lifecycle.InsufficientResourceError{ResourceName: i.ResourceName, Requested: i.Requested, Used: i.Used, Capacity: i.Capacity}
		return &rejection{lifecycle.InsufficientResourcePrefix + string(i.ResourceName), e.Error()}
	}
	e := &lifecycle.PredicateFailureError{PredicateName: r.Name, PredicateDesc: r.Reason}
	return &rejection{r.Name, e.Error()}
}

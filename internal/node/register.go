package node

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/apimachinery/lease"
	"k8s.io/kubernetes/pkg/kubelet/events"
	"k8s.io/utils/clock"

	"tripod/internal/image"
)

// The node's signs of life. Nothing in this process waits for them, and each is a durable write: they are as rare as the
// lease's length allows.
const (
	leaseSeconds = 240
	leaseAgain   = 60 * time.Second
	statusAgain  = 5 * time.Minute
)

// The sizes of a Node's list of images, kubelet's.
const (
	maxImages     = 50
	maxImageNames = 5
)

// kubeletVersion is the Kubernetes whose kubelet's work is done here.
const kubeletVersion = "v1.37.2"

// podInformer hears of all Pods: of this node, of none yet, and of others, which are left alone.
func podInformer(client kubernetes.Interface) cache.SharedIndexInformer {
	pods := client.CoreV1().Pods("")
	informer := cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return pods.List(ctx, o) },
		WatchFuncWithContext: pods.Watch,
	}, client), &corev1.Pod{}, 0, nil)
	// Nobody here asks who has set which field, and it is the greater part of many an object.
	_ = informer.SetTransform(func(o any) (any, error) {
		if pod, ok := o.(*corev1.Pod); ok {
			pod.ManagedFields = nil
		}
		return o, nil
	})
	return informer
}

// nodeInformer hears of this Node alone.
func nodeInformer(client kubernetes.Interface, name string) cache.SharedIndexInformer {
	nodes := client.CoreV1().Nodes()
	only := fields.OneTermEqualSelector("metadata.name", name).String()
	return cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = only
			return nodes.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = only
			return nodes.Watch(ctx, o)
		},
	}, client), &corev1.Node{}, 0, nil)
}

// register makes the Node object, or brings the one that is there up to date.
func (n *Node) register(ctx context.Context) (*corev1.Node, error) {
	nodes := n.Client.CoreV1().Nodes()
	node, err := nodes.Get(ctx, n.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.labels()}}
		node, err = nodes.Create(ctx, node, metav1.CreateOptions{})
	case err == nil:
		if next := node.DeepCopy(); adopt(next, n.labels()) {
			node, err = nodes.Update(ctx, next, metav1.UpdateOptions{})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot register node %s: %w", n.Name, err)
	}
	return n.refresh(ctx, node)
}

// adopt gives a Node the labels that it lacks; what people have added stays.
func adopt(node *corev1.Node, labels map[string]string) (changed bool) {
	for key, value := range labels {
		if node.Labels[key] != value {
			metav1.SetMetaDataLabel(&node.ObjectMeta, key, value)
			changed = true
		}
	}
	return changed
}

func (n *Node) labels() map[string]string {
	return map[string]string{
		corev1.LabelHostname:      n.Name,
		corev1.LabelOSStable:      n.facts.info.OperatingSystem,
		corev1.LabelArchStable:    n.facts.info.Architecture,
		"beta.kubernetes.io/os":   n.facts.info.OperatingSystem,
		"beta.kubernetes.io/arch": n.facts.info.Architecture,
	}
}

// refresh writes the Node's status.
func (n *Node) refresh(ctx context.Context, node *corev1.Node) (*corev1.Node, error) {
	images, err := n.engine.Store.List()
	if err != nil {
		n.Log.Error("cannot list images", "error", err)
	}
	next := node.DeepCopy()
	next.Status = n.status(node, images, disk(n.Root), time.Now())
	if apiequality.Semantic.DeepEqual(node.Status, next.Status) {
		return node, nil
	}
	written, err := n.Client.CoreV1().Nodes().UpdateStatus(ctx, next, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot write status of node %s: %w", n.Name, err)
	}
	return written, nil
}

// status is what a kubelet says of its node.
func (n *Node) status(node *corev1.Node, images []*image.Image, disk int64, now time.Time) corev1.NodeStatus {
	s := *node.Status.DeepCopy()
	s.Capacity = corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(n.facts.cpus), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(n.facts.memory, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(n.MaxPods, resource.DecimalSI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(disk, resource.BinarySI),
	}
	for size, bytes := range n.facts.hugepages {
		s.Capacity[corev1.ResourceName(corev1.ResourceHugePagesPrefix+size)] = *resource.NewQuantity(bytes, resource.BinarySI)
	}
	s.Allocatable = maps.Clone(s.Capacity)
	s.NodeInfo = n.facts.info
	s.NodeInfo.ContainerRuntimeVersion = runtimeScheme + cmp.Or(n.Version, "dev")
	s.NodeInfo.KubeletVersion = kubeletVersion
	s.Addresses = nil
	if n.facts.ip != (netip.Addr{}) {
		s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: n.facts.ip.String()})
	}
	s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: n.Name})
	s.Images = largest(images)
	s.Conditions = nodeConditions(node.Status.Conditions, now)
	return s
}

// nodeConditions are a healthy node's, with the times of those that hold already.
func nodeConditions(before []corev1.NodeCondition, now time.Time) []corev1.NodeCondition {
	at := metav1.Time{Time: now.Truncate(time.Second)}
	all := []corev1.NodeCondition{
		{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientMemory", Message: "kubelet has sufficient memory available"},
		{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasNoDiskPressure", Message: "kubelet has no disk pressure"},
		{Type: corev1.NodePIDPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientPID", Message: "kubelet has sufficient PID available"},
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"},
	}
	for i := range all {
		all[i].LastHeartbeatTime, all[i].LastTransitionTime = at, at
		for _, old := range before {
			if old.Type == all[i].Type && old.Status == all[i].Status {
				all[i].LastTransitionTime = old.LastTransitionTime
			}
		}
	}
	others := slices.DeleteFunc(slices.Clone(before), func(c corev1.NodeCondition) bool {
		return slices.ContainsFunc(all, func(own corev1.NodeCondition) bool { return own.Type == c.Type })
	})
	return append(others, all...)
}

// largest are the images that a Node lists.
func largest(images []*image.Image) []corev1.ContainerImage {
	images = slices.Clone(images)
	slices.SortStableFunc(images, func(a, b *image.Image) int { return cmp.Compare(b.Size, a.Size) })
	var all []corev1.ContainerImage
	for _, img := range images[:min(len(images), maxImages)] {
		if len(img.Names) > 0 {
			all = append(all, corev1.ContainerImage{Names: img.Names[:min(len(img.Names), maxImageNames)], SizeBytes: img.Size})
		}
	}
	return all
}

// heartbeat tells that the node lives, until ctx ends.
func (n *Node) heartbeat(ctx context.Context) {
	n.teller.onNode(events.StartingKubelet, "Starting kubelet.")
	own := func(l *coordinationv1.Lease) error {
		l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.teller.node.UID}}
		return nil
	}
	leases := lease.NewController(clock.RealClock{}, n.Client, n.Name, leaseSeconds, nil, leaseAgain, n.Name, corev1.NamespaceNodeLease, own)
	n.running.Go(func() { leases.Run(ctx) })
	ticker := time.NewTicker(statusAgain)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		node, err := n.Client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err == nil {
			_, err = n.refresh(ctx, node)
		} else if apierrors.IsNotFound(err) { // somebody has deleted it: a node that lives registers again
			_, err = n.register(ctx)
		}
		if err != nil && ctx.Err() == nil {
			n.Log.Error(err.Error())
		}
	}
}

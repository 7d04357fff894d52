package node

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubetypes "k8s.io/kubernetes/pkg/kubelet/types"

	"tripod/internal/sandbox"
)

// sourceRun is the config.source of Pods that `tripod run -d` has started; those of an API have kubetypes.ApiserverSource.
const sourceRun = "run"

// appearAgain is when an object that could not be made is tried again.
const appearAgain = 5 * time.Second

// hostUID is the UID that a Pod has on this host: its own, or for the object of a Pod of `tripod run`, that one's.
func hostUID(pod *corev1.Pod) (uid types.UID, mirror bool) {
	if pod.Annotations[kubetypes.ConfigSourceAnnotationKey] == sourceRun && kubetypes.IsMirrorPod(pod) {
		return types.UID(pod.Annotations[kubetypes.ConfigMirrorAnnotationKey]), true
	}
	return pod.UID, false
}

// ofAPI says whether a Pod on this host was made for an object of the API.
func ofAPI(box *sandbox.Sandbox) bool {
	return box.Pod.Annotations[kubetypes.ConfigSourceAnnotationKey] == kubetypes.ApiserverSource
}

// mirrorOf is the object by which a Pod of `tripod run` appears in the API.
func mirrorOf(pod *corev1.Pod, node string) *corev1.Pod {
	m := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, Labels: pod.Labels, Annotations: map[string]string{}},
		Spec:       *pod.Spec.DeepCopy(),
	}
	for key, value := range pod.Annotations {
		if key != sandbox.AnnotationRemove {
			m.Annotations[key] = value
		}
	}
	m.Annotations[kubetypes.ConfigSourceAnnotationKey] = sourceRun
	m.Annotations[kubetypes.ConfigMirrorAnnotationKey] = string(pod.UID)
	m.Annotations[kubetypes.ConfigHashAnnotationKey] = string(pod.UID)
	m.Spec.NodeName = node
	return m
}

// appear makes the object of a Pod of `tripod run`, and its namespace where there is none. The result is when to try again.
func (w *worker) appear(ctx context.Context) time.Duration {
	if w.box == nil { // it was removed before it had an object
		w.lose(&corev1.Pod{})
		return forever
	}
	if _, err := os.Lstat(w.box.Dir()); errors.Is(err, fs.ErrNotExist) {
		w.drop()
		return time.Millisecond
	}
	pods := w.n.Client.CoreV1().Pods(w.box.Pod.Namespace)
	made, err := pods.Create(ctx, mirrorOf(w.box.Pod, w.n.Name), metav1.CreateOptions{})
	if apierrors.IsNotFound(err) {
		space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.box.Pod.Namespace}}
		if _, err = w.n.Client.CoreV1().Namespaces().Create(ctx, space, metav1.CreateOptions{}); err == nil {
			made, err = pods.Create(ctx, mirrorOf(w.box.Pod, w.n.Name), metav1.CreateOptions{})
		}
	}
	if err != nil {
		w.n.Log.Warn("a Pod of tripod run is not in the API", "pod", w.box.String(), "error", err)
		return appearAgain
	}
	w.update(made)
	return forever
}

// takeStock looks at every Pod on this host when all objects are known: what was made for an object that is gone ends.
func (n *Node) takeStock(ctx context.Context) {
	boxes, err := n.engine.Host.List()
	if err != nil {
		n.Log.Error("cannot list Pods", "error", err)
	}
	for _, box := range boxes {
		if ofAPI(box) && !n.known(box.Pod.UID) {
			if w := n.worker(ctx, box.Pod.UID, false, nil); w != nil {
				w.lose(box.Pod)
			}
		}
	}
	n.lookAround(ctx)
	n.running.Go(func() { n.sweep(ctx) })
}

// sweep puts right what killed commands have left, when every Pod that is to be ruled is: what belongs to a Pod that is
// being brought back after a reboot is not swept.
func (n *Node) sweep(ctx context.Context) {
	n.mu.Lock()
	all := slices.Collect(maps.Values(n.workers))
	n.mu.Unlock()
	for _, w := range all {
		select {
		case <-w.first:
		case <-ctx.Done():
			return
		}
	}
	if err := n.engine.Sweep(ctx); err != nil {
		n.Log.Error("cannot sweep", "error", err)
	}
}

func (n *Node) known(uid types.UID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.workers[uid] != nil
}

// lookAround finds Pods that `tripod run -d` has handed over, and Pods that somebody has removed.
func (n *Node) lookAround(ctx context.Context) {
	entries, err := os.ReadDir(n.engine.Host.Pods())
	if err != nil {
		n.Log.Error("cannot list Pods", "error", err)
		return
	}
	here := make(map[types.UID]bool, len(entries))
	for _, e := range entries {
		uid := types.UID(e.Name())
		here[uid] = true
		if n.known(uid) {
			continue
		}
		if box, err := n.engine.Host.Open(uid); err == nil && !ofAPI(box) {
			n.worker(ctx, uid, true, nil)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for uid, w := range n.workers {
		if !here[uid] {
			w.rouse()
		}
	}
}

// box is a Pod on this host.
func (n *Node) box(pod *corev1.Pod) (*sandbox.Sandbox, error) {
	uid, _ := hostUID(pod)
	return n.engine.Host.Open(uid)
}

// boxes are the Pods whose workers have made or found them, with their objects.
func (n *Node) boxes() map[*sandbox.Sandbox]*corev1.Pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[*sandbox.Sandbox]*corev1.Pod{}
	for uid, w := range n.workers {
		if pod := w.object(); pod != nil && !ended(pod) {
			if box, err := n.engine.Host.Open(uid); err == nil {
				all[box] = pod
			}
		}
	}
	return all
}

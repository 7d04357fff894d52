package node

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/flowcontrol"

	"tripod/internal/life"
)

// guests begins the ephemeral containers that a running Pod was given since. The result is when to try again.
func (w *worker) guests(ctx context.Context, pod *corev1.Pod) (again time.Duration) {
	if w.view.Finished || w.killing || w.mirror {
		return 0
	}
	for _, guest := range pod.Spec.EphemeralContainers {
		known := func(c life.Container) bool { return c.Name == guest.Name }
		if slices.ContainsFunc(w.view.Life.Containers, known) {
			continue
		}
		if wait := w.guest(ctx, pod, guest); wait > 0 && (again == 0 || wait < again) {
			again = wait
		}
	}
	return again
}

// guest begins one.
func (w *worker) guest(ctx context.Context, pod *corev1.Pod, guest corev1.EphemeralContainer) (again time.Duration) {
	c := corev1.Container(guest.EphemeralContainerCommon)
	values := newValues(ctx, w.n.Client, pod.Namespace)
	services, err := values.services(links(pod))
	if err == nil {
		err = values.resolve(&c, services)
	}
	if err == nil {
		if refused := refuse(alone(pod, c)); len(refused) > 0 {
			w.waits(pod, c.Name, reasonConfig, refused[0])
			return makeAgainMost
		}
		if w.backoff == nil {
			w.backoff = flowcontrol.NewBackOff(pullAgain, pullAgainMost)
		}
		img, wait := w.image(ctx, pod, &c)
		if img == nil {
			return wait
		}
		guest.EphemeralContainerCommon = corev1.EphemeralContainerCommon(c)
		var l life.Life
		if l, err = w.n.engine.Invite(ctx, w.box, guest, img); err == nil {
			w.view.Life = l
			delete(w.view.waiting, c.Name)
			return 0
		}
	}
	w.waits(pod, c.Name, reasonConfig, err.Error())
	return w.later()
}

// alone is a Pod of one container of another, to be looked at.
func alone(pod *corev1.Pod, c corev1.Container) *corev1.Pod {
	one := &corev1.Pod{ObjectMeta: pod.ObjectMeta, Spec: *pod.Spec.DeepCopy()}
	one.Spec.InitContainers, one.Spec.EphemeralContainers, one.Spec.Containers = nil, nil, []corev1.Container{c}
	return one
}

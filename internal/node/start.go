package node

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/kubelet/events"
	kubetypes "k8s.io/kubernetes/pkg/kubelet/types"

	"tripod/internal/engine"
	"tripod/internal/keeper"
	"tripod/internal/life"
	"tripod/internal/manifest"
	"tripod/internal/sandbox"
)

// How long a Pod that could not be made waits until it is tried again, at first and at most.
const (
	makeAgain     = time.Second
	makeAgainMost = time.Minute
)

// reasonConfig is why a container waits that cannot be made as it is asked for.
const reasonConfig = "CreateContainerConfigError"

// start makes the Pod, from its images to its first container, and says when to try again if that was not possible.
func (w *worker) start(ctx context.Context, pod *corev1.Pod) time.Duration {
	making, cancel := context.WithCancel(ctx)
	defer cancel()
	w.mu.Lock()
	if w.told && w.pod.DeletionTimestamp != nil || w.gone {
		w.mu.Unlock()
		return time.Millisecond
	}
	w.abort = cancel
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.abort = nil
		w.mu.Unlock()
	}()
	if w.view.reject = w.n.binder.reject(pod); w.view.reject != nil {
		w.complain(pod, telling{warning: true, reason: w.view.reject.reason, message: w.view.reject.message})
		w.tell(ctx, pod)
		return forever
	}
	w.view.HostIP = w.n.facts.ip
	w.view.Records = recovered(pod)
	w.spoken = w.view.Records
	w.tell(ctx, pod)
	box, again := w.make(making, pod)
	if box == nil {
		if making.Err() == nil {
			w.tell(ctx, pod)
		}
		return max(again, time.Millisecond)
	}
	w.tries = 0
	clear(w.uttered)
	clear(w.view.waiting)
	w.box = box.Sandbox
	w.view.Life = box.Life
	status, err := keeper.Read(box.Dir())
	if err != nil {
		status = &keeper.Status{}
	}
	w.follows(ctx, status)
	return time.Millisecond
}

// make brings the Pod's images and makes its sandbox and containers. Without a result it has said why.
func (w *worker) make(ctx context.Context, pod *corev1.Pod) (*engine.Prepared, time.Duration) {
	clear(w.view.waiting)
	full, ok := w.furnish(ctx, pod)
	if !ok {
		return nil, w.later()
	}
	images, again, ok := w.images(ctx, full)
	if !ok {
		return nil, again
	}
	free, err := slot(ctx, w.n.starts)
	if err != nil {
		return nil, 0
	}
	defer free()
	p, err := w.n.engine.Prepare(ctx, full, images, engine.Options{OnOrphan: life.OrphanKeep, Named: true, Records: w.view.Records})
	if err == nil {
		if err = p.Begin(ctx); err != nil {
			err = errors.Join(err, w.n.engine.Remove(context.WithoutCancel(ctx), p.Sandbox, true), p.Release())
		}
	}
	if err != nil {
		if ctx.Err() == nil {
			w.failed(pod, err)
		}
		return nil, w.later()
	}
	return p, 0
}

// later is when a Pod that could not be made is tried again.
func (w *worker) later() time.Duration {
	wait := min(makeAgain<<min(w.tries, 10), makeAgainMost)
	w.tries++
	return wait
}

// failed tells why a Pod could not be made.
func (w *worker) failed(pod *corev1.Pod, err error) {
	var exists *sandbox.ExistsError
	if errors.As(err, &exists) && w.tries < 3 {
		return // the Pod of this name before it is being removed
	}
	var one *engine.MakeError
	if errors.As(err, &one) {
		w.waits(pod, one.Container, reasonConfig, one.Cause.Error())
		return
	}
	w.complain(pod, telling{warning: true, reason: events.FailedCreatePodSandBox, message: "Failed to create pod sandbox: " + err.Error()})
}

// waits says why a container does not begin, in its status and by an event.
func (w *worker) waits(pod *corev1.Pod, container, reason, message string) {
	w.view.waiting[container] = corev1.ContainerStateWaiting{Reason: reason, Message: message}
	w.complain(pod, telling{container, true, events.FailedToCreateContainer, "Error: " + message})
}

// furnish gives the Pod as the engine is to have it: with the values that ConfigMaps and Secrets hold, and nothing that only
// an API has a use for. It is false for one that cannot be made so, and that was said.
func (w *worker) furnish(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, bool) {
	full := &corev1.Pod{ObjectMeta: *pod.ObjectMeta.DeepCopy(), Spec: *pod.Spec.DeepCopy()}
	full.ManagedFields, full.Spec.EphemeralContainers = nil, nil // guests come when it runs
	metav1.SetMetaDataAnnotation(&full.ObjectMeta, kubetypes.ConfigSourceAnnotationKey, kubetypes.ApiserverSource)
	all := true
	values := newValues(ctx, w.n.Client, pod.Namespace)
	services, err := values.services(links(pod))
	if err != nil {
		w.complain(pod, telling{warning: true, reason: events.FailedSync, message: err.Error()})
		return nil, false
	}
	for _, containers := range [][]corev1.Container{full.Spec.InitContainers, full.Spec.Containers} {
		for i := range containers {
			if err := values.resolve(&containers[i], services); err != nil {
				w.waits(pod, containers[i].Name, reasonConfig, err.Error())
				all = false
			}
		}
	}
	if !all {
		return nil, false
	}
	if refused := refuse(full); len(refused) > 0 {
		for _, r := range refused {
			for _, c := range containersOf(full) {
				w.waits(pod, c.Name, reasonConfig, r)
			}
		}
		return nil, false
	}
	return full, true
}

// links says whether a Pod is to know the Services of its namespace.
func links(pod *corev1.Pod) bool {
	return pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
}

// refuse says which fields of a Pod the engine does not do, as reading a manifest does: nothing is left out in silence.
func refuse(pod *corev1.Pod) []string {
	plain := corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, Annotations: pod.Annotations},
		Spec:       *pod.Spec.DeepCopy(),
	}
	// What the API and this package do for it, the engine needs not.
	plain.Spec.ActiveDeadlineSeconds, plain.Spec.ReadinessGates, plain.Spec.SchedulingGates = nil, nil, nil
	for _, containers := range [][]corev1.Container{plain.Spec.InitContainers, plain.Spec.Containers} {
		for i := range containers {
			containers[i].Image = "image" // whose name has reasons of its own
		}
	}
	text, err := json.Marshal(plain)
	if err != nil {
		return []string{err.Error()}
	}
	_, err = manifest.Read("pod", strings.NewReader(string(text)))
	var faults manifest.Errors
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &faults):
		return []string{err.Error()}
	}
	var all []string
	for _, f := range faults {
		all = append(all, f.Field+": "+f.Msg)
	}
	return []string{strings.Join(all, "; ")}
}

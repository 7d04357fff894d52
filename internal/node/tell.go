package node

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/kubernetes/pkg/kubelet/events"

	"tripod/internal/life"
)

// teller writes events: what a scheduler says and what a kubelet says.
type teller struct {
	broadcaster record.EventBroadcaster
	kubelet     record.EventRecorder
	scheduler   record.EventRecorder
	node        *corev1.Node
}

func newTeller(client kubernetes.Interface, name string) *teller {
	t := &teller{broadcaster: record.NewBroadcaster()}
	t.broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	t.kubelet = t.broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: name})
	t.scheduler = t.broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "default-scheduler"})
	return t
}

func (t *teller) close() { t.broadcaster.Shutdown() }

// telling is one event of a Pod, or of one of its containers.
type telling struct {
	container string
	warning   bool
	reason    string
	message   string
}

// say tells events of a Pod. One without an object, of `tripod run` and not in the API yet, has none.
func (t *teller) say(pod *corev1.Pod, all ...telling) {
	if pod == nil {
		return
	}
	for _, e := range all {
		kind := corev1.EventTypeNormal
		if e.warning {
			kind = corev1.EventTypeWarning
		}
		t.kubelet.Event(involved(pod, e.container), kind, e.reason, e.message)
	}
}

// involved is what an event is about.
func involved(pod *corev1.Pod, container string) *corev1.ObjectReference {
	o := &corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
	}
	if container == "" {
		return o
	}
	o.FieldPath = "spec.containers{" + container + "}"
	for _, c := range pod.Spec.InitContainers {
		if c.Name == container {
			o.FieldPath = "spec.initContainers{" + container + "}"
		}
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if c.Name == container {
			o.FieldPath = "spec.ephemeralContainers{" + container + "}"
		}
	}
	return o
}

// onNode tells an event of the node.
func (t *teller) onNode(reason, message string) {
	t.kubelet.Event(&corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: t.node.Name, UID: t.node.UID}, corev1.EventTypeNormal, reason, message)
}

// named is a Pod as kubelet's messages name it.
func named(pod *corev1.Pod) string { return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID) }

// happened are the events that lie between two looks at a Pod's containers.
func happened(pod *corev1.Pod, l life.Life, before, now []life.Record, at time.Time) []telling {
	var all []telling
	for i := range now {
		r := &now[i]
		was := life.Record{Attempt: -1}
		for _, b := range before {
			if b.Name == r.Name {
				was = b
			}
		}
		fresh := r.Attempt != was.Attempt
		if begun(r) && (fresh || !begun(&was)) {
			if r.Attempt > 0 && r.Last != nil {
				all = append(all, present(pod, r.Name))
			}
			all = append(all,
				telling{container: r.Name, reason: events.CreatedContainer, message: "Container created"},
				telling{container: r.Name, reason: events.StartedContainer, message: "Container started"})
		}
		if r.State != life.Exited || !fresh && was.State == life.Exited {
			continue
		}
		if !begun(r) && r.Message != "" {
			all = append(all, telling{r.Name, true, events.FailedToStartContainer, "Error: " + r.Message})
		}
		if life.Pending(l, now, life.Want{}, at, r.Name) == life.ReasonCrashLoopBackOff {
			all = append(all, telling{r.Name, true, events.BackOffStartContainer, fmt.Sprintf("Back-off restarting failed container %s in pod %s", r.Name, named(pod))})
		}
	}
	return all
}

func begun(r *life.Record) bool { return !r.StartedAt.IsZero() }

// present tells that a container's image is here.
func present(pod *corev1.Pod, container string) telling {
	image := ""
	for _, c := range containersOf(pod) {
		if c.Name == container {
			image = c.Image
		}
	}
	return telling{container: container, reason: events.PulledImage, message: fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", image)}
}

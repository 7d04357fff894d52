package node

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	kubestatus "k8s.io/kubernetes/pkg/kubelet/status"
	kubetypes "k8s.io/kubernetes/pkg/kubelet/types"

	"tripod/internal/bundle"
	"tripod/internal/engine"
	"tripod/internal/life"
	"tripod/internal/sandbox"
)

// view is what is known of a Pod on this host: all that its status follows from, beside its object.
type view struct {
	engine.Seen
	sandbox bool                                    // its namespaces are there, with the network
	waiting map[string]corev1.ContainerStateWaiting // by container: why it has not begun
	reject  *rejection
	overdue bool // it was stopped because it was active for too long
}

// rejection is why a Pod that somebody has bound to this node cannot be on it.
type rejection struct{ reason, message string }

// containersOf are a Pod's containers, init containers first. Guests are not among them.
func containersOf(pod *corev1.Pod) []corev1.Container {
	return slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
}

// draft is the Life of a Pod that is not made yet, for its status alone.
func draft(pod *corev1.Pod) life.Life {
	return bundle.Life(pod, life.OrphanKeep, func(c *corev1.Container) bundle.Place { return bundle.Place{Image: c.Image} })
}

// statusOf is what kubelet writes of a Pod of which this is known.
func statusOf(pod *corev1.Pod, v view, now time.Time) corev1.PodStatus {
	if v.reject != nil {
		return corev1.PodStatus{
			Phase: corev1.PodFailed, Reason: v.reject.reason, Message: "Pod was rejected: " + v.reject.message,
			ObservedGeneration: podutil.CalculatePodStatusObservedGeneration(pod),
		}
	}
	if len(v.Life.Containers) == 0 {
		v.Life = draft(pod)
		v.Records = life.Reset(v.Life, v.Records)
	}
	s := engine.Status(pod, v.Seen, now)
	if s.StartTime = pod.Status.StartTime; s.StartTime == nil {
		s.StartTime = &metav1.Time{Time: now.Truncate(time.Second)}
	}
	s.ObservedGeneration = podutil.CalculatePodStatusObservedGeneration(pod)
	for i := range s.InitContainerStatuses {
		complete(&s.InitContainerStatuses[i], pod, &pod.Spec.InitContainers[i], v)
	}
	for i := range s.ContainerStatuses {
		complete(&s.ContainerStatuses[i], pod, &pod.Spec.Containers[i], v)
	}
	for i, c := range sandbox.Guests(pod) {
		complete(&s.EphemeralContainerStatuses[i], pod, &c, v)
	}
	if v.overdue && v.Finished {
		s.Phase, s.Reason, s.Message = corev1.PodFailed, reasonOverdue, messageOverdue
	}
	s.Conditions = conditions(pod, &s, v, now)
	return s
}

// What kubelet says of a Pod that was active for too long.
const (
	reasonOverdue  = "DeadlineExceeded"
	messageOverdue = "Pod was active on the node longer than the specified deadline"
)

// due is how long a Pod may still be active; the second result is false for one that may be so for ever.
func due(pod *corev1.Pod, now time.Time) (time.Duration, bool) {
	if pod.Spec.ActiveDeadlineSeconds == nil || pod.Status.StartTime == nil {
		return 0, false
	}
	return pod.Status.StartTime.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second).Sub(now), true
}

// complete adds to a container's status what only an API's Pod has.
func complete(s *corev1.ContainerStatus, pod *corev1.Pod, c *corev1.Container, v view) {
	if s.ContainerID == "" {
		s.ImageID = ""
	}
	if why, known := v.waiting[c.Name]; known && s.State.Waiting != nil {
		s.State.Waiting = why.DeepCopy()
	}
	if w := s.State.Waiting; w != nil && w.Reason == life.ReasonCrashLoopBackOff {
		for _, r := range v.Records {
			if r.Name == c.Name {
				w.Message = fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", life.Pause(v.Life, r), c.Name, named(pod))
			}
		}
	}
	s.Resources = c.Resources.DeepCopy()
	s.AllocatedResources = c.Resources.Requests.DeepCopy()
	for _, m := range c.VolumeMounts {
		mount := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := corev1.RecursiveReadOnlyDisabled
			if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled {
				mode = corev1.RecursiveReadOnlyEnabled
			}
			mount.RecursiveReadOnly = &mode
		}
		s.VolumeMounts = append(s.VolumeMounts, mount)
	}
}

// conditions are kubelet's own, by its own code.
func conditions(pod *corev1.Pod, s *corev1.PodStatus, v view, now time.Time) []corev1.PodCondition {
	all := slices.Concat(s.InitContainerStatuses, s.ContainerStatuses)
	ground := corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse, Reason: kubetypes.PodSandboxNotReadyReason}
	if v.sandbox {
		ground.Status, ground.Reason = corev1.ConditionTrue, ""
	}
	scheduled := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}
	for _, c := range []*corev1.PodCondition{&ground, &scheduled} {
		c.ObservedGeneration = podutil.CalculatePodConditionObservedGeneration(&pod.Status, pod.Generation, c.Type)
	}
	own := []corev1.PodCondition{
		ground,
		kubestatus.GeneratePodInitializedCondition(pod, &pod.Status, all, s.Phase),
		kubestatus.GeneratePodReadyCondition(pod, &pod.Status, pod.Status.Conditions, all, s.Phase),
		kubestatus.GenerateContainersReadyCondition(pod, &pod.Status, all, s.Phase),
		scheduled,
	}
	for i := range own {
		own[i].LastTransitionTime = metav1.Time{Time: now.Truncate(time.Second)}
	}
	return own
}

// merge is the status to be written where base is what the API has: what others have said stays, a condition that holds as
// before keeps its time, a Pod that has ended has ended.
func merge(base *corev1.PodStatus, want *corev1.PodStatus) corev1.PodStatus {
	s := *base.DeepCopy()
	if s.Phase != corev1.PodSucceeded && s.Phase != corev1.PodFailed {
		s.Phase, s.Reason, s.Message = want.Phase, want.Reason, want.Message
	}
	if s.StartTime == nil {
		s.StartTime = want.StartTime
	}
	s.ObservedGeneration = want.ObservedGeneration
	if want.HostIP != "" {
		s.HostIP, s.HostIPs = want.HostIP, want.HostIPs
	}
	if want.PodIP != "" { // what has ended keeps the address that it had
		s.PodIP, s.PodIPs = want.PodIP, want.PodIPs
	}
	if want.QOSClass != "" {
		s.QOSClass = want.QOSClass
	}
	if want.ContainerStatuses != nil {
		s.ContainerStatuses, s.InitContainerStatuses = want.ContainerStatuses, want.InitContainerStatuses
	}
	if want.EphemeralContainerStatuses != nil {
		s.EphemeralContainerStatuses = want.EphemeralContainerStatuses
	}
	if want.Conditions == nil {
		return s
	}
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c corev1.PodCondition) bool { return kubetypes.PodConditionByKubelet(c.Type) })
	for _, c := range want.Conditions {
		if _, old := podutil.GetPodCondition(base, c.Type); old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		s.Conditions = append(s.Conditions, c)
	}
	return s
}

// recovered are the records that a Pod's status gives, of one whose records have gone with the last boot: what ran has
// ended and nobody saw how. Numbers and restarts go on from there.
func recovered(pod *corev1.Pod) []life.Record {
	var all []life.Record
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		r := life.Record{Name: s.Name, State: life.Exited, Attempt: int(s.RestartCount), ID: idOf(s.ContainerID)}
		switch end := s.State.Terminated; {
		case s.State.Running != nil:
			r.StartedAt, r.ExitCode, r.Reason = s.State.Running.StartedAt.Time, 137, life.ReasonStatusUnknown
			r.Message = "The container could not be located when the pod was deleted.  The container used to be Running"
		case end == nil && s.LastTerminationState.Terminated != nil:
			end = s.LastTerminationState.Terminated
			fallthrough
		case end != nil:
			r.ExitCode, r.Signal, r.Reason, r.Message = int(end.ExitCode), int(end.Signal), end.Reason, end.Message
			r.StartedAt, r.FinishedAt, r.ID = end.StartedAt.Time, end.FinishedAt.Time, idOf(end.ContainerID)
		default:
			continue // it never began
		}
		all = append(all, r)
	}
	return all
}

// runtimeScheme begins the ids of our containers.
const runtimeScheme = "tripod://"

func idOf(containerID string) string { return strings.TrimPrefix(containerID, runtimeScheme) }

// deleteGrace is how long a Pod that is deleted has, from the stop signal to SIGKILL.
func deleteGrace(pod *corev1.Pod) time.Duration {
	seconds := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		seconds = *s
	}
	if s := pod.DeletionGracePeriodSeconds; s != nil {
		seconds = *s
	}
	return time.Duration(max(seconds, 1)) * time.Second // kubelet's least
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

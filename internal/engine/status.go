package engine

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"

	"tripod/internal/life"
	"tripod/internal/sandbox"
)

// Seen is what is known of a Pod, all of it read from its records.
type Seen struct {
	Life     life.Life
	Records  []life.Record
	Finished bool      // nothing runs and nothing will
	Stopping time.Time // when a stop was asked; zero: it was not
	IPs      []netip.Addr
	HostIP   netip.Addr
}

// Status is what kubelet would say of a Pod of which this is known at this time.
func Status(pod *corev1.Pod, s Seen, now time.Time) corev1.PodStatus {
	status := corev1.PodStatus{
		Phase:     corev1.PodPhase(life.Phase(s.Life, s.Records, s.Finished)),
		StartTime: pod.CreationTimestamp.DeepCopy(),
		QOSClass:  qos.ComputePodQOS(pod),
	}
	for _, ip := range s.IPs {
		status.PodIPs = append(status.PodIPs, corev1.PodIP{IP: ip.String()})
	}
	if len(s.IPs) > 0 {
		status.PodIP = s.IPs[0].String()
	}
	if s.HostIP.IsValid() {
		status.HostIP = s.HostIP.String()
		status.HostIPs = []corev1.HostIP{{IP: s.HostIP.String()}}
	}
	status.InitContainerStatuses = containerStatuses(pod.Spec.InitContainers, s, now)
	status.ContainerStatuses = containerStatuses(pod.Spec.Containers, s, now)
	status.EphemeralContainerStatuses = containerStatuses(sandbox.Guests(pod), s, now)
	for i := range status.EphemeralContainerStatuses { // nobody waits for a guest
		status.EphemeralContainerStatuses[i].Ready, status.EphemeralContainerStatuses[i].Started = false, nil
	}
	status.Conditions = conditions(pod, &status)
	return status
}

func containerStatuses(containers []corev1.Container, s Seen, now time.Time) []corev1.ContainerStatus {
	var all []corev1.ContainerStatus
	for _, c := range containers {
		all = append(all, containerStatus(c, s, now))
	}
	return all
}

func containerStatus(c corev1.Container, s Seen, now time.Time) corev1.ContainerStatus {
	status := corev1.ContainerStatus{Name: c.Name, Image: c.Image}
	for _, l := range s.Life.Containers {
		if l.Name == c.Name {
			status.ImageID = l.ImageID
		}
	}
	record := life.Record{Name: c.Name}
	for _, r := range s.Records {
		if r.Name == c.Name {
			record = r
		}
	}
	status.ContainerID = containerID(record)
	status.RestartCount = int32(record.Attempt)
	last := record.Last
	switch pending := life.Pending(s.Life, s.Records, life.Want{Stop: s.Finished || !s.Stopping.IsZero(), At: s.Stopping}, now, c.Name); {
	case record.State == life.Running:
		status.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(record.StartedAt)}
	case record.State == life.Exited && pending == "":
		status.State.Terminated = terminated(record)
	case record.State == life.Exited:
		last = &record
		fallthrough
	default:
		waiting := &corev1.ContainerStateWaiting{Reason: pending}
		if waiting.Reason == "" {
			waiting.Reason = life.ReasonContainerCreating
		}
		if pending == life.ReasonCrashLoopBackOff {
			waiting.Message = "back-off after " + record.Reason
		}
		status.State.Waiting = waiting
	}
	if last != nil {
		status.LastTerminationState.Terminated = terminated(*last)
	}
	running := status.State.Running != nil
	status.Started = &running
	// Without a readiness probe a running container is ready, and so is an init container that has done its work.
	status.Ready = running
	if ends(s.Life, c.Name) {
		status.Ready = status.State.Terminated != nil && status.State.Terminated.ExitCode == 0
	}
	return status
}

// ends says whether a container is an init container that others wait for: it is ready when it has done its work.
func ends(l life.Life, name string) bool {
	for _, c := range l.Containers {
		if c.Name == name {
			return c.Init && !c.Sidecar()
		}
	}
	return false
}

func containerID(r life.Record) string {
	if r.ID == "" {
		return ""
	}
	return "tripod://" + r.ID
}

func terminated(r life.Record) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{
		ExitCode:    int32(r.ExitCode),
		Signal:      int32(r.Signal),
		Reason:      r.Reason,
		Message:     r.Message,
		StartedAt:   metav1.NewTime(r.StartedAt),
		FinishedAt:  metav1.NewTime(r.FinishedAt),
		ContainerID: containerID(r),
	}
}

// conditions are those that follow from the containers' states (kubelet: pkg/kubelet/status/generate.go).
func conditions(pod *corev1.Pod, status *corev1.PodStatus) []corev1.PodCondition {
	initialized := true
	for i, c := range pod.Spec.InitContainers {
		s := status.InitContainerStatuses[i]
		sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		if sidecar && !*s.Started || !sidecar && !s.Ready {
			initialized = false
		}
	}
	ready, reason := initialized, ""
	for _, s := range status.ContainerStatuses {
		ready = ready && s.Ready
	}
	switch {
	case status.Phase == corev1.PodSucceeded:
		initialized, ready, reason = true, false, "PodCompleted"
	case status.Phase == corev1.PodFailed:
		ready, reason = false, "PodFailed"
	case !ready:
		reason = "ContainersNotReady"
	}
	initReason := ""
	if !initialized {
		initReason = "ContainersNotInitialized"
	}
	return []corev1.PodCondition{
		condition(corev1.PodScheduled, true, ""),
		condition(corev1.PodInitialized, initialized, initReason),
		condition(corev1.ContainersReady, ready, reason),
		condition(corev1.PodReady, ready, reason),
	}
}

func condition(kind corev1.PodConditionType, holds bool, reason string) corev1.PodCondition {
	c := corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason}
	if holds {
		c.Status, c.Reason = corev1.ConditionTrue, ""
	}
	return c
}

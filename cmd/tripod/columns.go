package main

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"tripod/internal/engine"
)

// podTable has a row a Pod, in kubectl's columns.
func podTable(pods []*corev1.Pod, namespaces, wide bool, now time.Time) table {
	t := table{header: []string{"NAME", "READY", "STATUS", "RESTARTS", "AGE"}}
	if namespaces {
		t.header = append([]string{"NAMESPACE"}, t.header...)
	}
	if wide {
		t.header = append(t.header, "IP", "PORTS", "IMAGES", "UID")
	}
	for _, pod := range pods {
		row := []string{pod.Name, readyColumn(pod), statusColumn(pod), restartsColumn(pod.Status, now), age(pod, now)}
		if namespaces {
			row = append([]string{pod.Namespace}, row...)
		}
		if wide {
			row = append(row, dash(pod.Status.PodIP), portsColumn(pod), imagesColumn(pod), string(pod.UID))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// portsColumn are the ports of the host that lead to the Pod, as docker shows them.
func portsColumn(pod *corev1.Pod) string {
	var ports []string
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.HostPort != 0 && !pod.Spec.HostNetwork {
				host := strconv.Itoa(int(p.HostPort))
				if p.HostIP != "" {
					host = net.JoinHostPort(p.HostIP, host)
				}
				ports = append(ports, fmt.Sprintf("%s->%d/%s", host, p.ContainerPort, strings.ToLower(string(p.Protocol))))
			}
		}
	}
	return dash(strings.Join(ports, ","))
}

// containerTable has a row a container, init containers first.
func containerTable(pods []*corev1.Pod, namespaces, wide bool, now time.Time) table {
	t := table{header: []string{"POD", "CONTAINER", "STATUS", "RESTARTS", "AGE", "IMAGE"}}
	if namespaces {
		t.header = append([]string{"NAMESPACE"}, t.header...)
	}
	if wide {
		t.header = append(t.header, "PID", "ID")
	}
	for _, pod := range pods {
		for _, s := range append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...) {
			began := "<none>"
			if r := s.State.Running; r != nil {
				began = duration.HumanDuration(now.Sub(r.StartedAt.Time))
			}
			row := []string{pod.Name, s.Name, containerWord(s), strconv.Itoa(int(s.RestartCount)), began, s.Image}
			if namespaces {
				row = append([]string{pod.Namespace}, row...)
			}
			if wide {
				row = append(row, dash(pod.Annotations[engine.AnnotationPID+s.Name]), dash(strings.TrimPrefix(s.ContainerID, "tripod://")))
			}
			t.rows = append(t.rows, row)
		}
	}
	return t
}

// printNames prints pod/NAME a line, or the UIDs.
func printNames(w io.Writer, pods []*corev1.Pod, uids bool) error {
	for _, pod := range pods {
		line := "pod/" + pod.Name
		if uids {
			line = string(pod.UID)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func readyColumn(pod *corev1.Pod) string {
	ready := 0
	for _, s := range pod.Status.ContainerStatuses {
		if s.Ready {
			ready++
		}
	}
	return fmt.Sprintf("%d/%d", ready, len(pod.Spec.Containers))
}

// statusColumn is the word that kubectl has for a Pod: what its init containers wait for, or the worst of its
// containers, or its phase (pkg/printers/internalversion printPod).
func statusColumn(pod *corev1.Pod) string {
	if word := initWord(pod); word != "" {
		return terminating(pod, word)
	}
	word, running := string(pod.Status.Phase), false
	if pod.Status.Reason != "" {
		word = pod.Status.Reason
	}
	for i := len(pod.Status.ContainerStatuses) - 1; i >= 0; i-- {
		s := pod.Status.ContainerStatuses[i]
		if s.State.Running != nil {
			running = true
			continue
		}
		if w := containerWord(s); w != "" {
			word = w
		}
	}
	if word == "Completed" && running {
		word = "NotReady"
	}
	return terminating(pod, word)
}

func terminating(pod *corev1.Pod, word string) string {
	if pod.DeletionTimestamp != nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
		return "Terminating"
	}
	return word
}

// initWord is the status of a Pod whose init containers are not done, as Init:1/3 or Init:Error; "" when they are.
func initWord(pod *corev1.Pod) string {
	for i, s := range pod.Status.InitContainerStatuses {
		policy := pod.Spec.InitContainers[i].RestartPolicy
		sidecar := policy != nil && *policy == corev1.ContainerRestartPolicyAlways
		switch {
		case s.State.Terminated != nil && s.State.Terminated.ExitCode == 0:
		case sidecar && s.Started != nil && *s.Started:
		case s.State.Terminated != nil, s.State.Waiting != nil && s.State.Waiting.Reason != "PodInitializing" && s.State.Waiting.Reason != "ContainerCreating":
			return "Init:" + containerWord(s)
		default:
			return fmt.Sprintf("Init:%d/%d", i, len(pod.Spec.InitContainers))
		}
	}
	return ""
}

// containerWord is the status of one container.
func containerWord(s corev1.ContainerStatus) string {
	switch {
	case s.State.Running != nil:
		return "Running"
	case s.State.Waiting != nil:
		return s.State.Waiting.Reason
	case s.State.Terminated == nil:
		return ""
	}
	e := s.State.Terminated
	switch {
	case e.Reason != "":
		return e.Reason
	case e.Signal != 0:
		return fmt.Sprintf("Signal:%d", e.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", e.ExitCode)
}

// restartsColumn is the number of restarts and how long ago the last one was.
func restartsColumn(status corev1.PodStatus, now time.Time) string {
	restarts, last := 0, time.Time{}
	for _, s := range status.ContainerStatuses {
		restarts += int(s.RestartCount)
		if e := s.LastTerminationState.Terminated; e != nil && e.FinishedAt.After(last) {
			last = e.FinishedAt.Time
		}
	}
	if restarts == 0 || last.IsZero() {
		return strconv.Itoa(restarts)
	}
	return fmt.Sprintf("%d (%s ago)", restarts, duration.HumanDuration(now.Sub(last)))
}

func imagesColumn(pod *corev1.Pod) string {
	var images []string
	for _, c := range pod.Spec.Containers {
		images = append(images, c.Image)
	}
	return strings.Join(images, ",")
}

func age(pod *corev1.Pod, now time.Time) string {
	if pod.CreationTimestamp.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(pod.CreationTimestamp.Time))
}

func dash(word string) string {
	if word == "" {
		return "<none>"
	}
	return word
}

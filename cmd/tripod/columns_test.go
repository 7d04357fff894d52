package main

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	now   = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	about = func(ago time.Duration) metav1.Time { return metav1.NewTime(now.Add(-ago)) }

	running = corev1.ContainerStatus{Ready: true, Started: yes(), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: about(time.Minute)}}}
)

func ended(code int32, reason string) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}}
}

func waiting(reason string) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}
}

func restarted(s corev1.ContainerStatus, times int32, ago time.Duration) corev1.ContainerStatus {
	s.RestartCount = times
	s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", FinishedAt: about(ago)}
	return s
}

func podOfStatus(phase corev1.PodPhase, inits, mains []corev1.ContainerStatus) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "u-1", CreationTimestamp: about(2 * time.Hour)}}
	pod.Status.Phase, pod.Status.PodIP = phase, "10.0.0.2"
	for i := range inits {
		inits[i].Name = "first"
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: "first", Image: "a"})
	}
	for i := range mains {
		mains[i].Name = "main"
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "main", Image: "b:1"})
	}
	pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses = inits, mains
	return pod
}

func TestPodTable(t *testing.T) {
	type list = []corev1.ContainerStatus
	leaving := podOfStatus(corev1.PodRunning, nil, list{running})
	at := about(time.Second)
	leaving.DeletionTimestamp = &at
	for _, c := range []struct {
		pod  *corev1.Pod
		want string // READY STATUS RESTARTS
	}{
		{podOfStatus(corev1.PodRunning, nil, list{running, running}), "2/2 Running 0"},
		{podOfStatus(corev1.PodPending, nil, list{waiting("ContainerCreating")}), "0/1 ContainerCreating 0"},
		{podOfStatus(corev1.PodPending, list{running, waiting("PodInitializing")}, list{waiting("PodInitializing")}), "0/1 Init:0/2 0"},
		{podOfStatus(corev1.PodPending, list{ended(0, "Completed"), running}, list{waiting("PodInitializing")}), "0/1 Init:1/2 0"},
		{podOfStatus(corev1.PodPending, list{waiting("CrashLoopBackOff")}, list{waiting("PodInitializing")}), "0/1 Init:CrashLoopBackOff 0"},
		{podOfStatus(corev1.PodFailed, list{ended(2, "Error")}, list{waiting("PodInitializing")}), "0/1 Init:Error 0"},
		{podOfStatus(corev1.PodRunning, nil, list{restarted(waiting("CrashLoopBackOff"), 3, 90*time.Second), running}), "1/2 CrashLoopBackOff 3 (90s ago)"},
		{podOfStatus(corev1.PodSucceeded, nil, list{ended(0, "Completed")}), "0/1 Completed 0"},
		{podOfStatus(corev1.PodRunning, nil, list{ended(0, "Completed"), running}), "1/2 NotReady 0"},
		{podOfStatus(corev1.PodFailed, nil, list{ended(137, "OOMKilled")}), "0/1 OOMKilled 0"},
		{podOfStatus(corev1.PodFailed, nil, list{ended(9, "")}), "0/1 ExitCode:9 0"},
		{leaving, "1/1 Terminating 0"},
	} {
		row := podTable([]*corev1.Pod{c.pod}, true, true, now).rows[0]
		if got := strings.Join(row[2:5], " "); got != c.want {
			t.Errorf("row %q, want %q", got, c.want)
		}
	}
	var b strings.Builder
	pods := []*corev1.Pod{podOfStatus(corev1.PodRunning, nil, list{running, running})}
	pods[0].Spec.Containers[0].Ports = []corev1.ContainerPort{
		{HostIP: "::1", HostPort: 8080, ContainerPort: 80, Protocol: corev1.ProtocolUDP}, {ContainerPort: 90, Protocol: corev1.ProtocolTCP},
	}
	pods[0].Annotations = map[string]string{"pid.tripod/main": "4711"}
	if err := podTable(pods, true, true, now).print(&b, true); err != nil {
		t.Fatal(err)
	}
	if err := containerTable(pods, false, true, now).print(&b, false); err != nil {
		t.Fatal(err)
	}
	want := `NAMESPACE   NAME   READY   STATUS    RESTARTS   AGE    IP         PORTS                IMAGES    UID
shop        web    2/2     Running   0          120m   10.0.0.2   [::1]:8080->80/udp   b:1,b:1   u-1
web   main   Running   0   60s      4711   <none>
web   main   Running   0   60s      4711   <none>
`
	if b.String() != want {
		t.Errorf("got\n%s want\n%s", b.String(), want)
	}
}

func TestPodExitCode(t *testing.T) {
	type list = []corev1.ContainerStatus
	for _, c := range []struct {
		pod  *corev1.Pod
		want int
	}{
		{podOfStatus(corev1.PodSucceeded, nil, list{ended(0, "")}), 0},
		{podOfStatus(corev1.PodFailed, nil, list{ended(0, ""), ended(3, "")}), 3},
		{podOfStatus(corev1.PodFailed, list{ended(4, "")}, list{ended(3, "")}), 4},
		{podOfStatus(corev1.PodSucceeded, nil, list{restarted(ended(0, ""), 1, 0)}), 0},
		{podOfStatus(corev1.PodRunning, nil, list{restarted(waiting("CrashLoopBackOff"), 1, 0)}), 1},
	} {
		if got := podExitCode(c.pod); got != c.want {
			t.Errorf("exit code %d, want %d", got, c.want)
		}
	}
}

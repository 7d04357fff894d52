package engine

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"tripod/internal/life"
)

func TestContainerStatus(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	rule := func(policy string) life.Life {
		return life.Life{Version: 1, RestartPolicy: policy, Containers: []life.Container{
			{Name: "first", Init: true, Bundle: "/b"}, {Name: "web", Bundle: "/b", ImageID: "sha256:1"},
		}}
	}
	exited := func(name string, code int, ago time.Duration) life.Record {
		return life.Record{Name: name, State: life.Exited, ExitCode: code, Reason: "Error", StartedAt: now.Add(-time.Minute), FinishedAt: now.Add(-ago)}
	}
	crashing := exited("web", 3, time.Second)
	crashing.Attempt, crashing.Crashes = 4, 4
	for _, c := range []struct {
		name     string
		policy   string
		records  []life.Record
		finished bool
		of       string
		state    string // waiting reason, "running" or terminated reason
		last     bool
		ready    bool
		phase    corev1.PodPhase
	}{
		{"nothing yet", "Always", nil, false, "web", "PodInitializing", false, false, "Pending"},
		{"its init runs", "Always", []life.Record{{Name: "first", State: life.Running}}, false, "first", "running", false, false, "Pending"},
		{"init done", "Always", []life.Record{exited("first", 0, 0)}, false, "first", "Error", false, true, "Pending"},
		{"running", "Always", []life.Record{exited("first", 0, 0), {Name: "web", State: life.Running}}, false, "web", "running", false, true, "Running"},
		{"crash loop", "Always", []life.Record{exited("first", 0, 0), crashing}, false, "web", "CrashLoopBackOff", true, false, "Running"},
		{"failed for good", "Never", []life.Record{exited("first", 0, 0), exited("web", 3, 0)}, true, "web", "Error", false, false, "Failed"},
		{"stopped though Always", "Always", []life.Record{exited("first", 0, 0), exited("web", 137, 0)}, true, "web", "Error", false, false, "Failed"},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "first", Image: "i"}},
			Containers:     []corev1.Container{{Name: "web", Image: "w"}},
		}}
		got := Status(pod, Seen{Life: rule(c.policy), Records: c.records, Finished: c.finished}, now)
		if got.Phase != c.phase {
			t.Errorf("%s: phase %s, want %s", c.name, got.Phase, c.phase)
		}
		status := got.ContainerStatuses[0]
		if c.of == "first" {
			status = got.InitContainerStatuses[0]
		}
		state := "running"
		if w := status.State.Waiting; w != nil {
			state = w.Reason
		} else if e := status.State.Terminated; e != nil {
			state = e.Reason
		}
		if state != c.state || status.Ready != c.ready || (status.LastTerminationState.Terminated != nil) != c.last {
			t.Errorf("%s: %s is %s ready %v last %v, want %s %v %v", c.name, c.of, state, status.Ready,
				status.LastTerminationState.Terminated != nil, c.state, c.ready, c.last)
		}
	}
}

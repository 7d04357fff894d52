package engine

import (
	"errors"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tripod/internal/image"
	"tripod/internal/keeper"
	"tripod/internal/life"
	"tripod/internal/sandbox"
)

func TestWants(t *testing.T) {
	c := func(ref string, policy corev1.PullPolicy) corev1.Container {
		return corev1.Container{Image: ref, ImagePullPolicy: policy}
	}
	pods := []*corev1.Pod{
		{Spec: corev1.PodSpec{InitContainers: []corev1.Container{c("a", "Never")}, Containers: []corev1.Container{c("b", ""), c("a", "IfNotPresent")}}},
		{Spec: corev1.PodSpec{Containers: []corev1.Container{c("b", "Always"), c("a", "Never"), c("c", "Never")}}},
	}
	want := []want{{"a", image.IfNotPresent}, {"b", image.Always}, {"c", image.Never}}
	if got := wants(pods); !slices.Equal(got, want) {
		t.Errorf("wants = %v, want %v", got, want)
	}
}

func TestTellsIPs(t *testing.T) {
	field := func(path string) []corev1.Container {
		return []corev1.Container{{}, {Env: []corev1.EnvVar{{Name: "A", Value: "status.podIP"}, {Name: "B", ValueFrom: &corev1.EnvVarSource{
			FieldRef: &corev1.ObjectFieldSelector{FieldPath: path},
		}}}}}
	}
	for path, want := range map[string]bool{"status.podIP": true, "status.podIPs": true, "status.hostIP": false, "metadata.name": false} {
		if got := tellsIPs(field(path)); got != want {
			t.Errorf("tellsIPs(%s) = %v", path, got)
		}
	}
}

func TestBegun(t *testing.T) {
	now := time.Now()
	p := &Prepared{Sandbox: &sandbox.Sandbox{Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}}}
	for _, c := range []struct {
		name    string
		records []life.Record
		begun   bool
		failed  string
	}{
		{"nothing known", nil, false, ""},
		{"one waits", []life.Record{{State: life.Running}, {State: life.Waiting}}, false, ""},
		{"one is being made", []life.Record{{State: life.Creating}}, false, ""},
		{"one is being made again", []life.Record{{State: life.Creating, Attempt: 1}}, true, ""},
		{"one has ended", []life.Record{{State: life.Exited, StartedAt: now, ExitCode: 1, Reason: life.ReasonError}}, true, ""},
		{
			"one cannot begin",
			[]life.Record{{Name: "c", State: life.Exited, ExitCode: 127, Reason: life.ReasonCannotRun, Message: "no such file"}},
			true,
			"cannot start container c in Pod web: no such file",
		},
	} {
		s := &keeper.Status{Containers: c.records}
		failed := ""
		if err := notStarted(p, s); err != nil {
			failed = err.Error()
			if err.Code != 127 {
				t.Errorf("%s: code %d", c.name, err.Code)
			}
		}
		if got := begun(s); got != c.begun || failed != c.failed {
			t.Errorf("%s: begun %v, failed %q, want %v, %q", c.name, got, failed, c.begun, c.failed)
		}
	}
}

func TestReached(t *testing.T) {
	status := func(phase corev1.PodPhase, ready corev1.ConditionStatus, waits bool) *corev1.Pod {
		s := corev1.ContainerStatus{}
		if waits {
			s.State.Waiting = &corev1.ContainerStateWaiting{}
		}
		return &corev1.Pod{Status: corev1.PodStatus{
			Phase: phase, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}, ContainerStatuses: []corev1.ContainerStatus{s},
		}}
	}
	for _, c := range []struct {
		pod                   *corev1.Pod
		ended, running, ready bool
	}{
		{status(corev1.PodPending, "False", true), false, false, false},
		{status(corev1.PodRunning, "True", false), false, true, true},
		{status(corev1.PodRunning, "False", true), false, false, false},
		{status(corev1.PodSucceeded, "False", false), true, true, false},
		{status(corev1.PodFailed, "False", false), true, true, false},
	} {
		got := [3]bool{reached(c.pod, Ended), reached(c.pod, Running), reached(c.pod, Ready)}
		if want := [3]bool{c.ended, c.running, c.ready}; got != want {
			t.Errorf("%s: reached %v, want %v", c.pod.Status.Phase, got, want)
		}
	}
	var never error = &NeverError{"web", corev1.PodFailed}
	if !errors.As(never, new(*NeverError)) || never.Error() != "cannot wait for Pod web: it has ended (Failed)" {
		t.Error(never)
	}
}

func TestRates(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	before := []Usage{{Pod: "a", CPUNanos: 1e9, At: at}, {Pod: "b", CPUNanos: 5e9, At: at}}
	now := []Usage{
		{Pod: "a", CPUNanos: 2e9, At: at.Add(2 * time.Second)},
		{Pod: "b", CPUNanos: 1e9, At: at.Add(2 * time.Second)}, // began anew
		{Pod: "c", CPUNanos: 9e9, At: at.Add(2 * time.Second)}, // was not there
	}
	want := []float64{0.5, 0, 0}
	for i, u := range Rates(before, now) {
		if u.CPU != want[i] {
			t.Errorf("%s uses %v CPUs, want %v", u.Pod, u.CPU, want[i])
		}
	}
}

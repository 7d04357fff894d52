package node

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	utilexec "k8s.io/utils/exec"
)

// TestPodRuns follows one Pod of the API through its whole life.
func TestPodRuns(t *testing.T) {
	s := newStand(t)
	p := pod("web", steady)
	p.Spec.InitContainers = pod("", "echo first").Spec.Containers
	p.Spec.InitContainers[0].Name = "init"
	s.create(p)
	got := s.await("web", "ready", ready)
	if got.Spec.NodeName != "testnode" || got.Status.Phase != corev1.PodRunning || got.Status.PodIP == "" || got.Status.HostIP == "" || got.Status.StartTime == nil {
		t.Errorf("Pod is %+v", got.Status)
	}
	conditions := map[corev1.PodConditionType]corev1.ConditionStatus{}
	for _, c := range got.Status.Conditions {
		conditions[c.Type] = c.Status
		if c.LastTransitionTime.IsZero() || c.ObservedGeneration != 1 {
			t.Errorf("condition %+v", c)
		}
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled} {
		if conditions[kind] != corev1.ConditionTrue {
			t.Errorf("%s is %q", kind, conditions[kind])
		}
	}
	init, main := got.Status.InitContainerStatuses[0], got.Status.ContainerStatuses[0]
	if e := init.State.Terminated; e == nil || e.Reason != "Completed" || !init.Ready || *init.Started {
		t.Errorf("init container is %+v", init)
	}
	if main.State.Running == nil || !main.Ready || !*main.Started || !strings.HasPrefix(main.ContainerID, "tripod://") || main.ImageID == "" || main.RestartCount != 0 {
		t.Errorf("container is %+v", main)
	}
	s.awaitEvents("web", "Scheduled Successfully assigned default/web to testnode", `Pulled Container image "host:/" already present`,
		"Created Container created", "Started Container started")
	s.awaitLog(got, "c0", "up\n")
	var out, errs bytes.Buffer
	err := s.node.Exec(s.ctx, got, "c0", []string{"sh", "-c", "cat; echo no >&2; exit 3"}, strings.NewReader("yes"), nop{&out}, nop{&errs}, false, nil)
	var code utilexec.CodeExitError
	if !errors.As(err, &code) || code.Code != 3 || out.String() != "yes" || errs.String() != "no\n" {
		t.Errorf("exec: %v, %q, %q", err, &out, &errs)
	}
	metrics, err := s.node.PodMetrics(s.ctx)
	if err != nil || len(metrics) != 1 || metrics[0].Name != "web" || metrics[0].Containers[0].Usage.Memory().Value() == 0 {
		t.Errorf("metrics: %v, %+v", err, metrics)
	}
	s.delete("web", -1)
	s.awaitGone("web")
	s.awaitEvents("web", "Killing Stopping container c0")
}

type nop struct{ io.Writer }

func (nop) Close() error { return nil }

func TestCrashLoop(t *testing.T) {
	s := newStand(t)
	s.create(pod("crash", "exit 3"))
	got := s.await("crash", "in a crash loop", waitsFor("CrashLoopBackOff"))
	c := got.Status.ContainerStatuses[0]
	if last := c.LastTerminationState.Terminated; last == nil || last.ExitCode != 3 || last.Reason != "Error" || c.RestartCount != 1 || c.Ready {
		t.Errorf("container is %+v", c)
	}
	if want := "back-off 10s restarting failed container=c0 pod=crash_default(" + string(got.UID) + ")"; c.State.Waiting.Message != want {
		t.Errorf("message %q, want %q", c.State.Waiting.Message, want)
	}
	if got.Status.Phase != corev1.PodRunning {
		t.Errorf("phase %s", got.Status.Phase)
	}
	s.awaitEvents("crash", "BackOff Back-off restarting failed container c0 in pod crash_default(")
}

func TestEnds(t *testing.T) {
	s := newStand(t)
	good, bad := pod("good", "true"), pod("bad", "echo why > /dev/termination-log; exit 7", "true")
	good.Spec.RestartPolicy, bad.Spec.RestartPolicy = corev1.RestartPolicyNever, corev1.RestartPolicyNever
	s.create(good)
	s.create(bad)
	got := s.await("good", "over", ended)
	if e := got.Status.ContainerStatuses[0].State.Terminated; got.Status.Phase != corev1.PodSucceeded || e == nil || e.Reason != "Completed" {
		t.Errorf("good is %+v", got.Status)
	}
	for _, c := range got.Status.Conditions {
		if c.Type == corev1.PodReady && (c.Status != corev1.ConditionFalse || c.Reason != "PodCompleted") {
			t.Errorf("condition %+v", c)
		}
	}
	got = s.await("bad", "over", ended)
	if e := got.Status.ContainerStatuses[0].State.Terminated; got.Status.Phase != corev1.PodFailed || e == nil || e.ExitCode != 7 || e.Message != "why\n" {
		t.Errorf("bad is %+v", got.Status)
	}
	s.delete("good", -1)
	s.delete("bad", -1)
	s.awaitGone("good")
	s.awaitGone("bad")
}

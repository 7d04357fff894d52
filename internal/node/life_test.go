package node

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	utilexec "k8s.io/utils/exec"

	"tripod/internal/keeper"
)

func TestOutOfMemory(t *testing.T) {
	s := newStand(t)
	p := pod("greedy", "head -c 200000000 /dev/zero | tail", steady) // one line, all of which tail keeps
	p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("16Mi")}
	s.create(p)
	got := s.await("greedy", "killed", func(p *corev1.Pod) bool {
		return slices.ContainsFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.LastTerminationState.Terminated != nil })
	})
	if last := got.Status.ContainerStatuses[0].LastTerminationState.Terminated; last.Reason != "OOMKilled" || last.ExitCode != 137 {
		t.Errorf("it ended so: %+v", last)
	}
	if got.Status.ContainerStatuses[1].State.Running == nil {
		t.Errorf("the other container is %+v", got.Status.ContainerStatuses[1])
	}
}

func TestImageIsMissing(t *testing.T) {
	s := newStand(t)
	never, pull, bad, onHost := pod("never", "true"), pod("pull", "true"), pod("bad", "true"), pod("path", "true")
	never.Spec.Containers[0].Image, never.Spec.Containers[0].ImagePullPolicy = "registry.invalid/none:1", corev1.PullNever
	pull.Spec.Containers[0].Image = "127.0.0.1:9/none:1" // nothing listens on discard
	bad.Spec.Containers[0].Image = "registry.invalid/UPPER:1"
	s.config.AllowHostImages = false
	s.stop()
	s.begin()
	for _, p := range []*corev1.Pod{never, pull, bad, onHost} {
		s.create(p)
	}
	s.await("never", "without its image", waitsFor("ErrImageNeverPull"))
	s.await("bad", "refused", waitsFor("InvalidImageName"))
	s.await("path", "refused", waitsFor("InvalidImageName"))
	s.await("pull", "paused", waitsFor("ImagePullBackOff"))
	s.awaitEvents("pull", "Pulling Pulling image", "Failed Failed to pull image", "Failed Error: ErrImagePull", "BackOff Back-off pulling image", "Failed Error: ImagePullBackOff")
	s.awaitEvents("never", `ErrImageNeverPull Container image "registry.invalid/none:1" is not present with pull policy of Never`)
	s.delete("pull", -1)
	s.awaitGone("pull")
}

func TestFieldIsRefused(t *testing.T) {
	s := newStand(t)
	p := pod("probed", steady)
	p.Spec.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}}
	s.create(p)
	got := s.await("probed", "refused", waitsFor("CreateContainerConfigError"))
	if m := got.Status.ContainerStatuses[0].State.Waiting.Message; !strings.HasPrefix(m, "spec.containers[0].livenessProbe: ") {
		t.Errorf("message %q", m)
	}
	if got.Status.Phase != corev1.PodPending {
		t.Errorf("phase %s", got.Status.Phase)
	}
	s.awaitEvents("probed", "Failed Error: spec.containers[0].livenessProbe: ")
}

// TestNodeComesBack has a node go while Pods run, one of them end meanwhile, and another node find both.
func TestNodeComesBack(t *testing.T) {
	s := newStand(t)
	s.create(pod("stays", steady))
	leaves := pod("leaves", "while :; do sleep 0.05; test -e /tmp/end && exit 5; done")
	leaves.Spec.RestartPolicy = corev1.RestartPolicyNever
	s.create(leaves)
	before := s.await("stays", "ready", ready)
	s.await("leaves", "ready", ready)
	s.stop()
	box, err := s.host().Find("default", "leaves")
	if err != nil {
		t.Fatal(err)
	}
	client, err := box.Keeper()
	if err != nil {
		t.Fatal(err)
	}
	if exit, err := client.Exec(s.ctx, keeper.ExecRequest{Container: "c0", Args: []string{"touch", "/tmp/end"}}); err != nil || exit.Code != 0 && exit.Code != 137 { // it may end with the container
		t.Fatal(exit, err)
	}
	s.until("it has ended", box.Ended)
	s.begin()
	got := s.await("leaves", "over", ended)
	if e := got.Status.ContainerStatuses[0].State.Terminated; got.Status.Phase != corev1.PodFailed || e == nil || e.ExitCode != 5 {
		t.Errorf("it ended so: %+v", got.Status.ContainerStatuses[0])
	}
	after := s.await("stays", "ready", ready)
	if a, b := before.Status.ContainerStatuses[0], after.Status.ContainerStatuses[0]; a.ContainerID != b.ContainerID || b.RestartCount != 0 {
		t.Errorf("it is another container: %+v, was %+v", b, a)
	}
	s.delete("stays", -1)
	s.awaitGone("stays")
}

// killKeepers ends what a power cut ends: all keepers and all that they keep.
func killKeepers(s *stand) {
	s.t.Helper()
	boxes, err := s.host().List()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, box := range boxes {
		client, err := box.Keeper()
		if err != nil {
			continue
		}
		if err := unix.Kill(client.Hello().Pid, unix.SIGKILL); err != nil {
			s.t.Fatal(err)
		}
		s.until("keeper is dead", func() bool { return !keeper.Alive(box.Dir()) })
		if _, err := keeper.Bury(s.config.RunRoot, string(box.Pod.UID)); err != nil {
			s.t.Fatal(err)
		}
		if err := s.host().Settle(s.ctx, string(box.Pod.UID)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestReboot has everything die and the run root be empty, as after a reboot: what was asked for comes back, its restarts
// counted, its volumes as they were.
func TestReboot(t *testing.T) {
	s := newStand(t)
	p := pod("data", "cat /data/count; echo again >> /data/count; "+steady)
	p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	s.create(p)
	once := pod("once", steady)
	once.Spec.RestartPolicy = corev1.RestartPolicyNever
	s.create(once)
	first := s.await("data", "ready", ready)
	s.until("it has written", func() bool { return strings.Contains(s.logs(first, corev1.PodLogOptions{}), "up") })
	s.await("once", "ready", ready)
	s.stop()
	killKeepers(s)
	if err := os.RemoveAll(s.config.RunRoot); err != nil {
		t.Fatal(err)
	}
	s.begin()
	got := s.await("data", "ready again", func(p *corev1.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
	if last := got.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.Reason != "ContainerStatusUnknown" || last.ExitCode != 137 {
		t.Errorf("the run before ended so: %+v", last)
	}
	s.until("it has written", func() bool { return strings.Contains(s.logs(got, corev1.PodLogOptions{}), "up") })
	if text := s.logs(got, corev1.PodLogOptions{}); !strings.HasPrefix(text, "again\n") {
		t.Errorf("its volume is empty: %q, before it %q", text, s.logs(got, corev1.PodLogOptions{Previous: true}))
	}
	if got = s.await("once", "over", ended); got.Status.Phase != corev1.PodFailed {
		t.Errorf("a Pod that is never started again is %s", got.Status.Phase)
	}
}

func TestKeeperDies(t *testing.T) {
	s := newStand(t)
	s.create(pod("web", steady))
	s.await("web", "ready", ready)
	box, err := s.host().Find("default", "web")
	if err != nil {
		t.Fatal(err)
	}
	client, err := box.Keeper()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(client.Hello().Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	got := s.await("web", "ready again", func(p *corev1.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
	if last := got.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.Reason != "ContainerStatusUnknown" {
		t.Errorf("the run before ended so: %+v", last)
	}
	s.awaitEvents("web", "SandboxChanged ")
}

func TestForcedDeletion(t *testing.T) {
	s := newStand(t)
	s.create(pod("web", "trap '' TERM; "+steady))
	s.await("web", "ready", ready)
	s.delete("web", 0)
	s.awaitGone("web")
	s.create(pod("web", steady)) // one of the same name at once
	s.await("web", "ready", ready)
}

// TestDeletedMeanwhile has an object go while no node is there.
func TestDeletedMeanwhile(t *testing.T) {
	s := newStand(t)
	s.create(pod("web", steady))
	s.await("web", "ready", ready)
	s.stop()
	s.delete("web", 0)
	s.begin()
	s.awaitGone("web")
}

func TestTakesOver(t *testing.T) {
	s := newStand(t)
	p := pod("run", steady)
	p.Labels = map[string]string{"app": "x"}
	box := s.detached(p)
	got := s.await("run", "in the API", ready)
	if got.UID == box.Pod.UID || got.Annotations["kubernetes.io/config.source"] != "run" || got.Annotations["kubernetes.io/config.mirror"] != string(box.Pod.UID) || got.Labels["app"] != "x" {
		t.Errorf("object is %+v", got.ObjectMeta)
	}
	s.awaitLog(got, "c0", "up\n")
	s.stop()
	s.begin() // another node finds it, and its object
	s.await("run", "in the API", ready)
	list, err := s.client.CoreV1().Pods("").List(s.ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("%d Pods, %v", len(list.Items), err)
	}
	s.delete("run", -1)
	s.awaitGone("run")

	// One that is removed on the host goes from the API.
	box = s.detached(pod("again", steady))
	s.await("again", "in the API", ready)
	if err := s.node.engine.Remove(s.ctx, box, true); err != nil {
		t.Fatal(err)
	}
	s.awaitGone("again")
}

// TestForegroundIsLeft has a Pod whose owner is there, or that ends with it: it is nobody else's.
func TestForegroundIsLeft(t *testing.T) {
	s := newStand(t)
	s.create(pod("first", steady))
	s.await("first", "ready", ready)
	if _, err := os.Stat(filepath.Join(s.host().Pods())); err != nil {
		t.Fatal(err)
	}
	box := s.detached(pod("other", steady))
	s.await("other", "in the API", ready)
	if err := box.Own(); err == nil {
		t.Error("a Pod of the node can be ruled by another")
	}
}

func TestMany(t *testing.T) {
	const count = 50
	s := newStand(t)
	begun := time.Now()
	for i := range count {
		s.create(pod("many-"+strconv.Itoa(i), "exec sleep 1000"))
	}
	for i := range count {
		s.await("many-"+strconv.Itoa(i), "ready", ready)
	}
	t.Logf("%d Pods are ready after %v", count, time.Since(begun))
	for i := range count {
		s.delete("many-"+strconv.Itoa(i), 0)
	}
	for i := range count {
		s.awaitGone("many-" + strconv.Itoa(i))
	}
}

func TestDeadline(t *testing.T) {
	s := newStand(t)
	p := pod("late", steady)
	p.Spec.ActiveDeadlineSeconds = new(int64(1))
	s.create(p)
	got := s.await("late", "over", ended)
	if got.Status.Phase != corev1.PodFailed || got.Status.Reason != "DeadlineExceeded" || got.Status.ContainerStatuses[0].State.Terminated == nil {
		t.Errorf("it is %+v", got.Status)
	}
	s.awaitEvents("late", "DeadlineExceeded Pod was active on the node longer than the specified deadline")
}

// TestServicesAreKnown has a container find the API's own Service in its variables.
func TestServicesAreKnown(t *testing.T) {
	s := newStand(t)
	p := pod("env", "echo $A $KUBERNETES_SERVICE_HOST")
	p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", Value: "$(KUBERNETES_PORT_443_TCP_PROTO)"}}
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	s.create(p)
	got := s.await("env", "over", ended)
	if text := s.logs(got, corev1.PodLogOptions{}); text != "tcp 10.96.0.1\n" {
		t.Errorf("it has %q", text)
	}
}

// TestGuest has an ephemeral container come into a Pod that runs, and see the processes of another.
func TestGuest(t *testing.T) {
	s := newStand(t)
	s.create(pod("web", steady))
	got := s.await("web", "ready", ready)
	guest := corev1.EphemeralContainer{TargetContainerName: "c0", EphemeralContainerCommon: corev1.EphemeralContainerCommon(pod("", "cat /proc/1/cmdline | tr '\\0' ' '; read -r x; exit 9").Spec.Containers[0])}
	guest.Name, guest.Stdin, guest.TTY = "debug", true, true
	got.Spec.EphemeralContainers = append(got.Spec.EphemeralContainers, guest)
	if _, err := s.client.CoreV1().Pods("default").UpdateEphemeralContainers(s.ctx, "web", got, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	runs := func(p *corev1.Pod) bool {
		all := p.Status.EphemeralContainerStatuses
		return len(all) == 1 && all[0].State.Running != nil
	}
	got = s.await("web", "debugged", runs)
	s.until("it sees the other's first process", func() bool {
		return strings.Contains(s.logs(got, corev1.PodLogOptions{Container: "debug"}), "echo up")
	})
	s.stop()
	s.begin() // it is a guest for the next node too
	got = s.await("web", "debugged", runs)
	err := s.node.Attach(s.ctx, got, "debug", strings.NewReader("x\n"), nop{io.Discard}, nil, true, nil)
	var code utilexec.CodeExitError
	if !errors.As(err, &code) || code.Code != 9 {
		t.Errorf("it ended so: %v", err)
	}
	got = s.await("web", "alone again", func(p *corev1.Pod) bool { return p.Status.EphemeralContainerStatuses[0].State.Terminated != nil })
	if e := got.Status.EphemeralContainerStatuses[0].State.Terminated; e.ExitCode != 9 || !ready(got) || got.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("it is %+v", got.Status)
	}
	s.delete("web", -1)
	s.awaitGone("web")
}

// TestNoRoom has a Pod wait until another makes room, and one that was bound by hand be rejected.
func TestNoRoom(t *testing.T) {
	s := newStand(t)
	half := func(name string) *corev1.Pod {
		p := pod(name, steady)
		cpu := resource.NewMilliQuantity(int64(s.node.facts.cpus)*600, resource.DecimalSI)
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *cpu}
		return p
	}
	s.create(half("first"))
	s.await("first", "ready", ready)
	s.create(half("second"))
	got := s.await("second", "refused", func(p *corev1.Pod) bool {
		_, c := podutil.GetPodCondition(&p.Status, corev1.PodScheduled)
		return c != nil && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable
	})
	if got.Status.Phase != corev1.PodPending || got.Spec.NodeName != "" {
		t.Errorf("it is %+v", got.Status)
	}
	s.awaitEvents("second", "FailedScheduling 0/1 nodes are available: 1 Insufficient cpu.")
	bound := half("bound")
	bound.Spec.NodeName = "testnode"
	s.create(bound)
	if got := s.await("bound", "rejected", ended); got.Status.Phase != corev1.PodFailed || got.Status.Reason != "OutOfcpu" ||
		!strings.HasPrefix(got.Status.Message, "Pod was rejected: Node didn't have enough resource: cpu, ") {
		t.Errorf("it is %+v", got.Status)
	}
	other := half("other")
	other.Spec.NodeName = "elsewhere"
	s.create(other)
	s.delete("first", -1)
	s.await("second", "ready", ready)
	if got := s.await("other", "left alone", func(*corev1.Pod) bool { return true }); got.Status.StartTime != nil {
		t.Errorf("a Pod of another node is %+v", got.Status)
	}
}

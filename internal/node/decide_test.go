package node

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"tripod/internal/life"
)

func sized(name, cpu string) *corev1.Pod {
	p := pod(name, "true")
	p.UID = types.UID(name)
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	return p
}

// TestUnfit has the reasons for which a Pod waits for a node.
func TestUnfit(t *testing.T) {
	n := &Node{Config: Config{Name: "testnode"}}
	b := newBinder(n)
	b.node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "testnode", Labels: map[string]string{"disk": "ssd"}}}
	b.node.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi"), corev1.ResourcePods: resource.MustParse("3"),
	}
	b.info.SetNode(b.node)
	first := sized("first", "1")
	first.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080, Protocol: corev1.ProtocolTCP}}
	b.count(first)
	change := func(f func(*corev1.Pod)) *corev1.Pod {
		p := sized("p", "100m")
		f(p)
		return p
	}
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		want string
	}{
		{"fits", sized("p", "1"), ""},
		{"too much for now", sized("p", "1500m"), "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."},
		{"too much for ever", sized("p", "3"), "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."},
		{"another node", change(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "tape"} }), "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption"},
		{"this node", change(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }), ""},
		{"a port that is taken", change(func(p *corev1.Pod) { p.Spec.Containers[0].Ports = first.Spec.Containers[0].Ports }), "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. preemption"},
	} {
		got := ""
		if why := b.unfit(c.pod); why != nil {
			got = why.Error()
		}
		if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	b.node.Spec.Taints = []corev1.Taint{{Key: "k", Value: "v", Effect: corev1.TaintEffectNoSchedule}}
	if why := b.unfit(sized("p", "1")); why == nil || !strings.HasPrefix(why.Error(), "0/1 nodes are available: 1 node(s) had untolerated taint(s).") {
		t.Errorf("tainted: %v", why)
	}
	b.node.Spec.Unschedulable = true
	if why := b.unfit(sized("p", "1")); why == nil || !strings.HasPrefix(why.Error(), "0/1 nodes are available: 1 node(s) were unschedulable.") {
		t.Errorf("cordoned: %v", why)
	}
	if r := b.reject(sized("p", "1500m")); r == nil || r.reason != "OutOfcpu" || r.message != "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000" {
		t.Errorf("rejected: %+v", r)
	}
}

func TestMerge(t *testing.T) {
	then, now := metav1.NewTime(time.Unix(1000, 0)), metav1.NewTime(time.Unix(2000, 0))
	base := &corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1", Conditions: []corev1.PodCondition{
		{Type: "Mine", Status: corev1.ConditionTrue},
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: then},
		{Type: corev1.ContainersReady, Status: corev1.ConditionFalse, LastTransitionTime: then},
	}}
	want := &corev1.PodStatus{Phase: corev1.PodFailed, Conditions: []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now}, {Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: now},
	}}
	got := merge(base, want)
	if got.Phase != corev1.PodFailed || got.PodIP != "10.0.0.1" || len(got.Conditions) != 3 || got.Conditions[0].Type != "Mine" {
		t.Fatalf("%+v", got)
	}
	if !got.Conditions[1].LastTransitionTime.Equal(&then) || !got.Conditions[2].LastTransitionTime.Equal(&now) {
		t.Errorf("times: %+v", got.Conditions)
	}
	if again := merge(&got, &corev1.PodStatus{Phase: corev1.PodRunning}); again.Phase != corev1.PodFailed {
		t.Errorf("a Pod that has ended is %s", again.Phase)
	}
}

func TestHappened(t *testing.T) {
	p := pod("web", "true")
	p.UID = "u"
	at := time.Unix(5000, 0)
	l := draft(p)
	run := life.Record{Name: "c0", State: life.Running, StartedAt: at}
	ended := life.Record{Name: "c0", State: life.Exited, StartedAt: at, FinishedAt: at, ExitCode: 1}
	second := run
	second.Attempt, second.Crashes, second.Last = 1, 1, &ended
	paused := ended
	paused.Attempt, paused.Crashes = 1, 1
	unable := life.Record{Name: "c0", State: life.Exited, FinishedAt: at, Message: "no such file"}
	for _, c := range []struct {
		name        string
		before, now life.Record
		want        string
	}{
		{"begins", life.Record{Name: "c0", State: life.Creating}, run, "Created Started"},
		{"goes on", run, run, ""},
		{"ends", run, ended, ""},
		{"begins again", ended, second, "Pulled Created Started"},
		{"was too quick to be seen", life.Record{Name: "c0"}, ended, "Created Started"},
		{"has to wait", second, paused, "BackOff"},
		{"waits", paused, paused, ""},
		{"cannot begin", life.Record{Name: "c0", State: life.Creating}, unable, "Failed"},
	} {
		var got []string
		for _, e := range happened(p, l, []life.Record{c.before}, []life.Record{c.now}, at) {
			got = append(got, e.reason)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
}

func TestRecovered(t *testing.T) {
	status := func(name string, count int32, s corev1.ContainerState) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, RestartCount: count, State: s, ContainerID: "tripod://x"}
	}
	p := &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
		status("ran", 2, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}),
		status("done", 0, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 4, Reason: "Error"}}),
		status("never", 0, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}),
	}}}
	got := recovered(p)
	if len(got) != 2 || got[0].Attempt != 2 || got[0].ExitCode != 137 || got[0].Reason != life.ReasonStatusUnknown || got[0].ID != "x" || got[1].ExitCode != 4 {
		t.Errorf("%+v", got)
	}
}

func TestValues(t *testing.T) {
	client := fake.NewClientset(
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "m"}, Data: map[string]string{"a": "$(B) $c", "z": "1"}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}, Data: map[string][]byte{"p": []byte("secret")}},
	)
	from := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	c := corev1.Container{
		EnvFrom: []corev1.EnvFromSource{
			{Prefix: "M_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: from("m")}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: from("none"), Optional: new(true)}},
		},
		Env: []corev1.EnvVar{
			{Name: "PLAIN", Value: "$(P)"},
			{Name: "P", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: from("s"), Key: "p"}}},
			{Name: "GONE", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: from("m"), Key: "no", Optional: new(true)}}},
		},
	}
	v := newValues(t.Context(), client, "default")
	if err := v.resolve(&c, []corev1.EnvVar{{Name: "S", Value: "1"}}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range c.Env {
		got = append(got, e.Name+"="+e.Value)
	}
	if want := "S=1 M_a=$$(B) $$c M_z=1 PLAIN=$(P) P=secret"; strings.Join(got, " ") != want {
		t.Errorf("%q, want %q", got, want)
	}
	for want, e := range map[string]*corev1.EnvVarSource{
		`secret "none" not found`:                     {SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: from("none"), Key: "p"}},
		"couldn't find key no in ConfigMap default/m": {ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: from("m"), Key: "no"}},
	} {
		if err := v.resolve(&corev1.Container{Env: []corev1.EnvVar{{Name: "X", ValueFrom: e}}}, nil); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

package controllers

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"tripod/internal/api"
	"tripod/internal/objects"
)

// cluster is an API server with its controllers. Nobody runs Pods; a test says what became of them.
type cluster struct {
	*testing.T
	kubernetes.Interface
	controllers *Controllers
	ctx         context.Context
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	RouteLog(log)
	store, err := objects.Open(t.TempDir(), api.Codec(), objects.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := api.New(api.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Client: server.ClientConfig, Store: store, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Error("controllers do not end with their context")
		}
		server.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &cluster{t, kubernetes.NewForConfigOrDie(server.ClientConfig("test")), c, ctx}
}

// until waits for a state that controllers are to reach.
func (c *cluster) until(what string, reached func() bool) {
	c.Helper()
	for end := time.Now().Add(time.Minute); !reached(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			c.Fatalf("never: %s", what)
		}
	}
}

func must[T any](c *cluster) func(T, error) T {
	return func(v T, err error) T {
		c.Helper()
		if err != nil {
			c.Fatal(err)
		}
		return v
	}
}

// pods are the Pods of a namespace that are not about to go.
func (c *cluster) pods(namespace string) []corev1.Pod {
	list := must[*corev1.PodList](c)(c.CoreV1().Pods(namespace).List(c.ctx, metav1.ListOptions{}))
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

// say makes all Pods of a namespace be in a phase, ready when they run.
func (c *cluster) say(namespace string, phase corev1.PodPhase) {
	for i, p := range c.pods(namespace) {
		if p.Status.Phase == phase {
			continue
		}
		p.Status.Phase = phase
		p.Status.PodIP = "10.0.0." + string(rune('1'+i))
		p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
		if _, err := c.CoreV1().Pods(namespace).UpdateStatus(c.ctx, &p, metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			c.Fatal(err)
		}
	}
}

var podTemplate = corev1.PodTemplateSpec{
	ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
	Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox"}}},
}

func newDeployment(replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: podTemplate.Labels}, Template: podTemplate,
		},
	}
}

// TestDeployment is made, scaled, rolled over to another image and deleted with all it owns.
func TestDeployment(t *testing.T) {
	c := newCluster(t)
	deployments := c.AppsV1().Deployments("default")
	must[*appsv1.Deployment](c)(deployments.Create(c.ctx, newDeployment(3), metav1.CreateOptions{}))
	c.until("3 Pods", func() bool { return len(c.pods("default")) == 3 })
	settled := func(n int32) func() bool {
		return func() bool {
			c.say("default", corev1.PodRunning)
			d := must[*appsv1.Deployment](c)(deployments.Get(c.ctx, "web", metav1.GetOptions{}))
			s := d.Status
			return s.ObservedGeneration == d.Generation && s.Replicas == n && s.UpdatedReplicas == n && s.AvailableReplicas == n
		}
	}
	c.until("3 available", settled(3))
	change := func(how func(*appsv1.Deployment)) {
		t.Helper()
		for {
			d := must[*appsv1.Deployment](c)(deployments.Get(c.ctx, "web", metav1.GetOptions{}))
			how(d)
			if _, err := deployments.Update(c.ctx, d, metav1.UpdateOptions{}); err == nil {
				return
			} else if !apierrors.IsConflict(err) {
				t.Fatal(err)
			}
		}
	}
	five := int32(5)
	change(func(d *appsv1.Deployment) { d.Spec.Replicas = &five })
	c.until("5 available", settled(5))
	change(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "busybox:2" })
	c.until("5 of the new image", func() bool {
		return settled(5)() && !slices.ContainsFunc(c.pods("default"), func(p corev1.Pod) bool { return p.Spec.Containers[0].Image != "busybox:2" })
	})
	killed := c.pods("default")[0]
	if err := c.CoreV1().Pods("default").Delete(c.ctx, killed.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("another Pod for the one that was deleted", func() bool {
		pods := c.pods("default")
		return len(pods) == 5 && !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.UID == killed.UID })
	})
	if err := deployments.Delete(c.ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("all of it gone", func() bool {
		sets := must[*appsv1.ReplicaSetList](c)(c.AppsV1().ReplicaSets("default").List(c.ctx, metav1.ListOptions{}))
		return len(c.pods("default")) == 0 && len(sets.Items) == 0
	})
}

// TestFirstObjectWakes sees that a controller is started by its first object and by nothing else.
func TestFirstObjectWakes(t *testing.T) {
	c := newCluster(t)
	c.until("the two that have work at once", func() bool {
		return slices.Equal(c.controllers.Awake(), []string{"garbagecollector", "serviceaccount"})
	})
	must[*batchv1.Job](c)(c.BatchV1().Jobs("default").Create(c.ctx, &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "once"},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: podTemplate.Spec.Containers,
		}}},
	}, metav1.CreateOptions{}))
	c.until("a Job's Pod", func() bool { return len(c.pods("default")) == 1 })
	c.say("default", corev1.PodSucceeded)
	c.until("a Job that is complete", func() bool {
		return must[*batchv1.Job](c)(c.BatchV1().Jobs("default").Get(c.ctx, "once", metav1.GetOptions{})).Status.Succeeded == 1
	})
	want := []string{"garbagecollector", "job", "podgc", "serviceaccount", "ttl-after-finished"}
	c.until("the Job's, and no others", func() bool { return slices.Equal(c.controllers.Awake(), want) })
}

func TestEndpointsFollowReadiness(t *testing.T) {
	c := newCluster(t)
	must[*corev1.Service](c)(c.CoreV1().Services("default").Create(c.ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: podTemplate.Labels, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{}))
	must[*appsv1.Deployment](c)(c.AppsV1().Deployments("default").Create(c.ctx, newDeployment(2), metav1.CreateOptions{}))
	c.until("2 Pods", func() bool { return len(c.pods("default")) == 2 })
	must[*corev1.Node](c)(c.CoreV1().Nodes().Create(c.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "here"}}, metav1.CreateOptions{}))
	for _, p := range c.pods("default") { // an address has a node
		if err := c.CoreV1().Pods("default").Bind(c.ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: p.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: "here"},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	addresses := func() (n int) {
		e, err := c.CoreV1().Endpoints("default").Get(c.ctx, "web", metav1.GetOptions{})
		if err != nil {
			return 0
		}
		for _, s := range e.Subsets {
			n += len(s.Addresses)
		}
		return n
	}
	c.until("2 addresses", func() bool { c.say("default", corev1.PodRunning); return addresses() == 2 })
	c.until("2 in an EndpointSlice", func() bool {
		list, err := c.DiscoveryV1().EndpointSlices("default").List(c.ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=web"})
		return err == nil && len(list.Items) == 1 && len(list.Items[0].Endpoints) == 2
	})
}

// TestNamespaceGoesWithAllInIt has an account and an object with an owner in it.
func TestNamespaceGoesWithAllInIt(t *testing.T) {
	c := newCluster(t)
	must[*corev1.Namespace](c)(c.CoreV1().Namespaces().Create(c.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}))
	c.until("its default account", func() bool {
		_, err := c.CoreV1().ServiceAccounts("shop").Get(c.ctx, "default", metav1.GetOptions{})
		return err == nil
	})
	maps := c.CoreV1().ConfigMaps("shop")
	owner := must[*corev1.ConfigMap](c)(maps.Create(c.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{}))
	must[*corev1.ConfigMap](c)(maps.Create(c.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owned", OwnerReferences: []metav1.OwnerReference{
		{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID},
	}}}, metav1.CreateOptions{}))
	must[*corev1.ConfigMap](c)(maps.Create(c.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "free"}}, metav1.CreateOptions{}))
	if err := maps.Delete(c.ctx, "owner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("what it owned gone too", func() bool {
		_, err := maps.Get(c.ctx, "owned", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	if _, err := maps.Get(c.ctx, "free", metav1.GetOptions{}); err != nil {
		t.Errorf("what nobody owned: %v", err)
	}
	if err := c.CoreV1().Namespaces().Delete(c.ctx, "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("the namespace gone", func() bool {
		_, err := c.CoreV1().Namespaces().Get(c.ctx, "shop", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	if list := must[*corev1.ConfigMapList](c)(maps.List(c.ctx, metav1.ListOptions{})); len(list.Items) > 0 {
		t.Errorf("%d ConfigMaps are left of it", len(list.Items))
	}
}

func TestPodsOfNoNodeGo(t *testing.T) {
	pod := func(name, node string, phase corev1.PodPhase, leaving bool, age int) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(int64(1000-age), 0)}}
		p.Spec.NodeName, p.Status.Phase = node, phase
		if leaving {
			p.DeletionTimestamp = &metav1.Time{}
		}
		return p
	}
	got := condemn([]*corev1.Pod{
		pod("runs", "here", corev1.PodRunning, false, 1),
		pod("stops", "here", corev1.PodRunning, true, 1),
		pod("orphan", "gone", corev1.PodRunning, false, 1),
		pod("never-bound", "", corev1.PodPending, true, 1),
		pod("waits", "", corev1.PodPending, false, 1),
		pod("new", "here", corev1.PodSucceeded, false, 1),
		pod("old", "here", corev1.PodFailed, false, 3),
		pod("older", "here", corev1.PodSucceeded, false, 4),
	}, func(name string) bool { return name == "here" }, 1)
	var names []string
	for _, d := range got {
		names = append(names, d.pod.Name)
		if d.orphan != (d.pod.Name == "orphan") {
			t.Errorf("%s is an orphan: %v", d.pod.Name, d.orphan)
		}
	}
	if want := []string{"orphan", "never-bound", "older", "old"}; !slices.Equal(names, want) {
		t.Errorf("condemned %v, want %v", names, want)
	}
}

package api

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// TestClientOfOurOwn sees that an informer over the in-process client hears what other clients do.
func TestClientOfOurOwn(t *testing.T) {
	f := serve(t)
	client, err := kubernetes.NewForConfig(f.api.ClientConfig("tester"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heard := make(chan string, 10)
	factory := informers.NewSharedInformerFactory(client, 0)
	_, err = factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { heard <- "added " + o.(*corev1.Pod).Name },
		UpdateFunc: func(_, o any) { heard <- "updated " + o.(*corev1.Pod).Labels["new"] },
		DeleteFunc: func(o any) { heard <- "deleted " + o.(*corev1.Pod).Name },
	})
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	f.must(201, "POST", podsAt, onePod)
	f.must(200, "PATCH", podsAt+"/one", `{"metadata":{"labels":{"new":"label"}}}`, "Content-Type: application/merge-patch+json")
	if err := client.CoreV1().Pods("default").Delete(ctx, "one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var all []string
	for len(all) == 0 || all[len(all)-1] != "deleted one" {
		all = append(all, <-heard)
	}
	// A Pod is told when its end begins, and when it is gone.
	if want := []string{"added one", "updated label", "updated label", "deleted one"}; !slices.Equal(all, want) {
		t.Errorf("heard %q, want %q", all, want)
	}
	cancel()
	factory.Shutdown()
}

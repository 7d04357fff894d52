// Command informer is a program as people write them with client-go: informers over Pods and Deployments, whose events it
// prints a line each until the Pods that it waits for are there, or gone. It shows that what watches is told everything,
// across a daemon that is killed.
//
//	informer KUBECONFIG SELECTOR COUNT [SECONDS]
//
// It ends with 0 when exactly COUNT Pods of the selector are Ready in its cache, as a list of the server says too.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "informer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("usage: informer KUBECONFIG SELECTOR COUNT [SECONDS]")
	}
	selector, err := labels.Parse(args[1])
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	limit := 30
	if len(args) > 3 {
		if limit, err = strconv.Atoi(args[3]); err != nil {
			return err
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", args[0])
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(limit)*time.Second)
	defer cancel()
	return await(ctx, client, selector, count)
}

// await watches until the cache holds count Pods that are Ready, and no others.
func await(ctx context.Context, client kubernetes.Interface, selector labels.Selector, count int) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	pods, deployments := factory.Core().V1().Pods(), factory.Apps().V1().Deployments()
	changed := make(chan struct{}, 1)
	tell := func(what string) func(any) {
		return func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if o, ok := obj.(metav1.Object); ok {
				fmt.Printf("%s %T %s/%s %s\n", what, obj, o.GetNamespace(), o.GetName(), o.GetResourceVersion())
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: tell("added"), UpdateFunc: func(_, now any) { tell("modified")(now) }, DeleteFunc: tell("deleted")}
	for _, informer := range []cache.SharedIndexInformer{pods.Informer(), deployments.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("the cache of %v never filled", kind)
		}
	}
	for {
		cached, err := pods.Lister().List(selector)
		if err != nil {
			return err
		}
		if len(cached) == count && ready(cached) {
			return agrees(ctx, client, selector, cached)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d Pods of %s, %d ready ones wanted: %w", len(cached), selector, count, ctx.Err())
		}
	}
}

func ready(pods []*corev1.Pod) bool {
	for _, pod := range pods {
		is := false
		for _, c := range pod.Status.Conditions {
			is = is || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}
		if !is || pod.DeletionTimestamp != nil {
			return false
		}
	}
	return true
}

// agrees compares the cache with a list.
func agrees(ctx context.Context, client kubernetes.Interface, selector labels.Selector, cached []*corev1.Pod) error {
	list, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return err
	}
	uids := map[string]bool{}
	for _, pod := range list.Items {
		uids[string(pod.UID)] = true
	}
	for _, pod := range cached {
		if !uids[string(pod.UID)] {
			return fmt.Errorf("the cache has Pod %s, the server has not", pod.Name)
		}
	}
	if len(uids) != len(cached) {
		return fmt.Errorf("the server has %d Pods, the cache %d", len(uids), len(cached))
	}
	return nil
}

package node

import (
	"context"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// newAPI is a clientset with what an API server does to Pods: UIDs, bindings and deletion in a grace.
func newAPI(t *testing.T) kubernetes.Interface {
	t.Helper()
	client := fake.NewClientset()
	pods := corev1.SchemeGroupVersion.WithResource("pods")
	client.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		create := a.(clienttesting.CreateAction)
		if create.GetSubresource() == "binding" {
			b := create.GetObject().(*corev1.Binding)
			o, err := client.Tracker().Get(pods, a.GetNamespace(), b.Name)
			if err != nil {
				return true, nil, err
			}
			p := o.(*corev1.Pod).DeepCopy()
			p.Spec.NodeName = b.Target.Name
			return true, b, client.Tracker().Update(pods, p, p.Namespace)
		}
		p := create.GetObject().(*corev1.Pod)
		p.UID, p.CreationTimestamp, p.Generation = uuid.NewUUID(), metav1.Now(), 1
		p.Status.Phase = corev1.PodPending
		return false, nil, nil
	})
	var mu sync.Mutex
	client.PrependReactor("delete", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		del := a.(clienttesting.DeleteActionImpl)
		o, err := client.Tracker().Get(pods, a.GetNamespace(), del.Name)
		if err != nil {
			return true, nil, err
		}
		p := o.(*corev1.Pod).DeepCopy()
		if pre := del.DeleteOptions.Preconditions; pre != nil && pre.UID != nil && *pre.UID != p.UID {
			return true, nil, context.Canceled
		}
		grace := del.DeleteOptions.GracePeriodSeconds
		if grace == nil {
			grace = p.Spec.TerminationGracePeriodSeconds
		}
		if p.Spec.NodeName == "" || ended(p) {
			grace = new(int64(0))
		}
		now := metav1.Now()
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, grace
		return *grace > 0, nil, client.Tracker().Update(pods, p, p.Namespace)
	})
	return client
}

// Package admit does what a cluster's API server does to objects before they are judged: namespaces must be there, Pods get their
// ServiceAccount, tolerations and priority.
package admit

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/util/feature"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/plugin/pkg/admission/defaulttolerationseconds"

	"tripod/internal/objects"
)

// Chain is all admission, in the order in which Kubernetes does it.
func Chain(store *objects.Store) admission.Interface {
	tolerations := defaulttolerationseconds.NewDefaultTolerationSeconds()
	tolerations.InspectFeatureGates(feature.DefaultFeatureGate)
	return admission.NewChainHandler(namespaces{store}, accounts{store}, tolerations, priorities{})
}

// immortal are the namespaces that nobody may delete.
var immortal = map[string]bool{metav1.NamespaceDefault: true, metav1.NamespaceSystem: true, metav1.NamespacePublic: true}

// namespaces refuses what would live in a namespace that is not there, or is going.
type namespaces struct{ store *objects.Store }

// Handles implements admission.Interface.
func (namespaces) Handles(admission.Operation) bool { return true }

// Admit implements admission.MutationInterface: it changes nothing, and comes first.
func (n namespaces) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	isNamespace := a.GetKind().GroupKind() == corev1.SchemeGroupVersion.WithKind("Namespace").GroupKind()
	switch {
	case a.GetOperation() == admission.Delete && isNamespace && immortal[a.GetName()]:
		return apierrors.NewForbidden(a.GetResource().GroupResource(), a.GetName(), fmt.Errorf("this namespace may not be deleted"))
	case a.GetNamespace() == "" || isNamespace || a.GetOperation() == admission.Delete || a.GetResource().Group == "authorization.k8s.io":
		return nil
	}
	obj, ok := n.store.Get(objects.ID{Resource: corev1.Resource("namespaces"), Name: a.GetNamespace()})
	if !ok {
		return apierrors.NewNotFound(corev1.Resource("namespaces"), a.GetNamespace())
	}
	space, ok := obj.(*api.Namespace)
	if !ok || a.GetOperation() != admission.Create || space.Status.Phase != api.NamespaceTerminating {
		return nil
	}
	err := admission.NewForbidden(a, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", a.GetNamespace()))
	if s, ok := err.(*apierrors.StatusError); ok { //nolint:errorlint // NewForbidden makes it
		s.ErrStatus.Details.Causes = append(s.ErrStatus.Details.Causes, metav1.StatusCause{
			Type:    corev1.NamespaceTerminatingCause,
			Message: fmt.Sprintf("namespace %s is being terminated", a.GetNamespace()),
			Field:   "metadata.namespace",
		})
	}
	return err
}

// newPod is the Pod that a request makes, or nil.
func newPod(a admission.Attributes) *api.Pod {
	if a.GetResource().GroupResource() != (schema.GroupResource{Resource: "pods"}) || a.GetSubresource() != "" {
		return nil
	}
	pod, _ := a.GetObject().(*api.Pod)
	return pod
}

// accounts gives Pods the default ServiceAccount, and those of an account the secrets that its images are pulled with. No token is
// mounted: the engine makes none.
type accounts struct{ store *objects.Store }

// Handles implements admission.Interface.
func (accounts) Handles(o admission.Operation) bool { return o == admission.Create }

// Admit implements admission.MutationInterface.
func (s accounts) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := newPod(a)
	if pod == nil {
		return nil
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return nil
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = "default"
	}
	//lint:ignore SA1019 validation wants the old name to be the same
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	if len(pod.Spec.ImagePullSecrets) > 0 {
		return nil
	}
	obj, ok := s.store.Get(objects.ID{Resource: corev1.Resource("serviceaccounts"), Namespace: a.GetNamespace(), Name: pod.Spec.ServiceAccountName})
	if account, is := obj.(*api.ServiceAccount); ok && is {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, account.ImagePullSecrets...)
	}
	return nil
}

// classes are the priorities that every cluster has.
var classes = map[string]int32{"system-node-critical": 2000001000, "system-cluster-critical": 2000000000}

// priorities tells Pods how important they are: all alike, if they do not name one of the cluster's own classes.
type priorities struct{}

// Handles implements admission.Interface.
func (priorities) Handles(o admission.Operation) bool {
	return o == admission.Create || o == admission.Update
}

// Admit implements admission.MutationInterface.
func (priorities) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := newPod(a)
	if pod == nil {
		return nil
	}
	if old, ok := a.GetOldObject().(*api.Pod); ok && a.GetOperation() == admission.Update {
		if pod.Spec.Priority == nil {
			pod.Spec.Priority = old.Spec.Priority
		}
		if pod.Spec.PreemptionPolicy == nil {
			pod.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
		}
		return nil
	}
	priority, known := classes[pod.Spec.PriorityClassName]
	if pod.Spec.PriorityClassName != "" && !known {
		return admission.NewForbidden(a, fmt.Errorf("no PriorityClass with name %v was found", pod.Spec.PriorityClassName))
	}
	if pod.Spec.Priority != nil && *pod.Spec.Priority != priority {
		return admission.NewForbidden(a, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *pod.Spec.Priority, priority))
	}
	pod.Spec.Priority = &priority
	if pod.Spec.PreemptionPolicy == nil {
		policy := api.PreemptLowerPriority
		pod.Spec.PreemptionPolicy = &policy
	}
	return nil
}

package manifest

import (
	"fmt"
	"hash/fnv"
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation"
)

// expand gives the Pods of a valid object as its controller would make them,
// with names that do not change from one reading to the next.
func (s *shape) expand(o object) (pods []*corev1.Pod, notes []string) {
	t, _ := template(o)
	switch o := o.(type) {
	case *corev1.Pod:
		p := o.DeepCopy()
		// The rest is for a server to write; an API server wipes it as well.
		p.ObjectMeta = metav1.ObjectMeta{
			Name: p.Name, GenerateName: p.GenerateName, Namespace: p.Namespace, Labels: p.Labels, Annotations: p.Annotations,
		}
		p.Status = corev1.PodStatus{}
		return []*corev1.Pod{p}, nil
	case *appsv1.StatefulSet:
		start := 0
		if o.Spec.Ordinals != nil {
			start = int(o.Spec.Ordinals.Start)
		}
		pods = s.copies(o, t, *o.Spec.Replicas, func(i int) string { return fmt.Sprintf("%s-%d", o.Name, start+i) })
		for i, p := range pods {
			p.Labels[appsv1.StatefulSetPodNameLabel] = p.Name
			p.Labels[appsv1.PodIndexLabel] = strconv.Itoa(start + i)
			p.Spec.Hostname, p.Spec.Subdomain = p.Name, o.Spec.ServiceName
		}
	case *appsv1.DaemonSet:
		pods = s.copies(o, t, 1, numbered(o.Name, 1))
	case *appsv1.Deployment:
		pods = s.copies(o, t, *o.Spec.Replicas, numbered(o.Name, *o.Spec.Replicas))
		for _, p := range pods {
			p.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = templateHash(t)
		}
	case *appsv1.ReplicaSet:
		pods = s.copies(o, t, *o.Spec.Replicas, numbered(o.Name, *o.Spec.Replicas))
	case *batchv1.Job:
		n := *o.Spec.Parallelism
		if o.Spec.Completions != nil {
			n = min(n, *o.Spec.Completions)
		}
		pods = s.copies(o, t, n, numbered(o.Name, n))
		if t.Spec.RestartPolicy == corev1.RestartPolicyOnFailure {
			for _, p := range pods {
				metav1.SetMetaDataAnnotation(&p.ObjectMeta, AnnotationRestarts, strconv.Itoa(int(*o.Spec.BackoffLimit)))
			}
		}
	}
	if len(pods) > 0 {
		// A controller's Pods pass the API server too; the last has the longest name.
		for _, p := range pods[:len(pods)-1] {
			scheme().Default(p)
		}
		for _, e := range settle(pods[len(pods)-1]) {
			e.Field = "spec.template." + e.Field
			s.invalid(e)
		}
	}
	notes = append(notes, fmt.Sprintf("%s %s: its Pods are run as they are; rollout and replacement need the daemon",
		strings.ToLower(o.GetObjectKind().GroupVersionKind().Kind), o.GetName()))
	return pods, notes
}

// numbered names the copies: one copy has the workload's own name.
func numbered(name string, n int32) func(int) string {
	if n == 1 {
		return func(int) string { return name }
	}
	return func(i int) string { return fmt.Sprintf("%s-%d", name, i) }
}

// copies makes n Pods of a template.
func (s *shape) copies(o object, t corev1.PodTemplateSpec, n int32, name func(int) string) []*corev1.Pod {
	if n > MaxPods {
		s.fault(s.lineOf("spec.replicas"), "spec.replicas", "", "%d Pods; a manifest may ask for %d", n, MaxPods)
		return nil
	}
	pods := make([]*corev1.Pod, 0, n)
	for i := range int(n) {
		p := &corev1.Pod{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			ObjectMeta: metav1.ObjectMeta{
				Name: name(i), Namespace: o.GetNamespace(),
				Labels: maps.Clone(t.Labels), Annotations: maps.Clone(t.Annotations),
			},
			Spec: *t.Spec.DeepCopy(),
		}
		if p.Labels == nil {
			p.Labels = map[string]string{}
		}
		if len(p.Name) > validation.DNS1123SubdomainMaxLength {
			s.fault(s.lineOf("metadata.name"), "metadata.name", "", "the Pod's name %s-… is longer than %d bytes", p.Name[:40], validation.DNS1123SubdomainMaxLength)
			return nil
		}
		pods = append(pods, p)
	}
	return pods
}

// templateHash labels the Pods of one Deployment template, as the controller
// does; the hash itself is an internal matter of each.
func templateHash(t corev1.PodTemplateSpec) string {
	h := fnv.New32a()
	text, err := t.Marshal()
	if err != nil {
		panic(err) // only of types that cannot be marshalled
	}
	_, _ = h.Write(text)
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

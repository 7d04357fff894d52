package manifest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsk8s "k8s.io/kubernetes/pkg/apis/apps/v1"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	batchk8s "k8s.io/kubernetes/pkg/apis/batch/v1"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	corek8s "k8s.io/kubernetes/pkg/apis/core/v1"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	k8scapabilities "k8s.io/kubernetes/pkg/capabilities"
)

// object is what the six kinds have in common.
type object interface {
	runtime.Object
	metav1.Object
}

// kind is a kind of object that is understood.
type kind struct {
	apiVersion, name string
	make             func() object
}

var kinds = []kind{
	{"v1", "Pod", func() object { return &corev1.Pod{} }},
	{"apps/v1", "Deployment", func() object { return &appsv1.Deployment{} }},
	{"apps/v1", "ReplicaSet", func() object { return &appsv1.ReplicaSet{} }},
	{"apps/v1", "StatefulSet", func() object { return &appsv1.StatefulSet{} }},
	{"apps/v1", "DaemonSet", func() object { return &appsv1.DaemonSet{} }},
	{"batch/v1", "Job", func() object { return &batchv1.Job{} }},
}

func (k kind) structure() reflect.Type { return reflect.TypeOf(k.make()).Elem() }

func (k kind) gvk() schema.GroupVersionKind {
	return schema.FromAPIVersionAndKind(k.apiVersion, k.name)
}

// otherKinds are valid Kubernetes and have no meaning here yet.
var otherKinds = []string{
	"APIService", "Binding", "CertificateSigningRequest", "ClusterRole", "ClusterRoleBinding", "ComponentStatus",
	"ConfigMap", "ControllerRevision", "CronJob", "CSIDriver", "CSINode", "CSIStorageCapacity",
	"CustomResourceDefinition", "DeviceClass", "Endpoints", "EndpointSlice", "Event", "FlowSchema",
	"HorizontalPodAutoscaler", "Ingress", "IngressClass", "IPAddress", "Lease", "LimitRange",
	"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "MutatingWebhookConfiguration", "Namespace",
	"NetworkPolicy", "Node", "PersistentVolume", "PersistentVolumeClaim", "PodDisruptionBudget", "PodGroup",
	"PodTemplate", "PriorityClass", "PriorityLevelConfiguration", "ReplicationController", "ResourceClaim",
	"ResourceClaimTemplate", "ResourceQuota", "ResourceSlice", "Role", "RoleBinding", "RuntimeClass", "Secret",
	"Service", "ServiceAccount", "ServiceCIDR", "StorageClass", "ValidatingAdmissionPolicy",
	"ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration", "VolumeAttachment",
	"VolumeAttributesClass", "Workload",
}

// isOther tells a kind that is valid Kubernetes and has no meaning here yet.
func isOther(name string) bool { return slices.Contains(otherKinds, name) }

// findKind gives the kind of an apiVersion and a name, or the mistake in them.
// A kind may come back beside a mistake, so that reading can go on.
func findKind(apiVersion, name string) (*kind, *Error) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i >= 0 && kinds[i].apiVersion == apiVersion {
		return &kinds[i], nil
	}
	if i >= 0 {
		k := &kinds[i]
		e := &Error{Field: "apiVersion", Hint: "write apiVersion: " + k.apiVersion}
		if apiVersion == "" {
			e.Msg = "required value"
		} else {
			e.Msg = fmt.Sprintf("kind %s is not in %q", name, apiVersion)
		}
		return k, e
	}
	e := &Error{Field: "kind"}
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	switch near := nearest(name, names); {
	case name == "":
		e.Msg, e.Hint = "required value", "one of "+strings.Join(names, ", ")
	case isOther(name):
		e.Msg = name + ": " + notYet
		e.Hint = "understood are " + strings.Join(names, ", ") + " and List"
	case near != "":
		e.Msg, e.Hint = fmt.Sprintf("unknown kind %q", name), fmt.Sprintf("did you mean %q?", near)
	default:
		e.Msg, e.Hint = fmt.Sprintf("unknown kind %q", name), "understood are "+strings.Join(names, ", ")+" and List"
	}
	return nil, e
}

// scheme knows the six kinds, their defaults, conversions and declarative
// validation: the generated code of an API server.
var scheme = sync.OnceValue(func() *runtime.Scheme {
	// Validation has this one switch that is global: an API server's --allow-privileged.
	k8scapabilities.Setup(true, 0)
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		core.AddToScheme, corek8s.AddToScheme,
		apps.AddToScheme, appsk8s.AddToScheme,
		batch.AddToScheme, batchk8s.AddToScheme,
	} {
		utilruntime.Must(add(s))
	}
	return s
})

// settle gives an object its defaults, as an API server does when it is
// created, and tells what that server would refuse.
func settle(o object) field.ErrorList {
	if o.GetNamespace() == "" {
		o.SetNamespace(metav1.NamespaceDefault)
	}
	if o.GetName() == "" && o.GetGenerateName() != "" {
		o.SetName(o.GetGenerateName() + "0")
	}
	scheme().Default(o)
	if j, ok := o.(*batchv1.Job); ok {
		selectOwn(j)
	}
	errs := validate(o)
	options := map[string]bool{"WorkloadWithJob": false}
	for _, e := range scheme().Validate(context.Background(), options, o) {
		told := slices.ContainsFunc(errs, func(f *field.Error) bool { return f.Field == e.Field })
		if !told {
			errs = append(errs, e)
		}
	}
	return errs
}

// internal gives an object in the form that validation is written for.
func internal(o object) (runtime.Object, error) {
	return scheme().UnsafeConvertToVersion(o.DeepCopyObject(), runtime.InternalGroupVersioner)
}

// warnings gives what an API server would warn of in a valid Pod template: a
// variable that hides another, a field that is deprecated.
func warnings(t corev1.PodTemplateSpec, at string) []string {
	in, err := internal(&corev1.Pod{ObjectMeta: t.ObjectMeta, Spec: t.Spec})
	if err != nil {
		return nil
	}
	pod := in.(*core.Pod)
	var path *field.Path
	if at != "" {
		path = field.NewPath("spec", "template")
	}
	template := &core.PodTemplateSpec{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec}
	return podutil.GetWarningsForPodTemplate(context.Background(), path, template, nil)
}

func validate(o object) field.ErrorList {
	in, err := internal(o)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	switch o := in.(type) {
	case *core.Pod:
		opts := podutil.GetValidationOptionsFromPodSpecAndMeta(&o.Spec, nil, &o.ObjectMeta, nil)
		opts.ResourceIsPod = true
		return corevalidation.ValidatePodCreate(o, opts)
	case *apps.Deployment:
		return appsvalidation.ValidateDeployment(o, podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil))
	case *apps.ReplicaSet:
		return appsvalidation.ValidateReplicaSet(o, podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil))
	case *apps.StatefulSet:
		return appsvalidation.ValidateStatefulSet(o, appsvalidation.StatefulSetValidationOptions{},
			podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil))
	case *apps.DaemonSet:
		return appsvalidation.ValidateDaemonSet(o, podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil))
	case *batch.Job:
		return batchvalidation.ValidateJobCreate(o, batchvalidation.JobValidationOptions{
			PodValidationOptions:  podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil),
			RequirePrefixedLabels: true,
		})
	}
	return field.ErrorList{field.InternalError(nil, fmt.Errorf("no validation for %T", in))}
}

// selectOwn gives a Job the selector and labels that an API server generates
// before it validates. The controller-uid there is the Job's random UID; here
// the Job's name stands for it, so that two readings give one result.
func selectOwn(j *batchv1.Job) {
	if j.Spec.ManualSelector != nil && *j.Spec.ManualSelector {
		return
	}
	j.UID = types.UID(j.Name)
	t := &j.Spec.Template
	if t.Labels == nil {
		t.Labels = map[string]string{}
	}
	for _, label := range []string{"job-name", batchv1.JobNameLabel, "controller-uid", batchv1.ControllerUidLabel} {
		if _, set := t.Labels[label]; !set {
			t.Labels[label] = j.Name
		}
	}
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	if _, set := j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; !set {
		j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] = j.Name
	}
}

package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// template gives the Pod template of a workload and the path to its spec.
func template(o object) (corev1.PodTemplateSpec, string) {
	switch o := o.(type) {
	case *corev1.Pod:
		return corev1.PodTemplateSpec{ObjectMeta: o.ObjectMeta, Spec: o.Spec}, ""
	case *appsv1.Deployment:
		return o.Spec.Template, "spec.template."
	case *appsv1.ReplicaSet:
		return o.Spec.Template, "spec.template."
	case *appsv1.StatefulSet:
		return o.Spec.Template, "spec.template."
	case *appsv1.DaemonSet:
		return o.Spec.Template, "spec.template."
	case *batchv1.Job:
		return o.Spec.Template, "spec.template."
	}
	panic(fmt.Sprintf("no Pod template in %T", o))
}

// refuse tells the values that are valid but not implemented, of fields that are.
func (s *shape) refuse(o object) {
	t, at := template(o)
	s.refuseAnnotations(t, at)
	spec := at + "spec."
	if t.Spec.OS != nil && t.Spec.OS.Name != corev1.Linux {
		s.refuseField(spec+"os.name", 0, string(t.Spec.OS.Name))
	}
	if _, written := s.lines[spec+"dnsPolicy"]; written && strings.HasPrefix(string(t.Spec.DNSPolicy), string(corev1.DNSClusterFirst)) {
		s.idle = append(s.idle, spec+"dnsPolicy: "+string(t.Spec.DNSPolicy)+" (there is no cluster DNS; the host's is used)")
	}
	for i, v := range t.Spec.Volumes {
		if v.EmptyDir == nil {
			continue
		}
		path := fmt.Sprintf("%svolumes[%d].emptyDir.", spec, i)
		if m := v.EmptyDir.Medium; m != corev1.StorageMediumDefault && m != corev1.StorageMediumMemory {
			s.refuseField(path+"medium", 0, string(m))
		}
		if v.EmptyDir.SizeLimit != nil && v.EmptyDir.Medium == corev1.StorageMediumDefault {
			s.refuseField(path+"sizeLimit", 0, "on disk")
			s.errs[len(s.errs)-1].Hint = "with medium: Memory it is"
		}
	}
	s.refuseResources(t.Spec.Resources, spec+"resources.")
	for i := range t.Spec.InitContainers {
		c := &t.Spec.InitContainers[i]
		path := fmt.Sprintf("%sinitContainers[%d].", spec, i)
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			s.refuseField(path+"restartPolicy", 0, "Always (a sidecar)")
		}
		s.refuseContainer(c, path)
	}
	for i := range t.Spec.Containers {
		s.refuseContainer(&t.Spec.Containers[i], fmt.Sprintf("%scontainers[%d].", spec, i))
	}
	if j, ok := o.(*batchv1.Job); ok {
		s.refuseJob(j)
	}
}

func (s *shape) refuseContainer(c *corev1.Container, path string) {
	s.checkImage(c.Image, path+"image")
	s.refuseResources(&c.Resources, path+"resources.")
	for i, e := range c.Env {
		if e.ValueFrom == nil || e.ValueFrom.ResourceFieldRef == nil {
			continue
		}
		if r := e.ValueFrom.ResourceFieldRef.Resource; strings.HasSuffix(r, ".ephemeral-storage") {
			s.refuseField(fmt.Sprintf("%senv[%d].valueFrom.resourceFieldRef.resource", path, i), 0, r)
		}
	}
}

// transports begin the images that come from no registry; what is behind them only the store can tell.
var transports = []string{"host", "dir", "oci", "oci-archive", "docker-archive", "docker"}

// checkImage refuses what can be no image's name. An API server takes anything, and a kubelet complains later.
func (s *shape) checkImage(name, path string) {
	if transport, _, ok := strings.Cut(name, ":"); name == "" || ok && slices.Contains(transports, transport) {
		return
	}
	if _, err := reference.ParseNormalizedNamed(name); err != nil {
		s.fault(s.lineOf(path), path, "", "%q is no image's name: %v", oneLine(name), err)
	}
}

// refuseResources leaves cpu, memory and hugepages. Ephemeral storage has no
// limit here; its request only places a Pod on a node.
func (s *shape) refuseResources(r *corev1.ResourceRequirements, path string) {
	if r == nil {
		return
	}
	s.refuseResourceList(r.Limits, path+"limits", false)
	s.refuseResourceList(r.Requests, path+"requests", true)
}

func (s *shape) refuseResourceList(list corev1.ResourceList, path string, requests bool) {
	for _, name := range slices.Sorted(maps.Keys(list)) {
		// Defaulting copies a limit to the request: it is told once, where it was written.
		line, written := s.lines[path+"["+string(name)+"]"]
		switch {
		case !written:
		case name == corev1.ResourceCPU || name == corev1.ResourceMemory:
		case strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
		case name == corev1.ResourceEphemeralStorage && requests:
			s.idle = append(s.idle, path+"["+string(name)+"]")
		default:
			s.refuseField(path+"["+string(name)+"]", line, "")
		}
	}
}

// refuseAnnotations minds the annotations that change how a Pod runs.
func (s *shape) refuseAnnotations(t corev1.PodTemplateSpec, at string) {
	for _, key := range slices.Sorted(maps.Keys(t.Annotations)) {
		path := at + "metadata.annotations[" + key + "]"
		switch {
		case strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix):
			s.refuseField(path, 0, "")
		case strings.HasPrefix(key, "tripod/"):
			s.checkAnnotation(&t.Spec, path, key, t.Annotations[key])
		}
	}
}

// checkAnnotation holds tripod's own annotations to their values.
func (s *shape) checkAnnotation(spec *corev1.PodSpec, path, key, value string) {
	line := s.lineOf(path)
	switch key {
	case AnnotationUser:
		if value == "" || strings.ContainsAny(value, "\n\x00") {
			s.fault(line, path, "USER or USER:GROUP", "%q cannot be a user", oneLine(value))
		}
	case AnnotationPids:
		if n, err := strconv.ParseInt(value, 10, 32); err != nil || n == 0 || n < -1 {
			s.fault(line, path, "a number of tasks, or -1 for no limit", "unknown value %q", oneLine(value))
		}
	case AnnotationRestarts:
		if n, err := strconv.ParseUint(value, 10, 31); err != nil {
			s.fault(line, path, "a number of restarts", "unknown value %q", oneLine(value))
		} else if spec.RestartPolicy != corev1.RestartPolicyOnFailure {
			s.fault(line, path, "write restartPolicy: OnFailure", "%d restarts at most contradict restartPolicy: %s", n, spec.RestartPolicy)
		}
	case AnnotationNetwork:
		if value != "none" {
			s.fault(line, path, `write "none"`, "unknown value %q", oneLine(value))
		}
	case AnnotationUserNS:
		s.checkUserNamespace(spec, path, value)
	case AnnotationLint:
	default:
		known := []string{AnnotationLint, AnnotationNetwork, AnnotationPids, AnnotationRestarts, AnnotationUser, AnnotationUserNS}
		s.fault(line, path, "known are "+strings.Join(known, ", "), "unknown annotation of tripod")
	}
}

// checkUserNamespace holds a user namespace for each container to the rules
// that Kubernetes has for hostUsers: false.
func (s *shape) checkUserNamespace(spec *corev1.PodSpec, path, value string) {
	line := s.lineOf(path)
	switch {
	case value != "container":
		s.fault(line, path, `write "container", or use hostUsers: false for one of the whole Pod`, "unknown value %q", oneLine(value))
	case spec.HostUsers != nil && *spec.HostUsers:
		s.fault(line, path, "", "contradicts hostUsers: true")
	case spec.HostNetwork || spec.HostPID || spec.HostIPC:
		s.fault(line, path, "", "cannot be together with hostNetwork, hostPID or hostIPC")
	}
}

// refuseJob leaves the Jobs whose Pods can all start at once.
func (s *shape) refuseJob(j *batchv1.Job) {
	if j.Spec.Suspend != nil && *j.Spec.Suspend {
		s.refuseField("spec.suspend", 0, "true")
	}
	if m := j.Spec.CompletionMode; m != nil && *m == batchv1.IndexedCompletion {
		s.refuseField("spec.completionMode", 0, string(*m))
	}
	if c, p := j.Spec.Completions, j.Spec.Parallelism; c != nil && p != nil && *c > *p {
		s.refuseField("spec.completions", 0, strconv.Itoa(int(*c))+" above parallelism "+strconv.Itoa(int(*p)))
	}
}

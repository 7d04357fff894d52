package lint

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// measured says of a number that a patch writes that it is a guess.
const measured = "a guess: measure, then set"

func memoryLimit(s *subject, c *container) { resource(s, c, "limits", corev1.ResourceMemory, "128Mi") }

func memoryRequest(s *subject, c *container) {
	resource(s, c, "requests", corev1.ResourceMemory, "64Mi")
}

func cpuLimit(s *subject, c *container) { resource(s, c, "limits", corev1.ResourceCPU, "500m") }

func cpuRequest(s *subject, c *container) { resource(s, c, "requests", corev1.ResourceCPU, "50m") }

// resource asks for one limit or request, of the container or of its Pod. A limit stands for the request.
func resource(s *subject, c *container, kind string, name corev1.ResourceName, value string) {
	lists := func(r *corev1.ResourceRequirements) []corev1.ResourceList {
		switch {
		case r == nil:
			return nil
		case kind == "limits":
			return []corev1.ResourceList{r.Limits}
		}
		return []corev1.ResourceList{r.Requests, r.Limits}
	}
	for _, list := range append(lists(&c.Resources), lists(s.Pod.Spec.Resources)...) {
		if q, ok := list[name]; ok && !q.IsZero() {
			return
		}
	}
	field := fmt.Sprintf("resources.%s.%s", kind, name)
	f := s.reportIn(c, field, fmt.Sprintf("add %s: %s, or what you measure", field, value), "no %s %s", name, strings.TrimSuffix(kind, "s"))
	f.fix(s, c.path+"."+field, value, measured)
}

func memoryVolume(s *subject) {
	for i, v := range s.Pod.Spec.Volumes {
		if v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumMemory && v.EmptyDir.SizeLimit == nil {
			path := fmt.Sprintf("%s[%d].emptyDir.sizeLimit", s.field("volumes"), i)
			s.report(path, "add sizeLimit: 64Mi", "volume %s has no size", v.Name).fix(s, path, "64Mi", measured)
		}
	}
}

func gracePeriod(s *subject) {
	grace := s.Pod.Spec.TerminationGracePeriodSeconds
	if grace != nil && *grace < 5 && !s.ends() {
		path := s.field("terminationGracePeriodSeconds")
		s.report(path, "write terminationGracePeriodSeconds: 30", "%d s to shut down", *grace).fix(s, path, "30", "")
	}
}

func recreate(s *subject) {
	if s.Strategy == string(appsv1.RecreateDeploymentStrategyType) {
		s.report("spec.strategy.type", "write strategy: {type: RollingUpdate}, if two versions can run beside each other", "all Pods end before new ones begin")
	}
}

func headlessService(s *subject) {
	if s.Kind == "StatefulSet" && s.ServiceName == "" {
		s.report("spec.serviceName", "add serviceName, with a Service that has clusterIP: None", "no serviceName")
	}
}

func jobTTL(s *subject) {
	if s.Kind == "Job" && s.TTLSecondsAfterFinished == nil {
		path := "spec.ttlSecondsAfterFinished"
		s.report(path, "add ttlSecondsAfterFinished: 3600", "no end of the finished Job").fix(s, path, "3600", "")
	}
}

// managed are the controllers that keep replicas for others to reach.
func managed(kind string) bool {
	return kind == "Deployment" || kind == "StatefulSet" || kind == "ReplicaSet"
}

func singleReplica(s *subject) {
	if s.Replicas != nil && *s.Replicas == 1 && managed(s.Kind) {
		s.report("spec.replicas", "write replicas: 2 or more, if the program can run twice", "one Pod")
	}
}

// The labels that Kubernetes recommends for the name of a program.
const (
	labelName  = "app.kubernetes.io/name"
	labelApp   = "app"
	labelK8s   = "k8s-app"
	labelBatch = batch.JobNameLabel
)

func ownerLabel(s *subject) {
	for _, label := range []string{labelName, labelApp, labelK8s} {
		if s.Pod.Labels[label] != "" {
			return
		}
	}
	if s.Kind == "Job" && s.Pod.Labels[labelBatch] != "" {
		return
	}
	s.report(s.At+"metadata.labels", "add the label "+labelName, "no label names the program")
}

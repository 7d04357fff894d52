package manifest

import (
	"io"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Template is the Pod template of one object, for who looks at a manifest without running it.
type Template struct {
	Kind, Namespace, Name string
	File                  string
	Line                  int
	// Annotations are the object's own; a Pod's template has the same.
	Annotations map[string]string
	// Pod is the template, with Kubernetes' defaults.
	Pod corev1.PodTemplateSpec
	// Replicas is how many Pods there are to be; nil where the kind has no number.
	Replicas *int32
	// TTLSecondsAfterFinished is a Job's.
	TTLSecondsAfterFinished *int32
	// Strategy is how a Deployment replaces its Pods, ServiceName the Service of a StatefulSet.
	Strategy, ServiceName string
	// At is the path from the object to the template: "" for a Pod, or "spec.template.".
	At string

	document int    // of its file, from 0
	prefix   string // "items[2]." inside a List
	lines    map[string]int
}

// Written gives the line of a field that the manifest itself sets, or 0 for one that is only a default. The path begins
// at the object: spec.template.spec.containers[0].image.
func (t *Template) Written(path string) int { return t.lines[path] }

// LineOf gives the line of a field, or of the nearest above it that is written.
func (t *Template) LineOf(path string) int {
	s := shape{lines: t.lines, line: t.Line}
	return s.lineOf(path)
}

// Skipped is an object without a Pod template that is understood.
type Skipped struct {
	Kind, Name string
	Line       int
}

// ReadTemplates reads a manifest as Read does, but takes every field of the API, also those that tripod does not run
// yet, and passes over objects of other kinds of the API.
func ReadTemplates(name string, r io.Reader) (templates []Template, skipped []Skipped, err error) {
	data, err := readText(name, r)
	if err != nil {
		return nil, nil, err
	}
	documents, faults := parse(name, data)
	budget := maxValues
	for i, d := range documents {
		faults = append(faults, eachObject(name, d, &budget, func(s *shape, n *yaml.Node) {
			if _, kindName, line := header(n); isOther(kindName) {
				skipped = append(skipped, Skipped{Kind: kindName, Name: nameIn(n), Line: line})
				return
			}
			if t := readTemplate(s, n); t != nil {
				t.document = i
				templates = append(templates, *t)
			}
		})...)
	}
	if len(faults) == 0 && len(documents) == 0 {
		faults = Errors{{File: name, Msg: "no object in the manifest"}}
	}
	if len(faults) > 0 {
		return nil, nil, faults.sorted()
	}
	return templates, skipped, nil
}

func readTemplate(s *shape, n *yaml.Node) *Template {
	k, o := s.decodeNodes(n)
	if o == nil {
		return nil
	}
	for _, e := range settle(o) {
		s.invalid(e)
	}
	if len(s.errs) > 0 {
		return nil
	}
	t := &Template{
		Kind: k.name, Namespace: o.GetNamespace(), Name: o.GetName(), File: s.file, Line: s.line,
		Annotations: o.GetAnnotations(), prefix: s.prefix, lines: s.lines,
	}
	t.Pod, t.At = template(o)
	switch o := o.(type) {
	case *appsv1.Deployment:
		t.Replicas, t.Strategy = o.Spec.Replicas, string(o.Spec.Strategy.Type)
	case *appsv1.ReplicaSet:
		t.Replicas = o.Spec.Replicas
	case *appsv1.StatefulSet:
		t.Replicas, t.ServiceName = o.Spec.Replicas, o.Spec.ServiceName
	case *batchv1.Job:
		t.TTLSecondsAfterFinished = o.Spec.TTLSecondsAfterFinished
	}
	return t
}

// nameIn is the name of an object that is not read further.
func nameIn(n *yaml.Node) string {
	meta := entry(n, "metadata")
	if meta == nil || meta.Kind != yaml.MappingNode {
		return ""
	}
	if name := entry(meta, "name"); name != nil && name.Kind == yaml.ScalarNode {
		return oneLine(name.Value)
	}
	return ""
}

// Namespaced is NAMESPACE/NAME, or NAME alone in the default namespace.
func (t *Template) Namespaced() string {
	if t.Namespace == metav1.NamespaceDefault {
		return t.Name
	}
	return t.Namespace + "/" + t.Name
}

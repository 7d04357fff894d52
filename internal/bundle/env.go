package bundle

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourceval "k8s.io/kubernetes/pkg/api/v1/resource"
	"k8s.io/kubernetes/pkg/fieldpath"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"

	"tripod/internal/manifest"
)

// variable is one of the environment.
type variable struct{ name, value string }

// set gives a variable its value; the first place of a name in the order is kept.
func set(env []variable, name, value string) []variable {
	if i := slices.IndexFunc(env, func(v variable) bool { return v.name == name }); i >= 0 {
		env[i].value = value
		return env
	}
	return append(env, variable{name, value})
}

func asMap(env []variable) map[string]string {
	m := make(map[string]string, len(env))
	for _, v := range env {
		m[v.name] = v.value
	}
	return m
}

// ownEnv gives the variables that the container's env asks for, with $(VAR) standing for those before it.
func (b *builder) ownEnv() ([]variable, error) {
	var env []variable
	for i, e := range b.Container.Env {
		value := expansion.Expand(e.Value, expansion.MappingFuncFor(asMap(env)))
		if e.ValueFrom != nil {
			v, err := b.valueFrom(e.ValueFrom)
			if err != nil {
				return nil, fmt.Errorf("env[%d] %s: %w", i, e.Name, err)
			}
			value = v
		}
		if e.Name == "" || strings.Contains(e.Name, "=") {
			return nil, fmt.Errorf("env[%d]: %q cannot be a name", i, e.Name)
		}
		env = set(env, e.Name, value)
	}
	return env, nil
}

func (b *builder) valueFrom(from *corev1.EnvVarSource) (string, error) {
	switch {
	case from.FieldRef != nil:
		return b.podField(from.FieldRef.FieldPath)
	case from.ResourceFieldRef != nil:
		// An absent limit is what the host has (kubelet).
		allocatable := corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewQuantity(int64(b.Node.CPUs), resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(b.Node.Memory, resource.BinarySI),
		}
		name := from.ResourceFieldRef.ContainerName
		if name == "" {
			name = b.Container.Name
		}
		return resourceval.ExtractResourceValueByContainerNameAndNodeAllocatable(from.ResourceFieldRef, b.Pod, name, allocatable)
	}
	return "", fmt.Errorf("valueFrom is not of a field or a resource: not implemented")
}

// podField gives what the downward API says of a field path.
func (b *builder) podField(path string) (string, error) {
	first := func(list []string) string {
		if len(list) == 0 {
			return ""
		}
		return list[0]
	}
	switch path {
	case "spec.nodeName":
		return b.Node.Name, nil
	case "spec.serviceAccountName":
		return b.Pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(b.Node.IPs), nil
	case "status.hostIPs":
		return strings.Join(b.Node.IPs, ","), nil
	case "status.podIP":
		return first(b.IPs), nil
	case "status.podIPs":
		return strings.Join(b.IPs, ","), nil
	}
	return fieldpath.ExtractFieldPathAsString(b.Pod, path)
}

// env puts together what every container has, the image's variables and the container's own: the later wins.
// An entry of the image without a name or a value is dropped: a shell would take it from elsewhere (CVE-2026-57231).
func (b *builder) env(own []variable, home string) []string {
	var env []variable
	env = set(env, "PATH", defaultPath)
	env = set(env, "HOSTNAME", b.sandbox.uname(b.Pod, b.Node))
	if b.Container.TTY {
		env = set(env, "TERM", "xterm")
	}
	for _, e := range b.Image.Config.Env {
		if name, value, ok := strings.Cut(e, "="); ok && name != "" {
			env = set(env, name, value)
		}
	}
	for _, v := range own {
		env = set(env, v.name, v.value)
	}
	// A shell needs HOME; runtimes take it from the user's passwd entry.
	if !slices.ContainsFunc(env, func(v variable) bool { return v.name == "HOME" && v.value != "" }) {
		env = set(env, "HOME", home)
	}
	out := make([]string, len(env))
	for i, v := range env {
		out[i] = v.name + "=" + v.value
	}
	return out
}

// pidsLimit gives the most tasks of a container, 0 for no limit.
func (b *builder) pidsLimit() (int64, error) {
	word, asked := b.Pod.Annotations[manifest.AnnotationPids]
	if !asked {
		return max(b.PidsLimit, 0), nil
	}
	n, err := strconv.ParseInt(word, 10, 32)
	if err != nil || n == 0 || n < -1 {
		return 0, fmt.Errorf("annotation %s: %q is not a number of tasks from 1 on, or -1", manifest.AnnotationPids, word)
	}
	return max(n, 0), nil
}

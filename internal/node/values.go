package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	v1helper "k8s.io/kubernetes/pkg/apis/core/v1/helper"
	"k8s.io/kubernetes/pkg/kubelet/envvars"
)

// values puts what ConfigMaps and Secrets hold in the place of the names of them. Each is asked for once.
type values struct {
	ctx       context.Context
	client    kubernetes.Interface
	namespace string
	known     map[string]map[string]string // "configmap/NAME" or "secret/NAME"; nil is one that is not there
}

func newValues(ctx context.Context, client kubernetes.Interface, namespace string) *values {
	return &values{ctx, client, namespace, map[string]map[string]string{}}
}

// source is a ConfigMap or a Secret as kubelet's messages name them.
type source struct {
	kind, name string
	optional   *bool
}

func (s source) mayMiss() bool { return s.optional != nil && *s.optional }

// of gives what a source holds.
func (v *values) of(s source) (data map[string]string, err error) {
	key := s.kind + "/" + s.name
	data, asked := v.known[key]
	if !asked {
		if s.kind == "secret" {
			data, err = v.secret(s.name)
		} else {
			data, err = v.configMap(s.name)
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
		v.known[key] = data
	}
	if data == nil && !s.mayMiss() {
		return nil, fmt.Errorf("%s %q not found", s.kind, s.name)
	}
	return data, nil
}

func (v *values) configMap(name string) (map[string]string, error) {
	m, err := v.client.CoreV1().ConfigMaps(v.namespace).Get(v.ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	data := map[string]string{}
	maps.Copy(data, m.Data)
	for key, value := range m.BinaryData {
		data[key] = string(value)
	}
	return data, nil
}

func (v *values) secret(name string) (map[string]string, error) {
	s, err := v.client.CoreV1().Secrets(v.namespace).Get(v.ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	data := map[string]string{}
	for key, value := range s.Data {
		data[key] = string(value)
	}
	return data, nil
}

// resolve gives a container its variables as values. Those that all have come first, then those of envFrom, so that its
// own win.
func (v *values) resolve(c *corev1.Container, env []corev1.EnvVar) error {
	env = slices.Clone(env)
	for _, from := range c.EnvFrom {
		more, err := v.all(from)
		if err != nil {
			return err
		}
		env = append(env, more...)
	}
	for _, e := range c.Env {
		s, key := sourceOf(e.ValueFrom)
		if s.kind == "" {
			env = append(env, e)
			continue
		}
		data, err := v.of(s)
		if err != nil {
			return err
		}
		value, there := data[key]
		switch {
		case there:
			env = append(env, literal(e.Name, value))
		case !s.mayMiss():
			return fmt.Errorf("couldn't find key %v in %s %v/%v", key, titles[s.kind], v.namespace, s.name)
		}
	}
	c.Env, c.EnvFrom = env, nil
	return nil
}

var titles = map[string]string{"configmap": "ConfigMap", "secret": "Secret"}

func sourceOf(from *corev1.EnvVarSource) (s source, key string) {
	switch {
	case from == nil:
	case from.ConfigMapKeyRef != nil:
		return source{"configmap", from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Optional}, from.ConfigMapKeyRef.Key
	case from.SecretKeyRef != nil:
		return source{"secret", from.SecretKeyRef.Name, from.SecretKeyRef.Optional}, from.SecretKeyRef.Key
	}
	return source{}, ""
}

// all gives the variables that an envFrom stands for, by name.
func (v *values) all(from corev1.EnvFromSource) ([]corev1.EnvVar, error) {
	var s source
	switch {
	case from.ConfigMapRef != nil:
		s = source{"configmap", from.ConfigMapRef.Name, from.ConfigMapRef.Optional}
	case from.SecretRef != nil:
		s = source{"secret", from.SecretRef.Name, from.SecretRef.Optional}
	}
	data, err := v.of(s)
	if err != nil {
		return nil, err
	}
	var env []corev1.EnvVar
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if name := from.Prefix + key; !strings.Contains(name, "=") {
			env = append(env, literal(name, data[key]))
		}
	}
	return env, nil
}

// services gives the variables by which a Pod finds the Services of its namespace, and the API's own.
func (v *values) services(links bool) ([]corev1.EnvVar, error) {
	var all []*corev1.Service
	for _, namespace := range slices.Compact([]string{metav1.NamespaceDefault, v.namespace}) {
		list, err := v.client.CoreV1().Services(namespace).List(v.ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("cannot list services: %w", err)
		}
		for i := range list.Items {
			s := &list.Items[i]
			own := namespace == metav1.NamespaceDefault && s.Name == "kubernetes"
			if v1helper.IsServiceIPSet(s) && (own || links && namespace == v.namespace) {
				all = append(all, s)
			}
		}
	}
	env := envvars.FromServices(all)
	for i := range env {
		env[i] = literal(env[i].Name, env[i].Value)
	}
	return env, nil
}

// literal is a variable whose value stands for itself: no $(NAME) in it is replaced.
func literal(name, value string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, Value: strings.ReplaceAll(value, "$", "$$")}
}

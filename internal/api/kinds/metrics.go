package kinds

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"tripod/internal/api/pods"
)

// metrics is the group that kubectl top and autoscalers read: what the node measures, kept nowhere.
func (b *builder) metrics() Group {
	scheme := runtime.NewScheme()
	b.check(metricsv1beta1.AddToScheme(scheme))
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	b.check(internalversion.AddToScheme(scheme))
	all := map[string]rest.Storage{
		"pods": &measures{
			singular: "pod", namespaced: true, node: b.Node, kind: func() runtime.Object { return &metricsv1beta1.PodMetrics{} },
			list: func() runtime.Object { return &metricsv1beta1.PodMetricsList{} }, read: podMetrics,
		},
		"nodes": &measures{
			singular: "node", node: b.Node, kind: func() runtime.Object { return &metricsv1beta1.NodeMetrics{} },
			list: func() runtime.Object { return &metricsv1beta1.NodeMetricsList{} }, read: nodeMetrics,
		},
	}
	return Group{GroupVersion: metricsv1beta1.SchemeGroupVersion, Storage: all, Scheme: scheme}
}

func podMetrics(ctx context.Context, n pods.Node) ([]runtime.Object, error) {
	list, err := n.PodMetrics(ctx)
	all := make([]runtime.Object, len(list))
	for i := range list {
		all[i] = &list[i]
	}
	return all, err
}

func nodeMetrics(ctx context.Context, n pods.Node) ([]runtime.Object, error) {
	list, err := n.NodeMetrics(ctx)
	all := make([]runtime.Object, len(list))
	for i := range list {
		all[i] = &list[i]
	}
	return all, err
}

// measures serves what the node measures of Pods or of itself.
type measures struct {
	singular   string
	namespaced bool
	node       func() pods.Node
	kind, list func() runtime.Object
	read       func(context.Context, pods.Node) ([]runtime.Object, error)
}

var (
	_ rest.Getter               = (*measures)(nil)
	_ rest.Lister               = (*measures)(nil)
	_ rest.Scoper               = (*measures)(nil)
	_ rest.SingularNameProvider = (*measures)(nil)
)

// New implements rest.Storage.
func (m *measures) New() runtime.Object { return m.kind() }

// NewList implements rest.Lister.
func (m *measures) NewList() runtime.Object { return m.list() }

// Destroy implements rest.Storage.
func (m *measures) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (m *measures) NamespaceScoped() bool { return m.namespaced }

// GetSingularName implements rest.SingularNameProvider.
func (m *measures) GetSingularName() string { return m.singular }

// all are the measures of a namespace, or of all, by namespace and name.
func (m *measures) all(ctx context.Context, keep func(metav1.Object) bool) ([]runtime.Object, error) {
	node := m.node()
	if node == nil {
		return nil, apierrors.NewServiceUnavailable("the node has not started yet")
	}
	list, err := m.read(ctx, node)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	namespace := request.NamespaceValue(ctx)
	key := func(obj runtime.Object) string {
		a, err := meta.Accessor(obj)
		if err != nil {
			return ""
		}
		return a.GetNamespace() + "/" + a.GetName()
	}
	list = slices.DeleteFunc(list, func(obj runtime.Object) bool {
		a, err := meta.Accessor(obj)
		return err != nil || namespace != "" && a.GetNamespace() != namespace || !keep(a)
	})
	slices.SortFunc(list, func(a, b runtime.Object) int { return strings.Compare(key(a), key(b)) })
	return list, nil
}

// Get implements rest.Getter.
func (m *measures) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	list, err := m.all(ctx, func(o metav1.Object) bool { return o.GetName() == name })
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, apierrors.NewNotFound(metricsv1beta1.Resource(m.singular+"s"), name)
	}
	return list[0], nil
}

// List implements rest.Lister.
func (m *measures) List(ctx context.Context, o *internalversion.ListOptions) (runtime.Object, error) {
	label, field := labels.Everything(), fields.Everything()
	if o != nil && o.LabelSelector != nil {
		label = o.LabelSelector
	}
	if o != nil && o.FieldSelector != nil {
		field = o.FieldSelector
	}
	found, err := m.all(ctx, func(obj metav1.Object) bool {
		set := fields.Set{"metadata.name": obj.GetName(), "metadata.namespace": obj.GetNamespace()}
		return label.Matches(labels.Set(obj.GetLabels())) && field.Matches(set)
	})
	if err != nil {
		return nil, err
	}
	list := m.list()
	return list, meta.SetList(list, found)
}

// ConvertToTable implements rest.TableConvertor.
func (m *measures) ConvertToTable(_ context.Context, obj, _ runtime.Object) (*metav1.Table, error) {
	table := &metav1.Table{ColumnDefinitions: []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name", Description: "Name of the resource"},
		{Name: "CPU", Type: "string"},
		{Name: "Memory", Type: "string"},
		{Name: "Window", Type: "string"},
	}}
	add := func(obj runtime.Object) error {
		row, err := measureRow(obj)
		table.Rows = append(table.Rows, row)
		return err
	}
	if meta.IsListType(obj) {
		return table, meta.EachListItem(obj, add)
	}
	return table, add(obj)
}

func measureRow(obj runtime.Object) (metav1.TableRow, error) {
	usage := corev1.ResourceList{}
	var name string
	var window time.Duration
	switch x := obj.(type) {
	case *metricsv1beta1.NodeMetrics:
		name, window, usage = x.Name, x.Window.Duration, x.Usage
	case *metricsv1beta1.PodMetrics:
		name, window = x.Name, x.Window.Duration
		for _, c := range x.Containers {
			for resource, q := range c.Usage {
				sum := usage[resource]
				sum.Add(q)
				usage[resource] = sum
			}
		}
	default:
		return metav1.TableRow{}, fmt.Errorf("cannot print %T", obj)
	}
	cells := []any{name, usage.Cpu().String(), usage.Memory().String(), window.String()}
	return metav1.TableRow{Cells: cells, Object: runtime.RawExtension{Object: obj}}, nil
}

package main

import (
	"net/http"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/kubernetes/pkg/apis/core"

	"tripod/internal/controllers"
)

// meter counts for /metrics. What Kubernetes' controllers count of themselves is there too.
type meter struct {
	requests *metrics.CounterVec
	seconds  *metrics.HistogramVec
	open     *metrics.GaugeVec
}

func newMeter(d *daemon) *meter {
	m := &meter{
		requests: metrics.NewCounterVec(&metrics.CounterOpts{
			Name: "tripod_requests_total", Help: "Requests that were answered, by what they asked and the code of the answer.",
			StabilityLevel: metrics.ALPHA,
		}, []string{"verb", "resource", "code"}),
		seconds: metrics.NewHistogramVec(&metrics.HistogramOpts{
			Name: "tripod_request_seconds", Help: "How long answers took.", StabilityLevel: metrics.ALPHA,
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60},
		}, []string{"verb"}),
		open: metrics.NewGaugeVec(&metrics.GaugeOpts{
			Name: "tripod_open_requests", Help: "Watches and streams that are open.", StabilityLevel: metrics.ALPHA,
		}, []string{"kind"}),
	}
	legacyregistry.MustRegister(m.requests, m.seconds, m.open)
	legacyregistry.CustomMustRegister(&census{daemon: d})
	return m
}

func (m *meter) handler() http.Handler { return legacyregistry.Handler() }

// answered counts a request that ended.
func (m *meter) answered(info *request.RequestInfo, code int, took time.Duration) {
	verb, resource := about(info, code)
	m.requests.WithLabelValues(verb, resource, strconv.Itoa(code)).Inc()
	m.seconds.WithLabelValues(verb).Observe(took.Seconds())
}

// lasting counts a request that lasts, until what it returns is called.
func (m *meter) lasting(info *request.RequestInfo) func() {
	kind := info.Subresource
	if info.Verb == "watch" {
		kind = "watch"
	}
	gauge := m.open.WithLabelValues(kind)
	gauge.Inc()
	return gauge.Dec
}

// about are the labels of a request. What was not found has no resource: a client that makes up names makes no series.
func about(info *request.RequestInfo, code int) (verb, resource string) {
	switch {
	case !info.IsResourceRequest:
		return "other", ""
	case code == http.StatusNotFound || code == http.StatusMethodNotAllowed:
		return info.Verb, ""
	case info.Subresource != "":
		return info.Verb, info.Resource + "/" + info.Subresource
	}
	return info.Verb, info.Resource
}

// census counts what is in the store when it is asked.
type census struct {
	metrics.BaseStableCollector
	daemon *daemon
}

var (
	objectsDesc = metrics.NewDesc("tripod_objects", "Objects of a kind.", []string{"resource"}, nil, metrics.ALPHA, "")
	podsDesc    = metrics.NewDesc("tripod_pods", "Pods of a phase.", []string{"phase"}, nil, metrics.ALPHA, "")
	versionDesc = metrics.NewDesc("tripod_store_version", "The newest version of the store: one for each change.", nil, nil, metrics.ALPHA, "")
	awakeDesc   = metrics.NewDesc("tripod_controller_started", "Controllers that have work, or had.", []string{"controller"}, nil, metrics.ALPHA, "")
)

// DescribeWithStability implements metrics.StableCollector.
func (c *census) DescribeWithStability(out chan<- *metrics.Desc) {
	for _, d := range []*metrics.Desc{objectsDesc, podsDesc, versionDesc, awakeDesc} {
		out <- d
	}
}

// CollectWithStability implements metrics.StableCollector.
func (c *census) CollectWithStability(out chan<- metrics.Metric) {
	gauge := func(d *metrics.Desc, v float64, labels ...string) {
		out <- metrics.NewLazyConstMetric(d, metrics.GaugeValue, v, labels...)
	}
	store := c.daemon.store
	gauge(versionDesc, float64(store.Version()))
	for _, r := range censused() {
		list, _ := store.List(r, "")
		gauge(objectsDesc, float64(len(list)), r.String())
	}
	phases := map[core.PodPhase]int{core.PodPending: 0, core.PodRunning: 0, core.PodSucceeded: 0, core.PodFailed: 0}
	pods, _ := store.List(schema.GroupResource{Resource: "pods"}, "")
	for _, o := range pods {
		if p, ok := o.(*core.Pod); ok {
			phases[p.Status.Phase]++
		}
	}
	for phase, n := range phases {
		gauge(podsDesc, float64(n), string(phase))
	}
	awake := map[string]bool{}
	for _, name := range c.daemon.controllers.Awake() {
		awake[name] = true
	}
	for _, name := range controllers.All() {
		up := 0.0
		if awake[name] {
			up = 1
		}
		gauge(awakeDesc, up, name)
	}
}

// censused are the kinds that are counted.
func censused() []schema.GroupResource {
	var all []schema.GroupResource
	for _, name := range []string{
		"pods", "services", "endpoints", "configmaps", "secrets", "serviceaccounts", "namespaces", "events", "persistentvolumeclaims",
		"deployments.apps", "replicasets.apps", "statefulsets.apps", "daemonsets.apps", "controllerrevisions.apps",
		"jobs.batch", "cronjobs.batch", "endpointslices.discovery.k8s.io", "leases.coordination.k8s.io",
	} {
		all = append(all, schema.ParseGroupResource(name))
	}
	return all
}

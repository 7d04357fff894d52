package controllers

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/cronjob"
	"k8s.io/kubernetes/pkg/controller/daemon"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/disruption"
	"k8s.io/kubernetes/pkg/controller/endpoint"
	"k8s.io/kubernetes/pkg/controller/endpointslice"
	"k8s.io/kubernetes/pkg/controller/endpointslicemirroring"
	"k8s.io/kubernetes/pkg/controller/job"
	"k8s.io/kubernetes/pkg/controller/namespace"
	"k8s.io/kubernetes/pkg/controller/replicaset"
	"k8s.io/kubernetes/pkg/controller/replication"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
	"k8s.io/kubernetes/pkg/controller/statefulset"
	"k8s.io/kubernetes/pkg/controller/ttlafterfinished"
)

// loop is one controller: what wakes it, and how it is made. What make returns runs until its context is done.
type loop struct {
	name  string
	waker waker
	make  func(context.Context, *Controllers) (func(context.Context), error)
}

// Numbers that a cluster's controllers have by default.
const (
	workers          = 5
	burst            = 500   // Pods that a ReplicaSet may be short of in one go
	perSlice         = 100   // addresses in an EndpointSlice
	perSubset        = 1000  // addresses that are mirrored of an Endpoints
	terminatedPods   = 12500 // finished Pods that are kept
	daemonBackoff    = time.Second
	daemonBackoffMax = 15 * time.Minute
)

// loops are all controllers.
func loops() []loop {
	return []loop{
		{"deployment", on("apps", "deployments"), makeDeployment},
		{"replicaset", on("apps", "replicasets"), makeReplicaSet},
		{"replicationcontroller", on("", "replicationcontrollers"), makeReplication},
		{"statefulset", on("apps", "statefulsets"), makeStatefulSet},
		{"daemonset", on("apps", "daemonsets"), makeDaemonSet},
		{"job", on("batch", "jobs"), makeJob},
		{"cronjob", on("batch", "cronjobs"), makeCronJob},
		{"ttl-after-finished", on("batch", "jobs"), makeTTL},
		{"endpointslice", waker{schema.GroupResource{Resource: "services"}, selects}, makeEndpointSlice},
		{"endpoints", waker{schema.GroupResource{Resource: "services"}, selects}, makeEndpoints},
		{"endpointslicemirroring", waker{schema.GroupResource{Resource: "endpoints"}, byHand}, makeMirroring},
		{"namespace", waker{schema.GroupResource{Resource: "namespaces"}, leaving}, makeNamespace},
		{"serviceaccount", waker{}, makeServiceAccount},
		{"podgc", on("", "pods"), makePodGC},
		{"disruption", on("policy", "poddisruptionbudgets"), makeDisruption},
		{"horizontalpodautoscaler", on("autoscaling", "horizontalpodautoscalers"), makeAutoscaler},
		{"garbagecollector", waker{}, makeCollector},
	}
}

// withWorkers is a controller's Run for a number of workers.
func withWorkers(run func(context.Context, int), n int) func(context.Context) {
	return func(ctx context.Context) { run(ctx, n) }
}

func makeDeployment(ctx context.Context, c *Controllers) (func(context.Context), error) {
	apps := c.typed.Apps().V1()
	d, err := deployment.NewDeploymentController(ctx, apps.Deployments(), apps.ReplicaSets(), c.typed.Core().V1().Pods(), c.client)
	if err != nil {
		return nil, err
	}
	return withWorkers(d.Run, workers), nil
}

func makeReplicaSet(ctx context.Context, c *Controllers) (func(context.Context), error) {
	r := replicaset.NewReplicaSetController(ctx, c.typed.Apps().V1().ReplicaSets(), c.typed.Core().V1().Pods(), c.client, burst)
	return withWorkers(r.Run, workers), nil
}

func makeReplication(ctx context.Context, c *Controllers) (func(context.Context), error) {
	core := c.typed.Core().V1()
	r := replication.NewReplicationManager(ctx, core.Pods(), core.ReplicationControllers(), c.client, burst)
	return withWorkers(r.Run, workers), nil
}

func makeStatefulSet(ctx context.Context, c *Controllers) (func(context.Context), error) {
	core, apps := c.typed.Core().V1(), c.typed.Apps().V1()
	s := statefulset.NewStatefulSetController(ctx, core.Pods(), apps.StatefulSets(), core.PersistentVolumeClaims(), apps.ControllerRevisions(), c.client)
	return withWorkers(s.Run, workers), nil
}

func makeDaemonSet(ctx context.Context, c *Controllers) (func(context.Context), error) {
	core, apps := c.typed.Core().V1(), c.typed.Apps().V1()
	d, err := daemon.NewDaemonSetsController(ctx, apps.DaemonSets(), apps.ControllerRevisions(), core.Pods(), core.Nodes(), c.client,
		flowcontrol.NewBackOff(daemonBackoff, daemonBackoffMax))
	if err != nil {
		return nil, err
	}
	return withWorkers(d.Run, workers), nil
}

func makeJob(ctx context.Context, c *Controllers) (func(context.Context), error) {
	j, err := job.NewController(ctx, c.client, c.typed.Core().V1().Pods(), c.typed.Batch().V1().Jobs(), nil, nil)
	if err != nil {
		return nil, err
	}
	return withWorkers(j.Run, workers), nil
}

func makeCronJob(ctx context.Context, c *Controllers) (func(context.Context), error) {
	j, err := cronjob.NewControllerV2(ctx, c.typed.Batch().V1().Jobs(), c.typed.Batch().V1().CronJobs(), c.client)
	if err != nil {
		return nil, err
	}
	return withWorkers(j.Run, workers), nil
}

func makeTTL(ctx context.Context, c *Controllers) (func(context.Context), error) {
	return withWorkers(ttlafterfinished.New(ctx, c.typed.Batch().V1().Jobs(), c.client).Run, workers), nil
}

func makeEndpointSlice(ctx context.Context, c *Controllers) (func(context.Context), error) {
	core := c.typed.Core().V1()
	e := endpointslice.NewController(ctx, core.Pods(), core.Services(), core.Nodes(), c.typed.Discovery().V1().EndpointSlices(), perSlice, c.client, 0)
	return withWorkers(e.Run, workers), nil
}

func makeEndpoints(ctx context.Context, c *Controllers) (func(context.Context), error) {
	core := c.typed.Core().V1()
	e := endpoint.NewEndpointController(ctx, core.Pods(), core.Services(), core.Endpoints(), c.client, 0)
	return withWorkers(e.Run, workers), nil
}

func makeMirroring(ctx context.Context, c *Controllers) (func(context.Context), error) {
	core := c.typed.Core().V1()
	m := endpointslicemirroring.NewController(ctx, core.Endpoints(), c.typed.Discovery().V1().EndpointSlices(), core.Services(), perSubset, c.client, 0)
	return withWorkers(m.Run, workers), nil
}

func makeNamespace(ctx context.Context, c *Controllers) (func(context.Context), error) {
	n := namespace.NewNamespaceController(ctx, c.client, c.metadata, c.client.Discovery().ServerPreferredNamespacedResources,
		c.typed.Core().V1().Namespaces(), 0, corev1.FinalizerKubernetes)
	return withWorkers(n.Run, workers), nil
}

func makeServiceAccount(ctx context.Context, c *Controllers) (func(context.Context), error) {
	core := c.typed.Core().V1()
	s, err := serviceaccount.NewServiceAccountsController(klog.FromContext(ctx), core.ServiceAccounts(), core.Namespaces(), c.client,
		serviceaccount.DefaultServiceAccountsControllerOptions())
	if err != nil {
		return nil, err
	}
	return withWorkers(s.Run, 1), nil
}

func makeDisruption(ctx context.Context, c *Controllers) (func(context.Context), error) {
	scales, err := c.scales()
	if err != nil {
		return nil, err
	}
	core, apps := c.typed.Core().V1(), c.typed.Apps().V1()
	d := disruption.NewDisruptionController(ctx, core.Pods(), c.typed.Policy().V1().PodDisruptionBudgets(), core.ReplicationControllers(),
		apps.ReplicaSets(), apps.Deployments(), apps.StatefulSets(), c.client, c.mapper, scales, c.client.Discovery())
	return withWorkers(d.Run, workers), nil
}

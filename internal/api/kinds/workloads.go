package kinds

import (
	"k8s.io/apiserver/pkg/registry/rest"
	revisions "k8s.io/kubernetes/pkg/registry/apps/controllerrevision/storage"
	daemons "k8s.io/kubernetes/pkg/registry/apps/daemonset/storage"
	deployments "k8s.io/kubernetes/pkg/registry/apps/deployment/storage"
	replicas "k8s.io/kubernetes/pkg/registry/apps/replicaset/storage"
	stateful "k8s.io/kubernetes/pkg/registry/apps/statefulset/storage"
	reviews "k8s.io/kubernetes/pkg/registry/authentication/selfsubjectreview"
	localaccess "k8s.io/kubernetes/pkg/registry/authorization/localsubjectaccessreview"
	selfaccess "k8s.io/kubernetes/pkg/registry/authorization/selfsubjectaccessreview"
	selfrules "k8s.io/kubernetes/pkg/registry/authorization/selfsubjectrulesreview"
	access "k8s.io/kubernetes/pkg/registry/authorization/subjectaccessreview"
	scalers "k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler/storage"
	cronjobs "k8s.io/kubernetes/pkg/registry/batch/cronjob/storage"
	jobs "k8s.io/kubernetes/pkg/registry/batch/job/storage"
	leases "k8s.io/kubernetes/pkg/registry/coordination/lease/storage"
	events "k8s.io/kubernetes/pkg/registry/core/event/storage"
	slices "k8s.io/kubernetes/pkg/registry/discovery/endpointslice/storage"
	budgets "k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget/storage"

	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

func (b *builder) apps() map[string]rest.Storage {
	all := map[string]rest.Storage{}
	if s, err := deployments.NewStorage(b.options); b.check(err) {
		all["deployments"], all["deployments/status"], all["deployments/scale"] = s.Deployment, s.Status, s.Scale
	}
	if s, err := replicas.NewStorage(b.options); b.check(err) {
		all["replicasets"], all["replicasets/status"], all["replicasets/scale"] = s.ReplicaSet, s.Status, s.Scale
	}
	if s, err := stateful.NewStorage(b.options); b.check(err) {
		all["statefulsets"], all["statefulsets/status"], all["statefulsets/scale"] = s.StatefulSet, s.Status, s.Scale
	}
	if s, status, err := daemons.NewREST(b.options); b.check(err) {
		all["daemonsets"], all["daemonsets/status"] = s, status
	}
	if s, err := revisions.NewREST(b.options); b.check(err) {
		all["controllerrevisions"] = s
	}
	return all
}

func (b *builder) batch() map[string]rest.Storage {
	all := map[string]rest.Storage{}
	if s, err := jobs.NewStorage(b.options); b.check(err) {
		all["jobs"], all["jobs/status"] = s.Job, s.Status
	}
	if s, status, err := cronjobs.NewREST(b.options); b.check(err) {
		all["cronjobs"], all["cronjobs/status"] = s, status
	}
	return all
}

func (b *builder) autoscaling() map[string]rest.Storage {
	all := map[string]rest.Storage{}
	if s, status, err := scalers.NewREST(b.options); b.check(err) {
		all["horizontalpodautoscalers"], all["horizontalpodautoscalers/status"] = s, status
	}
	return all
}

func (b *builder) policy() map[string]rest.Storage {
	all := map[string]rest.Storage{}
	if s, status, err := budgets.NewREST(b.options); b.check(err) {
		all["poddisruptionbudgets"], all["poddisruptionbudgets/status"] = s, status
	}
	return all
}

func (b *builder) coordination() map[string]rest.Storage {
	all := map[string]rest.Storage{}
	if s, err := leases.NewREST(b.options); b.check(err) {
		all["leases"] = s
	}
	return all
}

func (b *builder) discovery() map[string]rest.Storage {
	all := map[string]rest.Storage{}
	if s, err := slices.NewREST(b.options); b.check(err) {
		all["endpointslices"] = s
	}
	return all
}

// events are the core's, seen in their own group.
func (b *builder) events() map[string]rest.Storage {
	all := map[string]rest.Storage{}
	if s, err := events.NewREST(b.options, uint64(EventLifetime.Seconds())); b.check(err) {
		all["events"] = s
	}
	return all
}

func (b *builder) authentication() map[string]rest.Storage {
	return map[string]rest.Storage{"selfsubjectreviews": reviews.NewREST()}
}

func (b *builder) authorization() map[string]rest.Storage {
	return map[string]rest.Storage{
		"subjectaccessreviews":      access.NewREST(b.Authorizer, legacyscheme.Scheme),
		"localsubjectaccessreviews": localaccess.NewREST(b.Authorizer, legacyscheme.Scheme),
		"selfsubjectaccessreviews":  selfaccess.NewREST(b.Authorizer, legacyscheme.Scheme),
		"selfsubjectrulesreviews":   selfrules.NewREST(b.Authorizer),
	}
}

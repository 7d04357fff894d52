package kinds

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/registry/rest"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/kubelet/client"
	configmaps "k8s.io/kubernetes/pkg/registry/core/configmap/storage"
	endpoints "k8s.io/kubernetes/pkg/registry/core/endpoint/storage"
	events "k8s.io/kubernetes/pkg/registry/core/event/storage"
	namespaces "k8s.io/kubernetes/pkg/registry/core/namespace/storage"
	nodes "k8s.io/kubernetes/pkg/registry/core/node/storage"
	volumes "k8s.io/kubernetes/pkg/registry/core/persistentvolume/storage"
	claims "k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim/storage"
	podstorage "k8s.io/kubernetes/pkg/registry/core/pod/storage"
	controllers "k8s.io/kubernetes/pkg/registry/core/replicationcontroller/storage"
	secrets "k8s.io/kubernetes/pkg/registry/core/secret/storage"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
	services "k8s.io/kubernetes/pkg/registry/core/service/storage"
	accounts "k8s.io/kubernetes/pkg/registry/core/serviceaccount/storage"

	"tripod/internal/api/pods"
)

// core is the group without a name.
func (b *builder) core() map[string]rest.Storage {
	all := map[string]rest.Storage{}
	if s, err := configmaps.NewREST(b.options); b.check(err) {
		all["configmaps"] = s
	}
	if s, err := endpoints.NewREST(b.options); b.check(err) {
		all["endpoints"] = s
	}
	if s, err := events.NewREST(b.options, uint64(EventLifetime.Seconds())); b.check(err) {
		all["events"] = s
	}
	if s, status, finalize, err := namespaces.NewREST(b.options); b.check(err) {
		all["namespaces"], all["namespaces/status"], all["namespaces/finalize"] = s, status, finalize
	}
	if s, status, err := volumes.NewREST(b.options); b.check(err) {
		all["persistentvolumes"], all["persistentvolumes/status"] = s, status
	}
	if s, status, err := claims.NewREST(b.options); b.check(err) {
		all["persistentvolumeclaims"], all["persistentvolumeclaims/status"] = s, status
	}
	if s, err := controllers.NewStorage(b.options); b.check(err) {
		all["replicationcontrollers"], all["replicationcontrollers/status"], all["replicationcontrollers/scale"] = s.Controller, s.Status, s.Scale
	}
	b.pods(all)
	return all
}

// pods adds Pods, and what leans on them: Nodes, Secrets, ServiceAccounts, Services.
func (b *builder) pods(all map[string]rest.Storage) {
	node, err := nodes.NewStorage(b.options, client.KubeletClientConfig{}, nil)
	if !b.check(err) {
		return
	}
	all["nodes"], all["nodes/status"] = node.Node, node.Status
	pod, err := podstorage.NewStorage(b.options, nil, nil, b.Budgets, b.Authorizer)
	if !b.check(err) {
		return
	}
	all["pods"], all["pods/status"] = pod.Pod, pod.Status
	all["pods/binding"], all["bindings"] = pod.Binding, pod.LegacyBinding
	all["pods/eviction"] = pod.Eviction
	all["pods/ephemeralcontainers"], all["pods/resize"] = pod.EphemeralContainers, pod.Resize
	parts := pods.New(pod.Pod.Store, b.Node)
	all["pods/log"], all["pods/exec"], all["pods/attach"], all["pods/portforward"] = parts.Log, parts.Exec, parts.Attach, parts.PortForward

	secret, err := secrets.NewREST(b.options)
	if !b.check(err) {
		return
	}
	all["secrets"] = secret
	account, err := accounts.NewREST(b.options, b.Tokens, authenticator.Audiences{Audience}, b.Authorizer, maxToken,
		pod.Pod.Store, secret.Store, node.Node.Store, nil, nil, false, maxToken)
	if b.check(err) {
		all["serviceaccounts"] = account
		if account.Token != nil {
			all["serviceaccounts/token"] = account.Token
		}
	}
	family := b.Addresses.IPFamily()
	service, status, _, err := services.NewREST(b.options, family, map[api.IPFamily]ipallocator.Interface{family: b.Addresses}, b.Ports, noSlices{}, pod.Pod, nil)
	if b.check(err) {
		all["services"], all["services/status"] = service, status
	}
}

// noSlices answers those who want to be led to a Service through the API server, which is not served.
type noSlices struct{}

func (noSlices) GetEndpointSlices(string, string) ([]*discoveryv1.EndpointSlice, error) {
	return nil, nil
}

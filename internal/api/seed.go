package api

import (
	"context"
	"fmt"
	"net"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"tripod/internal/objects"
)

// seed makes the namespaces and the Service that every cluster has.
func (s *Server) seed() error {
	if s.seeded() {
		return nil
	}
	client, err := kubernetes.NewForConfig(s.ClientConfig("kube-apiserver"))
	if err != nil {
		return fmt.Errorf("cannot make client of the first objects: %w", err)
	}
	ctx := context.Background()
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("cannot create namespace %s: %w", name, err)
		}
	}
	_, err = client.CoreV1().Services(metav1.NamespaceDefault).Create(ctx, s.kubernetesService(), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create service kubernetes: %w", err)
	}
	if !s.config.Address.IsValid() {
		return nil
	}
	_, err = client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Create(ctx, s.kubernetesSlice(), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create endpointslice kubernetes: %w", err)
	}
	return nil
}

// seeded says that the first objects are there: the Service is the last of them.
func (s *Server) seeded() bool {
	_, ok := s.config.Store.Get(objects.ID{Resource: corev1.Resource("services"), Namespace: metav1.NamespaceDefault, Name: "kubernetes"})
	return ok
}

// kubernetesService is the API's own Service, with the first address of the range.
func (s *Server) kubernetesService() *corev1.Service {
	policy := corev1.IPFamilyPolicySingleStack
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "kubernetes", Labels: map[string]string{"provider": "kubernetes", "component": "apiserver"}},
		Spec: corev1.ServiceSpec{
			ClusterIP:       s.config.ServiceRange.Masked().Addr().Next().String(),
			IPFamilyPolicy:  &policy,
			SessionAffinity: corev1.ServiceAffinityNone,
			Type:            corev1.ServiceTypeClusterIP,
			Ports:           []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(s.port())}},
		},
	}
}

func (s *Server) port() int32 {
	if p := s.config.Address.Port(); p != 0 {
		return int32(p)
	}
	return 6443
}

func (s *Server) kubernetesSlice() *discoveryv1.EndpointSlice {
	name, protocol, port, ready := "https", corev1.ProtocolTCP, s.port(), true
	family := discoveryv1.AddressTypeIPv4
	if net.ParseIP(s.config.Address.Addr().String()).To4() == nil {
		family = discoveryv1.AddressTypeIPv6
	}
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		AddressType: family,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{s.config.Address.Addr().String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Protocol: &protocol, Port: &port}},
	}
}

// Package api is Kubernetes' API over HTTP for one host.
//
// What has semantics is Kubernetes' own code: its handlers (negotiation, tables, patches, server-side apply, dry-run, field
// validation, watch), its registries (strategies, defaults, validation, subresources) and its admission. Ours is what stands below
// and around: the store (internal/api/stored), the node's streams (internal/api/pods), and the bounds of this package. Nothing heavy
// is made at the start: schemas are read when the first apply or explain needs them.
package api

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	netutil "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/client-go/kubernetes/typed/policy/v1"
	"k8s.io/client-go/rest"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
	"k8s.io/kubernetes/pkg/registry/core/service/portallocator"

	corev1 "k8s.io/api/core/v1"

	"tripod/internal/api/admit"
	"tripod/internal/api/kinds"
	"tripod/internal/api/pods"
	"tripod/internal/api/stored"
	"tripod/internal/objects"
)

// Node is what the API asks of the node.
type Node = pods.Node

// Config is what a Server is made of. Only Store must be given.
type Config struct {
	Store *objects.Store
	Node  Node // or by SetNode, later
	Log   *slog.Logger
	// ServiceRange is where Services get their addresses from; the zero value is 10.96.0.0/12.
	ServiceRange netip.Prefix
	// PKI is the folder of the key that signs tokens, which is made there. Without it, no tokens are made.
	PKI string
	// Address is where the API can be reached from Pods: the endpoint of the Service kubernetes. It may be the zero value.
	Address netip.AddrPort
}

// Server serves the API.
type Server struct {
	config  Config
	node    atomic.Pointer[Node]
	handler http.Handler
	life    context.Context //nolint:containedctx // it ends with Close
	end     context.CancelFunc
	beside  sync.WaitGroup
	// patience is how long a request that ends may take.
	patience time.Duration
}

// Codec reads and writes objects as they are kept on disk.
func Codec() objects.Codec { return stored.Codec() }

// New makes a server, and the objects that every cluster has.
func New(c Config) (*Server, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if !c.ServiceRange.IsValid() {
		c.ServiceRange = netip.MustParsePrefix("10.96.0.0/12")
	}
	s := &Server{config: c, patience: maxRequest}
	s.life, s.end = context.WithCancel(context.Background())
	if c.Node != nil {
		s.SetNode(c.Node)
	}
	groups, err := s.groups()
	if err != nil {
		return nil, err
	}
	routes, err := newRoutes(groups, admit.Chain(c.Store))
	if err != nil {
		return nil, err
	}
	s.handler = s.chain(routes)
	if err := s.seed(); err != nil {
		return nil, err
	}
	s.beside.Go(s.expire)
	return s, nil
}

// Close ends watches and streams, and what runs beside requests. It is called before a server on sockets is shut down, which waits for
// its requests.
func (s *Server) Close() {
	s.end()
	s.beside.Wait()
}

// SetNode says who runs Pods.
func (s *Server) SetNode(n Node) { s.node.Store(&n) }

func (s *Server) currentNode() Node {
	if n := s.node.Load(); n != nil {
		return *n
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// groups are all kinds that are served. What Services have been given is known from the Services.
func (s *Server) groups() ([]kinds.Group, error) {
	c := kinds.Config{Store: s.config.Store, Node: s.currentNode, Authorizer: authorizerfactory.NewAlwaysAllowAuthorizer()}
	var err error
	if c.Budgets, err = v1.NewForConfig(s.ClientConfig("kube-apiserver")); err != nil {
		return nil, fmt.Errorf("cannot make client of disruption budgets: %w", err)
	}
	_, cidr, err := net.ParseCIDR(s.config.ServiceRange.Masked().String())
	if err != nil {
		return nil, fmt.Errorf("cannot read range of services %s: %w", s.config.ServiceRange, err)
	}
	addresses, err := ipallocator.NewInMemory(cidr)
	if err != nil {
		return nil, fmt.Errorf("cannot give addresses of %s: %w", cidr, err)
	}
	ports, err := portallocator.NewInMemory(netutil.PortRange{Base: 30000, Size: 2768})
	if err != nil {
		return nil, fmt.Errorf("cannot give node ports: %w", err)
	}
	list, _ := s.config.Store.List(corev1.Resource("services"), "")
	for _, obj := range list {
		if service, ok := obj.(*api.Service); ok {
			s.reserve(service, addresses, ports)
		}
	}
	c.Addresses, c.Ports = addresses, ports
	if s.config.PKI != "" {
		if c.Tokens, err = tokens(s.config.PKI); err != nil {
			return nil, err
		}
	}
	return kinds.All(c)
}

// reserve takes what a Service already has. An address out of the range, or one that two Services have, is told of and left.
func (s *Server) reserve(service *api.Service, addresses *ipallocator.Range, ports *portallocator.PortAllocator) {
	tell := func(what any, err error) {
		if err != nil {
			s.config.Log.Warn("cannot reserve what service has", "service", service.Namespace+"/"+service.Name, "what", what, "cause", err)
		}
	}
	for _, ip := range service.Spec.ClusterIPs {
		if ip != api.ClusterIPNone {
			tell(ip, addresses.Allocate(net.ParseIP(ip)))
		}
	}
	taken := map[int32]bool{}
	for _, p := range append(service.Spec.Ports, api.ServicePort{NodePort: service.Spec.HealthCheckNodePort}) {
		if p.NodePort != 0 && !taken[p.NodePort] {
			taken[p.NodePort] = true
			tell(p.NodePort, ports.Allocate(int(p.NodePort)))
		}
	}
}

// ClientConfig is for clients in our own process: their requests go to the handler without a socket.
func (s *Server) ClientConfig(userAgent string) *rest.Config {
	const protobuf = "application/vnd.kubernetes.protobuf"
	return &rest.Config{
		Host:          "http://tripod",
		Transport:     loop{s},
		UserAgent:     userAgent,
		QPS:           -1,
		ContentConfig: rest.ContentConfig{ContentType: protobuf, AcceptContentTypes: protobuf + ",application/json"},
	}
}

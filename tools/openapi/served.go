package main

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	netutil "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
	"k8s.io/kubernetes/pkg/registry/core/service/portallocator"
	"k8s.io/kubernetes/pkg/serviceaccount"
	"sigs.k8s.io/structured-merge-diff/v6/schema"

	"tripod/internal/api/kinds"
	"tripod/internal/api/stored"
	"tripod/internal/objects"
)

// paths are the resources and subresources that are served, by the root of their version: api/v1, apis/apps/v1.
type paths map[string]map[string]bool

// servedPaths asks the registries themselves.
func servedPaths() (paths, error) {
	dir, err := os.MkdirTemp("", "openapi")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a folder of our own in /tmp
	store, err := objects.Open(dir, stored.Codec(), objects.Options{})
	if err != nil {
		return nil, err
	}
	defer store.Close() //nolint:errcheck // nothing was written
	addresses, err := ipallocator.NewInMemory(&net.IPNet{IP: net.IPv4(10, 96, 0, 0), Mask: net.CIDRMask(12, 32)})
	if err != nil {
		return nil, err
	}
	ports, err := portallocator.NewInMemory(netutil.PortRange{Base: 30000, Size: 2768})
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tokens, err := serviceaccount.JWTTokenGenerator(kinds.Audience, key)
	if err != nil {
		return nil, err
	}
	groups, err := kinds.All(kinds.Config{Store: store, Authorizer: authorizerfactory.NewAlwaysAllowAuthorizer(), Addresses: addresses, Ports: ports, Tokens: tokens})
	if err != nil {
		return nil, err
	}
	all := paths{}
	for _, g := range groups {
		if g.Scheme != nil {
			continue // no kinds of Kubernetes' own module
		}
		root := "apis/" + g.GroupVersion.String()
		if g.Group == "" {
			root = "api/" + g.Version
		}
		all[root] = map[string]bool{}
		for resource := range g.Storage {
			all[root][resource] = true
		}
	}
	return all, nil
}

func (p paths) roots() []string { return slices.Sorted(maps.Keys(p)) }

// keep deletes from a document's paths what is not served.
func (p paths) keep(doc map[string]any) {
	for path := range doc {
		if !p.serve(strings.Trim(path, "/")) {
			delete(doc, path)
		}
	}
}

func (p paths) serve(path string) bool {
	if path == "version" || path == "api" || path == "apis" {
		return true
	}
	for root, resources := range p {
		rest, below := strings.CutPrefix(path, root)
		switch {
		case !below && root != path+"/"+root[strings.LastIndex(root, "/")+1:]:
			continue
		case !below || rest == "":
			return true // the version's resources, or the group's versions
		case rest[0] != '/':
			continue
		}
		parts := strings.Split(strings.TrimPrefix(rest[1:], "watch/"), "/")
		if len(parts) > 2 && parts[0] == "namespaces" && parts[1] == "{namespace}" {
			parts = parts[2:]
		}
		name := parts[0]
		if len(parts) > 2 {
			name += "/" + parts[2]
		}
		return resources[name]
	}
	return false
}

// reachable are the schemas that v refers to, by way of others or not.
func reachable(v any, schemas map[string]any, prefix string) map[string]any {
	found := map[string]any{}
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				name := strings.TrimPrefix(ref, prefix)
				if _, seen := found[name]; !seen && schemas[name] != nil {
					found[name] = schemas[name]
					visit(schemas[name])
				}
			}
			for _, x := range v {
				visit(x)
			}
		case []any:
			for _, x := range v {
				visit(x)
			}
		}
	}
	visit(v)
	return found
}

// sortTypes puts types and their fields in the order of their names, so that the same schemas are the same bytes.
func sortTypes(s *schema.Schema) {
	slices.SortFunc(s.Types, func(a, b schema.TypeDef) int { return cmp.Compare(a.Name, b.Name) })
	for i := range s.Types {
		sortFields(&s.Types[i].Atom)
	}
}

func sortFields(a *schema.Atom) {
	if a.List != nil {
		sortFields(&a.List.ElementType.Inlined)
	}
	if a.Map == nil {
		return
	}
	sortFields(&a.Map.ElementType.Inlined)
	slices.SortFunc(a.Map.Fields, func(a, b schema.StructField) int { return cmp.Compare(a.Name, b.Name) })
	for i := range a.Map.Fields {
		sortFields(&a.Map.Fields[i].Type.Inlined)
	}
}

package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/emicklei/go-restful/v3"
	apidiscovery "k8s.io/api/apidiscovery/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"tripod/internal/api/kinds"
	"tripod/internal/api/openapi"
)

// maxBody is the largest request body that is read, as with Kubernetes.
const maxBody = 3 << 20

// minWatch is how long a watch lasts at least, if its client does not say.
const minWatch = 1800e9

// routes are all paths of the API.
type routes struct {
	container *restful.Container
	other     *http.ServeMux // what is no API group
}

// newRoutes serves groups.
func newRoutes(groups []kinds.Group, admit admission.Interface) (*routes, error) {
	codecs := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.WithStreamingCollectionEncodingToJSON(), serializer.WithStreamingCollectionEncodingToProtobuf())
	r := &routes{container: restful.NewContainer(), other: http.NewServeMux()}
	r.container.ServeMux = http.NewServeMux()
	r.container.Router(restful.CurlyRouter{})
	r.container.DoNotRecover(true)
	r.container.ServiceErrorHandler(func(err restful.ServiceError, req *restful.Request, resp *restful.Response) {
		status := apierrors.NewGenericServerResponse(err.Code, "", schema.GroupResource{}, "", err.Message, 0, false)
		responsewriters.ErrorNegotiated(status, codecs, schema.GroupVersion{}, resp, req.Request)
	})
	d := newDiscoveries(codecs)
	equivalents := runtime.NewEquivalentResourceRegistry()
	schemas := openapi.Converter(legacyscheme.Scheme)
	for _, g := range groups {
		v := installable(g, codecs)
		v.TypeConverter, v.EquivalentResourceRegistry, v.Admit = schemas, equivalents, admit
		if err := r.install(v, d); err != nil {
			return nil, err
		}
	}
	d.serve(r.container)
	r.serveOther()
	return r, nil
}

// installable is a group's version as Kubernetes installs it.
func installable(g kinds.Group, codecs serializer.CodecFactory) *endpoints.APIGroupVersion {
	scheme, parameters := legacyscheme.Scheme, legacyscheme.ParameterCodec
	if g.Scheme != nil {
		scheme, codecs, parameters = g.Scheme, serializer.NewCodecFactory(g.Scheme), runtime.NewParameterCodec(g.Scheme)
	}
	root := "/apis"
	if g.Group == "" {
		root = "/api"
	}
	return &endpoints.APIGroupVersion{
		Storage: g.Storage, Root: root, GroupVersion: g.GroupVersion,
		OptionsExternalVersion: &schema.GroupVersion{Version: "v1"},
		Serializer:             codecs, ParameterCodec: parameters,
		Typer: scheme, Creater: scheme, Convertor: scheme, ConvertabilityChecker: scheme, Defaulter: scheme,
		Namer: runtime.Namer(meta.NewAccessor()), UnsafeConvertor: runtime.UnsafeObjectConvertor(scheme),
		Authorizer:        authorizerfactory.NewAlwaysAllowAuthorizer(),
		MinRequestTimeout: minWatch, MaxRequestBodyBytes: maxBody,
	}
}

// install serves one version of a group, and makes it known.
func (r *routes) install(v *endpoints.APIGroupVersion, d *discoveries) error {
	resources, _, err := v.InstallREST(r.container)
	if err != nil {
		return fmt.Errorf("cannot serve %s: %w", v.GroupVersion, err)
	}
	d.add(v.GroupVersion, apidiscovery.APIVersionDiscovery{Version: v.GroupVersion.Version, Resources: resources, Freshness: apidiscovery.DiscoveryFreshnessCurrent})
	return nil
}

// ServeHTTP implements http.Handler. A path belongs to the group whose root it begins with, as in Kubernetes; who asks for a group
// that is not served is told by HTTP alone.
func (r *routes) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	path := req.URL.Path
	for _, ws := range r.container.RegisteredWebServices() {
		root := ws.RootPath()
		if root == "/apis" && path != "/apis" && path != "/apis/" {
			continue
		}
		if rest, below := strings.CutPrefix(path, root); below && (rest == "" || rest[0] == '/') {
			r.container.Dispatch(w, req)
			return
		}
	}
	r.other.ServeHTTP(w, req)
}

// discoveries tell clients what is served, in the form of old ones and in the one that is read in a single request.
type discoveries struct {
	codecs    runtime.NegotiatedSerializer
	addresses discovery.Addresses
	order     []string
	groups    map[string]*metav1.APIGroup
	core      aggregated.ResourceManager
	named     aggregated.ResourceManager
}

func newDiscoveries(codecs runtime.NegotiatedSerializer) *discoveries {
	return &discoveries{
		codecs: codecs, addresses: discovery.DefaultAddresses{}, groups: map[string]*metav1.APIGroup{},
		core: aggregated.NewResourceManager("api"), named: aggregated.NewResourceManager("apis"),
	}
}

func (d *discoveries) add(gv schema.GroupVersion, v apidiscovery.APIVersionDiscovery) {
	if gv.Group == "" {
		d.core.AddGroupVersion("", v)
		return
	}
	g := d.groups[gv.Group]
	if g == nil {
		g = &metav1.APIGroup{Name: gv.Group, PreferredVersion: metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}}
		d.groups[gv.Group] = g
		d.order = append(d.order, gv.Group)
	}
	g.Versions = append(g.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version})
	d.named.AddGroupVersion(gv.Group, v)
	// The order in which groups are served is the order in which they are shown.
	d.named.SetGroupVersionPriority(metav1.GroupVersion{Group: gv.Group, Version: gv.Version}, 20000-100*len(d.order), 100-len(g.Versions))
}

func (d *discoveries) serve(c *restful.Container) {
	old := discovery.NewLegacyRootAPIHandler(d.addresses, d.codecs, "/api")
	c.Add(aggregated.WrapAggregatedDiscoveryToHandler(old, d.core, nil).GenerateWebService("/api", metav1.APIVersions{}))
	root := discovery.NewRootAPIsHandler(d.addresses, d.codecs)
	for _, name := range d.order {
		root.AddGroup(*d.groups[name])
		c.Add(discovery.NewAPIGroupHandler(d.codecs, *d.groups[name]).WebService())
	}
	c.Add(aggregated.WrapAggregatedDiscoveryToHandler(root, d.named, nil).GenerateWebService("/apis", metav1.APIGroupList{}))
}

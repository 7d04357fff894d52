package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	merge     = "Content-Type: application/merge-patch+json"
	strategic = "Content-Type: application/strategic-merge-patch+json"
	jsonPatch = "Content-Type: application/json-patch+json"
	apply     = "Content-Type: application/apply-patch+yaml"
	asTable   = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io"

	deployments = "/apis/apps/v1/namespaces/default/deployments"
	web         = `{"metadata":{"name":"web"},"spec":{"replicas":3,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`
)

// TestRefusals sees that what is wrong is answered as a cluster answers it.
func TestRefusals(t *testing.T) {
	f := serve(t)
	f.must(201, "POST", podsAt, onePod)
	f.must(201, "POST", deployments, web)
	for _, tt := range []struct {
		name, method, path, body string
		headers                  []string
		code                     int
		reason, message          string
	}{
		{"no JSON", "POST", podsAt, `{"metadata":`, nil, 400, "BadRequest", ""},
		{"no YAML", "POST", podsAt, "\t- a: [", []string{"Content-Type: application/yaml"}, 400, "BadRequest", ""},
		{"no protobuf", "POST", podsAt, "k8s\x00\xff\xff\xff", []string{"Content-Type: application/vnd.kubernetes.protobuf"}, 400, "BadRequest", ""},
		{"unknown form", "POST", podsAt, onePod, []string{"Content-Type: application/cbor"}, 415, "UnsupportedMediaType", ""},
		{"unknown answer", "GET", podsAt, "", []string{"Accept: application/cbor"}, 406, "NotAcceptable", ""},
		{"other kind", "POST", podsAt, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}`, nil, 400, "BadRequest", ""},
		{"other namespace", "POST", podsAt, `{"metadata":{"name":"x","namespace":"other"},"spec":{"containers":[{"name":"c","image":"i"}]}}`, nil, 400, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request"},
		{"invalid", "POST", podsAt, `{"metadata":{"name":"x"},"spec":{}}`, nil, 422, "Invalid", `Pod "x" is invalid: spec.containers: Required value`},
		{"bad name", "POST", podsAt, `{"metadata":{"name":"../x"},"spec":{"containers":[{"name":"c","image":"i"}]}}`, nil, 422, "Invalid", ""},
		{"no name", "POST", podsAt, `{"spec":{"containers":[{"name":"c","image":"i"}]}}`, nil, 422, "Invalid", ""},
		{"unknown field", "POST", podsAt + "?fieldValidation=Strict", `{"metadata":{"name":"x"},"spec":{"containers":[{"name":"c","image":"i","imagee":"j"}]}}`, nil, 400, "BadRequest", `Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.containers[0].imagee"`},
		{"no namespace", "POST", "/api/v1/namespaces/none/pods", onePod, nil, 404, "NotFound", `namespaces "none" not found`},
		{"version set", "POST", podsAt, `{"metadata":{"name":"x","resourceVersion":"7"},"spec":{"containers":[{"name":"c","image":"i"}]}}`, nil, 500, "", ""},
		{"absent", "GET", podsAt + "/none", "", nil, 404, "NotFound", `pods "none" not found`},
		{"unknown resource", "GET", "/api/v1/namespaces/default/widgets", "", nil, 404, "NotFound", "the server could not find the requested resource"},
		{"unknown verb", "POST", podsAt + "/one/status", "{}", nil, 405, "MethodNotAllowed", ""},
		{"label selector", "GET", podsAt + "?labelSelector=a%3D%3D%3Db", "", nil, 400, "BadRequest", ""},
		{"field selector", "GET", podsAt + "?fieldSelector=spec.image%3Dx", "", nil, 400, "BadRequest", "field label not supported: spec.image"},
		{"forged token", "GET", podsAt + "?limit=1&continue=Li4vLi4vLi4", "", nil, 400, "BadRequest", ""},
		{"forged version", "GET", podsAt + "?resourceVersion=abc", "", nil, 400, "BadRequest", ""},
		{"forged version of one", "GET", podsAt + "/one?resourceVersion=abc", "", nil, 400, "BadRequest", ""},
		{"forged version to watch", "GET", podsAt + "?watch=1&resourceVersion=abc", "", nil, 400, "BadRequest", ""},
		{"version to come", "GET", podsAt + "?resourceVersion=99999999", "", nil, 504, "Timeout", ""},
		{"conflict", "PUT", podsAt + "/one", `{"metadata":{"name":"one","resourceVersion":"1"},"spec":{"containers":[{"name":"c","image":"i"}]}}`, nil, 409, "Conflict", `Operation cannot be fulfilled on pods "one": the object has been modified; please apply your changes to the latest version and try again`},
		{"other name", "PUT", podsAt + "/one", `{"metadata":{"name":"two"},"spec":{"containers":[{"name":"c","image":"i"}]}}`, nil, 400, "BadRequest", "the name of the object (two) does not match the name on the URL (one)"},
		{"immutable", "PATCH", podsAt + "/one", `{"spec":{"restartPolicy":"Never"}}`, []string{merge}, 422, "Invalid", ""},
		{"bad patch", "PATCH", podsAt + "/one", `[{"op":"dance"}]`, []string{jsonPatch}, 422, "", ""},
		{"unknown patch", "PATCH", podsAt + "/one", `{}`, []string{"Content-Type: application/json"}, 415, "UnsupportedMediaType", ""},
		{"other uid", "DELETE", podsAt + "/one", `{"preconditions":{"uid":"1"}}`, nil, 409, "Conflict", ""},
		{"bad propagation", "DELETE", deployments + "/web?propagationPolicy=Sideways", "", nil, 422, "Invalid", ""},
		{"immortal", "DELETE", "/api/v1/namespaces/default", "", nil, 403, "Forbidden", `namespaces "default" is forbidden: this namespace may not be deleted`},
		{"priority", "POST", podsAt, `{"metadata":{"name":"x"},"spec":{"priorityClassName":"high","containers":[{"name":"c","image":"i"}]}}`, nil, 403, "Forbidden", `pods "x" is forbidden: no PriorityClass with name high was found`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := f.ask(tt.method, tt.path, tt.body, tt.headers...)
			if got.code != tt.code || tt.reason != "" && got.at("reason") != tt.reason {
				t.Fatalf("%d %s, want %d %s", got.code, got.body, tt.code, tt.reason)
			}
			if got.at("kind") != "Status" || tt.message != "" && got.at("message") != tt.message {
				t.Errorf("%s, want message %q", got.body, tt.message)
			}
		})
	}
	f.must(200, "GET", podsAt+"/one", "")
}

func TestHugeBodies(t *testing.T) {
	f := serve(t)
	big := `{"metadata":{"name":"x","annotations":{"a":"` + strings.Repeat("x", 4<<20) + `"}}}`
	if got := f.must(413, "POST", "/api/v1/namespaces/default/configmaps", big).at("reason"); got != "RequestEntityTooLarge" {
		t.Errorf("reason %v", got)
	}
	deep := strings.Repeat(`{"a":`, 200000) + "1" + strings.Repeat("}", 200000)
	if got := f.ask("PATCH", podsAt+"/x", deep, merge); got.code < 400 || got.code >= 500 {
		t.Errorf("nested patch: %d", got.code)
	}
	if got := f.ask("POST", podsAt, deep); got.code != 400 {
		t.Errorf("nested object: %d", got.code)
	}
	laughs := "a0: &a0 [x]\n"
	for i := range 30 {
		laughs += fmt.Sprintf("a%d: &a%d [*a%d,*a%d,*a%d,*a%d]\n", i+1, i+1, i, i, i, i)
	}
	if got := f.ask("POST", podsAt, laughs, "Content-Type: application/yaml"); got.code != 400 {
		t.Errorf("aliases of aliases: %d", got.code)
	}
}

// TestSlowBodies sends half of a body and waits.
func TestSlowBodies(t *testing.T) {
	f := serve(t)
	f.api.patience = 10 * time.Millisecond
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.http.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: tripod\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", podsAt); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(resp.Body)
	if got := (reply{body: body}); resp.StatusCode != http.StatusRequestTimeout || got.at("message") != "the body of the request did not come in time" {
		t.Errorf("%s %s, %v", resp.Status, body, err)
	}
}

func TestPatches(t *testing.T) {
	f := serve(t)
	f.must(201, "POST", deployments, web)
	at := deployments + "/web"
	f.must(200, "PATCH", at, `{"metadata":{"labels":{"a":"b"}}}`, merge)
	f.must(200, "PATCH", at, `[{"op":"replace","path":"/spec/replicas","value":4}]`, jsonPatch)
	got := f.must(200, "PATCH", at, `{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"s"}]}}}}`, strategic)
	if got.at("metadata", "labels", "a") != "b" || got.at("spec", "replicas") != 4.0 || got.at("spec", "template", "spec", "containers", 1, "name") != "c" {
		t.Errorf("patched to %s", got.body)
	}
	if got.at("metadata", "generation") != 3.0 {
		t.Errorf("generation %v, want 3: one for each change of the specification", got.at("metadata", "generation"))
	}
	again := f.must(200, "PATCH", at, `{"metadata":{"labels":{"a":"b"}}}`, merge)
	if again.at("metadata", "resourceVersion") != got.at("metadata", "resourceVersion") {
		t.Error("a patch that changes nothing made a new version")
	}
	dry := f.must(200, "PATCH", at+"?dryRun=All", `{"spec":{"replicas":9}}`, merge)
	if dry.at("spec", "replicas") != 9.0 || f.must(200, "GET", at, "").at("spec", "replicas") != 4.0 {
		t.Error("a dry run was kept, or did not show what would be")
	}
	warned := f.must(200, "PATCH", at+"?fieldValidation=Warn", `{"spec":{"replica":9}}`, merge)
	if got := warned.header.Get("Warning"); got != `299 - "unknown field \"spec.replica\""` {
		t.Errorf("warning %q", got)
	}
}

func TestApply(t *testing.T) {
	f := serve(t)
	at := deployments + "/web?fieldManager="
	body := func(replicas int) string {
		return fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment",%s`, strings.Replace(web[1:], "3", fmt.Sprint(replicas), 1))
	}
	f.must(201, "PATCH", at+"one", body(3), apply)
	conflict := f.must(409, "PATCH", at+"two", body(5), apply)
	if got := conflict.at("message"); got != `Apply failed with 1 conflict: conflict with "one": .spec.replicas` {
		t.Errorf("message %v", got)
	}
	forced := f.must(200, "PATCH", at+"two&force=true", body(5), apply)
	if forced.at("spec", "replicas") != 5.0 || forced.at("metadata", "managedFields", 1, "manager") != "two" {
		t.Errorf("forced to %s", forced.body)
	}
	f.must(200, "PATCH", deployments+"/web/scale", `{"spec":{"replicas":7}}`, merge)
	scale := f.must(200, "GET", deployments+"/web/scale", "")
	if scale.at("kind") != "Scale" || scale.at("spec", "replicas") != 7.0 || scale.at("status", "selector") != "app=web" {
		t.Errorf("scale %s", scale.body)
	}
	owner := f.must(200, "GET", deployments+"/web", "").at("metadata", "managedFields", 2, "subresource")
	if owner != "scale" {
		t.Errorf("replicas are owned by subresource %v", owner)
	}
}

func TestFinalizersAndPropagation(t *testing.T) {
	f := serve(t)
	for policy, finalizer := range map[string]string{"Foreground": "foregroundDeletion", "Orphan": "orphan"} {
		f.must(201, "POST", deployments, web)
		going := f.must(200, "DELETE", deployments+"/web?propagationPolicy="+policy, "")
		if going.at("metadata", "finalizers", 0) != finalizer || going.at("metadata", "deletionTimestamp") == nil {
			t.Errorf("%s: %s", policy, going.body)
		}
		f.must(200, "PATCH", deployments+"/web", `{"metadata":{"finalizers":null}}`, merge)
		f.must(404, "GET", deployments+"/web", "")
	}
	f.must(201, "POST", "/api/v1/namespaces", `{"metadata":{"name":"space"}}`)
	if got := f.must(200, "DELETE", "/api/v1/namespaces/space", "").at("status", "phase"); got != "Terminating" {
		t.Errorf("phase %v", got)
	}
	late := f.must(403, "POST", "/api/v1/namespaces/space/configmaps", `{"metadata":{"name":"x"}}`)
	if got := late.at("details", "causes", 0, "reason"); got != string(corev1.NamespaceTerminatingCause) {
		t.Errorf("cause %v", got)
	}
	f.must(200, "PUT", "/api/v1/namespaces/space/finalize", `{"metadata":{"name":"space"},"spec":{"finalizers":[]}}`)
	f.must(404, "GET", "/api/v1/namespaces/space", "")
}

func TestServices(t *testing.T) {
	f := serve(t)
	services := "/api/v1/namespaces/default/services"
	made := f.must(201, "POST", services, `{"metadata":{"name":"s"},"spec":{"type":"NodePort","ports":[{"port":80}]}}`)
	ip, _ := made.at("spec", "clusterIP").(string)
	port, _ := made.at("spec", "ports", 0, "nodePort").(float64)
	if !strings.HasPrefix(ip, "10.") || port < 30000 || port > 32767 {
		t.Errorf("address %q, port %v", ip, port)
	}
	twice := f.must(422, "POST", services, fmt.Sprintf(`{"metadata":{"name":"t"},"spec":{"clusterIP":"%s","ports":[{"port":80}]}}`, ip))
	if got, _ := twice.at("message").(string); !strings.Contains(got, "provided IP is already allocated") {
		t.Errorf("message %v", got)
	}
	f.must(200, "DELETE", services+"/s", "")
	f.must(201, "POST", services, fmt.Sprintf(`{"metadata":{"name":"t"},"spec":{"clusterIP":"%s","ports":[{"port":80}]}}`, ip))
	if got := f.must(200, "GET", services+"/kubernetes", "").at("spec", "clusterIP"); got != "10.96.0.1" {
		t.Errorf("the API's own address is %v", got)
	}
}

func TestEviction(t *testing.T) {
	f := running(t)
	f.must(200, "PATCH", podsAt+"/one", `{"metadata":{"labels":{"app":"one"}}}`, merge)
	f.must(200, "PATCH", podsAt+"/one/status", `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`, strategic)
	budgets := "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
	f.must(201, "POST", budgets, `{"metadata":{"name":"b"},"spec":{"minAvailable":1,"selector":{"matchLabels":{"app":"one"}}}}`)
	f.must(200, "PATCH", budgets+"/b/status", `{"status":{"observedGeneration":1,"disruptionsAllowed":0,"currentHealthy":1,"desiredHealthy":1,"expectedPods":1}}`, merge)
	evict := `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"one"}}`
	if got := f.must(429, "POST", podsAt+"/one/eviction", evict).at("details", "causes", 0, "reason"); got != "DisruptionBudget" {
		t.Errorf("cause %v", got)
	}
	f.must(200, "DELETE", budgets+"/b", "")
	f.must(201, "POST", podsAt+"/one/eviction", evict)
	if f.must(200, "GET", podsAt+"/one", "").at("metadata", "deletionTimestamp") == nil {
		t.Error("an evicted Pod stays")
	}
}

func TestWhoAndTokens(t *testing.T) {
	f := serve(t)
	who := f.must(201, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", `{}`)
	if who.at("status", "userInfo", "username") != "system:admin" {
		t.Errorf("who: %s", who.body)
	}
	may := f.must(201, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"create","resource":"pods"}}}`)
	if may.at("status", "allowed") != true {
		t.Errorf("may: %s", may.body)
	}
	f.must(201, "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", `{"spec":{"namespace":"default"}}`)
	accounts := "/api/v1/namespaces/default/serviceaccounts"
	f.must(201, "POST", accounts, `{"metadata":{"name":"robot"}}`)
	token, _ := f.must(201, "POST", accounts+"/robot/token", `{"spec":{}}`).at("status", "token").(string)
	if strings.Count(token, ".") != 2 {
		t.Errorf("token %q", token)
	}
}

// TestForms reads one object in every form that is served.
func TestForms(t *testing.T) {
	f := serve(t)
	f.must(201, "POST", podsAt, onePod)
	for accept, want := range map[string]struct{ kind, begins string }{
		"application/json":                                                                {"application/json", `{"kind":"Pod","apiVersion":"v1"`},
		"application/yaml":                                                                {"application/yaml", "apiVersion: v1\nkind: Pod\n"},
		"application/vnd.kubernetes.protobuf":                                             {"application/vnd.kubernetes.protobuf", "k8s\x00"},
		"application/json;as=Table;v=v1;g=meta.k8s.io":                                    {"application/json", `{"kind":"Table","apiVersion":"meta.k8s.io/v1"`},
		"application/json;as=Table;v=v1beta1;g=meta.k8s.io":                               {"application/json", `{"kind":"Table","apiVersion":"meta.k8s.io/v1beta1"`},
		"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io":                    {"application/json", `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1"`},
		"application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io": {"application/vnd.kubernetes.protobuf", "k8s\x00"},
		"application/xml, application/json;q=0.5":                                         {"application/json", `{"kind":"Pod"`},
		"application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json": {"application/json", `{"kind":"Table"`},
	} {
		got := f.must(200, "GET", podsAt+"/one", "", "Accept: "+accept)
		if kind := got.header.Get("Content-Type"); !strings.HasPrefix(kind, want.kind) || !strings.HasPrefix(string(got.body), want.begins) {
			t.Errorf("%s: %s %.60q", accept, kind, got.body)
		}
	}
	table := f.must(200, "GET", podsAt, "", asTable)
	var columns []string
	for _, c := range table.at("columnDefinitions").([]any) {
		columns = append(columns, fmt.Sprint(dig(c, "name")))
	}
	if got := strings.Join(columns, " "); got != "Name Ready Status Restarts Age IP Node Nominated Node Readiness Gates" {
		t.Errorf("columns %s", got)
	}
	if got := fmt.Sprint(table.at("rows", 0, "cells").([]any)[:3]); got != "[one 0/1 Pending]" {
		t.Errorf("cells %s", got)
	}
	if got := table.at("rows", 0, "object", "kind"); got != "PartialObjectMetadata" {
		t.Errorf("row has %v", got)
	}
}

// TestLargeAnswersArePacked asks by hand: the client of net/http unpacks unasked.
func TestLargeAnswersArePacked(t *testing.T) {
	f := serve(t)
	f.must(201, "POST", "/api/v1/namespaces/default/configmaps", `{"metadata":{"name":"big"},"data":{"a":"`+strings.Repeat("x", 200000)+`"}}`)
	got := f.must(200, "GET", "/api/v1/namespaces/default/configmaps/big", "", "Accept-Encoding: gzip")
	if got.header.Get("Content-Encoding") != "gzip" || len(got.body) > 20000 {
		t.Errorf("%s, %d bytes", got.header.Get("Content-Encoding"), len(got.body))
	}
}

func TestEventsAreTheSameInBothGroups(t *testing.T) {
	f := serve(t)
	f.must(201, "POST", "/api/v1/namespaces/default/events", `{"metadata":{"name":"e"},"involvedObject":{"kind":"Pod","name":"one","namespace":"default"},"reason":"Started","message":"hello","type":"Normal","source":{"component":"c"}}`)
	got := f.must(200, "GET", "/apis/events.k8s.io/v1/namespaces/default/events/e", "")
	if got.at("regarding", "name") != "one" || got.at("note") != "hello" || got.at("deprecatedSource", "component") != "c" {
		t.Errorf("%s", got.body)
	}
	list := f.must(200, "GET", "/api/v1/events?fieldSelector=involvedObject.name%3Done,reason%3DStarted", "")
	if len(list.at("items").([]any)) != 1 {
		t.Errorf("%s", list.body)
	}
}

func TestDiscovery(t *testing.T) {
	f := serve(t)
	aggregated := "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	all := f.must(200, "GET", "/apis", "", aggregated)
	if got := all.header.Get("Content-Type"); got != "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList" {
		t.Errorf("content type %s", got)
	}
	// All that is told of can be asked for: garbage collection waits for every resource that can be listed.
	for _, g := range all.at("items").([]any) {
		for _, v := range dig(g, "versions").([]any) {
			for _, r := range dig(v, "resources").([]any) {
				if !strings.Contains(fmt.Sprint(dig(r, "verbs")), "list") || dig(g, "metadata", "name") == "metrics.k8s.io" {
					continue
				}
				f.must(200, "GET", fmt.Sprintf("/apis/%s/%s/%s", dig(g, "metadata", "name"), dig(v, "version"), dig(r, "resource")), "")
			}
		}
	}
	if got := f.must(200, "GET", "/api", "").at("kind"); got != "APIVersions" {
		t.Errorf("/api is %v", got)
	}
	if got := f.must(200, "GET", "/apis", "").at("kind"); got != "APIGroupList" {
		t.Errorf("/apis is %v", got)
	}
	if got := f.must(200, "GET", "/apis/apps/v1", "").at("resources", 0, "name"); got != "controllerrevisions" {
		t.Errorf("/apis/apps/v1 begins with %v", got)
	}
	if got := f.ask("GET", "/apis/networking.k8s.io/v1/ingresses", ""); got.code != http.StatusNotFound {
		t.Errorf("a group that is not served: %d", got.code)
	}
	if got := f.must(200, "GET", "/version", "").at("major"); got != "1" {
		t.Errorf("version %v", got)
	}
}

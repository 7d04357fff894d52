package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"
)

// kind is what is known of a kind for its stream, out of streams/kinds.txtar:
//
//	-- RESOURCE --
//	PATH
//	fixed: a merge patch that the kind refuses
//	change: a merge patch that it takes
//	subresources: STATUS SCALE
//	skip: requests that it is not asked
//
//	MANIFEST
type kind struct {
	resource, path, fixed, change string
	subresources, skip            []string
	manifest                      map[string]any
}

// kinds are the streams of each kind.
func kinds(archive *txtar.Archive) ([]*stream, error) {
	var all []*stream
	for _, f := range archive.Files {
		k, err := readKind(f.Name, string(f.Data))
		if err != nil {
			return nil, fmt.Errorf("cannot read kind %s: %w", f.Name, err)
		}
		s := &stream{name: f.Name}
		for _, text := range k.requests() {
			name, rest, _ := strings.Cut(text, ": ")
			if slices.Contains(k.skip, name) {
				continue
			}
			a, err := parse(name, rest)
			if err != nil {
				return nil, fmt.Errorf("cannot make request %s of kind %s: %w", name, f.Name, err)
			}
			s.asks = append(s.asks, a)
		}
		all = append(all, s)
	}
	return all, nil
}

func readKind(name, text string) (*kind, error) {
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	k := &kind{resource: name, path: lines[0]}
	for _, line := range lines[1:] {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "fixed":
			k.fixed = value
		case "change":
			k.change = value
		case "subresources":
			k.subresources = strings.Fields(value)
		case "skip":
			k.skip = strings.Fields(value)
		default:
			return nil, fmt.Errorf("%q says nothing about a kind", line)
		}
	}
	return k, yaml.Unmarshal([]byte(body), &k.manifest)
}

// with is the manifest in JSON, with members at places of dots set, or taken away by nil.
func (k *kind) with(pairs ...any) string {
	text, _ := json.Marshal(k.manifest) // it came from JSON
	var m map[string]any
	_ = json.Unmarshal(text, &m)
	for i := 0; i < len(pairs); i += 2 {
		in, keys := m, strings.Split(pairs[i].(string), ".")
		for _, key := range keys[:len(keys)-1] {
			next, ok := in[key].(map[string]any)
			if !ok {
				next = map[string]any{}
				in[key] = next
			}
			in = next
		}
		if last := keys[len(keys)-1]; pairs[i+1] == nil {
			delete(in, last)
		} else {
			in[last] = pairs[i+1]
		}
	}
	text, _ = json.Marshal(m)
	return string(text)
}

// only is an object with nothing but its kind, its name and what is given: what a patch by apply looks like.
func (k *kind) only(members string) string {
	meta := k.manifest["metadata"].(map[string]any)
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":%q,%s}}`, k.manifest["apiVersion"], k.manifest["kind"], meta["name"], members)
}

// call writes a request down.
func call(name, method, path, body string, headers ...string) string {
	text := name + ": " + method + " " + path
	for _, h := range headers {
		text += "\n" + h
	}
	return text + "\n\n" + body
}

const (
	get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete

	asMerge, asJSON, asApply, asStrategic = "Content-Type: merge", "Content-Type: json", "Content-Type: apply", "Content-Type: strategic"
)

// requests are what every kind is asked.
func (k *kind) requests() []string {
	all := k.creations()
	all = append(all, k.readings()...)
	all = append(all, k.changes()...)
	for _, sub := range k.subresources {
		all = append(all, k.below(sub)...)
	}
	return append(all, k.ends()...)
}

func (k *kind) name() string { return k.manifest["metadata"].(map[string]any)["name"].(string) }

// mine selects what the stream has made, which matters where a kind has no namespace.
const mine = "labelSelector=of%3Dcompare"

func (k *kind) creations() []string {
	dry := k.path + "?dryRun=All"
	return []string{
		call("list-before", get, k.path+"?"+mine, "", "Save: rv metadata.resourceVersion"),
		call("create-dry", post, dry, k.with()),
		call("create-dry-bad", post, k.path+"?dryRun=Some", k.with()),
		call("create-unknown-strict", post, dry+"&fieldValidation=Strict", k.with("nothing", "x", "metadata.nothing", "y")),
		call("create-unknown-warn", post, dry+"&fieldValidation=Warn", k.with("nothing", "x", "metadata.nothing", "y")),
		call("create-unknown-ignore", post, dry+"&fieldValidation=Ignore", k.with("nothing", "x")),
		call("create-validation-bad", post, dry+"&fieldValidation=Maybe", k.with()),
		call("create-twice-strict", post, dry+"&fieldValidation=Strict", `{"kind":"x",`+strings.TrimPrefix(k.with(), "{"), "Send: raw"),
		call("create-empty", post, k.path, "{}"),
		call("create-no-kind", post, dry, k.with("kind", nil)),
		call("create-other-kind", post, k.path, k.with("kind", "Nothing")),
		call("create-other-version", post, k.path, k.with("apiVersion", "v7")),
		call("create-no-name", post, k.path, k.with("metadata.name", nil)),
		call("create-bad-name", post, k.path, k.with("metadata.name", "No_Name!")),
		call("create-long-name", post, k.path, k.with("metadata.name", strings.Repeat("n", 260))),
		call("create-bad-label", post, k.path, k.with("metadata.labels", map[string]any{"a b": "-"})),
		call("create-bad-annotation", post, k.path, k.with("metadata.annotations", map[string]any{"a b": "x"})),
		call("create-wrong-type", post, k.path, k.with("metadata.labels", 5)),
		call("create-no-spec", post, dry, k.with("spec", nil)),
		call("create-other-namespace", post, k.path, k.with("metadata.namespace", "other")),
		call("create-version-set", post, k.path, k.with("metadata.resourceVersion", "5")),
		call("create-text", post, k.path, "no json", "Send: raw"),
		call("create-cut", post, k.path, `{"kind":`, "Send: raw"),
		call("create-nothing", post, k.path, ""),
		call("create-bad-media", post, k.path, k.with(), "Content-Type: text/plain"),
		call("create-bad-finalizer", post, k.path, k.with("metadata.finalizers", []any{"x y"})),
		call("create-bad-owner", post, k.path, k.with("metadata.ownerReferences", []any{map[string]any{"kind": "Pod"}})),
		call("create", post, k.path+"?fieldManager=first", k.with(), "Save: uid metadata.uid"),
		call("create-again", post, k.path, k.with()),
		call("create-protobuf", post, dry, k.with("metadata.name", k.name()+"2"), "Send: protobuf", "Accept: protobuf"),
		call("create-yaml", post, dry, k.with("metadata.name", k.name()+"3"), "Accept: yaml", "Content-Type: yaml"),
		call("create-generated", post, k.path, k.with("metadata.name", nil, "metadata.generateName", "made-", "metadata.labels", map[string]any{"of": "compare", "x": "y"}), "Save: made metadata.name"),
	}
}

// lists are queries for lists, by what they try.
var lists = [][2]string{
	{"label", mine + ",x"},
	{"label-not", mine + ",x%21%3Dy"},
	{"label-in", "labelSelector=of+in+(compare,b)"},
	{"label-bad", "labelSelector=a+b+c"},
	{"field-name", "fieldSelector=metadata.name%3DNAME"},
	{"field-not-name", mine + "&fieldSelector=metadata.name%21%3DNAME"},
	{"field-other", "fieldSelector=spec.nothing%3Dx"},
	{"field-bad", "fieldSelector=x"},
	{"limit", mine + "&limit=1"},
	{"limit-bad", "limit=x"},
	{"continue-bad", "continue=x"},
	{"exact", "resourceVersionMatch=Exact"},
	{"match-bad", "resourceVersion=1&resourceVersionMatch=Some"},
	{"any", mine + "&resourceVersion=0"},
	{"bad-version", "resourceVersion=x"},
	{"initial", "sendInitialEvents=true"},
}

func (k *kind) readings() []string {
	one := k.path + "/" + k.name()
	all := []string{
		call("get-none", get, k.path+"/none", ""),
		call("get-table", get, one, "", "Accept: table"),
		call("get-table-none", get, one+"?includeObject=None", "", "Accept: table"),
		call("get-table-object", get, one+"?includeObject=Object", "", "Accept: table"),
		call("get-partial", get, one, "", "Accept: partial"),
		call("get-protobuf", get, one, "", "Accept: protobuf"),
		call("get-partial-protobuf", get, one, "", "Accept: application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"),
		call("get-yaml", get, one, "", "Accept: yaml"),
		call("get-not-acceptable", get, one, "", "Accept: text/html"),
		call("get-any", get, one, "", "Accept: */*"),
		call("get-pretty", get, one+"?pretty=true", ""),
		call("get-bad-version", get, one+"?resourceVersion=x", ""),
		call("list-table-protobuf", get, k.path+"?"+mine, "", "Accept: application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io"),
	}
	for _, l := range lists {
		all = append(all, call("list-"+l[0], get, k.path+"?"+strings.ReplaceAll(l[1], "NAME", k.name()), ""))
	}
	for _, as := range []string{"table", "partials", "protobuf", "yaml"} {
		all = append(all, call("list-as-"+as, get, k.path+"?"+mine, "", "Accept: "+as))
	}
	return append(all,
		call("page", get, k.path+"?"+mine+"&limit=1", "", "Save: next metadata.continue"),
		call("page-next", get, k.path+"?"+mine+"&limit=1&continue=$next", ""))
}

func (k *kind) changes() []string {
	one := k.path + "/" + k.name()
	return []string{
		call("put-stale", put, one, k.with("metadata.resourceVersion", "1")),
		call("put-other-name", put, one, k.with("metadata.name", "other")),
		call("put-other-uid", put, one, k.with("metadata.uid", "00000000-0000-0000-0000-000000000000")),
		call("put-none", put, k.path+"/none", k.with("metadata.name", "none")),
		call("put-same", put, one+"?fieldManager=first", k.with()),
		call("put-label", put, one+"?fieldManager=first", k.with("metadata.labels.by", "put")),
		call("merge-nothing", patch, one, "{}", asMerge),
		call("merge-label", patch, one+"?fieldManager=second", `{"metadata":{"labels":{"by":"merge","x":"z"},"annotations":{"note":"here"}}}`, asMerge),
		call("merge-change", patch, one, k.change, asMerge),
		call("merge-fixed", patch, one, k.fixed, asMerge),
		call("merge-name", patch, one, `{"metadata":{"name":"other"}}`, asMerge),
		call("merge-uid", patch, one, `{"metadata":{"uid":"other"}}`, asMerge),
		call("merge-kind", patch, one, `{"kind":"Other"}`, asMerge),
		call("merge-list", patch, one, `[1]`, asMerge),
		call("merge-wrong-type", patch, one, `{"metadata":{"labels":"x"}}`, asMerge),
		call("merge-unknown-strict", patch, one+"?fieldValidation=Strict", `{"nothing":1}`, asMerge),
		call("merge-unknown-warn", patch, one+"?fieldValidation=Warn", `{"nothing":1}`, asMerge),
		call("merge-stale", patch, one, `{"metadata":{"resourceVersion":"1","labels":{"by":"stale"}}}`, asMerge),
		call("merge-none", patch, k.path+"/none", `{"metadata":{"labels":{"a":"b"}}}`, asMerge),
		call("json-test", patch, one, `[{"op":"test","path":"/metadata/name","value":"other"}]`, asJSON),
		call("json-bad-op", patch, one, `[{"op":"jump","path":"/metadata/name"}]`, asJSON),
		call("json-bad-path", patch, one, `[{"op":"remove","path":"/metadata/nothing"}]`, asJSON),
		call("json-object", patch, one, `{}`, asJSON),
		call("json-label", patch, one, `[{"op":"add","path":"/metadata/labels/by","value":"json"},{"op":"remove","path":"/metadata/annotations/note"}]`, asJSON),
		call("strategic-label", patch, one+"?dryRun=All", `{"metadata":{"labels":{"by":"strategic","x":null}}}`, asStrategic),
		call("strategic-replace", patch, one, `{"metadata":{"annotations":{"$patch":"replace","only":"me"}}}`, asStrategic),
		call("strategic-bad", patch, one, `{"metadata":{"labels":{"$patch":"jump"}}}`, asStrategic),
		call("strategic-finalizers", patch, one, `{"metadata":{"finalizers":["compare/one"]}}`, asStrategic),
		call("patch-bad-media", patch, one, `{}`, "Content-Type: application/json"),
		call("patch-cut", patch, one, `{`, asMerge, "Send: raw"),
		call("apply-no-manager", patch, one, k.only(`"labels":{"by":"apply"}`), asApply),
		call("apply-conflict", patch, one+"?fieldManager=third", k.only(`"labels":{"by":"apply"}`), asApply),
		call("apply-force", patch, one+"?fieldManager=third&force=true", k.only(`"labels":{"by":"apply","more":"yes"}`), asApply),
		call("apply-same", patch, one+"?fieldManager=third", k.only(`"labels":{"by":"apply","more":"yes"}`), asApply),
		call("apply-less", patch, one+"?fieldManager=third", k.only(`"labels":{"by":"apply"}`), asApply),
		call("apply-other-name", patch, k.path+"/other?fieldManager=third", k.only(`"labels":{"by":"apply"}`), asApply),
		call("apply-unknown", patch, one+"?fieldManager=third", k.only(`"nothing":1`), asApply),
		call("apply-managed", patch, one+"?fieldManager=third", k.only(`"managedFields":[{"manager":"x","operation":"Apply"}]`), asApply),
		call("apply-create", patch, k.path+"/applied?fieldManager=third", k.with("metadata.name", "applied"), asApply),
		call("apply-create-partial", patch, k.path+"/applied2?fieldManager=third&dryRun=All", `{"apiVersion":"`+k.manifest["apiVersion"].(string)+`","kind":"`+k.manifest["kind"].(string)+`","metadata":{"name":"applied2"}}`, asApply),
		call("force-without-apply", patch, one+"?force=true", `{}`, asMerge),
		call("manager-bad", patch, one+"?fieldManager="+strings.Repeat("m", 130), `{"metadata":{"labels":{"a":"b"}}}`, asMerge),
		call("get-changed", get, one, ""),
		call("post-on-one", post, one, k.with()),
	}
}

// below are the requests of a subresource.
func (k *kind) below(sub string) []string {
	at := k.path + "/" + k.name() + "/" + sub
	all := []string{
		call(sub+"-get", get, at, ""),
		call(sub+"-table", get, at, "", "Accept: table"),
		call(sub+"-none", get, k.path+"/none/"+sub, ""),
		call(sub+"-merge-label", patch, at, `{"metadata":{"labels":{"by":"status"},"annotations":{"s":"t"}},"spec":{"nothing":1}}`, asMerge),
		call(sub+"-post", post, at, k.with()),
		call(sub+"-delete", del, at, ""),
		call(sub+"-list", get, k.path+"//"+sub, ""),
	}
	if sub == "scale" {
		return append(all,
			call("scale-merge", patch, at, `{"spec":{"replicas":4}}`, asMerge),
			call("scale-negative", patch, at, `{"spec":{"replicas":-1}}`, asMerge),
			call("scale-put", put, at, `{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"`+k.name()+`","namespace":"$ns"},"spec":{"replicas":2}}`),
			call("scale-put-wrong", put, at, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"`+k.name()+`"}}`),
			call("scale-apply", patch, at+"?fieldManager=scaler&force=true", `{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"`+k.name()+`"},"spec":{"replicas":3}}`, asApply),
			call("scale-protobuf", get, at, "", "Accept: protobuf"))
	}
	return append(all, call(sub+"-put", put, at+"?fieldManager=state", k.with("metadata.labels.by", sub)))
}

func (k *kind) ends() []string {
	one := k.path + "/" + k.name()
	return []string{
		call("delete-none", del, k.path+"/none", ""),
		call("delete-dry", del, one+"?dryRun=All", ""),
		call("delete-other-uid", del, one, `{"apiVersion":"v1","kind":"DeleteOptions","preconditions":{"uid":"00000000-0000-0000-0000-000000000000"}}`),
		call("delete-other-version", del, one, `{"preconditions":{"resourceVersion":"1"}}`),
		call("delete-both-policies", del, one, `{"orphanDependents":true,"propagationPolicy":"Orphan"}`),
		call("delete-bad-policy", del, one+"?propagationPolicy=Maybe", ""),
		call("delete-bad-options", del, one, `{"apiVersion":"v1","kind":"Other"}`),
		call("delete-negative", del, one, `{"gracePeriodSeconds":-5}`),
		call("delete-finalized", del, one, `{"preconditions":{"uid":"$uid"}}`),
		call("delete-again", del, one, ""),
		call("get-deleted", get, one, ""),
		call("finalizer-added", patch, one, `[{"op":"add","path":"/metadata/finalizers/-","value":"compare/two"}]`, asJSON),
		call("finalizer-removed", patch, one, `{"metadata":{"finalizers":null}}`, asMerge),
		call("get-gone", get, one, ""),
		call("delete-orphan", del, k.path+"/$made?propagationPolicy=Orphan", ""),
		call("orphan-removed", patch, k.path+"/$made", `{"metadata":{"finalizers":null}}`, asMerge),
		call("delete-foreground", del, k.path+"/applied?propagationPolicy=Foreground", ""),
		call("foreground-removed", patch, k.path+"/applied", `{"metadata":{"finalizers":null}}`, asMerge),
		call("watch", get, k.path+"?watch=true&"+mine+"&resourceVersion=$rv&timeoutSeconds=5&fieldSelector=metadata.name%3D"+k.name(), "", "Until: DELETED"),
		call("watch-table", get, k.path+"?watch=true&"+mine+"&resourceVersion=$rv&timeoutSeconds=5&fieldSelector=metadata.name%3D"+k.name(), "", "Until: DELETED", "Accept: table"),
		call("watch-partial", get, k.path+"?watch=true&"+mine+"&resourceVersion=$rv&timeoutSeconds=5&fieldSelector=metadata.name%3D"+k.name(), "", "Until: DELETED", "Accept: partial"),
		call("watch-protobuf", get, k.path+"?watch=true&"+mine+"&resourceVersion=$rv&timeoutSeconds=5&fieldSelector=metadata.name%3D"+k.name(), "", "Until: DELETED", "Accept: protobuf"),
		call("watch-left", get, k.path+"?watch=true&labelSelector=by%3Dmerge&resourceVersion=$rv&timeoutSeconds=5&fieldSelector=metadata.name%3D"+k.name(), "", "Until: DELETED"),
		call("create-last", post, k.path, k.with()),
		call("watch-initial", get, k.path+"?watch=true&"+mine+"&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=5", "", "Until: BOOKMARK"),
		call("watch-initial-unmatched", get, k.path+"?watch=true&sendInitialEvents=true", ""),
		call("watch-bad-version", get, k.path+"?watch=true&resourceVersion=x", ""),
		call("delete-collection-dry", del, k.path+"?dryRun=All&"+mine, ""),
		call("delete-collection-bad", del, k.path+"?labelSelector=a+b", ""),
		call("delete-collection", del, k.path+"?"+mine+"&propagationPolicy=Background", ""),
		call("list-after", get, k.path+"?"+mine, ""),
		call("method-unknown", "PURGE", k.path, ""),
	}
}

package api

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// sound says that an answer is one that bad input may get. Kubernetes answers some of it (a strategic patch without its merge key, an
// object that has a version before it is made) with code 500 and no reason; what breaks, a panic above all, has the reason InternalError.
func sound(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code >= 500 && w.Code != 504 && strings.Contains(w.Body.String(), `"reason":"InternalError"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// FuzzBody sends objects and patches in every form.
func FuzzBody(f *testing.F) {
	s := serve(f).api
	types := []string{
		"application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/merge-patch+json",
		"application/strategic-merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml",
	}
	for i, body := range []string{
		onePod, "metadata: {name: x}\nspec: {containers: [{name: c, image: i}]}", "k8s\x00\x0a\x09\x0a\x02v1\x12\x03Pod", `{"metadata":{"labels":{"a":"b"}}}`,
		`{"spec":{"containers":[{"$patch":"delete","name":"c"}]}}`, `[{"op":"add","path":"/metadata/labels","value":{}}]`, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"one"}}`,
	} {
		f.Add(uint8(i), body)
	}
	f.Fuzz(func(t *testing.T, form uint8, body string) {
		kind := types[int(form)%len(types)]
		create := httptest.NewRequest("POST", podsAt, strings.NewReader(onePod))
		create.Header.Set("Content-Type", "application/json")
		s.ServeHTTP(httptest.NewRecorder(), create)
		method, path := "POST", podsAt+"?dryRun=All&fieldManager=f"
		if strings.Contains(kind, "patch") {
			method, path = "PATCH", podsAt+"/one?dryRun=All&fieldManager=f"
		}
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		sound(t, w)
	})
}

// FuzzQuery asks for lists by every parameter.
func FuzzQuery(f *testing.F) {
	s := serve(f).api
	f.Add("pods", "a=b,c!=d", "spec.nodeName=x", "5", "1", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJ4In0")
	f.Add("pods/../secrets", "a in (b,c)", "metadata.name!=x", "", "0", "")
	f.Add("%2e%2e/nodes", "!a", "status.phase=Running", "-1", "18446744073709551615", "Li4v")
	f.Fuzz(func(t *testing.T, path, label, field, limit, version, token string) {
		q := url.Values{"labelSelector": {label}, "fieldSelector": {field}, "limit": {limit}, "resourceVersion": {version}, "continue": {token}}
		u := url.URL{Path: "/api/v1/namespaces/default/" + path, RawQuery: q.Encode()}
		r := httptest.NewRequest("GET", "/", nil)
		r.URL, r.RequestURI = &u, u.RequestURI()
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		sound(t, w)
	})
}

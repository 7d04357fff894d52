package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"tripod/internal/objects"
)

const configs = "/api/v1/namespaces/default/configmaps"

func (f *fixture) config(name, label string) {
	f.t.Helper()
	f.must(201, "POST", configs, fmt.Sprintf(`{"metadata":{"name":%q,"labels":{"l":%q}}}`, name, label))
}

func names(r reply) string {
	var all []string
	items, _ := r.at("items").([]any)
	for _, i := range items {
		all = append(all, fmt.Sprint(dig(i, "metadata", "name")))
	}
	return strings.Join(all, " ")
}

// TestPages sees that all pages of a list show one state, whatever happens in between.
func TestPages(t *testing.T) {
	f := serve(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		f.config(name, "x")
	}
	first := f.must(200, "GET", configs+"?limit=2", "")
	if names(first) != "a b" || first.at("metadata", "remainingItemCount") != 3.0 {
		t.Errorf("first page %s", first.body)
	}
	f.must(200, "DELETE", configs+"/c", "")
	f.config("aa", "x")
	token := first.at("metadata", "continue").(string)
	second := f.must(200, "GET", configs+"?limit=2&continue="+token, "")
	if names(second) != "c d" || second.at("metadata", "resourceVersion") != first.at("metadata", "resourceVersion") {
		t.Errorf("second page %s", second.body)
	}
	third := f.must(200, "GET", configs+"?limit=2&continue="+second.at("metadata", "continue").(string), "")
	if names(third) != "e" || third.at("metadata", "continue") != nil {
		t.Errorf("third page %s", third.body)
	}
	if got := names(f.must(200, "GET", configs, "")); got != "a aa b d e" {
		t.Errorf("now there are %s", got)
	}
	// A state that is not kept any more: the rest of today's can be had.
	for i := range 20 {
		f.must(200, "GET", configs+"?limit=1", "")
		f.config(fmt.Sprintf("z%d", i), "x")
	}
	gone := f.must(410, "GET", configs+"?limit=2&continue="+token, "")
	rest := f.must(200, "GET", configs+"?limit=2&continue="+gone.at("metadata", "continue").(string), "")
	if names(rest) != "d e" {
		t.Errorf("the rest is %s", rest.body)
	}
	f.must(410, "GET", configs+"?resourceVersion=2&resourceVersionMatch=Exact", "")
	f.must(200, "GET", configs+"?resourceVersion=2&resourceVersionMatch=NotOlderThan", "")
}

func TestSelectors(t *testing.T) {
	f := serve(t)
	f.config("a", "x")
	f.config("b", "y")
	f.must(201, "POST", podsAt, onePod)
	f.must(201, "POST", podsAt, `{"metadata":{"name":"two"},"spec":{"nodeName":"host","restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}`)
	for path, want := range map[string]string{
		configs + "?labelSelector=l%3Dx":                                   "a",
		configs + "?labelSelector=l+in+(x,y),l!%3Dx":                       "b",
		configs + "?labelSelector=!l":                                      "",
		configs + "?fieldSelector=metadata.name%3Db":                       "b",
		podsAt + "?fieldSelector=spec.nodeName%3Dhost":                     "two",
		podsAt + "?fieldSelector=spec.nodeName!%3Dhost":                    "one",
		podsAt + "?fieldSelector=status.phase%3DPending":                   "one two",
		podsAt + "?fieldSelector=spec.restartPolicy%3DNever":               "two",
		"/api/v1/pods?fieldSelector=metadata.namespace%3Dkube-system":      "",
		"/api/v1/namespaces?fieldSelector=status.phase%3DActive&limit=100": "default kube-node-lease kube-public kube-system",
	} {
		if got := names(f.must(200, "GET", path, "")); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// follow opens a watch and tells what comes, until the test ends.
func (f *fixture) follow(path string, headers ...string) <-chan map[string]any {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", f.http.URL+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	resp, err := f.http.Client().Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		f.t.Fatalf("GET %s: %s", path, resp.Status)
	}
	events := make(chan map[string]any, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(events)
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			var e map[string]any
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				events <- e
			}
		}
	}()
	f.t.Cleanup(func() {
		cancel()
		resp.Body.Close() //nolint:errcheck // it is cut off
		<-done
	})
	return events
}

func expect(t *testing.T, events <-chan map[string]any, want ...string) {
	t.Helper()
	for _, w := range want {
		e := <-events
		if got := fmt.Sprint(e["type"], " ", dig(e, "object", "metadata", "name")); got != w {
			t.Errorf("event %s, want %s", got, w)
		}
	}
}

func TestWatch(t *testing.T) {
	f := serve(t)
	f.config("a", "x")
	f.config("b", "y")
	version := f.must(200, "GET", configs, "").at("metadata", "resourceVersion").(string)
	since := f.follow(configs + "?watch=true&resourceVersion=" + version)
	some := f.follow(configs + "?watch=true&labelSelector=l%3Dx&resourceVersion=" + version)
	one := f.follow(configs + "?watch=true&fieldSelector=metadata.name%3Da")
	whole := f.follow("/api/v1/configmaps?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
	ahead := f.follow(configs + "?watch=true&resourceVersion=" + version + "0")
	f.must(200, "PATCH", configs+"/b", `{"metadata":{"labels":{"l":"x"}}}`, merge)
	f.must(200, "PATCH", configs+"/b", `{"data":{"k":"v"}}`, merge)
	f.must(200, "PATCH", configs+"/b", `{"metadata":{"labels":{"l":"y"}}}`, merge)
	f.must(200, "DELETE", configs+"/a", "")

	expect(t, since, "MODIFIED b", "MODIFIED b", "MODIFIED b", "DELETED a")
	expect(t, some, "ADDED b", "MODIFIED b", "DELETED b", "DELETED a")
	expect(t, one, "ADDED a", "DELETED a")
	expect(t, whole, "ADDED a", "ADDED b")
	if e := <-whole; e["type"] != "BOOKMARK" || dig(e, "object", "metadata", "annotations", "k8s.io/initial-events-end") != "true" {
		t.Errorf("no end of what was there: %v", e)
	}
	expect(t, whole, "MODIFIED b", "MODIFIED b", "MODIFIED b", "DELETED a")
	select {
	case e := <-ahead:
		t.Errorf("a watch from a version to come hears %v", e)
	default:
	}
	// A watch that ends by itself.
	for range f.follow(configs + "?watch=true&timeoutSeconds=1&resourceVersion=" + version) {
	}
}

func TestWatchAsTable(t *testing.T) {
	f := serve(t)
	events := f.follow(podsAt+"?watch=true", asTable)
	f.must(201, "POST", podsAt, onePod)
	f.must(200, "PATCH", podsAt+"/one", `{"metadata":{"labels":{"a":"b"}}}`, merge)
	first, second := <-events, <-events
	if dig(first, "object", "rows", 0, "cells", 0) != "one" || dig(first, "object", "columnDefinitions", 0) == nil {
		t.Errorf("first %v", first)
	}
	if columns, _ := dig(second, "object", "columnDefinitions").([]any); len(columns) > 0 {
		t.Error("columns are told twice")
	}
}

// TestOldVersionsAreGone keeps a history of one change.
func TestOldVersionsAreGone(t *testing.T) {
	store, err := objects.Open(t.TempDir(), Codec(), objects.Options{History: 1})
	if err != nil {
		t.Fatal(err)
	}
	f := serveOver(t, store)
	f.config("a", "x")
	f.config("b", "x")
	gone := f.must(410, "GET", configs+"?watch=true&resourceVersion=1", "")
	if gone.at("reason") != "Expired" {
		t.Errorf("%s", gone.body)
	}
}

// TestManyWatchers sees that a thousand clients hear the same, in the same bytes.
func TestManyWatchers(t *testing.T) {
	const watchers = 1000
	f := serve(t)
	heard := make(chan string, watchers)
	ctx, cancel := context.WithCancel(t.Context())
	var all, ready sync.WaitGroup
	for range watchers {
		all.Add(1)
		ready.Add(1)
		go func() {
			defer all.Done()
			r, err := http.NewRequestWithContext(ctx, "GET", "http://tripod"+configs+"?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", nil)
			if err != nil {
				panic(err)
			}
			resp, err := loop{f.api}.RoundTrip(r)
			if err != nil {
				panic(err)
			}
			defer resp.Body.Close() //nolint:errcheck // it is cut off
			lines := bufio.NewScanner(resp.Body)
			lines.Scan()
			ready.Done()
			lines.Scan()
			heard <- lines.Text()
		}()
	}
	ready.Wait()
	f.config("a", "x")
	first := <-heard
	for range watchers - 1 {
		if got := <-heard; got != first {
			t.Fatalf("one hears %q, another %q", first, got)
		}
	}
	if !strings.Contains(first, `"type":"ADDED"`) {
		t.Errorf("all hear %q", first)
	}
	cancel()
	all.Wait()
}

func TestManyObjects(t *testing.T) {
	const n = 10000
	f := serve(t)
	var all sync.WaitGroup
	for i := range 50 {
		all.Add(1)
		go func() {
			defer all.Done()
			for j := range n / 50 {
				if got := f.ask("POST", configs, fmt.Sprintf(`{"metadata":{"name":"c-%d-%d"}}`, i, j)); got.code != 201 {
					t.Errorf("create: %d %s", got.code, got.body)
				}
			}
		}()
	}
	all.Wait()
	count, token := 0, ""
	for {
		page := f.must(200, "GET", configs+"?limit=500&continue="+token, "")
		count += len(page.at("items").([]any))
		if token, _ = page.at("metadata", "continue").(string); token == "" {
			break
		}
	}
	if count != n {
		t.Errorf("%d objects on all pages, want %d", count, n)
	}
	if got := len(f.must(200, "GET", configs+"?resourceVersion=0", "", asTable).at("rows").([]any)); got != n {
		t.Errorf("%d rows, want %d", got, n)
	}
}

package api

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"tripod/internal/api/kinds"
	"tripod/internal/objects"
)

// TestRestart sees that what was given before a restart is not given again, and that versions go on.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	open := func() *objects.Store {
		store, err := objects.Open(dir, Codec(), objects.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	services := "/api/v1/namespaces/default/services"
	var before reply
	t.Run("before", func(t *testing.T) {
		f := serveOver(t, open())
		before = f.must(201, "POST", services, `{"metadata":{"name":"s"},"spec":{"type":"NodePort","clusterIP":"10.96.7.7","ports":[{"port":80,"nodePort":30007}]}}`)
	})
	t.Run("after", func(t *testing.T) {
		f := serveOver(t, open())
		after := f.must(200, "GET", services+"/s", "")
		if string(after.body) != string(before.body) {
			t.Errorf("before %s, after %s", before.body, after.body)
		}
		f.must(422, "POST", services, `{"metadata":{"name":"t"},"spec":{"clusterIP":"10.96.7.7","ports":[{"port":80}]}}`)
		f.must(422, "POST", services, `{"metadata":{"name":"t"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":30007}]}}`)
		f.must(200, "DELETE", services+"/s", "")
		f.must(201, "POST", services, `{"metadata":{"name":"t"},"spec":{"type":"NodePort","clusterIP":"10.96.7.7","ports":[{"port":80,"nodePort":30007}]}}`)
	})
}

func TestEventsEnd(t *testing.T) {
	f := serve(t)
	events := "/api/v1/namespaces/default/events"
	for name, seen := range map[string]string{"old": "2020-01-01T00:00:00Z", "new": "2030-01-01T00:00:00Z"} {
		f.must(201, "POST", events, `{"metadata":{"name":"`+name+`"},"involvedObject":{"namespace":"default"},"lastTimestamp":"`+seen+`"}`)
	}
	list, _ := f.api.config.Store.List(corev1.Resource("events"), "")
	// An event lives from when it was last seen, and from when it was made: both are young at first.
	if wait := f.api.sweep(list, time.Now()); wait > kinds.EventLifetime || len(f.must(200, "GET", events, "").at("items").([]any)) != 2 {
		t.Errorf("events are swept at once, the next in %v", wait)
	}
	f.api.sweep(list, time.Now().Add(2*kinds.EventLifetime))
	if got := names(f.must(200, "GET", events, "")); got != "new" {
		t.Errorf("left are %q", got)
	}
}

func TestDeleteCollection(t *testing.T) {
	f := serve(t)
	f.config("a", "x")
	f.config("b", "y")
	f.config("c", "x")
	f.must(200, "DELETE", configs+"?labelSelector=l%3Dx", "")
	if got := names(f.must(200, "GET", configs, "")); got != "b" {
		t.Errorf("left are %q", got)
	}
}

// TestCloseEndsWatches: the fixture's end would wait for them forever.
func TestCloseEndsWatches(t *testing.T) {
	f := serve(t)
	events := f.follow(configs + "?watch=true")
	f.api.end()
	for range events {
	}
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestMask sees that what must differ is taken away, and that what should have stayed the same is still told.
func TestMask(t *testing.T) {
	const a, b = "0b5c1f7e-0000-4000-8000-000000000001", "0b5c1f7e-0000-4000-8000-000000000002"
	m := newMasker()
	got := m.mask(map[string]any{
		"metadata": map[string]any{
			"uid": a, "resourceVersion": "17", "creationTimestamp": "2026-01-02T03:04:05Z", "generateName": "made-", "name": "made-abcde",
			"ownerReferences": []any{map[string]any{"uid": b}}, "managedFields": []any{map[string]any{"f": map[string]any{`k:{"uid":"` + b + `"}`: nil}}},
		},
		"spec": map[string]any{"clusterIP": "10.96.3.4", "clusterIPs": []any{"None"}, "ports": []any{map[string]any{"nodePort": 30123.0}}},
	})
	want := map[string]any{
		"metadata": map[string]any{
			"uid": "<uid 2>", "resourceVersion": "<version 1>", "creationTimestamp": "<time>", "generateName": "made-", "name": "made-<random>",
			"ownerReferences": []any{map[string]any{"uid": "<uid 1>"}}, "managedFields": []any{map[string]any{"f": map[string]any{`k:{"uid":"<uid 1>"}`: nil}}},
		},
		"spec": map[string]any{"clusterIP": "<address>", "clusterIPs": []any{"None"}, "ports": []any{map[string]any{"nodePort": "<port>"}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if same, other := m.member("resourceVersion", "17"), m.member("resourceVersion", "18"); same != "<version 1>" || other != "<version 2>" {
		t.Errorf("versions %v and %v, want the first again and a second", same, other)
	}
}

// TestDiffer sees that each way to differ is told, and that a part may lack names, but nothing in what is named.
func TestDiffer(t *testing.T) {
	list := func(names ...string) any {
		var all []any
		for _, n := range names {
			name, verb, _ := strings.Cut(n, " ")
			all = append(all, map[string]any{"name": name, "verb": verb})
		}
		return map[string]any{"body": map[string]any{"resources": all}}
	}
	for _, c := range []struct {
		part       bool
		real, ours any
		want       []string
	}{
		{false, list("a get"), list("a get"), nil},
		{false, list("a get", "b get"), list("a get"), []string{"body.resources.length", "body.resources[1]"}},
		{true, list("a get", "b get"), list("b get"), nil},
		{true, list("a get", "b get"), list("b put"), []string{"body.resources[b].verb"}},
		{true, list("a get"), list("c get"), []string{"body.resources[0]"}},
		{true, map[string]any{"a": 1.0}, map[string]any{}, []string{"a"}},
		{false, map[string]any{}, map[string]any{"a": nil}, []string{"a"}},
		{false, map[string]any{"a": "1"}, map[string]any{"a": 1.0}, []string{"a"}},
	} {
		d := &differ{where: "s/r", part: c.part}
		d.compare("", c.real, c.ours)
		var got []string
		for _, f := range d.found {
			got = append(got, f.at)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v and %v: told %v, want %v", c.real, c.ours, got, c.want)
		}
	}
}

// TestAllowed sees that a row allows what it names and nothing else, and that it must give a reason.
func TestAllowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.md")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("\n## Compared\n| where | what | why |\n|---|---|---|\n| `pods/*-table header.Vary`, `x/y code` | less | because |\n")
	table, err := readAllowed(path)
	if err != nil {
		t.Fatal(err)
	}
	for where, want := range map[string]bool{"pods/get-table": true, "pods/get": false, "services/get-table": false, "x/y": false} {
		if got := find(table, difference{where: where, at: "header.Vary"}) != nil; got != want {
			t.Errorf("%s is allowed: %v, want %v", where, got, want)
		}
	}
	write("\n## Compared\n| `x` | less | |\n")
	if _, err := readAllowed(path); err == nil {
		t.Error("a row without a reason was taken")
	}
}

// TestStreams sees that all streams can be read, and that no request of a stream has another's name.
func TestStreams(t *testing.T) {
	all, err := streams()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range all {
		for _, a := range s.asks {
			name := fmt.Sprintf("%s/%s", s.name, a.name)
			if seen[name] {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
	}
	if len(seen) < 1000 {
		t.Errorf("%d requests", len(seen))
	}
}

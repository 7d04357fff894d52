package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// difference is one place in which two answers differ.
type difference struct {
	where      string // STREAM/REQUEST
	at         string // where in the answer
	real, ours any
}

// missing is a value that is not there.
type missing struct{}

func (d difference) String() string {
	return fmt.Sprintf("%s %s: real %s, tripod %s", d.where, d.at, brief(d.real), brief(d.ours))
}

func brief(v any) string {
	if v == (missing{}) {
		return "nothing"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	if len(text) > 3000 {
		return string(text[:3000]) + "…"
	}
	return string(text)
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// differ finds where answers differ.
type differ struct {
	where string
	// part says that we serve a part of what the real server does: members of lists by their names, and of the maps in parts, may be missing.
	part  bool
	found []difference
}

// parts are maps of things by name.
var parts = []string{"body.paths", "body.definitions", "body.components.schemas", "body.paths.", "body.securityDefinitions"}

func (d *differ) add(at string, real, ours any) {
	d.found = append(d.found, difference{d.where, at, real, ours})
}

func (d *differ) compare(at string, real, ours any) {
	switch r := real.(type) {
	case map[string]any:
		if o, ok := ours.(map[string]any); ok {
			d.maps(at, r, o)
			return
		}
	case []any:
		if o, ok := ours.([]any); ok {
			d.lists(at, r, o)
			return
		}
	}
	if !reflect.DeepEqual(real, ours) {
		d.add(at, real, ours)
	}
}

func (d *differ) maps(at string, real, ours map[string]any) {
	all := maps.Clone(real)
	maps.Copy(all, ours)
	for _, k := range sortedKeys(all) {
		r, inReal := real[k]
		o, inOurs := ours[k]
		switch {
		case !inReal:
			d.add(join(at, k), missing{}, o)
		case inOurs:
			d.compare(join(at, k), r, o)
		case !d.part || !slices.Contains(parts, at):
			d.add(join(at, k), r, missing{})
		}
	}
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

func (d *differ) lists(at string, real, ours []any) {
	if d.part {
		if names, ok := byName(real); ok {
			for i, o := range ours {
				name := nameOf(o)
				if r, known := names[name]; known {
					d.compare(fmt.Sprintf("%s[%s]", at, name), r, o)
				} else {
					d.add(fmt.Sprintf("%s[%d]", at, i), missing{}, o)
				}
			}
			return
		}
	}
	if len(real) != len(ours) {
		d.add(at+".length", len(real), len(ours))
	}
	for i := range min(len(real), len(ours)) {
		d.compare(fmt.Sprintf("%s[%d]", at, i), real[i], ours[i])
	}
	for i := len(ours); i < len(real); i++ {
		d.add(fmt.Sprintf("%s[%d]", at, i), real[i], missing{})
	}
	for i := len(real); i < len(ours); i++ {
		d.add(fmt.Sprintf("%s[%d]", at, i), missing{}, ours[i])
	}
}

// byName are the members of a list by what names them, if something does.
func byName(list []any) (map[string]any, bool) {
	names := map[string]any{}
	for _, v := range list {
		name := nameOf(v)
		if _, twice := names[name]; name == "" || twice {
			return nil, false
		}
		names[name] = v
	}
	return names, len(list) > 0
}

// nameOf is what a thing of a discovery document is called.
func nameOf(v any) string {
	m, ok := v.(map[string]any)
	if !ok {
		return ""
	}
	if meta, ok := m["metadata"].(map[string]any); ok {
		if s, ok := meta["name"].(string); ok {
			return s
		}
	}
	for _, key := range []string{"name", "resource", "subresource", "groupVersion", "version"} {
		if s, ok := m[key].(string); ok {
			return s
		}
	}
	return ""
}

package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	uids  = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	times = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	made  = regexp.MustCompile(`\bmade-[a-z0-9]{5}\b`) // generated names of our streams
	// versions are those in messages, where nothing says whose they are.
	versions = regexp.MustCompile(`(\\?"resourceVersion\\?":\\?"|ResourceVersion in record \(|current: |ResourceVersion in object meta: )\d+`)
	inText   = regexp.MustCompile(`(\\?"nodePort\\?":)\d+`)
	managed  = regexp.MustCompile(`\\*"managedFields\\*":\[[^\]]*\]`)
	given    = regexp.MustCompile(`\b10\.(9[6-9]|10\d|11[01])\.\d+\.\d+\b`) // the range of Services' addresses
	ports    = regexp.MustCompile(`:3[0-2]\d{3}/`)                          // node ports, in tables
	ages     = regexp.MustCompile(`^(\d+[smhd]){1,2}$`)
	hashes   = regexp.MustCompile(`hash=[0-9A-F]+`) // of OpenAPI documents
	// possible is what the real server adds to its OpenAPI documents at run time; the published documents lack it.
	possible = regexp.MustCompile(`(?s)\n*Possible enum values:.*`)
	version  = regexp.MustCompile(`^\d+$`)
)

// masker takes out of answers what two servers cannot have alike. It lives as long as a stream: what is the same stays the same.
type masker struct {
	uids, versions map[string]string
}

func newMasker() *masker { return &masker{map[string]string{}, map[string]string{}} }

// number names a value by the order in which it was first seen.
func number(seen map[string]string, kind, value string) string {
	if seen[value] == "" {
		seen[value] = fmt.Sprintf("<%s %d>", kind, len(seen)+1)
	}
	return seen[value]
}

func (m *masker) text(s string) string {
	s = uids.ReplaceAllStringFunc(s, func(uid string) string { return number(m.uids, "uid", uid) })
	s = made.ReplaceAllString(s, "made-<random>")
	s = versions.ReplaceAllString(s, "$1<version>")
	s = inText.ReplaceAllString(s, "$1<port>")
	s = managed.ReplaceAllString(s, "<managed fields>")
	s = times.ReplaceAllString(s, "<time>")
	s = given.ReplaceAllString(s, "<address>")
	return hashes.ReplaceAllString(s, "hash=<hash>")
}

// mask returns v without what must differ. Of a list's own metadata, the version says nothing about an object.
func (m *masker) mask(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return m.object(v)
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = m.mask(v[i])
		}
		return all
	case string:
		return m.text(v)
	}
	return v
}

func (m *masker) object(v map[string]any) map[string]any {
	_, items := v["items"]
	_, rows := v["rows"]
	bookmark := v["type"] == "BOOKMARK"
	out := map[string]any{}
	for _, k := range sortedKeys(v) {
		switch {
		case (items || rows) && k == "metadata":
			out[k] = m.mask(unversioned(v[k]))
		case bookmark && k == "object":
			out[k] = m.mask(bare(v[k]))
		default:
			out[m.text(k)] = m.member(k, v[k])
		}
	}
	return out
}

// member masks a value by what it is called.
func (m *masker) member(key string, v any) any {
	switch key {
	case "resourceVersion":
		if s, ok := v.(string); ok && version.MatchString(s) && s != "0" {
			return number(m.versions, "version", s)
		}
	case "token", "continue":
		if s, ok := v.(string); ok && s != "" {
			return "<" + key + ">"
		}
	case "nodePort", "healthCheckNodePort":
		if n, ok := v.(float64); ok && n != 0 {
			return "<port>"
		}
	case "description":
		if s, ok := v.(string); ok {
			return possible.ReplaceAllString(s, "")
		}
	case "managedFields", "causes":
		if list, ok := m.mask(v).([]any); ok {
			// The order is that of the seconds in which fields were written, and of the map in which managers' conflicts are kept.
			slices.SortFunc(list, func(a, b any) int { return strings.Compare(brief(a), brief(b)) })
			return list
		}
	case "cells":
		if cells, ok := v.([]any); ok {
			return m.cells(cells)
		}
	}
	return m.mask(v)
}

func (m *masker) cells(row []any) []any {
	out := make([]any, len(row))
	for i, v := range row {
		out[i] = m.mask(v)
		if s, ok := out[i].(string); ok {
			s = ports.ReplaceAllString(s, ":<port>/")
			out[i] = ages.ReplaceAllString(s, "<age>")
		}
	}
	return out
}

// unversioned is metadata whose version is only there or not.
func unversioned(v any) any {
	meta, ok := v.(map[string]any)
	if !ok || meta["resourceVersion"] == nil || meta["resourceVersion"] == "" {
		return v
	}
	out := map[string]any{}
	for k, v := range meta {
		out[k] = v
	}
	out["resourceVersion"] = "<of the list>"
	return out
}

// bare is a bookmark's object, whose version is the server's.
func bare(v any) any {
	obj, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := map[string]any{}
	for k, v := range obj {
		out[k] = v
	}
	if in, ok := obj["object"]; ok { // of protobuf
		out["object"] = bare(in)
	}
	out["metadata"] = unversioned(obj["metadata"])
	return out
}

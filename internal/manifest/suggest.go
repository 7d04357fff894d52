package manifest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// suggest finds what was meant by an unknown key: the field's right name, if
// it is one of this structure, and a hint.
func (s *shape) suggest(key string, t reflect.Type, fields map[string]structField) (name, hint string) {
	var names []string
	for f := range fields {
		names = append(names, f)
	}
	slices.Sort(names)
	if near := nearest(key, names); near != "" {
		return near, fmt.Sprintf("did you mean %q?", near)
	}
	if path := pathBelow(t, key, 3); path != "" {
		return "", fmt.Sprintf("%q belongs in %s", key, path)
	}
	for _, k := range kinds {
		if path := pathBelow(k.structure(), key, 6); k.name == "Pod" && path != "" {
			return "", fmt.Sprintf("a Pod has it as %s.%s; check the indentation", path, key)
		}
	}
	if len(names) <= 12 {
		return "", "known here are " + strings.Join(names, ", ")
	}
	return "", ""
}

// pathBelow finds the shortest path of fields from t to a structure that has
// the field called name, "" if there is none that many levels down.
func pathBelow(t reflect.Type, name string, levels int) string {
	type place struct {
		t    reflect.Type
		path string
	}
	next := []place{{t, ""}}
	seen := map[reflect.Type]bool{t: true}
	for range levels {
		var below []place
		for _, p := range next {
			fields := fieldsOf(p.t)
			names := make([]string, 0, len(fields))
			for n := range fields {
				names = append(names, n)
			}
			slices.Sort(names)
			for _, n := range names {
				ft, suffix := fields[n].typ, ""
				for ft.Kind() == reflect.Pointer || ft.Kind() == reflect.Slice {
					if ft.Kind() == reflect.Slice {
						suffix = "[]"
					}
					ft = ft.Elem()
				}
				if n == "status" || !isStructure(ft) || seen[ft] {
					continue
				}
				seen[ft] = true
				at := join(p.path, n) + suffix
				if _, ok := fieldsOf(ft)[name]; ok {
					return at
				}
				below = append(below, place{ft, at})
			}
		}
		next = below
	}
	return ""
}

// fieldNamed finds a field of the known kinds, down to containers, by its
// name in any case.
func fieldNamed(key string) (string, bool) {
	name, ok := fieldNames()[strings.ToLower(key)]
	return name, ok
}

var fieldNames = sync.OnceValue(func() map[string]string {
	names := map[string]string{}
	seen := map[reflect.Type]bool{}
	var add func(reflect.Type)
	add = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if !isStructure(t) || seen[t] {
			return
		}
		seen[t] = true
		for n, f := range fieldsOf(t) {
			names[strings.ToLower(n)] = n
			add(f.typ)
		}
	}
	for _, k := range kinds {
		add(k.structure())
	}
	return names
})

// nearest gives the candidate that differs from s in case only or by few
// letters, "" if none does.
func nearest(s string, candidates []string) string {
	best, least := "", 1+len(s)/4
	for _, c := range candidates {
		if strings.EqualFold(s, c) {
			return c
		}
		if d := distance(strings.ToLower(s), strings.ToLower(c), least); d <= least && (best == "" || d < least) {
			best, least = c, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, change or swap between two
// words; anything above most may come back as most+1.
func distance(a, b string, most int) int {
	if len(a)-len(b) > most || len(b)-len(a) > most || len(a) > 64 {
		return most + 1
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

package manifest

import (
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// readDocument reads one document: an object or a List of objects.
func readDocument(file string, n *yaml.Node, budget *int) ([]Workload, Errors) {
	var workloads []Workload
	faults := eachObject(file, n, budget, func(s *shape, n *yaml.Node) {
		w := readObject(s, n)
		workloads = append(workloads, w...)
	})
	return workloads, faults
}

// eachObject gives the object of a document, or those of its List, to read, and returns the mistakes of all of them.
func eachObject(file string, n *yaml.Node, budget *int, read func(*shape, *yaml.Node)) Errors {
	s := newShape(file, "", n.Line, budget)
	if n.Kind != yaml.MappingNode {
		s.wrong(n, "", n.Line, "fields (a map)")
		return s.errs
	}
	apiVersion, kindName, line := header(n)
	if !strings.HasSuffix(kindName, "List") {
		read(s, n)
		return s.errs
	}
	items := entry(n, "items")
	if items == nil || items.Kind != yaml.SequenceNode {
		s.fault(line, "items", "", "required value: a %s has a list of items", kindName)
		return s.errs
	}
	var faults Errors
	for i, item := range items.Content {
		item = behind(item)
		prefix := fmt.Sprintf("items[%d].", i)
		is := newShape(file, prefix, item.Line, budget)
		if item.Kind != yaml.MappingNode {
			is.wrong(item, "", item.Line, "fields (a map)")
			faults = append(faults, is.errs...)
			continue
		}
		is.give(item, strings.TrimSuffix(kindName, "List"), apiVersion)
		read(is, item)
		faults = append(faults, is.errs...)
	}
	return faults
}

func newShape(file, prefix string, line int, budget *int) *shape {
	return &shape{
		file: file, prefix: prefix, line: line, budget: budget,
		lines: map[string]int{}, open: map[*yaml.Node]bool{},
	}
}

// give completes an item of a typed list (PodList), whose kind the list says.
func (s *shape) give(item *yaml.Node, kindName, apiVersion string) {
	if _, own, _ := header(item); own == "" && kindName != "" {
		s.kindName, s.apiVersion = kindName, apiVersion
	}
}

// header gives an object's apiVersion and kind, however their keys are
// spelled, and the line of its kind.
func header(n *yaml.Node) (apiVersion, kindName string, line int) {
	line = n.Line
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], behind(n.Content[i+1])
		switch {
		case v.Kind != yaml.ScalarNode:
		case nearest(k.Value, []string{"apiVersion"}) != "":
			apiVersion = v.Value
		case strings.EqualFold(k.Value, "kind"):
			kindName, line = v.Value, v.Line
		}
	}
	return apiVersion, kindName, line
}

func entry(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return behind(n.Content[i+1])
		}
	}
	return nil
}

// decodeNodes goes from the nodes of one object to the object. It is nil after a mistake, which is told.
func (s *shape) decodeNodes(n *yaml.Node) (*kind, object) {
	apiVersion, kindName, line := header(n)
	if kindName == "" && s.kindName != "" {
		apiVersion, kindName = s.apiVersion, s.kindName
	}
	k, wrong := findKind(apiVersion, kindName)
	if wrong != nil {
		wrong.File, wrong.Line, wrong.Field = s.file, line, s.prefix+wrong.Field
		s.errs = append(s.errs, wrong)
	}
	if k == nil {
		return nil, nil
	}
	data, _ := s.value(n, k.structure(), "")
	o, err := decodeObject(k, data)
	if err != nil {
		if len(s.errs) == 0 {
			s.fault(s.line, "", "", "%v", err)
		}
		return nil, nil
	}
	return k, o
}

// readObject goes from the nodes of one object to its Pods.
func readObject(s *shape, n *yaml.Node) []Workload {
	k, o := s.decodeNodes(n)
	if o == nil {
		return nil
	}
	s.cover()
	for _, e := range settle(o) {
		s.invalid(e)
	}
	s.refuse(o)
	if len(s.errs) > 0 {
		return nil
	}
	w := Workload{
		Kind: k.name, Namespace: o.GetNamespace(), Name: o.GetName(),
		File: s.file, Line: s.line, Notes: s.notes(),
	}
	t, at := template(o)
	w.Notes = append(w.Notes, warnings(t, at)...)
	var expanded []string
	w.Pods, expanded = s.expand(o)
	w.Notes = append(w.Notes, expanded...)
	return []Workload{w}
}

// decodeObject goes through JSON, since that is the form in which the API's
// own types (quantities, times) know how to read themselves.
func decodeObject(k *kind, data any) (object, error) {
	text, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	o := k.make()
	if err := json.Unmarshal(text, o); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", k.name, err)
	}
	o.GetObjectKind().SetGroupVersionKind(k.gvk())
	return o, nil
}

// invalid tells what Kubernetes' validation found, at the line of the field
// or of what should have had it. What follows from a told mistake is left out.
func (s *shape) invalid(e *field.Error) {
	if len(s.errs) >= maxFaults {
		return
	}
	path := strings.TrimPrefix(e.Field, "<nil>")
	for _, b := range s.broken {
		if path == b || under(path, b) || under(b, path) {
			return
		}
	}
	body := e.ErrorBody()
	body = strings.ToLower(body[:1]) + body[1:]
	s.errs = append(s.errs, &Error{File: s.file, Line: s.lineOf(path), Field: s.prefix + path, Msg: body})
}

// under tells whether path is a field, item or key below another.
func under(path, above string) bool {
	return above == "" || (strings.HasPrefix(path, above) && len(path) > len(above) && strings.ContainsRune(".[", rune(path[len(above)])))
}

// lineOf gives the line of a field, or of the nearest one above it that is
// in the manifest.
func (s *shape) lineOf(path string) int {
	for path != "" {
		if line, ok := s.lines[path]; ok {
			return line
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return s.line
}

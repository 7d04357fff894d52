package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"

	"tripod/internal/pki"
)

// contextName names our cluster, user and context in a kubeconfig.
const contextName = "tripod"

// merged is a kubeconfig with ours in it.
type merged struct {
	text    []byte
	current string // the current context of before
	again   bool   // ours was there
}

// mergeKubeconfig puts our cluster, user and context into a kubeconfig. The text is changed as a tree, so that what it says of
// others stays, with its comments and with fields that nobody knows yet.
func mergeKubeconfig(text []byte, c pki.Client, current bool) (merged, error) {
	top, err := kubeconfigTree(text)
	if err != nil {
		return merged{}, err
	}
	var m merged
	if node := field(top, "current-context"); node != nil {
		m.current = node.Value
	}
	b64 := base64.StdEncoding.EncodeToString
	for _, entry := range []struct {
		list, kind string
		value      map[string]string
	}{
		{"clusters", "cluster", map[string]string{"server": c.Server, "certificate-authority-data": b64(c.CA)}},
		{"users", "user", map[string]string{"client-certificate-data": b64(c.Cert), "client-key-data": b64(c.Key)}},
		{"contexts", "context", map[string]string{"cluster": contextName, "user": contextName}},
	} {
		was, err := putEntry(top, entry.list, entry.kind, entry.value)
		if err != nil {
			return merged{}, err
		}
		m.again = m.again || was
	}
	if current {
		setField(top, "current-context", scalar(contextName))
	}
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(top); err != nil {
		return merged{}, err
	}
	m.text = out.Bytes()
	return m, nil
}

// kubeconfigTree reads a kubeconfig; no text is an empty one.
func kubeconfigTree(text []byte) (*yaml.Node, error) {
	var doc, next yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	err := d.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 1 && doc.Content[0].Tag == "!!null" {
		top := &yaml.Node{Kind: yaml.MappingNode}
		setField(top, "apiVersion", scalar("v1"))
		setField(top, "kind", scalar("Config"))
		return top, nil
	}
	if err != nil {
		return nil, err
	}
	if err := d.Decode(&next); !errors.Is(err, io.EOF) {
		return nil, errors.New("it has more than one document")
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, errors.New("it is no mapping")
	}
	if kind := field(top, "kind"); kind != nil && kind.Value != "Config" {
		return nil, fmt.Errorf("it is a %s, no Config", kind.Value)
	}
	return top, nil
}

// putEntry puts what is named as we are into one of a kubeconfig's lists, in the place of what had the name.
func putEntry(top *yaml.Node, list, kind string, value map[string]string) (was bool, err error) {
	node := field(top, list)
	switch {
	case node == nil || node.Tag == "!!null":
		node = &yaml.Node{Kind: yaml.SequenceNode}
		setField(top, list, node)
	case node.Kind != yaml.SequenceNode:
		return false, fmt.Errorf("its %s are no list", list)
	}
	if len(node.Content) == 0 {
		node.Style = 0 // "[]" grows into lines
	}
	var body yaml.Node
	if err := body.Encode(value); err != nil {
		return false, err
	}
	for _, e := range node.Content {
		if name := field(e, "name"); name != nil && name.Value == contextName {
			setField(e, kind, &body)
			return true, nil
		}
	}
	e := &yaml.Node{Kind: yaml.MappingNode}
	setField(e, "name", scalar(contextName))
	setField(e, kind, &body)
	node.Content = append(node.Content, e)
	return false, nil
}

// field is the value of a mapping's key, nil when it has none.
func field(m *yaml.Node, key string) *yaml.Node {
	if m.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

func setField(m *yaml.Node, key string, value *yaml.Node) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content[i+1] = value
			return
		}
	}
	m.Content = append(m.Content, scalar(key), value)
}

func scalar(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

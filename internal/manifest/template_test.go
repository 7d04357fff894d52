package manifest

import (
	"errors"
	"strings"
	"testing"
)

// What run refuses, because it is not there yet, a reader of templates takes; what is wrong it refuses as well.
func TestReadTemplates(t *testing.T) {
	const text = `apiVersion: v1
kind: Service
metadata: {name: web}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web:1
        livenessProbe: {exec: {command: ["true"]}}
        envFrom: [{configMapRef: {name: c}}]
`
	templates, skipped, err := ReadTemplates("m", strings.NewReader(text))
	if err != nil || len(templates) != 1 || len(skipped) != 1 {
		t.Fatal(templates, skipped, err)
	}
	d := templates[0]
	if d.Kind != "Deployment" || d.Namespaced() != "shop/web" || d.At != "spec.template." || *d.Replicas != 1 {
		t.Errorf("%+v", d)
	}
	if s := skipped[0]; s != (Skipped{Kind: "Service", Name: "web", Line: 2}) {
		t.Errorf("skipped %+v", s)
	}
	const image = "spec.template.spec.containers[0].image"
	if d.Written(image) != 15 || d.LineOf(image) != 15 || d.Written("spec.replicas") != 0 || d.LineOf("spec.replicas") != 8 {
		t.Errorf("lines %d, %d, %d, %d", d.Written(image), d.LineOf(image), d.Written("spec.replicas"), d.LineOf("spec.replicas"))
	}
	for _, wrong := range []string{
		"", "{", "apiVersion: v1\nkind: Pod\n", "apiVersion: v1\nkind: Nosuch\n",
		strings.Replace(text, "image:", "imag:", 1),
		strings.Repeat("# long\n", MaxBytes/7+1),
	} {
		var errs Errors
		if _, _, err := ReadTemplates("m", strings.NewReader(wrong)); !errors.As(err, &errs) {
			t.Errorf("%.40q: %v", wrong, err)
		}
	}
}

// FuzzPatch: whatever the form of a manifest, a patch leaves one that can be read, and has in it what was asked for, or
// gives the change back.
func FuzzPatch(f *testing.F) {
	f.Add("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: a\n    image: a\n")
	f.Add("{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: a, image: a}]}}")
	f.Add("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n  containers:\n  - image: 'a'\n    name: a\n    args:\n    - |\n      # x\n\n    tty: true\n# end")
	f.Add("kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [&c {name: a, image: a}]}}\n")
	f.Fuzz(func(t *testing.T, text string) {
		templates, _, err := ReadTemplates("m", strings.NewReader(text))
		if err != nil || len(templates) != 1 {
			t.Skip()
		}
		d := &templates[0]
		at := d.At + "spec.containers[0]."
		changes := []Change{d.Change(at+"workingDir", "/x", "why"), d.Change(at+"image", "b:2", "")}
		patched, left := Patch([]byte(text), changes)
		again, _, err := ReadTemplates("m", strings.NewReader(string(patched)))
		if err != nil || len(again) != 1 {
			t.Fatalf("%v in\n%s\nmade of\n%s", err, patched, text)
		}
		c, done := again[0].Pod.Spec.Containers[0], 0
		if c.WorkingDir == "/x" {
			done++
		}
		if c.Image == "b:2" {
			done++
		}
		if done+len(left) < len(changes) {
			t.Errorf("%d done, %d left in\n%s\nmade of\n%s", done, len(left), patched, text)
		}
	})
}

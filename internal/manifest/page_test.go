package manifest

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const page = "../../docs/manifests.md"

// TestPage keeps docs/manifests.md the same as the coverage table. -update writes it anew.
func TestPage(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# What a manifest may say

tripod reads Pod, Deployment, ReplicaSet, StatefulSet, DaemonSet and Job, alone, in lists and in streams of several documents,
with the defaulting and the validation of Kubernetes itself. Every field of them has a row here.

- **honoured**: it does what Kubernetes says.
- **no effect**: it is accepted, and named once when the manifest is run: it directs a cluster, a controller or an API server.
- **refused**: it is valid Kubernetes and not implemented yet. A manifest that uses it is refused, with the field's path and line.

A field that is in no row does not exist: it is a mistake, answered with its line and, where one is near, the right name.
`)
	last := ""
	for _, f := range Coverage() {
		if f.Structure != last {
			fmt.Fprintf(&b, "\n## %s\n\n| field | |\n|---|---|\n", f.Structure)
			last = f.Structure
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", f.Name, f.Support)
	}
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != b.String() {
		t.Errorf("%s is not what the coverage table says; run this test with -update", page)
	}
}

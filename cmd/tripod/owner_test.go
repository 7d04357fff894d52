package main

import (
	"bytes"
	"strings"
	"testing"

	"tripod/internal/owner"
)

// TestTreeOfMembers draws processes below their parents; one whose parent is not shown is a root, names are sanitised.
func TestTreeOfMembers(t *testing.T) {
	c := owner.Container{Runtime: owner.Tripod, Pod: "web", PodNamespace: "default", Name: "a"}
	all := []owner.Member{
		{PID: 10, PPID: 1, Inner: []int{1}, UID: 0, InnerUID: 0, Command: "sh", Container: c},
		{PID: 11, PPID: 10, Inner: []int{2}, UID: 0, InnerUID: 0, Command: "x\x1b[2J y", Container: c},
		{PID: 12, PPID: 11, Inner: []int{7, 1}, UID: 4000000, InnerUID: -1, Comm: "z\n", Container: c},
		{PID: 13, PPID: 10, UID: -1, InnerUID: -1, Command: strings.Repeat("é", 100), Container: c},
	}
	var b bytes.Buffer
	if err := treeTable(all, false).print(&b, true); err != nil {
		t.Fatal(err)
	}
	want := `CONTAINER   PID   INNER   USER      INNER-USER   COMMAND
web/a       10    1       root      0            sh
web/a       11    2       root      0            ├─ x\x1b[2J y
web/a       12    7/1     4000000   -            │  └─ [z\x0a]
web/a       13    -       -         -            └─ ` + strings.Repeat("é", 30) + "…\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

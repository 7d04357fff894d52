package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"tripod/internal/objects"
)

// secrets is a codec of Secrets by protobuf.
type secrets struct{}

func (secrets) Encode(obj runtime.Object) ([]byte, error) { return obj.(*corev1.Secret).Marshal() }

func (secrets) Decode(data []byte) (runtime.Object, error) {
	s := &corev1.Secret{}
	return s, s.Unmarshal(data)
}

func TestBackupAndRestore(t *testing.T) {
	root, second := t.TempDir(), t.TempDir()
	var out, said bytes.Buffer
	tripod := func(in *os.File, words ...string) int {
		out.Reset()
		said.Reset()
		a := &app{in: in, out: &out, err: &said}
		return a.main(words)
	}
	if code := tripod(nil, "--root", root, "backup", "-"); code != 1 || !strings.Contains(said.String(), "hint: tripodd has kept nothing below "+root) {
		t.Errorf("a backup of nothing: %d, %s", code, &said)
	}
	s, err := objects.Open(filepath.Join(root, "objects"), secrets{}, objects.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id := objects.ID{Resource: schema.GroupResource{Resource: "secrets"}, Namespace: "default", Name: "s"}
	if err := s.Create(id, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup")
	if code := tripod(nil, "--root", root, "backup", file); code != 0 {
		t.Fatalf("backup: %d, %s", code, &said)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the backup is %v, %v", info, err)
	}
	if code := tripod(nil, "--root", root, "backup", file+"/b"); code != 1 || strings.Contains(said.String(), "hint") {
		t.Errorf("backup into no folder: %d, %s", code, &said)
	}
	if code := tripod(nil, "--root", root, "restore", file); code != 1 || !strings.Contains(said.String(), "hint: stop tripodd first") {
		t.Errorf("restored under tripodd: %d, %s", code, &said)
	}
	if code := tripod(nil, "--root", root, "backup", "-"); code != 0 || !strings.HasPrefix(out.String(), "TRIPODOB") {
		t.Errorf("backup -: %d, %s", code, &said)
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if code := tripod(in, "--root", second, "restore", "-"); code != 0 {
		t.Errorf("restore -: %d, %s", code, &said)
	}
	if code := tripod(nil, "--root", second, "restore", file); code != 1 || !strings.Contains(said.String(), "hint: move it away first") {
		t.Errorf("restored over: %d, %s", code, &said)
	}
	restored, err := objects.Open(filepath.Join(second, "objects"), secrets{}, objects.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	if _, ok := restored.Get(id); !ok {
		t.Error("the Secret is not restored")
	}
}

package static

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Marks of an object that a file asked for.
const (
	Label      = "tripod/manifest" // hash of the path
	Annotation = "tripod/manifest" // the path
)

// Marks of a static Pod, as kubelet sets them.
const (
	sourceKey = "kubernetes.io/config.source"
	hashKey   = "kubernetes.io/config.hash"
	mirrorKey = "kubernetes.io/config.mirror"
)

// maxBytes bounds a file.
const maxBytes = 4 << 20

// taken are the kinds that a file may hold.
var taken = map[schema.GroupKind]schema.GroupVersionResource{
	{Kind: "Pod"}:                                  {Version: "v1", Resource: "pods"},
	{Kind: "ConfigMap"}:                            {Version: "v1", Resource: "configmaps"},
	{Kind: "Secret"}:                               {Version: "v1", Resource: "secrets"},
	{Kind: "Service"}:                              {Version: "v1", Resource: "services"},
	{Kind: "ServiceAccount"}:                       {Version: "v1", Resource: "serviceaccounts"},
	{Kind: "PersistentVolumeClaim"}:                {Version: "v1", Resource: "persistentvolumeclaims"},
	{Group: "apps", Kind: "Deployment"}:            {Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "apps", Kind: "StatefulSet"}:           {Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "apps", Kind: "DaemonSet"}:             {Group: "apps", Version: "v1", Resource: "daemonsets"},
	{Group: "batch", Kind: "Job"}:                  {Group: "batch", Version: "v1", Resource: "jobs"},
	{Group: "batch", Kind: "CronJob"}:              {Group: "batch", Version: "v1", Resource: "cronjobs"},
	{Group: "policy", Kind: "PodDisruptionBudget"}: {Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
}

// object is one object of a file, as the API is to have it.
type object struct {
	resource schema.GroupVersionResource
	*unstructured.Unstructured
}

func (o object) pod() bool { return o.resource.Resource == "pods" }

// manifests are the paths of a folder's files, none when there is no such folder. Names that begin with a dot are of editors and
// of writers that rename.
func manifests(dir string) ([]string, error) {
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, n := range names {
		if isManifest(n.Name()) && !n.IsDir() {
			paths = append(paths, filepath.Join(dir, n.Name()))
		}
	}
	return paths, nil
}

func isManifest(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return !strings.HasPrefix(name, ".")
	}
	return false
}

// read is a file's text, nil without an error when there is none.
func read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, fmt.Errorf("cannot read %s: no regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && len(text) > maxBytes {
		err = fmt.Errorf("cannot read %s: larger than %d bytes", path, maxBytes)
	}
	return append([]byte{}, text...), err
}

// decode is a file's objects, marked with its path; Pods are bound to the node.
func decode(path string, text []byte, node string) ([]object, error) {
	var out []object
	seen := map[string]bool{}
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var u unstructured.Unstructured
		err := documents.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(u.Object) == 0 {
			continue
		}
		o, err := mark(u, path, node)
		if err != nil {
			return nil, err
		}
		if name := key(o.resource, o.GetNamespace(), o.GetName()); seen[name] {
			return nil, fmt.Errorf("%s %s stands there twice", o.GetKind(), o.GetName())
		} else {
			seen[name] = true
		}
		out = append(out, o)
	}
}

// mark makes of what a file says what the API is to have.
func mark(u unstructured.Unstructured, path, node string) (object, error) {
	kind := u.GroupVersionKind()
	resource, ok := taken[kind.GroupKind()]
	if !ok || kind.Version != resource.Version {
		return object{}, fmt.Errorf("cannot take a %s of %q from a file", kind.Kind, u.GetAPIVersion())
	}
	// Whatever type metadata's parts have in the text, they must be what the API says before they are added to.
	for _, field := range []string{"labels", "annotations"} {
		if _, _, err := unstructured.NestedStringMap(u.Object, "metadata", field); err != nil {
			return object{}, fmt.Errorf("cannot use a %s: %w", kind.Kind, err)
		}
	}
	if u.GetName() == "" {
		return object{}, fmt.Errorf("cannot use a %s: no metadata.name", kind.Kind)
	}
	if u.GetNamespace() == "" {
		u.SetNamespace(metav1.NamespaceDefault)
	}
	notes, labels := map[string]string{Annotation: path}, map[string]string{Label: hash([]byte(path))}
	if resource.Resource == "pods" {
		text, err := u.MarshalJSON()
		if err != nil {
			return object{}, fmt.Errorf("cannot use a Pod: %w", err)
		}
		if _, ok, err := unstructured.NestedMap(u.Object, "spec"); err != nil || !ok {
			return object{}, fmt.Errorf("cannot use Pod %s: no spec", u.GetName())
		}
		u.SetName(u.GetName() + "-" + node)
		if err := unstructured.SetNestedField(u.Object, node, "spec", "nodeName"); err != nil {
			return object{}, fmt.Errorf("cannot use Pod %s: %w", u.GetName(), err)
		}
		sum := hash(text)
		notes[sourceKey], notes[hashKey], notes[mirrorKey] = "file", sum, sum
	}
	u.SetAnnotations(join(u.GetAnnotations(), notes))
	u.SetLabels(join(u.GetLabels(), labels))
	return object{resource, &u}, nil
}

func join(a, b map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range []map[string]string{a, b} {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

// hash is short enough for a label, and long enough that no two paths have the same.
func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

func key(r schema.GroupVersionResource, namespace, name string) string {
	return r.GroupResource().String() + "/" + namespace + "/" + name
}

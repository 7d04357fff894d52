package static

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"tripod/internal/api"
	"tripod/internal/objects"
)

const (
	configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: red}\n"
	pod       = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: main, image: busybox}]\n"
	deploy    = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"shop"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`
)

// house is an API server whose objects folders keep.
type house struct {
	*testing.T
	kubernetes.Interface
	server *api.Server
	dir    string
}

func newHouse(t *testing.T) *house {
	t.Helper()
	store, err := objects.Open(t.TempDir(), api.Codec(), objects.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := api.New(api.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &house{t, kubernetes.NewForConfigOrDie(server.ClientConfig("test")), server, filepath.Join(t.TempDir(), "etc", "manifests")}
}

// run keeps the folder until what it returns is called.
func (h *house) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{Dirs: []string{h.dir}, Node: "here", Client: h.server.ClientConfig, Log: slog.New(slog.DiscardHandler)})
	}()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			h.Error(err)
		}
	}
}

// put writes a file in one of the ways that people and programs do.
func (h *house) put(name, text string, rename bool) {
	h.Helper()
	path := filepath.Join(h.dir, name)
	to := path
	if rename {
		to = filepath.Join(h.dir, "."+name+".tmp")
	}
	if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
		h.Fatal(err)
	}
	if rename {
		if err := os.Rename(to, path); err != nil {
			h.Fatal(err)
		}
	}
}

func (h *house) until(what string, reached func() bool) {
	h.Helper()
	for end := time.Now().Add(time.Minute); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("never: %s", what)
		}
	}
}

// colour is what the ConfigMap says, "" when there is none.
func (h *house) colour() string {
	m, err := h.CoreV1().ConfigMaps("default").Get(context.Background(), "settings", metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		h.Fatal(err)
	}
	return m.Data["colour"]
}

func (h *house) pod() *corev1.Pod {
	p, err := h.CoreV1().Pods("default").Get(context.Background(), "web-here", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		h.Fatal(err)
	}
	return p
}

// TestFolderIsKept makes the folder after the start, writes, renames, changes and removes files.
func TestFolderIsKept(t *testing.T) {
	h := newHouse(t)
	stop := h.run()
	defer func() { stop() }()
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h.put("a.yaml", configMap, false)
	h.until("a ConfigMap", func() bool { return h.colour() == "red" })
	h.put("a.yaml", strings.Replace(configMap, "red", "blue", 1), true)
	h.until("another text by rename", func() bool { return h.colour() == "blue" })
	h.put("b.json", deploy, true)
	h.until("a Deployment of JSON", func() bool {
		_, err := h.AppsV1().Deployments("default").Get(context.Background(), "shop", metav1.GetOptions{})
		return err == nil
	})
	h.put("c.yml", configMap[:10]+"", false) // no object: it must take nothing away
	h.put("notes.txt", configMap, false)
	if err := os.Remove(filepath.Join(h.dir, "b.json")); err != nil {
		t.Fatal(err)
	}
	h.until("no Deployment without its file", func() bool {
		_, err := h.AppsV1().Deployments("default").Get(context.Background(), "shop", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	// While nobody looks one file changes and another goes.
	h.put("d.yaml", strings.ReplaceAll(configMap, "settings", "later"), false)
	later := func() bool {
		_, err := h.CoreV1().ConfigMaps("default").Get(context.Background(), "later", metav1.GetOptions{})
		return err == nil
	}
	h.until("another ConfigMap", later)
	stop()
	h.put("a.yaml", configMap, false)
	if err := os.Remove(filepath.Join(h.dir, "d.yaml")); err != nil {
		t.Fatal(err)
	}
	stop = h.run()
	h.until("what changed meanwhile", func() bool { return h.colour() == "red" && !later() })
	if err := os.RemoveAll(h.dir); err != nil {
		t.Fatal(err)
	}
	h.until("nothing without the folder", func() bool { return h.colour() == "" })
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h.put("a.yaml", configMap, true)
	h.until("it again with the folder", func() bool { return h.colour() == "red" })
}

func TestStaticPod(t *testing.T) {
	h := newHouse(t)
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h.put("web.yaml", pod, false)
	defer h.run()()
	h.until("a Pod", func() bool { return h.pod() != nil })
	first := h.pod()
	if a := first.Annotations; first.Spec.NodeName != "here" || a[sourceKey] != "file" || a[hashKey] == "" || a[mirrorKey] != a[hashKey] {
		t.Errorf("node %q, annotations %v", first.Spec.NodeName, a)
	}
	now := int64(0)
	gone := metav1.DeleteOptions{GracePeriodSeconds: &now}
	if err := h.CoreV1().Pods("default").Delete(context.Background(), "web-here", gone); err != nil {
		t.Fatal(err)
	}
	h.until("it again after it was deleted", func() bool { p := h.pod(); return p != nil && p.UID != first.UID })
	h.put("web.yaml", strings.Replace(pod, "busybox", "nginx", 1), true)
	// Nobody ends Pods here; who does says so by a deletion without grace.
	h.until("the Pod of the new text", func() bool {
		p := h.pod()
		if p != nil && p.DeletionTimestamp != nil {
			_ = h.CoreV1().Pods("default").Delete(context.Background(), "web-here", gone)
		}
		return p != nil && p.Spec.Containers[0].Image == "nginx"
	})
}

// TestBadFileLosesNothing writes bad texts over a good one.
func TestBadFileLosesNothing(t *testing.T) {
	h := newHouse(t)
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h.put("a.yaml", configMap, false)
	defer h.run()()
	h.until("a ConfigMap", func() bool { return h.colour() == "red" })
	complaints := func() (n int) {
		list, err := h.CoreV1().Events("default").List(context.Background(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list.Items {
			if e.Reason == "BadManifest" {
				n++
			}
		}
		return n
	}
	for i, bad := range []string{
		"a: [", "kind: Pod\n", "apiVersion: v1\nkind: Node\nmetadata: {name: x}\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {labels: 3}\n",
		strings.Replace(configMap, "data:", "dada:", 1), configMap + "---\n" + configMap,
	} {
		h.put("a.yaml", bad, i%2 == 0)
		h.until("an event for each", func() bool { return complaints() == i+1 })
		if h.colour() != "red" {
			t.Fatalf("%q took the ConfigMap away", bad)
		}
	}
	h.put("a.yaml", strings.Replace(configMap, "red", "green", 1), false)
	h.until("the next good text", func() bool { return h.colour() == "green" })
}

// FuzzDecode sees that no text ends the daemon, and that what is taken is marked.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{configMap, pod, deploy, "", "---\n", "a: [", configMap + "---\n" + pod, "metadata: 3\nkind: Pod\napiVersion: v1\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := decode("/x.yaml", text, "here")
		if err != nil {
			return
		}
		for _, o := range all {
			if o.GetLabels()[Label] != hash([]byte("/x.yaml")) || o.GetAnnotations()[Annotation] != "/x.yaml" || o.GetName() == "" || o.GetNamespace() == "" {
				t.Errorf("taken without marks: %v", o.Object)
			}
		}
	})
}

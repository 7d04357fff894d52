package node

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"tripod/internal/api"
	"tripod/internal/cgroup"
	"tripod/internal/engine"
	"tripod/internal/image"
	"tripod/internal/sandbox"
)

// patience is for what must happen but takes the kernel's time.
const patience = 60 * time.Second

// keeper builds tripod-oci once for all tests: a keeper runs from a program of its own.
var keeperProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tripod-node-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "tripod-oci")
	build := exec.Command("go", "build", "-o", path, "tripod/cmd/tripod-oci")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := keeperProgram(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// stand is an API and a host of a test's own, and a node that may come and go.
type stand struct {
	t      *testing.T
	ctx    context.Context
	api    *api.Server
	client kubernetes.Interface
	config Config
	log    *bytes.Buffer
	node   *Node
	stop   func() // ends the node; its Pods go on
	uids   []types.UID
}

func newStand(t *testing.T) *stand {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("these tests make containers and must run as root")
	}
	program, err := keeperProgram()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	s := &stand{t: t, ctx: ctx, log: &bytes.Buffer{}}
	s.api, s.client = newAPI(t)
	s.config = Config{
		Client: s.client, Name: "testnode", Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run"), Keeper: program,
		AllowHostImages: true, Log: slog.New(slog.NewTextHandler(&guarded{w: s.log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	t.Cleanup(func() {
		s.end()
		cancel()
		if t.Failed() || os.Getenv("SHOW") != "" {
			t.Logf("the node's log:\n%s", s.log)
		}
	})
	return s.begin()
}

// guarded is a writer for several goroutines.
type guarded struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (g *guarded) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.w.Write(p)
}

// begin starts a node.
func (s *stand) begin() *stand {
	s.t.Helper()
	n, err := New(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.ctx)
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	s.node = n
	s.api.SetNode(n)
	s.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				s.t.Errorf("the node: %v", err)
			}
		case <-time.After(patience):
			s.t.Errorf("the node does not end")
		}
	})
	return s
}

// end stops the node, removes every Pod, and sees that nothing is left.
func (s *stand) end() {
	s.stop()
	boxes, err := s.host().List()
	if err != nil {
		s.t.Error(err)
	}
	for _, box := range boxes {
		if err := s.node.engine.Remove(context.Background(), box, true); err != nil {
			s.t.Error(err)
		}
	}
	host, err := cgroup.Detect()
	if err != nil {
		s.t.Error(err)
	}
	for _, uid := range s.uids {
		for _, y := range host.Hierarchies {
			for _, dir := range []string{"tripod/" + string(uid), "tripod/keepers/" + string(uid)} {
				if _, err := os.Stat(filepath.Join(y.Mountpoint, dir)); err == nil {
					s.t.Errorf("left cgroup %s", filepath.Join(y.Mountpoint, dir))
				}
			}
		}
	}
	for _, dir := range []string{s.host().Pods(), filepath.Join(s.config.Root, "volumes"), filepath.Join(s.config.Root, "containers")} {
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			s.t.Errorf("left in %s: %v", dir, entries)
		}
	}
}

func (s *stand) host() sandbox.Host { return s.node.engine.Host }

// pod is a Pod of one shell script a container, with this host's own programs.
func pod(name string, scripts ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	p.Spec.TerminationGracePeriodSeconds = new(int64(30))
	p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	p.Spec.DNSPolicy = corev1.DNSClusterFirst
	for i, script := range scripts {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Name: fmt.Sprintf("c%d", i), Image: "host:/", ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"sh", "-c", script},
			TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		})
	}
	return p
}

// steady is a script that runs until it is told to end.
const steady = `trap "echo bye; exit 0" TERM; echo up; while :; do sleep 0.1; done`

// create makes an object.
func (s *stand) create(p *corev1.Pod) *corev1.Pod {
	s.t.Helper()
	made, err := s.client.CoreV1().Pods(p.Namespace).Create(s.ctx, p, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.uids = append(s.uids, made.UID)
	return made
}

// await returns a Pod when it is as wanted.
func (s *stand) await(name, what string, is func(*corev1.Pod) bool) *corev1.Pod {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		p, err := s.client.CoreV1().Pods("default").Get(s.ctx, name, metav1.GetOptions{})
		if err == nil && is(p) {
			return p
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("Pod %s is not %s: %v %+v", name, what, err, p.Status)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// awaitGone returns when there is no object of a name, and no Pod of it on the host.
func (s *stand) awaitGone(name string) {
	s.t.Helper()
	s.until("Pod "+name+" is gone", func() bool {
		_, err := s.client.CoreV1().Pods("default").Get(s.ctx, name, metav1.GetOptions{})
		_, here := s.host().Find("default", name)
		return err != nil && here != nil
	})
}

// until returns when something holds.
func (s *stand) until(what string, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not so: %s", what)
		}
	}
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// waitsFor says whether a container waits for a reason.
func waitsFor(reason string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		return slices.ContainsFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
			return c.State.Waiting != nil && c.State.Waiting.Reason == reason
		})
	}
}

// awaitEvents returns when each of these events, REASON MESSAGE, of a Pod was told.
func (s *stand) awaitEvents(name string, want ...string) {
	s.t.Helper()
	var got []string
	deadline := time.Now().Add(patience)
	for {
		list, err := s.client.CoreV1().Events("default").List(s.ctx, metav1.ListOptions{})
		if err != nil {
			s.t.Fatal(err)
		}
		got = nil
		for _, e := range list.Items {
			if e.InvolvedObject.Name == name {
				got = append(got, e.Reason+" "+e.Message)
			}
		}
		missing := slices.DeleteFunc(slices.Clone(want), func(w string) bool {
			return slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, w) })
		})
		if len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("events of Pod %s:\n%s\nmissing:\n%s", name, strings.Join(got, "\n"), strings.Join(missing, "\n"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// delete deletes an object; a negative grace is the Pod's own.
func (s *stand) delete(name string, grace int64) {
	s.t.Helper()
	o := metav1.DeleteOptions{}
	if grace >= 0 {
		o.GracePeriodSeconds = &grace
	}
	if err := s.client.CoreV1().Pods("default").Delete(s.ctx, name, o); err != nil {
		s.t.Fatal(err)
	}
}

// logs is what a container has written.
func (s *stand) logs(p *corev1.Pod, o corev1.PodLogOptions) string {
	s.t.Helper()
	var out bytes.Buffer
	if err := s.node.Logs(s.ctx, p, &o, &out); err != nil {
		s.t.Fatal(err)
	}
	return out.String()
}

// awaitLog returns when a container's log is as wanted.
func (s *stand) awaitLog(p *corev1.Pod, container, want string) {
	s.t.Helper()
	s.until("the log of "+container+" is "+want, func() bool { return s.logs(p, corev1.PodLogOptions{Container: container}) == want })
}

// detached runs a Pod as `tripod run -d` does.
func (s *stand) detached(p *corev1.Pod) *sandbox.Sandbox {
	s.t.Helper()
	store, err := image.Open(s.config.Root)
	if err != nil {
		s.t.Fatal(err)
	}
	e := &engine.Engine{Host: s.host(), Store: store}
	images, err := e.Ensure(s.ctx, []*corev1.Pod{p})
	if err != nil {
		s.t.Fatal(err)
	}
	made, err := e.Prepare(s.ctx, p, images, engine.Options{OnOrphan: "keep"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.uids = append(s.uids, made.Pod.UID)
	if err := e.Begin(s.ctx, made); err != nil {
		s.t.Fatal(err)
	}
	if err := made.Handover(); err != nil {
		s.t.Fatal(err)
	}
	return made.Sandbox
}

// Package node is the host as Kubernetes' one node: it runs the Pods that an API server has bound to it, through the engine
// and its keepers, and tells the API how they are.
//
// It does the work of a scheduler and a kubelet. A Pod without a node is bound at once when the host has room for it
// (Scheduler's own checks), else it stays Pending with the reason. A Pod of this node has a worker: it brings the images,
// makes the Pod by the engine, follows its keeper, and writes status, conditions and events in kubelet's words. A Pod is
// stopped in its grace and deleted when it is gone. What follows from what was seen (status, events, what a restart goes on
// from) are functions of values; the worker asks and does.
//
// A node that ends does nothing to its Pods: keepers go on alone, and the next node finds them by their folders, which are
// named by UID. It holds the engine lock of every Pod it rules. Pods that `tripod run -d` has handed over are ruled too,
// and appear in the API as objects of their own, as a kubelet's static Pods do.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"tripod/internal/engine"
	"tripod/internal/image"
	"tripod/internal/sandbox"
)

// Config says what node this is. Client is needed, the other zero values are right.
type Config struct {
	Client  kubernetes.Interface
	Name    string // of the Node object; "" is the host's name
	Root    string // /var/lib/tripod
	RunRoot string // /run/tripod
	Keeper  string // path of tripod-oci
	Program string // path of tripod, for what is to be done at a Pod's end without us; "" is none
	Version string // of tripod

	// AllowHostImages lets Pods name images by paths of this host: host:/, dir:, oci: and the archives.
	AllowHostImages bool
	Pull            image.PullOptions

	MaxPods int64 // 0 is 110, kubelet's
	Log     *slog.Logger
}

// maxPods is how many Pods a kubelet takes.
const maxPods = 110

// Bounds on what is done side by side.
const (
	startsAtOnce = 4
	pullsAtOnce  = 3
	bindsAtOnce  = 8
)

// Node rules the Pods of one host.
type Node struct {
	Config
	engine *engine.Engine
	teller *teller
	binder *binder
	facts  facts

	pods   cache.SharedIndexInformer
	nodes  cache.SharedIndexInformer
	starts chan struct{} // a slot for each Pod that is being made
	pulls  chan struct{} // a slot for each image that is being pulled

	mu      sync.Mutex
	workers map[types.UID]*worker // by the UID of the Pod on this host
	ending  bool
	running sync.WaitGroup

	usage sampler
}

// New makes a Node. It does nothing before Run.
func New(c Config) (*Node, error) {
	if c.Name == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("cannot name the node: %w", err)
		}
		c.Name = strings.ToLower(name)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxPods <= 0 {
		c.MaxPods = maxPods
	}
	store, err := image.Open(c.Root)
	if err != nil {
		return nil, err
	}
	host := sandbox.Host{Root: c.Root, RunRoot: c.RunRoot, Keeper: c.Keeper, Program: c.Program}
	n := &Node{
		Config:  c,
		engine:  &engine.Engine{Host: host, Store: store},
		facts:   look(),
		starts:  make(chan struct{}, startsAtOnce),
		pulls:   make(chan struct{}, pullsAtOnce),
		workers: map[types.UID]*worker{},
	}
	n.teller = newTeller(c.Client, c.Name)
	n.binder = newBinder(n)
	return n, nil
}

// Run registers the node and rules its Pods until ctx ends. The Pods go on then.
func (n *Node) Run(ctx context.Context) error {
	defer n.teller.close()
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		n.mu.Lock()
		n.ending = true
		n.mu.Unlock()
		n.running.Wait()
	}()
	if err := n.rule(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}

func (n *Node) rule(ctx context.Context) error {
	changes, err := n.engine.Host.Changes(ctx)
	if err != nil {
		return err
	}
	node, err := n.register(ctx)
	if err != nil {
		return err
	}
	n.teller.node = node
	n.binder.setNode(node)
	if err := n.listen(ctx); err != nil {
		return err
	}
	n.takeStock(ctx)
	n.running.Go(func() { n.heartbeat(ctx) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-changes:
			if !ok {
				changes = nil
				continue
			}
			n.lookAround(ctx)
		}
	}
}

// listen begins to hear of Pods and of this Node, and returns when all there are were told.
func (n *Node) listen(ctx context.Context) error {
	n.pods = podInformer(n.Client)
	n.nodes = nodeInformer(n.Client, n.Name)
	told, err := n.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { n.heard(ctx, nil, o.(*corev1.Pod)) },
		UpdateFunc: func(before, o any) { n.heard(ctx, before.(*corev1.Pod), o.(*corev1.Pod)) },
		DeleteFunc: func(o any) {
			if unknown, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = unknown.Obj
			}
			if pod, ok := o.(*corev1.Pod); ok {
				n.lost(pod)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("cannot watch Pods: %w", err)
	}
	ours := func(o any) {
		if node, ok := o.(*corev1.Node); ok {
			n.binder.setNode(node)
		}
	}
	if _, err := n.nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: ours, UpdateFunc: func(_, o any) { ours(o) },
	}); err != nil {
		return fmt.Errorf("cannot watch node %s: %w", n.Name, err)
	}
	for _, informer := range []cache.SharedIndexInformer{n.pods, n.nodes} {
		n.running.Go(func() { informer.RunWithContext(ctx) })
	}
	if !cache.WaitForCacheSync(ctx.Done(), told.HasSynced) {
		return errors.Join(errors.New("cannot list Pods"), ctx.Err())
	}
	return nil
}

// heard is called with each Pod that is there or has changed.
func (n *Node) heard(ctx context.Context, before, pod *corev1.Pod) {
	n.binder.heard(ctx, pod)
	if pod.Spec.NodeName != n.Name {
		return
	}
	if before != nil && before.UID != pod.UID { // one was deleted and another made of its name in between
		n.lost(before)
	}
	uid, mirror := hostUID(pod)
	n.worker(ctx, uid, mirror, pod)
}

// lost is called with each Pod whose object is gone.
func (n *Node) lost(pod *corev1.Pod) {
	n.binder.gone(pod)
	uid, _ := hostUID(pod)
	n.mu.Lock()
	w := n.workers[uid]
	n.mu.Unlock()
	if w != nil {
		w.lose(pod)
	}
}

// worker gives a Pod's worker what is known of its object, and begins one where there is none.
func (n *Node) worker(ctx context.Context, uid types.UID, mirror bool, pod *corev1.Pod) *worker {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w := n.workers[uid]; w != nil {
		if pod != nil {
			w.update(pod)
		}
		return w
	}
	if n.ending {
		return nil
	}
	w := newWorker(n, uid, mirror, pod)
	n.workers[uid] = w
	n.running.Go(func() { w.run(ctx) })
	return w
}

// forget ends a worker's time, unless it was told something that it has not looked at.
func (n *Node) forget(w *worker) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w.woken() {
		return false
	}
	delete(n.workers, w.uid)
	return true
}

// slot takes one of a bounded number of places; the result gives it back.
func slot(ctx context.Context, slots chan struct{}) (func(), error) {
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

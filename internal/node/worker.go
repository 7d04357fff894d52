package node

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/kubernetes/pkg/kubelet/events"

	"tripod/internal/engine"
	"tripod/internal/keeper"
	"tripod/internal/life"
	"tripod/internal/record"
	"tripod/internal/sandbox"
)

// Kubelet's pause between two tries at an image, at first and at most.
const (
	pullAgain     = 10 * time.Second
	pullAgainMost = 5 * time.Minute
)

// worker rules one Pod: what is wanted comes from its object, what is comes from its keeper, and step brings both together.
type worker struct {
	n      *Node
	uid    types.UID // of the Pod on this host
	mirror bool      // a Pod of `tripod run`: its object is made by us, with a UID of its own
	wake   chan struct{}
	first  chan struct{} // closed when the first step was taken
	report reporter

	mu    sync.Mutex
	told  bool // something below is new
	pod   *corev1.Pod
	gone  bool           // the object was deleted
	seen  *keeper.Status // the newest from the keeper
	left  bool           // the keeper tells no more
	turn  int            // of the keepers that were listened to; what an earlier one tells is not heard
	abort context.CancelFunc

	// The worker's own.
	opened   bool // its folder was looked for
	box      *sandbox.Sandbox
	view     view
	spoken   []life.Record // how far events were told
	killing  bool          // a stop was told
	grace    time.Duration // of the stop that was asked
	settled  bool          // the network of an ended Pod was given back
	released bool          // the object was deleted for good
	backoff  *flowcontrol.Backoff
	tries    int       // at making it
	next     time.Time // no other try before
	asked    int64     // the generation of the object at the last try
	uttered  map[string]string
}

func newWorker(n *Node, uid types.UID, mirror bool, pod *corev1.Pod) *worker {
	w := &worker{n: n, uid: uid, mirror: mirror, pod: pod, wake: make(chan struct{}, 1), first: make(chan struct{}), uttered: map[string]string{}}
	w.report.n = n
	w.view.waiting = map[string]corev1.ContainerStateWaiting{}
	return w
}

func (w *worker) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// update gives the worker its Pod's newest object. One that is deleted is not made any more.
func (w *worker) update(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pod, w.gone, w.told = pod, false, true
	if pod.DeletionTimestamp != nil && w.abort != nil {
		w.abort()
	}
	w.rouse()
}

// lose tells the worker that the object is gone.
func (w *worker) lose(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pod != nil && w.pod.UID != pod.UID {
		return
	}
	w.pod, w.gone, w.told = pod, true, true
	if w.abort != nil {
		w.abort()
	}
	w.rouse()
}

// woken says whether there is something that the worker has not looked at.
func (w *worker) woken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told
}

// news are what a step goes by.
type news struct {
	pod  *corev1.Pod
	gone bool
	left bool
}

func (w *worker) news() news {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = false
	if s := w.seen; s != nil {
		w.view.Records, w.view.Finished, w.view.Stopping = s.Containers, s.Finished, s.Stopping
		w.view.sandbox = s.Pause.Pid > 0 && !s.Finished
	}
	return news{w.pod, w.gone, w.left}
}

// forever is the wait of a step after which nothing is due before something happens.
const forever = 0

// run takes steps until the Pod is gone, or ctx ends. The Pod goes on in that case.
func (w *worker) run(ctx context.Context) {
	defer func() {
		w.report.flush()
		if w.box != nil {
			_ = w.box.Release()
		}
	}()
	for first := true; ; first = false {
		wait, done := w.step(ctx)
		if first {
			close(w.first)
		}
		if ctx.Err() != nil || done && w.n.forget(w) {
			return
		}
		if w.pause(ctx, wait); ctx.Err() != nil {
			return
		}
	}
}

// pause waits for news, and no longer than until the next thing is due.
func (w *worker) pause(ctx context.Context, wait time.Duration) {
	var due <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-w.wake:
	case <-due:
	}
}

// step does what is due and says how long until the next thing is, and whether this was the last.
func (w *worker) step(ctx context.Context) (wait time.Duration, done bool) {
	if !w.opened {
		if wait, done := w.open(ctx); wait > 0 || done {
			return wait, done
		}
	}
	now := w.news()
	switch {
	case now.gone:
		return w.bury(ctx, now)
	case now.pod == nil:
		return w.appear(ctx), false
	case now.pod.DeletionTimestamp != nil:
		return w.terminate(ctx, now)
	case w.box == nil && w.mirror:
		return w.vanish(ctx, now.pod)
	case w.box == nil && ended(now.pod):
		return forever, false
	case w.box == nil && w.asked == now.pod.Generation && time.Now().Before(w.next):
		return time.Until(w.next), false // what woke us was not about this
	case w.box == nil:
		wait := w.start(ctx, now.pod)
		w.next, w.asked = time.Now().Add(wait), now.pod.Generation
		return wait, false
	}
	return w.follow(ctx, now)
}

// open looks for the Pod's folder: an earlier node, or `tripod run`, has made it.
func (w *worker) open(ctx context.Context) (wait time.Duration, done bool) {
	box, err := w.n.engine.Host.Open(w.uid)
	if err != nil { // none, or no whole one: that is swept, and made anew
		w.opened = true
		return 0, false
	}
	if err := box.Own(); err != nil {
		if !errors.Is(err, record.ErrLocked) {
			w.n.Log.Error("cannot take over Pod", "pod", box.String(), "error", err)
		}
		return time.Second, w.mirror && w.object() == nil // whoever has it hands it over, and then we are told
	}
	state, err := box.Observe(ctx)
	if err != nil {
		_ = box.Release()
		w.n.Log.Error("cannot look at Pod", "pod", box.String(), "error", err)
		return 5 * time.Second, false
	}
	if w.mirror && (!state.Begun || state.Life.OnOrphan == life.OrphanStop) {
		_ = box.Release() // its maker has died while making it, or it is of the foreground
		return 0, true
	}
	w.opened = true
	if !state.Begun {
		err := w.n.engine.Remove(context.WithoutCancel(ctx), box, true)
		_ = box.Release()
		if err != nil {
			w.opened = false
			w.n.Log.Error("cannot remove what was begun", "pod", box.String(), "error", err)
			return 5 * time.Second, false
		}
		return 0, false
	}
	w.box, w.spoken = box, state.Containers
	w.view.Life = state.Life
	w.follows(ctx, &state.Status)
	return 0, false
}

func (w *worker) object() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

// follows begins to listen to the Pod's keeper.
func (w *worker) follows(ctx context.Context, s *keeper.Status) {
	w.view.IPs, w.view.HostIP = engine.PodIPs(w.box), w.n.facts.ip
	w.mu.Lock()
	w.seen, w.left = s, false
	w.turn++
	turn := w.turn
	w.mu.Unlock()
	box := w.box
	hear := func(s *keeper.Status) {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case w.turn != turn:
			return
		case s != nil:
			w.seen = s
		default:
			w.left = true
		}
		w.told = true
		w.rouse()
	}
	go func() {
		client, err := box.Keeper()
		if err == nil {
			err = client.Watch(ctx, func(s *keeper.Status) error {
				hear(s)
				return nil
			})
		}
		if err != nil && !errors.Is(err, keeper.ErrNoKeeper) && ctx.Err() == nil {
			w.n.Log.Error("cannot watch Pod", "pod", box.String(), "error", err)
		}
		hear(nil)
	}()
}

// follow tells how the Pod is, and mends what has broken.
func (w *worker) follow(ctx context.Context, now news) (wait time.Duration, done bool) {
	if now.left && !w.view.Finished {
		if again := w.mend(ctx, now.pod); again > 0 || w.box == nil {
			w.tell(ctx, now.pod)
			return max(again, time.Millisecond), false
		}
	}
	if w.view.Finished && now.left {
		if _, err := os.Lstat(w.box.Dir()); errors.Is(err, fs.ErrNotExist) {
			w.drop() // somebody has removed it
			return time.Millisecond, false
		}
	}
	left, bounded := due(now.pod, time.Now())
	if w.view.overdue = bounded && left <= 0 && (!w.view.Finished || !w.view.Stopping.IsZero()); w.view.overdue && !w.view.Finished {
		w.complain(now.pod, telling{warning: true, reason: reasonOverdue, message: messageOverdue})
		w.stop(ctx, now.pod)
	}
	again := w.guests(ctx, now.pod)
	w.tell(ctx, now.pod)
	switch {
	case again > 0:
		return again, false
	case !w.view.Finished && bounded:
		return max(left, forever), false
	case !w.view.Finished:
		return forever, false
	}
	if !w.settled {
		w.settled = true
		if err := w.n.engine.Host.Settle(ctx, string(w.uid)); err != nil {
			w.n.Log.Error("cannot give back network", "pod", w.box.String(), "error", err)
		}
	}
	if w.mirror && w.box.Pod.Annotations[sandbox.AnnotationRemove] == "true" {
		return w.vanish(ctx, now.pod)
	}
	return forever, false
}

// mend brings a Pod back whose keeper has died; when there is nothing left of it, it has none any more. The result is
// when to try again.
func (w *worker) mend(ctx context.Context, pod *corev1.Pod) time.Duration {
	status, err := keeper.Read(w.box.Dir())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		w.drop()
		return 0
	case err == nil && status.Finished:
		w.view.Finished, w.view.Records, w.view.sandbox = true, status.Containers, false
		return 0
	}
	free, err := slot(ctx, w.n.starts)
	if err != nil {
		return time.Second
	}
	defer free()
	w.view.sandbox = false
	w.n.teller.say(pod, telling{reason: events.SandboxChanged, message: "Pod sandbox changed, it will be killed and re-created."})
	if err = w.box.Revive(ctx); err == nil {
		if status, err = keeper.Read(w.box.Dir()); err == nil {
			w.follows(ctx, status)
			w.news()
			return 0
		}
	}
	w.complain(pod, telling{warning: true, reason: events.FailedCreatePodSandBox, message: "Failed to create pod sandbox: " + err.Error()})
	return 5 * time.Second
}

// drop forgets a Pod of which nothing is left on this host.
func (w *worker) drop() {
	_ = w.box.Release()
	w.mu.Lock()
	w.seen, w.left = nil, false
	w.turn++
	w.mu.Unlock()
	w.box, w.spoken, w.killing, w.settled = nil, nil, false, false
	w.view = view{waiting: map[string]corev1.ContainerStateWaiting{}}
}

// tell writes the status and the events of what has happened since.
func (w *worker) tell(ctx context.Context, pod *corev1.Pod) {
	now := time.Now()
	w.n.teller.say(pod, happened(pod, w.view.Life, w.spoken, w.view.Records, now)...)
	w.spoken = w.view.Records
	status := statusOf(pod, w.view, now)
	w.report.put(ctx, pod, &status)
}

// complain tells an event once as long as it stays the same.
func (w *worker) complain(pod *corev1.Pod, e telling) {
	key := e.container + "/" + e.reason
	if w.uttered[key] == e.message {
		return
	}
	w.uttered[key] = e.message
	w.n.teller.say(pod, e)
	w.n.Log.Warn(e.message, "pod", pod.Namespace+"/"+pod.Name, "reason", e.reason)
}

package node

import (
	"context"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/kubelet/events"

	"tripod/internal/life"
)

// removeAgain is when what could not be removed is tried again.
const removeAgain = 5 * time.Second

// terminate ends a Pod whose object is being deleted: what runs is stopped, its end is written, what it had is removed, and
// the object goes last.
func (w *worker) terminate(ctx context.Context, now news) (wait time.Duration, done bool) {
	switch {
	case w.released:
		return forever, false // finalizers keep the object
	case w.box != nil && !w.over(now):
		w.stop(ctx, now.pod)
		w.tell(ctx, now.pod)
		return forever, false
	case w.box != nil:
		w.view.Finished, w.view.sandbox = true, false
		w.tell(ctx, now.pod)
		if !w.remove(ctx) {
			return removeAgain, false
		}
	case !ended(now.pod): // it was never made
		w.view.Finished = true
		w.view.Life = draft(now.pod)
		w.tell(ctx, now.pod)
	}
	w.report.flush()
	// A Pod that had ended before a reboot has nothing left but its logs.
	if err := os.RemoveAll(w.n.engine.Host.Logs(now.pod)); err != nil {
		w.n.Log.Error("cannot remove logs", "pod", now.pod.Namespace+"/"+now.pod.Name, "error", err)
		return removeAgain, false
	}
	return w.release(ctx, now.pod), false
}

// bury removes a Pod whose object is gone.
func (w *worker) bury(ctx context.Context, now news) (wait time.Duration, done bool) {
	if w.box == nil {
		return 0, true
	}
	if !w.over(now) {
		w.stop(ctx, now.pod)
		return forever, false
	}
	if !w.remove(ctx) {
		return removeAgain, false
	}
	return 0, true
}

// vanish deletes the object of a Pod of `tripod run` that is no more.
func (w *worker) vanish(ctx context.Context, pod *corev1.Pod) (wait time.Duration, done bool) {
	if w.box != nil && !w.remove(ctx) {
		return removeAgain, false
	}
	if w.released {
		return forever, false
	}
	return w.release(ctx, pod), false
}

// over says whether nothing of the Pod runs any more. A keeper that has died leaves what remove kills.
func (w *worker) over(now news) bool { return w.view.Finished || now.left }

// stop asks the keeper to stop the Pod; a later one may only be sooner.
func (w *worker) stop(ctx context.Context, pod *corev1.Pod) {
	grace := deleteGrace(pod)
	if w.killing && grace >= w.grace {
		return
	}
	if !w.killing {
		for _, r := range w.view.Records {
			if r.State == life.Running {
				w.n.teller.say(pod, telling{container: r.Name, reason: events.KillingContainer, message: "Stopping container " + r.Name})
			}
		}
	}
	w.killing, w.grace = true, grace
	box := w.box
	go func() {
		if err := box.Stop(ctx, grace); err != nil && ctx.Err() == nil {
			w.n.Log.Error("cannot stop Pod", "pod", box.String(), "error", err)
		}
	}()
}

// remove takes away all that the Pod has on this host.
func (w *worker) remove(ctx context.Context) bool {
	box, begun := w.box, time.Now()
	defer func() { w.n.Log.Debug("removed", "pod", box.String(), "took", time.Since(begun)) }()
	if err := w.n.engine.Remove(context.WithoutCancel(ctx), box, true); err != nil {
		w.n.Log.Error("cannot remove Pod", "pod", box.String(), "error", err)
		return false
	}
	w.drop()
	return true
}

// release deletes the object for good. The result is when to try again.
func (w *worker) release(ctx context.Context, pod *corev1.Pod) time.Duration {
	now := int64(0)
	err := w.n.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &pod.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		w.n.Log.Error("cannot delete object", "pod", pod.Namespace+"/"+pod.Name, "error", err)
		return removeAgain
	}
	w.released = true
	return forever
}

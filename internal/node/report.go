package node

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilpod "k8s.io/kubernetes/pkg/util/pod"
)

// reporter writes the status of one Pod, the newest that it was given, beside who makes it: a start does not wait for a
// write, and of several that come fast the last is written.
type reporter struct {
	n *Node

	mu   sync.Mutex
	pod  *corev1.Pod
	base *corev1.PodStatus // what the API has, as far as we know
	want *corev1.PodStatus
	done chan struct{} // closed when the goroutine that writes has ended; nil: there is none
}

// put gives the newest status.
func (r *reporter) put(ctx context.Context, pod *corev1.Pod, status *corev1.PodStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pod == nil || r.pod.UID != pod.UID {
		r.base = pod.Status.DeepCopy()
	}
	r.pod, r.want = pod, status
	if r.done == nil {
		done := make(chan struct{})
		r.done = done
		go r.write(ctx, done)
	}
}

// flush returns when all that was put is written, or cannot be.
func (r *reporter) flush() {
	r.mu.Lock()
	done := r.done
	r.mu.Unlock()
	if done != nil {
		<-done
	}
}

// writeAgain is how long a write that failed waits at first, and at most.
const (
	writeAgain     = 100 * time.Millisecond
	writeAgainMost = 10 * time.Second
)

func (r *reporter) write(ctx context.Context, done chan struct{}) {
	wait := writeAgain
	for {
		r.mu.Lock()
		pod, want, base := r.pod, r.want, r.base
		r.want = nil
		if want == nil {
			r.done = nil
			close(done)
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		next := merge(base, want)
		written, _, _, err := utilpod.PatchPodStatus(ctx, r.n.Client, pod.Namespace, pod.Name, pod.UID, *base, next)
		if err == nil || ctx.Err() != nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			r.mu.Lock()
			if err == nil && r.pod.UID == pod.UID {
				r.base = &next
				if written != nil {
					r.base = written.Status.DeepCopy()
				}
			}
			r.mu.Unlock()
			wait = writeAgain
			continue
		}
		r.n.Log.Error("cannot write status", "pod", pod.Namespace+"/"+pod.Name, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, writeAgainMost)
		r.mu.Lock()
		if r.want == nil {
			r.want = want
		}
		r.mu.Unlock()
	}
}

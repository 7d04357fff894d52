package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"tripod/internal/keeper"
	"tripod/internal/sandbox"
)

// Goal is what Wait waits for.
type Goal int

// The goals.
const (
	Ended   Goal = iota // nothing runs and nothing will
	Running             // every container has begun
	Ready               // the Pod is Ready
	Deleted             // the Pod is gone
)

// errReached ends a watch.
var errReached = errors.New("reached")

// NeverError says that a Pod will never come to what was waited for.
type NeverError struct {
	Pod   string
	Phase corev1.PodPhase
}

func (e *NeverError) Error() string {
	return fmt.Sprintf("cannot wait for Pod %s: it has ended (%s)", e.Pod, e.Phase)
}

// Wait returns when the Pod has come to the goal, with its status then; or a NeverError when it has ended before.
func (e *Engine) Wait(ctx context.Context, box *sandbox.Sandbox, goal Goal) (*corev1.Pod, error) {
	if goal == Deleted {
		return nil, gone(ctx, box.Dir())
	}
	var pod *corev1.Pod
	look := func(*keeper.Status) (err error) {
		if pod, err = e.Look(ctx, box); err == nil && reached(pod, goal) {
			return errReached
		}
		return err
	}
	client, err := box.Keeper()
	if err == nil {
		err = client.Watch(ctx, look)
	}
	if err == nil || errors.Is(err, keeper.ErrNoKeeper) {
		err = look(nil) // it has ended
	}
	switch {
	case errors.Is(err, errReached):
		return pod, nil
	case err != nil:
		return nil, err
	}
	return pod, &NeverError{box.String(), pod.Status.Phase}
}

func reached(pod *corev1.Pod, goal Goal) bool {
	switch goal {
	case Running:
		return !slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.State.Waiting != nil }) &&
			len(pod.Status.ContainerStatuses) > 0 && pod.Status.Phase != corev1.PodPending
	case Ready:
		return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
	}
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// gone waits until a folder is there no more.
func gone(ctx context.Context, dir string) error {
	for {
		if _, err := os.Lstat(dir); os.IsNotExist(err) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

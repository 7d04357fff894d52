package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/kubernetes/pkg/kubelet/events"

	"tripod/internal/engine"
	"tripod/internal/image"
	"tripod/internal/registry"
)

// The reasons for which a container waits for its image, as kubelet spells them.
const (
	reasonName  = "InvalidImageName"
	reasonNever = "ErrImageNeverPull"
	reasonPull  = "ErrImagePull"
	reasonPause = "ImagePullBackOff"
)

// soon is how long the error of a pull is shown before the pause that follows it is.
const soon = time.Second

// images brings the images of all containers here, in their order, and tells of each. It is false when one is missing, and
// then says when to try again.
func (w *worker) images(ctx context.Context, pod *corev1.Pod) (engine.Images, time.Duration, bool) {
	if w.backoff == nil {
		w.backoff = flowcontrol.NewBackOff(pullAgain, pullAgainMost)
	}
	object := w.object()
	found := engine.Images{}
	var again time.Duration
	for _, c := range containersOf(pod) {
		img, wait := w.image(ctx, object, &c)
		if ctx.Err() != nil {
			return nil, 0, false
		}
		if img == nil && (again == 0 || wait < again) {
			again = wait
		}
		found[c.Image] = img
	}
	return found, again, again == 0
}

// image brings the image of one container. Without a result it has said why, and when to try again.
func (w *worker) image(ctx context.Context, pod *corev1.Pod, c *corev1.Container) (*image.Image, time.Duration) {
	if err := w.checkName(c.Image); err != nil {
		w.waits(pod, c.Name, reasonName, err.Error())
		return nil, pullAgain
	}
	policy := image.Policy(c.ImagePullPolicy)
	if policy == "" {
		policy = image.DefaultPolicy(c.Image)
	}
	if policy != image.Always {
		img, err := w.n.engine.Store.Ensure(ctx, c.Image, image.Never, w.n.Pull)
		if err == nil {
			w.once(pod, present(pod, c.Name))
			return img, 0
		}
		if policy == image.Never || !errors.Is(err, image.ErrNotFound) {
			message := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
			if !errors.Is(err, image.ErrNotFound) {
				message = err.Error()
			}
			w.complain(pod, telling{c.Name, true, events.ErrImageNeverPullPolicy, message})
			w.waits(pod, c.Name, reasonNever, message)
			return nil, pullAgain
		}
	}
	return w.pull(ctx, pod, c, policy)
}

// checkName refuses what can be no name of an image here.
func (w *worker) checkName(ref string) error {
	if image.OnHost(ref) {
		if !w.n.AllowHostImages {
			return fmt.Errorf("image %q is a path of this host: the daemon takes these with --allow-host-images alone", ref)
		}
		return nil
	}
	if _, err := registry.Normalize(ref); err != nil {
		return fmt.Errorf("failed to apply default image tag %q: %w", ref, err)
	}
	return nil
}

// pull fetches an image from its registry, unless a try before has failed not long ago.
func (w *worker) pull(ctx context.Context, pod *corev1.Pod, c *corev1.Container, policy image.Policy) (*image.Image, time.Duration) {
	key := c.Name + "\x00" + c.Image
	if now := time.Now(); w.backoff.IsInBackOffSinceUpdate(key, now) {
		message := fmt.Sprintf("Back-off pulling image %q", c.Image)
		w.n.teller.say(pod, telling{container: c.Name, reason: events.BackOffPullImage, message: message})
		if before := w.uttered[key]; before != "" {
			message += ": " + reasonPull + ": " + before
		}
		w.view.waiting[c.Name] = corev1.ContainerStateWaiting{Reason: reasonPause, Message: message}
		w.complain(pod, telling{c.Name, true, events.FailedToCreateContainer, "Error: " + reasonPause})
		return nil, max(w.backoff.Get(key), soon)
	}
	asked := time.Now()
	w.n.teller.say(pod, telling{container: c.Name, reason: events.PullingImage, message: fmt.Sprintf("Pulling image %q", c.Image)})
	free, err := slot(ctx, w.n.pulls)
	if err != nil {
		return nil, 0
	}
	begun := time.Now()
	img, err := w.n.engine.Store.Ensure(ctx, c.Image, policy, w.n.Pull)
	free()
	switch {
	case err == nil:
		took, all := time.Since(begun).Truncate(time.Millisecond), time.Since(asked).Truncate(time.Millisecond)
		w.n.teller.say(pod, telling{container: c.Name, reason: events.PulledImage, message: fmt.Sprintf(
			"Successfully pulled image %q in %v (%v including waiting). Image size: %v bytes.", c.Image, took, all, img.Size)})
		w.backoff.DeleteEntry(key)
		return img, 0
	case ctx.Err() != nil:
		return nil, 0
	}
	w.backoff.Next(key, time.Now())
	w.uttered[key] = err.Error()
	w.n.teller.say(pod,
		telling{c.Name, true, events.FailedToPullImage, fmt.Sprintf("Failed to pull image %q: %v", c.Image, err)},
		telling{c.Name, true, events.FailedToCreateContainer, "Error: " + reasonPull})
	w.view.waiting[c.Name] = corev1.ContainerStateWaiting{Reason: reasonPull, Message: err.Error()}
	return nil, soon
}

// once tells an event of a container's beginning that another try is not to tell again.
func (w *worker) once(pod *corev1.Pod, e telling) {
	key := e.container + "/" + e.reason
	if w.uttered[key] != e.message {
		w.uttered[key] = e.message
		w.n.teller.say(pod, e)
	}
}

package engine

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"tripod/internal/bundle"
	"tripod/internal/image"
	"tripod/internal/keeper"
	"tripod/internal/life"
	"tripod/internal/sandbox"
)

// Invite begins an ephemeral container in a Pod that runs, whose engine lock the caller holds. One that is there already
// stays as it is. The result is the Pod's Life with it.
func (e *Engine) Invite(ctx context.Context, box *sandbox.Sandbox, guest corev1.EphemeralContainer, img *image.Image) (life.Life, error) {
	l, err := keeper.ReadLife(box.Dir())
	if err != nil {
		return life.Life{}, err
	}
	if slices.ContainsFunc(l.Containers, func(c life.Container) bool { return c.Name == guest.Name }) {
		return *l, nil
	}
	if err := box.Invite(guest); err != nil {
		return *l, fmt.Errorf("cannot add container %s to Pod %s: %w", guest.Name, box, err)
	}
	c := corev1.Container(guest.EphemeralContainerCommon)
	in := input(box)
	in.IPs = addresses(box)
	if guest.TargetContainerName != "" {
		target, err := box.Init(guest.TargetContainerName)
		if err != nil {
			return *l, err
		}
		in.Namespaces.Target = fmt.Sprintf("/proc/%d/ns/pid", target.Pid)
	}
	p, err := e.part(box, &c, img)
	if err == nil {
		err = p.write(box, in)
	}
	if err != nil {
		return *l, err
	}
	l.Containers = append(l.Containers, bundle.Guest(&c, func(*corev1.Container) bundle.Place { return p.place(box) }))
	return *l, box.Start(ctx, *l)
}

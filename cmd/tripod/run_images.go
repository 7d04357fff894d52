package main

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"tripod/internal/engine"
	"tripod/internal/image"
)

// ensure brings the Pods' images here, and shows how far they are.
func (a *app) ensure(ctx context.Context, e *engine.Engine, pods []*corev1.Pod, quiet bool) (engine.Images, error) {
	bars := newProgress(a.err, quiet)
	defer bars.close()
	e.Progress = func(string) image.Progress { return bars }
	return e.Ensure(ctx, pods)
}

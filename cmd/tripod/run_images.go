package main

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"tripod/internal/engine"
	"tripod/internal/image"
)

// ensure brings the Pods' images here and shows how.
func (a *app) ensure(ctx context.Context, e *engine.Engine, pods []*corev1.Pod, f pullFlags) (engine.Images, error) {
	pull, shown := f.options(a)
	defer shown.close()
	e.Pull = pull
	e.Progress = func(string) image.Progress { return shown }
	return e.Ensure(ctx, pods)
}

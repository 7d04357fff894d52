package main

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"tripod/internal/engine"
)

// ensure brings the Pods' images here.
func (a *app) ensure(ctx context.Context, e *engine.Engine, pods []*corev1.Pod, quiet bool) (engine.Images, error) {
	return e.Ensure(ctx, pods)
}

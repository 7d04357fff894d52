package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/scale"
	"k8s.io/kubernetes/pkg/controller/podautoscaler"
	"k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
	resources "k8s.io/metrics/pkg/client/clientset/versioned/typed/metrics/v1beta1"
	"k8s.io/metrics/pkg/client/custom_metrics"
	"k8s.io/metrics/pkg/client/external_metrics"
)

// What a cluster's autoscaler has by default.
const (
	autoscalePeriod    = 15 * time.Second
	autoscaleDownAfter = 5 * time.Minute
	autoscaleTolerance = 0.1
	cpuReadsAfter      = 5 * time.Minute
	firstReadyWithin   = 30 * time.Second
)

// scales reads and writes the scale of whatever has one.
func (c *Controllers) scales() (scale.ScalesGetter, error) {
	s, err := scale.NewForConfig(c.access, c.mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(c.client.Discovery()))
	if err != nil {
		return nil, fmt.Errorf("cannot connect to scales: %w", err)
	}
	return s, nil
}

func makeAutoscaler(ctx context.Context, c *Controllers) (func(context.Context), error) {
	scales, err := c.scales()
	if err != nil {
		return nil, err
	}
	usage, err := resources.NewForConfig(c.access)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to metrics: %w", err)
	}
	external, err := external_metrics.NewForConfig(c.access)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to external metrics: %w", err)
	}
	versions := custom_metrics.NewAvailableAPIsGetter(c.client.Discovery())
	reader := metrics.NewRESTMetricsClient(usage, custom_metrics.NewForConfig(c.access, c.mapper, versions), external)
	a := podautoscaler.NewHorizontalController(ctx, c.client.CoreV1(), scales, c.client.AutoscalingV2(), c.mapper, reader,
		c.typed.Autoscaling().V2().HorizontalPodAutoscalers(), c.typed.Core().V1().Pods(),
		autoscalePeriod, autoscaleDownAfter, autoscaleTolerance, cpuReadsAfter, firstReadyWithin)
	return func(ctx context.Context) {
		var both sync.WaitGroup
		both.Go(func() { custom_metrics.PeriodicallyInvalidate(versions, autoscalePeriod, ctx.Done()) })
		both.Go(func() { a.Run(ctx, workers) })
		both.Wait()
	}, nil
}

package node

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"tripod/internal/engine"
	"tripod/internal/sandbox"
)

// A rate lies between two looks. Nobody looks while nobody asks: the first who asks waits for the second look.
const (
	shortWindow = time.Second
	longWindow  = 2 * time.Minute // an older look says nothing of now
)

// sampler keeps the last look at what is used.
type sampler struct {
	mu   sync.Mutex
	last sample
}

// sample is one look.
type sample struct {
	at    time.Time
	pods  []engine.Usage
	ticks uint64 // nanoseconds of CPU
	free  int64  // bytes
}

// sample looks.
func (n *Node) sample() (sample, map[*sandbox.Sandbox]*corev1.Pod, error) {
	boxes := n.boxes()
	var all []*sandbox.Sandbox
	for box := range boxes {
		all = append(all, box)
	}
	usage, err := n.engine.Stats(all)
	return sample{at: time.Now(), pods: usage, ticks: ticks(), free: free()}, boxes, err
}

// window gives two looks that are neither too near nor too far from each other, the second of now.
func (n *Node) window(ctx context.Context) (before, now sample, boxes map[*sandbox.Sandbox]*corev1.Pod, err error) {
	n.usage.mu.Lock()
	defer n.usage.mu.Unlock()
	before = n.usage.last
	if time.Since(before.at) > longWindow {
		if before, _, err = n.sample(); err != nil {
			return before, now, nil, err
		}
	}
	select {
	case <-ctx.Done():
		return before, now, nil, ctx.Err()
	case <-time.After(shortWindow - time.Since(before.at)):
	}
	now, boxes, err = n.sample()
	n.usage.last = now
	now.pods = engine.Rates(before.pods, now.pods)
	return before, now, boxes, err
}

// PodMetrics is what each running Pod uses.
func (n *Node) PodMetrics(ctx context.Context) ([]metricsv1beta1.PodMetrics, error) {
	before, now, boxes, err := n.window(ctx)
	if err != nil {
		return nil, err
	}
	byName := map[string][]metricsv1beta1.ContainerMetrics{}
	for _, u := range now.pods {
		key := u.Namespace + "/" + u.Pod
		byName[key] = append(byName[key], metricsv1beta1.ContainerMetrics{Name: u.Container, Usage: usage(u.CPU*1e9, u.Memory)})
	}
	all := []metricsv1beta1.PodMetrics{}
	for box, pod := range boxes {
		containers := byName[box.Pod.Namespace+"/"+box.Pod.Name]
		if len(containers) == 0 {
			continue
		}
		all = append(all, metricsv1beta1.PodMetrics{
			ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, Labels: pod.Labels, CreationTimestamp: metav1.Time{Time: now.at}},
			Timestamp:  metav1.Time{Time: now.at}, Window: metav1.Duration{Duration: now.at.Sub(before.at)}, Containers: containers,
		})
	}
	return all, nil
}

// NodeMetrics is what the whole host uses.
func (n *Node) NodeMetrics(ctx context.Context) ([]metricsv1beta1.NodeMetrics, error) {
	before, now, _, err := n.window(ctx)
	if err != nil {
		return nil, err
	}
	span := now.at.Sub(before.at)
	rate := float64(now.ticks-before.ticks) * 1e9 / float64(span)
	return []metricsv1beta1.NodeMetrics{{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.labels(), CreationTimestamp: metav1.Time{Time: now.at}},
		Timestamp:  metav1.Time{Time: now.at}, Window: metav1.Duration{Duration: span},
		Usage: usage(rate, uint64(max(n.facts.memory-now.free, 0))),
	}}, nil
}

func usage(nanoCPUs float64, memory uint64) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(int64(nanoCPUs), resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(int64(memory), resource.BinarySI),
	}
}

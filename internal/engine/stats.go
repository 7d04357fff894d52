package engine

import (
	"errors"
	"io/fs"
	"time"

	"tripod/internal/bundle"
	"tripod/internal/cgroup"
	"tripod/internal/keeper"
	"tripod/internal/life"
	"tripod/internal/sandbox"
)

// Usage is what one container uses.
type Usage struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Container string `json:"container"`

	CPU         float64 `json:"cpu"` // CPUs in use between two looks; Rates fills it in
	CPUNanos    uint64  `json:"cpuNanos"`
	Throttled   uint64  `json:"throttledPeriods"`
	Memory      uint64  `json:"memoryBytes"` // without file pages that can go at once, as kubelet reckons
	MemoryLimit uint64  `json:"memoryLimitBytes,omitempty"`
	Tasks       uint64  `json:"tasks"`
	TasksLimit  uint64  `json:"tasksLimit,omitempty"`
	Read        uint64  `json:"readBytes"`
	Written     uint64  `json:"writtenBytes"`

	At time.Time `json:"at"`
}

// Stats looks at the running containers of these Pods.
func (e *Engine) Stats(boxes []*sandbox.Sandbox) ([]Usage, error) {
	host, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	var all []Usage
	for _, box := range boxes {
		status, err := keeper.Read(box.Dir())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, r := range status.Containers {
			if r.State != life.Running {
				continue
			}
			s, err := cgroup.Open(host, bundle.CgroupOf(box.Pod)+"/"+r.Name).Stats()
			if errors.Is(err, fs.ErrNotExist) {
				continue // ended since
			}
			if err != nil {
				return nil, err
			}
			read, written := s.IO.Transferred()
			all = append(all, Usage{
				Namespace: box.Pod.Namespace, Pod: box.Pod.Name, Container: r.Name, At: time.Now(),
				CPUNanos: s.CPU.Usage.Total, Throttled: s.CPU.Throttling.ThrottledPeriods,
				Memory: s.Memory.WorkingSet(), MemoryLimit: s.Memory.Usage.Bounded(),
				Tasks: s.Pids.Current, TasksLimit: s.Pids.Limit,
				Read: read, Written: written,
			})
		}
	}
	return all, nil
}

// Rates gives each container of now the CPUs that it used since before. One that was not there, or began anew, has 0.
func Rates(before, now []Usage) []Usage {
	for i := range now {
		n := &now[i]
		for _, b := range before {
			same := b.Namespace == n.Namespace && b.Pod == n.Pod && b.Container == n.Container
			if span := n.At.Sub(b.At); same && span > 0 && n.CPUNanos >= b.CPUNanos {
				n.CPU = float64(n.CPUNanos-b.CPUNanos) / float64(span)
			}
		}
	}
	return now
}

package bundle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
)

// The numbers of kubelet's cm package.
const (
	minShares    = 2
	maxShares    = 262144
	sharesPerCPU = 1024
	quotaPeriod  = 100_000 // microseconds
	minQuota     = 1_000   // microseconds
)

// The OOM scores of kubelet's qos package. A burstable container's lies between them by its memory request.
const (
	guaranteedOOMScore = -997
	bestEffortOOMScore = 1000
)

func (b *builder) resources(spec *specs.Spec) error {
	limits, requests := b.Container.Resources.Limits, b.Container.Resources.Requests
	request := requests.Cpu()
	if request.IsZero() {
		request = limits.Cpu()
	}
	shares := cpuShares(request.MilliValue())
	r := &specs.LinuxResources{
		Devices: deviceRules(b.privileged),
		CPU:     &specs.LinuxCPU{Shares: &shares},
	}
	if milli := limits.Cpu().MilliValue(); milli > 0 {
		limitCPU(r.CPU, milli)
	}
	if bytes := limits.Memory().Value(); bytes > 0 {
		r.Memory = &specs.LinuxMemory{Limit: &bytes}
		if b.Node.LimitsSwap {
			r.Memory.Swap = &bytes
		}
	}
	pids, err := b.pidsLimit()
	if err != nil {
		return err
	}
	if pids > 0 {
		r.Pids = &specs.LinuxPids{Limit: &pids}
	}
	if r.HugepageLimits, err = hugepageLimits(limits); err != nil {
		return err
	}
	spec.Linux.Resources = r
	return nil
}

// cpuShares turns thousandths of a CPU into cgroup v1 shares.
func cpuShares(milli int64) uint64 {
	return uint64(min(max(milli*sharesPerCPU/1000, minShares), maxShares))
}

func limitCPU(cpu *specs.LinuxCPU, milli int64) {
	quota, period := max(milli*quotaPeriod/1000, minQuota), uint64(quotaPeriod)
	cpu.Quota, cpu.Period = &quota, &period
}

// hugepageLimits turns hugepages-2Mi into the page size as the cgroup's files spell it, 2MB.
func hugepageLimits(limits corev1.ResourceList) ([]specs.LinuxHugepageLimit, error) {
	var out []specs.LinuxHugepageLimit
	for name, limit := range limits {
		size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix)
		if !ok {
			continue
		}
		q, err := resource.ParseQuantity(size)
		if err != nil || q.Value() < 1<<10 {
			return nil, fmt.Errorf("limits[%s]: %q is not a page size", name, size)
		}
		out = append(out, specs.LinuxHugepageLimit{Pagesize: pageSize(q.Value()), Limit: uint64(limit.Value())})
	}
	slices.SortFunc(out, func(a, b specs.LinuxHugepageLimit) int { return strings.Compare(a.Pagesize, b.Pagesize) })
	return out, nil
}

func pageSize(bytes int64) string {
	for _, u := range []struct {
		unit string
		size int64
	}{{"GB", 1 << 30}, {"MB", 1 << 20}} {
		if bytes%u.size == 0 {
			return fmt.Sprintf("%d%s", bytes/u.size, u.unit)
		}
	}
	return fmt.Sprintf("%dKB", bytes>>10)
}

// deviceRules let a container use the harmless devices, and make nodes of any (Docker's list).
func deviceRules(privileged bool) []specs.LinuxDeviceCgroup {
	if privileged {
		return []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	}
	rules := []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		{Allow: true, Type: "c", Access: "m"},
		{Allow: true, Type: "b", Access: "m"},
	}
	for _, d := range [][2]int64{
		{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, // null, zero, full, random, urandom
		{5, 0}, {5, 1}, {5, 2}, {136, -1}, // tty, console, ptmx, pts
	} {
		rule := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Access: "rwm", Major: &d[0]}
		if d[1] >= 0 {
			rule.Minor = &d[1]
		}
		rules = append(rules, rule)
	}
	return rules
}

// oomScoreAdj says how early the kernel kills a container when the host has no memory left: by the Pod's class of
// service, and within Burstable by the share of the host's memory that was asked for (kubelet's
// GetContainerOOMScoreAdjust).
func oomScoreAdj(pod *corev1.Pod, c *corev1.Container, capacity int64) *int {
	score := bestEffortOOMScore
	switch qos.ComputePodQOS(pod) {
	case corev1.PodQOSGuaranteed:
		score = guaranteedOOMScore
	case corev1.PodQOSBurstable:
		request := c.Resources.Requests.Memory().Value()
		if capacity > 0 {
			score -= int(float64(request) / float64(capacity) * 1000)
		}
		score = min(max(score, 1000+guaranteedOOMScore), bestEffortOOMScore-1)
	}
	return &score
}

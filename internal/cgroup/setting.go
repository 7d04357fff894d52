package cgroup

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// field is one of a resource, and whether the spec asks for it.
type field struct {
	name  string
	asked bool
}

// asked returns the first field that is asked for, or "".
func asked(fields []field) string {
	for _, f := range fields {
		if f.asked {
			return f.name
		}
	}
	return ""
}

func (p *planner) cpu(c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	if field := asked([]field{
		{"cpu.shares", given(c.Shares)},
		{"cpu.quota", given(c.Quota)},
		{"cpu.period", given(c.Period)},
		{"cpu.burst", c.Burst != nil},
		{"cpu.idle", c.Idle != nil},
		{"cpu.realtimeRuntime", given(c.RealtimeRuntime)},
		{"cpu.realtimePeriod", given(c.RealtimePeriod)},
	}); field != "" {
		if t, ok := p.find(field, "cpu", "cpu"); ok {
			t.cpuTime(c)
		}
	}
	if field := asked([]field{{"cpu.cpus", c.Cpus != ""}, {"cpu.mems", c.Mems != ""}}); field != "" {
		if t, ok := p.find(field, "cpuset", "cpuset"); ok {
			if c.Cpus != "" {
				t.put("cpu.cpus", "cpuset.cpus", c.Cpus)
			}
			if c.Mems != "" {
				t.put("cpu.mems", "cpuset.mems", c.Mems)
			}
		}
	}
}

func (t target) cpuTime(c *specs.LinuxCPU) {
	v2 := t.hierarchy.Unified
	// The real-time budget comes first: without one, a real-time process cannot join.
	if given(c.RealtimePeriod) {
		t.v1only("cpu.realtimePeriod", "cpu.rt_period_us", itoa(*c.RealtimePeriod))
	}
	if given(c.RealtimeRuntime) {
		t.v1only("cpu.realtimeRuntime", "cpu.rt_runtime_us", itoa(*c.RealtimeRuntime))
	}
	if given(c.Shares) {
		switch {
		case v2:
			t.put("cpu.shares", "cpu.weight", itoa(CPUWeight(*c.Shares)))
		case *c.Shares < minShares || *c.Shares > maxShares: // the kernel would clamp it in silence
			t.fail("cpu", "cpu.shares is %d, not %d to %d", *c.Shares, minShares, maxShares)
		default:
			t.put("cpu.shares", "cpu.shares", itoa(*c.Shares))
		}
	}
	if c.Idle != nil {
		t.put("cpu.idle", "cpu.idle", itoa(*c.Idle))
	}
	switch {
	case !v2:
		if given(c.Period) {
			t.put("cpu.period", "cpu.cfs_period_us", itoa(*c.Period))
		}
		if given(c.Quota) {
			t.put("cpu.quota", "cpu.cfs_quota_us", itoa(*c.Quota))
		}
		if c.Burst != nil {
			t.put("cpu.burst", "cpu.cfs_burst_us", itoa(*c.Burst)).Optional = *c.Burst == 0
		}
		return
	case given(c.Quota):
		value := orMax(*c.Quota)
		if given(c.Period) {
			value += " " + itoa(*c.Period)
		}
		t.put("cpu.quota", "cpu.max", value)
	case given(c.Period):
		t.put("cpu.period", "cpu.max", "max "+itoa(*c.Period))
	}
	if c.Burst != nil {
		t.put("cpu.burst", "cpu.max.burst", itoa(*c.Burst)).Optional = *c.Burst == 0
	}
}

// The bounds of v1's cpu.shares (kernel/sched/core.c); v2's cpu.weight goes from 1 to 10000.
const (
	minShares = 2
	maxShares = 1 << 18
)

// CPUWeight converts v1 CPU shares to a v2 weight as runc, crun and Kubernetes do: a curve in the logarithm of the
// shares through (2, 1), (1024, 100) and (262144, 10000), so that both defaults meet (Kubernetes KEP-2254).
func CPUWeight(shares uint64) uint64 {
	switch {
	case shares == 0:
		return 0
	case shares <= minShares:
		return 1
	case shares >= maxShares:
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

func (p *planner) memory(m *specs.LinuxMemory) {
	if m == nil {
		return
	}
	//lint:ignore SA1019 the spec has given it up, bundles may still ask for it
	kernel := m.Kernel
	oomOff := m.DisableOOMKiller != nil && *m.DisableOOMKiller
	flat := m.UseHierarchy != nil && !*m.UseHierarchy
	name := asked([]field{
		{"memory.limit", given(m.Limit)},
		{"memory.swap", given(m.Swap)},
		{"memory.reservation", given(m.Reservation)},
		{"memory.kernel", given(kernel)},
		{"memory.kernelTCP", given(m.KernelTCP)},
		{"memory.swappiness", m.Swappiness != nil},
		{"memory.disableOOMKiller", oomOff},
		{"memory.useHierarchy", flat},
	})
	_, v1 := p.host.v1("memory")
	// The others are how v2 always is. A v1 group has them from its parent otherwise.
	if name == "" && (!v1 || m.DisableOOMKiller == nil && m.UseHierarchy == nil) {
		return
	}
	t, ok := p.find(name, "memory", "memory")
	if !ok {
		return
	}
	if v1 && m.UseHierarchy != nil { // before the limits: it changes what they count
		t.flag("memory.useHierarchy", "memory.use_hierarchy", *m.UseHierarchy).Kept = true
	} else if flat {
		t.fail(t.controller, "memory.useHierarchy is false; cgroup v2 always counts what is below")
	}
	if v1 {
		t.memoryV1(m)
	} else {
		t.memoryV2(m)
	}
	if given(kernel) {
		if s := t.v1only("memory.kernel", "memory.kmem.limit_in_bytes", itoa(*kernel)); s != nil {
			s.Kept = *kernel > 0 // Linux 6 takes it and forgets it
		}
	}
	if given(m.KernelTCP) {
		t.v1only("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", itoa(*m.KernelTCP))
	}
	if m.Swappiness != nil {
		if *m.Swappiness > 100 {
			t.fail("memory", "memory.swappiness is %d, not 0 to 100", *m.Swappiness)
		}
		t.v1only("memory.swappiness", "memory.swappiness", itoa(*m.Swappiness))
	}
	switch {
	case v1 && m.DisableOOMKiller != nil:
		t.flag("memory.disableOOMKiller", "memory.oom_control", oomOff)
	case oomOff:
		t.v1only("memory.disableOOMKiller", "", "")
	}
}

func (t target) memoryV1(m *specs.LinuxMemory) {
	if given(m.Limit) {
		t.put("memory.limit", "memory.limit_in_bytes", itoa(*m.Limit))
	}
	switch {
	case given(m.Swap):
		t.put("memory.swap", "memory.memsw.limit_in_bytes", itoa(*m.Swap)).Optional = *m.Swap < 0
	case m.Limit != nil && *m.Limit < 0:
		// Memory without a bound cannot stay below a bound on memory and swap.
		t.put("memory.limit", "memory.memsw.limit_in_bytes", "-1").Optional = true
	}
	if given(m.Reservation) {
		t.put("memory.reservation", "memory.soft_limit_in_bytes", itoa(*m.Reservation))
	}
}

func (t target) memoryV2(m *specs.LinuxMemory) {
	swap, err := swapV2(m.Limit, m.Swap)
	if err != nil {
		t.fail("memory", "%w", err)
		return
	}
	if swap != "" {
		t.put("memory.swap", "memory.swap.max", swap).Optional = swap == "max" || swap == "0"
	}
	if given(m.Limit) {
		t.put("memory.limit", "memory.max", orMax(*m.Limit))
	}
	if given(m.Reservation) {
		t.put("memory.reservation", "memory.low", orMax(*m.Reservation))
	}
}

// swapV2 turns OCI's bound on memory and swap together into v2's bound on swap alone; "" leaves it.
func swapV2(limit, swap *int64) (string, error) {
	unbounded := limit != nil && *limit < 0
	switch {
	case !given(swap):
		if unbounded {
			return "max", nil
		}
		return "", nil
	case *swap < 0 || unbounded:
		return orMax(*swap), nil
	case !given(limit):
		return "", fmt.Errorf("memory.swap counts memory and swap together, so it needs memory.limit")
	case *swap < *limit:
		return "", fmt.Errorf("memory.swap is %d, less than memory.limit %d; it counts both together", *swap, *limit)
	}
	return itoa(*swap - *limit), nil
}

func (p *planner) pids(c *specs.LinuxPids) {
	if c == nil || c.Limit == nil {
		return
	}
	if t, ok := p.find("pids.limit", "pids", "pids"); ok {
		// Zero is taken for one, as runc does: no process could be there otherwise.
		limit := *c.Limit
		if limit == 0 {
			limit = 1
		}
		t.put("pids.limit", "pids.max", orMax(limit))
	}
}

func (p *planner) blockIO(b *specs.LinuxBlockIO) {
	if b == nil {
		return
	}
	name := asked([]field{
		{"blockIO.weight", given(b.Weight)},
		{"blockIO.leafWeight", given(b.LeafWeight)},
		{"blockIO.weightDevice", len(b.WeightDevice) > 0},
		{"blockIO.throttleReadBpsDevice", len(b.ThrottleReadBpsDevice) > 0},
		{"blockIO.throttleWriteBpsDevice", len(b.ThrottleWriteBpsDevice) > 0},
		{"blockIO.throttleReadIOPSDevice", len(b.ThrottleReadIOPSDevice) > 0},
		{"blockIO.throttleWriteIOPSDevice", len(b.ThrottleWriteIOPSDevice) > 0},
	})
	if name == "" {
		return
	}
	t, ok := p.find(name, "blkio", "io")
	if !ok {
		return
	}
	if given(b.Weight) {
		t.ioWeight("blockIO.weight", "", *b.Weight)
	}
	if given(b.LeafWeight) {
		t.v1only("blockIO.leafWeight", "blkio.leaf_weight", itoa(*b.LeafWeight))
	}
	for i, d := range b.WeightDevice {
		origin := fmt.Sprintf("blockIO.weightDevice[%d]", i)
		if given(d.Weight) {
			t.ioWeight(origin, device(d.LinuxBlockIODevice)+" ", *d.Weight)
		}
		if given(d.LeafWeight) {
			t.v1only(origin, "blkio.leaf_weight_device", device(d.LinuxBlockIODevice)+" "+itoa(*d.LeafWeight))
		}
	}
	t.throttle("blockIO.throttleReadBpsDevice", "read_bps", "rbps", b.ThrottleReadBpsDevice)
	t.throttle("blockIO.throttleWriteBpsDevice", "write_bps", "wbps", b.ThrottleWriteBpsDevice)
	t.throttle("blockIO.throttleReadIOPSDevice", "read_iops", "riops", b.ThrottleReadIOPSDevice)
	t.throttle("blockIO.throttleWriteIOPSDevice", "write_iops", "wiops", b.ThrottleWriteIOPSDevice)
}

func device(d specs.LinuxBlockIODevice) string { return itoa(d.Major) + ":" + itoa(d.Minor) }

// ioWeight sets a weight of 10 to 1000, for one device ("8:0 ") or all (""): BFQ takes it as it is; v2's other
// file goes from 1 to 10000.
func (t target) ioWeight(origin, device string, weight uint16) {
	if weight < 10 || weight > 1000 {
		t.fail(t.controller, "%s is %d, not 10 to 1000", origin, weight)
		return
	}
	value, other := device+itoa(weight), Setting{}
	switch {
	case t.hierarchy.Unified:
		t.set(&other, origin, "io.weight", device+itoa(1+(uint64(weight)-10)*9999/990))
		t.put(origin, "io.bfq.weight", value).Else = &other
	case device == "":
		t.set(&other, origin, "blkio.bfq.weight", value)
		t.put(origin, "blkio.weight", value).Else = &other
	default:
		t.set(&other, origin, "blkio.bfq.weight_device", value)
		t.put(origin, "blkio.weight_device", value).Else = &other
	}
}

// throttle bounds rates per second; zero is no bound.
func (t target) throttle(origin, v1, v2 string, devices []specs.LinuxThrottleDevice) {
	for i, d := range devices {
		at := fmt.Sprintf("%s[%d]", origin, i)
		if !t.hierarchy.Unified {
			t.put(at, "blkio.throttle."+v1+"_device", device(d.LinuxBlockIODevice)+" "+itoa(d.Rate))
			continue
		}
		rate := "max"
		if d.Rate != 0 {
			rate = itoa(d.Rate)
		}
		t.put(at, "io.max", device(d.LinuxBlockIODevice)+" "+v2+"="+rate)
	}
}

func (p *planner) hugepages(limits []specs.LinuxHugepageLimit) {
	for i, l := range limits {
		t, ok := p.find(fmt.Sprintf("hugepageLimits[%d]", i), "hugetlb", "hugetlb")
		if !ok {
			return
		}
		origin := fmt.Sprintf("hugepageLimits[%d]", i)
		if !pageSize(l.Pagesize) {
			p.fail("hugetlb", "%s.pageSize %q is not a size such as 64KB, 2MB or 1GB", origin, l.Pagesize)
			return
		}
		suffix := "limit_in_bytes"
		if t.hierarchy.Unified {
			suffix = "max"
		}
		t.put(origin, "hugetlb."+l.Pagesize+"."+suffix, itoa(l.Limit))
		// Reservations too, where the kernel counts them (5.7): else a mapping succeeds and its use is a SIGBUS.
		t.put(origin, "hugetlb."+l.Pagesize+".rsvd."+suffix, itoa(l.Limit)).Optional = true
	}
}

func pageSize(s string) bool {
	for _, unit := range [...]string{"KB", "MB", "GB"} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			v, err := strconv.ParseUint(n, 10, 32)
			return err == nil && strconv.FormatUint(v, 10) == n
		}
	}
	return false
}

func (p *planner) network(n *specs.LinuxNetwork) {
	if n == nil {
		return
	}
	if given(n.ClassID) {
		if t, ok := p.find("network.classID", "net_cls", ""); ok {
			t.put("network.classID", "net_cls.classid", itoa(*n.ClassID))
		}
	}
	for i, ifc := range n.Priorities {
		origin := fmt.Sprintf("network.priorities[%d]", i)
		t, ok := p.find(origin, "net_prio", "")
		if !ok {
			return
		}
		if ifc.Name == "" || strings.ContainsAny(ifc.Name, " \t\n") {
			p.fail("net_prio", "%s.name %q is no interface", origin, ifc.Name)
			return
		}
		t.put(origin, "net_prio.ifpriomap", ifc.Name+" "+itoa(ifc.Priority))
	}
}

func (p *planner) rdma(devices map[string]specs.LinuxRdma) {
	names := make([]string, 0, len(devices))
	for name := range devices {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t, ok := p.find("rdma."+name, "rdma", "rdma")
		if !ok {
			return
		}
		if name == "" || strings.ContainsAny(name, " \t\n") {
			p.fail("rdma", "%q is no device", name)
			return
		}
		value := name
		if v := devices[name].HcaHandles; v != nil {
			value += " hca_handle=" + itoa(*v)
		}
		if v := devices[name].HcaObjects; v != nil {
			value += " hca_object=" + itoa(*v)
		}
		t.put("rdma."+name, "rdma.max", value)
	}
}

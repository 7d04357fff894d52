package cgroup

import (
	"math"
	"os"
	"strconv"
	"strings"
)

// tick is one of cpuacct.stat's units in nanoseconds: USER_HZ is 100 on every architecture that Go knows.
const tick = 10_000_000

func (r *reader) cpu(s *CPUStats) {
	u, unified := r.group.host.unified()
	if y, ok := r.group.host.v1("cpuacct"); ok {
		s.Usage.Total = r.number(y, "cpuacct.usage")
		split := r.text(y, "cpuacct.stat")
		s.Usage.Kernel, s.Usage.User = r.key(split, "system")*tick, r.key(split, "user")*tick
		for n := range strings.FieldsSeq(r.text(y, "cpuacct.usage_percpu")) {
			s.Usage.PerCPU = append(s.Usage.PerCPU, r.parse(n))
		}
		// A line "cpu user system", then one for each CPU.
		for line := range strings.Lines(r.text(y, "cpuacct.usage_all")) {
			if f := strings.Fields(line); len(f) == 3 && f[0] != "cpu" {
				s.Usage.PerCPUUser = append(s.Usage.PerCPUUser, r.parse(f[1]))
				s.Usage.PerCPUKernel = append(s.Usage.PerCPUKernel, r.parse(f[2]))
			}
		}
	} else if unified { // v2 counts CPU time with no controller enabled
		text := r.text(u, "cpu.stat")
		s.Usage.Total = r.key(text, "usage_usec") * 1000
		s.Usage.User, s.Usage.Kernel = r.key(text, "user_usec")*1000, r.key(text, "system_usec")*1000
	}
	if y, ok := r.group.host.v1("cpu"); ok {
		text := r.text(y, "cpu.stat")
		s.Throttling = Throttling{r.key(text, "nr_periods"), r.key(text, "nr_throttled"), r.key(text, "throttled_time")}
	} else if unified {
		text := r.text(u, "cpu.stat")
		s.Throttling = Throttling{r.key(text, "nr_periods"), r.key(text, "nr_throttled"), r.key(text, "throttled_usec") * 1000}
	}
}

func (r *reader) cpuset(s *CPUSetStats) {
	y, v1 := r.group.host.v1("cpuset")
	if !v1 {
		var ok bool
		if y, ok = r.group.host.unified(); !ok {
			return
		}
	}
	s.CPUs, s.Mems = r.list(y, "cpuset.cpus"), r.list(y, "cpuset.mems")
	if !v1 {
		return
	}
	for _, f := range [...]struct {
		to   *uint64
		file string
	}{
		{&s.CPUExclusive, "cpu_exclusive"},
		{&s.MemHardwall, "mem_hardwall"},
		{&s.MemExclusive, "mem_exclusive"},
		{&s.MemoryMigrate, "memory_migrate"},
		{&s.MemorySpreadPage, "memory_spread_page"},
		{&s.MemorySpreadSlab, "memory_spread_slab"},
		{&s.MemoryPressure, "memory_pressure"},
		{&s.SchedLoadBalance, "sched_load_balance"},
	} {
		*f.to = r.number(y, "cpuset."+f.file)
	}
	if level, err := strconv.ParseInt(strings.TrimSpace(r.text(y, "cpuset.sched_relax_domain_level")), 10, 64); err == nil {
		s.SchedRelaxDomainLevel = level // -1 is the usual one
	}
}

// list reads a file such as "0-2,7".
func (r *reader) list(y Hierarchy, file string) []uint16 {
	set, err := parseSet(strings.TrimSpace(r.text(y, file)))
	if r.err == nil {
		r.err = err
	}
	return set
}

func (r *reader) memory(s *MemoryStats) {
	y, ok := r.group.host.v1("memory")
	if ok {
		s.Raw = r.flat(r.text(y, "memory.stat"))
		s.Cache = s.Raw["cache"]
		s.Usage, s.Swap = r.memoryUse(y, "memory"), r.memoryUse(y, "memory.memsw")
		s.Kernel, s.KernelTCP = r.memoryUse(y, "memory.kmem"), r.memoryUse(y, "memory.kmem.tcp")
		return
	}
	if y, ok = r.group.host.unified(); !ok {
		return
	}
	s.Raw = r.flat(r.text(y, "memory.stat"))
	if len(s.Raw) == 0 { // the controller is not enabled here
		return
	}
	s.Cache = s.Raw["file"]
	s.Usage = MemoryUse{Usage: r.number(y, "memory.current"), Limit: r.limit(y, "memory.max"), Max: r.number(y, "memory.peak")}
	if text := r.text(y, "memory.swap.current"); text != "" {
		s.Swap = MemoryUse{Usage: s.Usage.Usage + r.parse(strings.TrimSpace(text)), Limit: r.limit(y, "memory.swap.max")}
		if s.Swap.Limit != math.MaxUint64 {
			s.Swap.Limit += s.Usage.Limit
		}
	}
}

// memoryUse reads v1's four files of one count; those that the kernel was built or started without are zero.
func (r *reader) memoryUse(y Hierarchy, prefix string) MemoryUse {
	text := r.text(y, prefix+".usage_in_bytes")
	if text == "" {
		return MemoryUse{}
	}
	return MemoryUse{
		Usage: r.parse(strings.TrimSpace(text)), Limit: r.number(y, prefix+".limit_in_bytes"),
		Max: r.number(y, prefix+".max_usage_in_bytes"), Failcnt: r.number(y, prefix+".failcnt"),
	}
}

// limit reads a limit of v2.
func (r *reader) limit(y Hierarchy, file string) uint64 {
	text := strings.TrimSpace(r.text(y, file))
	if text == "max" {
		return math.MaxUint64
	}
	return r.parse(text)
}

// flat reads lines of "KEY NUMBER".
func (r *reader) flat(text string) map[string]uint64 {
	all := map[string]uint64{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok {
			all[key] = r.parse(value)
		}
	}
	return all
}

func (r *reader) pids(s *PidsStats) {
	y, ok := r.group.host.v1("pids")
	if !ok {
		if y, ok = r.group.host.unified(); !ok {
			return
		}
	}
	s.Current, s.Limit = r.number(y, "pids.current"), r.number(y, "pids.max")
}

func (r *reader) io(s *IOStats) {
	if y, ok := r.group.host.v1("blkio"); ok {
		r.ioV1(y, s)
		return
	}
	y, ok := r.group.host.unified()
	if !ok {
		return
	}
	// "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0"
	for line := range strings.Lines(r.text(y, "io.stat")) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		major, minor, ok := deviceNumbers(f[0])
		if !ok { // a kernel's own line without a device
			continue
		}
		for _, pair := range f[1:] {
			key, value, _ := strings.Cut(pair, "=")
			op, bytes := ioKey(key)
			switch {
			case op == "":
			case bytes:
				s.Bytes = append(s.Bytes, IOEntry{major, minor, op, r.parse(value)})
			default:
				s.Operations = append(s.Operations, IOEntry{major, minor, op, r.parse(value)})
			}
		}
	}
}

// ioKey gives io.stat's keys the names that v1 has.
func ioKey(key string) (op string, bytes bool) {
	switch key {
	case "rbytes", "rios":
		return "Read", key == "rbytes"
	case "wbytes", "wios":
		return "Write", key == "wbytes"
	case "dbytes", "dios":
		return "Discard", key == "dbytes"
	}
	return "", false
}

// ioV1 takes the figures of the I/O scheduler that keeps any, BFQ or CFQ, and those of throttling otherwise.
func (r *reader) ioV1(y Hierarchy, s *IOStats) {
	for _, scheduler := range [...]string{"bfq.", "", "throttle."} {
		s.Operations = r.ioEntries(y, "blkio."+scheduler+"io_serviced_recursive")
		if len(s.Operations) == 0 {
			continue
		}
		s.Bytes = r.ioEntries(y, "blkio."+scheduler+"io_service_bytes_recursive")
		if scheduler == "throttle." {
			return
		}
		s.Queued = r.ioEntries(y, "blkio."+scheduler+"io_queued_recursive")
		s.ServiceTime = r.ioEntries(y, "blkio."+scheduler+"io_service_time_recursive")
		s.WaitTime = r.ioEntries(y, "blkio."+scheduler+"io_wait_time_recursive")
		s.Merged = r.ioEntries(y, "blkio."+scheduler+"io_merged_recursive")
		s.Time = r.ioEntries(y, "blkio."+scheduler+"time_recursive")
		s.Sectors = r.ioEntries(y, "blkio."+scheduler+"sectors_recursive")
		return
	}
}

// ioEntries reads lines of "8:0 Read 4096" or "8:0 4096"; the line "Total 4096" at the end is of no device.
func (r *reader) ioEntries(y Hierarchy, file string) []IOEntry {
	var all []IOEntry
	for line := range strings.Lines(r.text(y, file)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		major, minor, ok := deviceNumbers(f[0])
		if !ok {
			continue
		}
		e := IOEntry{Major: major, Minor: minor, Value: r.parse(f[len(f)-1])}
		if len(f) == 3 {
			e.Op = f[1]
		}
		all = append(all, e)
	}
	return all
}

// deviceNumbers reads "8:16".
func deviceNumbers(s string) (major, minor uint64, ok bool) {
	a, b, colon := strings.Cut(s, ":")
	major, aerr := strconv.ParseUint(a, 10, 32)
	minor, berr := strconv.ParseUint(b, 10, 32)
	return major, minor, colon && aerr == nil && berr == nil
}

// hugetlb reads every page size that the kernel has files for.
func (r *reader) hugetlb() map[string]HugetlbStats {
	y, v1 := r.group.host.v1("hugetlb")
	usage := ".usage_in_bytes"
	if !v1 {
		var ok bool
		if y, ok = r.group.host.unified(); !ok {
			return nil
		}
		usage = ".current"
	}
	entries, err := os.ReadDir(r.group.Dir(y))
	if err != nil {
		if r.err == nil {
			r.err = err
		}
		return nil
	}
	all := map[string]HugetlbStats{}
	for _, e := range entries {
		size, ok := strings.CutSuffix(strings.TrimPrefix(e.Name(), "hugetlb."), usage)
		if !ok || !pageSize(size) { // ".rsvd" is looked for below
			continue
		}
		prefix := "hugetlb." + size + ".rsvd"
		now := r.text(y, prefix+usage)
		if now == "" { // Linux before 5.7
			prefix = "hugetlb." + size
			now = r.text(y, prefix+usage)
		}
		s := HugetlbStats{Usage: r.parse(strings.TrimSpace(now))}
		if v1 {
			s.Max, s.Failcnt = r.number(y, prefix+".max_usage_in_bytes"), r.number(y, prefix+".failcnt")
		} else {
			s.Failcnt = r.key(r.text(y, "hugetlb."+size+".events"), "max")
		}
		all[size] = s
	}
	return all
}

// psi reads lines of "some avg10=0.00 avg60=0.00 avg300=0.00 total=0".
func (r *reader) psi(y Hierarchy, file string) *PSI {
	text := r.text(y, file)
	if text == "" {
		return nil
	}
	var p PSI
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		to := &p.Some
		if f[0] == "full" {
			to = &p.Full
		}
		for _, pair := range f[1:] {
			key, value, _ := strings.Cut(pair, "=")
			percent, _ := strconv.ParseFloat(value, 64)
			switch key {
			case "avg10":
				to.Avg10 = percent
			case "avg60":
				to.Avg60 = percent
			case "avg300":
				to.Avg300 = percent
			case "total":
				to.Total = r.parse(value)
			}
		}
	}
	return &p
}

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Stats is what a group and all below it use. What the host has no controller or no file for is zero. As JSON it is
// the data of the "stats" events that runc's events command writes, in runc's names.
type Stats struct {
	CPU     CPUStats                `json:"cpu"`
	CPUSet  CPUSetStats             `json:"cpuset"`
	Memory  MemoryStats             `json:"memory"`
	Pids    PidsStats               `json:"pids"`
	IO      IOStats                 `json:"blkio"`
	Hugetlb map[string]HugetlbStats `json:"hugetlb"` // by page size: "2MB"
}

// CPUStats counts from the group's beginning.
type CPUStats struct {
	Usage      CPUUsage   `json:"usage"`
	Throttling Throttling `json:"throttling"`
	PSI        *PSI       `json:"psi,omitempty"`
}

// CPUUsage is in nanoseconds. Only v1 tells it by CPU.
type CPUUsage struct {
	Total        uint64   `json:"total,omitempty"`
	PerCPU       []uint64 `json:"percpu,omitempty"`
	PerCPUKernel []uint64 `json:"percpu_kernel,omitempty"`
	PerCPUUser   []uint64 `json:"percpu_user,omitempty"`
	Kernel       uint64   `json:"kernel"` // on v1 exact to the tick, 10 ms, as is User
	User         uint64   `json:"user"`
}

// Throttling tells what the quota of CPU time did.
type Throttling struct {
	Periods          uint64 `json:"periods,omitempty"`          // in which the group could run
	ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"` // of these, the ones that used the quota up
	ThrottledNanos   uint64 `json:"throttledTime,omitempty"`
}

// CPUSetStats are the group's CPUs, its memory nodes, and the flags of v1 (cpuset(7)).
type CPUSetStats struct {
	CPUs                  []uint16 `json:"cpus,omitempty"`
	CPUExclusive          uint64   `json:"cpu_exclusive"`
	Mems                  []uint16 `json:"mems,omitempty"`
	MemHardwall           uint64   `json:"mem_hardwall"`
	MemExclusive          uint64   `json:"mem_exclusive"`
	MemoryMigrate         uint64   `json:"memory_migrate"`
	MemorySpreadPage      uint64   `json:"memory_spread_page"`
	MemorySpreadSlab      uint64   `json:"memory_spread_slab"`
	MemoryPressure        uint64   `json:"memory_pressure"`
	SchedLoadBalance      uint64   `json:"sched_load_balance"`
	SchedRelaxDomainLevel int64    `json:"sched_relax_domain_level"`
}

// MemoryStats is in bytes.
type MemoryStats struct {
	Cache     uint64            `json:"cache,omitempty"` // file pages
	Usage     MemoryUse         `json:"usage"`
	Swap      MemoryUse         `json:"swap"` // memory and swap together, as v1 counts; no Max on v2
	Kernel    MemoryUse         `json:"kernel"`
	KernelTCP MemoryUse         `json:"kernelTCP"`
	Raw       map[string]uint64 `json:"raw,omitempty"` // memory.stat as it is
	PSI       *PSI              `json:"psi,omitempty"`
}

// MemoryUse is one count of memory. No limit is what the kernel gives for it: see Bounded.
type MemoryUse struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"` // the highest Usage so far; zero where the kernel does not tell (v2 before Linux 5.19)
	Failcnt uint64 `json:"failcnt"`       // how often the limit was hit; v1 only
}

// unlimited is the least value that v1 prints for "no limit": the page counter's maximum in bytes, which depends on
// the page size. v2's "max" is read as math.MaxUint64.
const unlimited = math.MaxInt64 &^ 0xffff

// Bounded returns the limit, or zero when there is none.
func (m MemoryUse) Bounded() uint64 {
	if m.Limit >= unlimited {
		return 0
	}
	return m.Limit
}

// WorkingSet is the use without file pages that can go at once, as kubelet reckons.
func (m MemoryStats) WorkingSet() uint64 {
	idle, v1 := m.Raw["total_inactive_file"]
	if !v1 {
		idle = m.Raw["inactive_file"]
	}
	return m.Usage.Usage - min(m.Usage.Usage, idle)
}

// PidsStats counts tasks, which are threads. No limit is zero.
type PidsStats struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

// IOStats counts by device and operation since the group's beginning. Only an I/O scheduler that keeps the later
// figures has them.
type IOStats struct {
	Bytes       []IOEntry `json:"ioServiceBytesRecursive,omitempty"`
	Operations  []IOEntry `json:"ioServicedRecursive,omitempty"`
	Queued      []IOEntry `json:"ioQueueRecursive,omitempty"`
	ServiceTime []IOEntry `json:"ioServiceTimeRecursive,omitempty"` // ns
	WaitTime    []IOEntry `json:"ioWaitTimeRecursive,omitempty"`    // ns
	Merged      []IOEntry `json:"ioMergedRecursive,omitempty"`
	Time        []IOEntry `json:"ioTimeRecursive,omitempty"` // ms
	Sectors     []IOEntry `json:"sectorsRecursive,omitempty"`
	PSI         *PSI      `json:"psi,omitempty"`
}

// IOEntry is one device's count. Op is Read, Write, Sync, Async, Discard or Total, as the kernel has it.
type IOEntry struct {
	Major uint64 `json:"major,omitempty"`
	Minor uint64 `json:"minor,omitempty"`
	Op    string `json:"op,omitempty"`
	Value uint64 `json:"value,omitempty"`
}

// Transferred returns the bytes of all devices that were read and written.
func (s IOStats) Transferred() (read, written uint64) {
	for _, e := range s.Bytes {
		switch e.Op {
		case "Read":
			read += e.Value
		case "Write":
			written += e.Value
		}
	}
	return read, written
}

// HugetlbStats is in bytes: of reservations where the kernel counts them, else of pages in use.
type HugetlbStats struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"` // v1 only
	Failcnt uint64 `json:"failcnt"`
}

// PSI is how long tasks of the group waited for a resource (accounting/psi.rst). Only the unified hierarchy tells.
type PSI struct {
	Some Pressure `json:"some"`
	Full Pressure `json:"full"`
}

// Pressure is the share of time lost, in percent, over three spans of seconds, and the time lost, in microseconds.
type Pressure struct {
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	Total  uint64  `json:"total"`
}

// Stats reads the group's use. A group that does not exist is fs.ErrNotExist.
func (g *Group) Stats() (Stats, error) {
	r := reader{group: g}
	var s Stats
	r.cpu(&s.CPU)
	r.cpuset(&s.CPUSet)
	r.memory(&s.Memory)
	r.pids(&s.Pids)
	r.io(&s.IO)
	s.Hugetlb = r.hugetlb()
	if y, ok := g.host.unified(); ok {
		s.CPU.PSI, s.Memory.PSI, s.IO.PSI = r.psi(y, "cpu.pressure"), r.psi(y, "memory.pressure"), r.psi(y, "io.pressure")
	}
	if r.err != nil {
		return Stats{}, fmt.Errorf("cannot read the use of cgroup %s: %w", g.path, r.err)
	}
	return s, nil
}

// OOMKills returns how many processes the kernel has killed for want of memory: in the group itself on v1, in the
// group and below it on v2. Zero where the host has no memory controller.
func (g *Group) OOMKills() (uint64, error) {
	y, ok := g.host.v1("memory")
	file := "memory.oom_control"
	if !ok {
		if y, ok = g.host.unified(); !ok {
			return 0, nil
		}
		file = "memory.events"
	}
	r := reader{group: g}
	n := r.key(r.text(y, file), "oom_kill")
	if r.err != nil {
		return 0, fmt.Errorf("cannot read the OOM kills of cgroup %s: %w", g.path, r.err)
	}
	return n, nil
}

// reader reads files of a group and keeps the first error.
type reader struct {
	group *Group
	err   error
}

// text returns a file's content, "" for one that is not there although the group is: a controller that is not
// enabled, a file of another kernel, pressure that the kernel was told not to count.
func (r *reader) text(y Hierarchy, file string) string {
	if r.err != nil {
		return ""
	}
	dir := r.group.Dir(y)
	text, err := readFile(dir+"/"+file, listFile)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return ""
	}
	if errors.Is(err, fs.ErrNotExist) {
		if derr := unix.Access(dir, unix.F_OK); derr != nil {
			r.err = &fs.PathError{Op: "access", Path: dir, Err: derr}
		}
		return ""
	}
	r.err = err
	return text
}

func (r *reader) number(y Hierarchy, file string) uint64 {
	return r.parse(strings.TrimSpace(r.text(y, file)))
}

func (r *reader) key(text, key string) uint64 {
	n, err := keyed(text, key)
	if r.err == nil {
		r.err = err
	}
	return n
}

func (r *reader) parse(s string) uint64 {
	n, err := number(s)
	if r.err == nil {
		r.err = err
	}
	return n
}

// keyed returns the number that follows key on a line of its own in a "flat keyed" file; zero without such a line.
func keyed(text, key string) (uint64, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, key+" "); ok {
			return number(strings.TrimSpace(value))
		}
	}
	return 0, nil
}

// number reads a count; "max" and an absent file's "" are zero.
func number(s string) (uint64, error) {
	if s == "" || s == "max" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is no number", s)
	}
	return n, nil
}

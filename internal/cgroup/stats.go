package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
)

// Stats is what a group and all below it use. What the host has no controller for is zero; so is a limit not set.
type Stats struct {
	CPU    CPUStats
	Memory MemoryStats
	Pids   PidsStats
	IO     IOStats
}

// CPUStats counts from the group's beginning.
type CPUStats struct {
	UsageNanos     uint64
	Periods        uint64 // periods of the quota in which it could run
	Throttled      uint64 // of these, the ones that used the quota up
	ThrottledNanos uint64
}

// MemoryStats is in bytes.
type MemoryStats struct {
	Usage      uint64
	WorkingSet uint64 // usage without inactive file pages, as kubelet reckons it
	RSS        uint64 // anonymous memory
	Swap       uint64
	Limit      uint64
	Peak       uint64 // of Usage; zero where the kernel does not tell (v2 before Linux 5.19)
}

// PidsStats counts tasks, which are threads.
type PidsStats struct{ Current, Limit uint64 }

// IOStats is in bytes since the group's beginning.
type IOStats struct{ ReadBytes, WriteBytes uint64 }

// unlimited is the least value that v1 prints for "no limit": the page counter's maximum in bytes, which depends on
// the page size.
const unlimited = math.MaxInt64 &^ 0xffff

// Stats reads the group's use. A group that does not exist is fs.ErrNotExist.
func (g *Group) Stats() (Stats, error) {
	r := reader{group: g}
	var s Stats
	g.readCPU(&r, &s.CPU)
	g.readMemory(&r, &s.Memory)
	g.readPids(&r, &s.Pids)
	g.readIO(&r, &s.IO)
	if r.err != nil {
		return Stats{}, fmt.Errorf("cannot read the use of cgroup %s: %w", g.path, r.err)
	}
	return s, nil
}

func (g *Group) readCPU(r *reader, s *CPUStats) {
	if y, ok := g.host.v1("cpuacct"); ok {
		s.UsageNanos = r.number(y, "cpuacct.usage")
	} else if y, ok := g.host.unified(); ok { // v2 counts CPU time with no controller enabled
		s.UsageNanos = r.key(r.text(y, "cpu.stat"), "usage_usec") * 1000
	}
	if y, ok := g.host.v1("cpu"); ok {
		text := r.text(y, "cpu.stat")
		s.Periods, s.Throttled = r.key(text, "nr_periods"), r.key(text, "nr_throttled")
		s.ThrottledNanos = r.key(text, "throttled_time")
	} else if y, ok := g.host.unified(); ok {
		text := r.text(y, "cpu.stat")
		s.Periods, s.Throttled = r.key(text, "nr_periods"), r.key(text, "nr_throttled")
		s.ThrottledNanos = r.key(text, "throttled_usec") * 1000
	}
}

func (g *Group) readMemory(r *reader, s *MemoryStats) {
	if y, ok := g.host.v1("memory"); ok {
		stat := r.text(y, "memory.stat")
		s.Usage, s.Peak = r.number(y, "memory.usage_in_bytes"), r.number(y, "memory.max_usage_in_bytes")
		s.WorkingSet = s.Usage - min(s.Usage, r.key(stat, "total_inactive_file"))
		s.RSS, s.Swap = r.key(stat, "total_rss"), r.key(stat, "total_swap")
		if s.Limit = r.number(y, "memory.limit_in_bytes"); s.Limit >= unlimited {
			s.Limit = 0
		}
		return
	}
	y, ok := g.host.unified()
	if !ok {
		return
	}
	stat := r.text(y, "memory.stat")
	s.Usage, s.Limit = r.number(y, "memory.current"), r.number(y, "memory.max")
	s.Peak, s.Swap = r.number(y, "memory.peak"), r.number(y, "memory.swap.current")
	s.WorkingSet = s.Usage - min(s.Usage, r.key(stat, "inactive_file"))
	s.RSS = r.key(stat, "anon")
}

func (g *Group) readPids(r *reader, s *PidsStats) {
	y, ok := g.host.v1("pids")
	if !ok {
		if y, ok = g.host.unified(); !ok {
			return
		}
	}
	s.Current, s.Limit = r.number(y, "pids.current"), r.number(y, "pids.max")
}

func (g *Group) readIO(r *reader, s *IOStats) {
	if y, ok := g.host.v1("blkio"); ok {
		for line := range strings.Lines(r.text(y, "blkio.throttle.io_service_bytes_recursive")) {
			// "8:0 Read 4096", and a line "Total 4096" at the end.
			if f := strings.Fields(line); len(f) == 3 {
				switch n := r.parse(f[2]); f[1] {
				case "Read":
					s.ReadBytes += n
				case "Write":
					s.WriteBytes += n
				}
			}
		}
		return
	}
	y, ok := g.host.unified()
	if !ok {
		return
	}
	for field := range strings.FieldsSeq(r.text(y, "io.stat")) {
		if n, ok := strings.CutPrefix(field, "rbytes="); ok {
			s.ReadBytes += r.parse(n)
		}
		if n, ok := strings.CutPrefix(field, "wbytes="); ok {
			s.WriteBytes += r.parse(n)
		}
	}
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
// enabled, or a file of a newer kernel.
func (r *reader) text(y Hierarchy, file string) string {
	if r.err != nil {
		return ""
	}
	dir := r.group.Dir(y)
	text, err := readFile(dir+"/"+file, smallFile)
	if errors.Is(err, fs.ErrNotExist) {
		if _, derr := readFile(dir+"/cgroup.procs", listFile); !errors.Is(derr, fs.ErrNotExist) {
			return ""
		}
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

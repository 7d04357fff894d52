package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Toll is what a group has used by now and how often it ran into its limits: the few figures that tell why something
// ended, read at each end. Stats has all. Zero is none, or not told by the host.
type Toll struct {
	MemoryPeak  uint64 // bytes
	MemoryLimit uint64 // bytes
	MemoryHits  uint64 // how often an allocation found the limit reached
	OOMKills    uint64 // as Group.OOMKills counts
	PidsLimit   uint64
	PidsHits    uint64 // forks that were refused
	CPUNanos    uint64
	Periods     uint64 // of the CPU quota, in which it wanted to run
	Throttled   uint64 // of these, the ones in which the quota was used up
}

// Toll reads the group's. A group that does not exist is fs.ErrNotExist. With an error comes what was read before it.
func (g *Group) Toll() (Toll, error) {
	r := reader{group: g}
	var t Toll
	memory, hasMemory := g.host.v1("memory")
	pids, hasPids := g.host.v1("pids")
	cpu, hasCPU := g.host.v1("cpu")
	acct, hasAcct := g.host.v1("cpuacct")
	unified, hasUnified := g.host.unified()
	switch {
	case hasMemory:
		t.MemoryPeak = r.number(memory, "memory.max_usage_in_bytes")
		// With equal limits of memory and of memory with swap the second is found reached first, and newer kernels count
		// that nowhere; but whoever was killed was at the limit.
		t.OOMKills = r.key(r.text(memory, "memory.oom_control"), "oom_kill")
		t.MemoryHits = max(r.number(memory, "memory.failcnt"), t.OOMKills)
		t.MemoryLimit = MemoryUse{Limit: r.number(memory, "memory.limit_in_bytes")}.Bounded()
	case hasUnified:
		t.MemoryPeak, t.MemoryLimit = r.number(unified, "memory.peak"), r.number(unified, "memory.max")
		events := r.text(unified, "memory.events")
		t.OOMKills = r.key(events, "oom_kill")
		t.MemoryHits = max(r.key(events, "max"), t.OOMKills)
	}
	if !hasPids {
		pids, hasPids = unified, hasUnified
	}
	if hasPids {
		t.PidsLimit, t.PidsHits = r.number(pids, "pids.max"), r.key(r.text(pids, "pids.events"), "max")
	}
	if hasAcct {
		t.CPUNanos = r.number(acct, "cpuacct.usage")
	} else if hasUnified {
		t.CPUNanos = r.key(r.text(unified, "cpu.stat"), "usage_usec") * 1000
	}
	if !hasCPU {
		cpu, hasCPU = unified, hasUnified
	}
	if hasCPU {
		text := r.text(cpu, "cpu.stat")
		t.Periods, t.Throttled = r.key(text, "nr_periods"), r.key(text, "nr_throttled")
	}
	if r.err != nil {
		return t, fmt.Errorf("cannot read what cgroup %s has used: %w", g.path, r.err)
	}
	return t, nil
}

// Victim is a process that the kernel killed for want of memory.
type Victim struct {
	PID  int    // in the host's PID namespace
	Name string // of the program, at most 15 bytes; what a container chose, not to be trusted
	UID  uint32
	// AnonBytes is what it had of memory that is no file's; zero where the kernel does not tell.
	AnonBytes uint64
}

// maxRecord is the longest record of the kernel's log (printk: PRINTKRB_RECORD_MAX is less).
const maxRecord = 8 << 10

// Victims reads the kernel's log (Documentation/ABI/testing/dev-kmsg) for the processes that were killed in the group
// or below it since a time. The log is a ring that others write too: what was overwritten is lost.
func (g *Group) Victims(since time.Time) ([]Victim, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot read the kernel's log: %w", err)
	}
	defer unix.Close(fd)
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return nil, fmt.Errorf("cannot read the kernel's clock: %w", err)
	}
	// The log's clock is not quite this one.
	const skew = time.Second
	from := time.Duration(now.Nano()) - time.Since(since) - skew
	var found []Victim
	buf := make([]byte, maxRecord)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR):
			continue // overwritten meanwhile; the next read goes on with the oldest there is
		case err != nil || n <= 0:
			return found, nil
		}
		found = victim(found, string(buf[:n]), g.path, from)
	}
}

// victim adds what a record of the kernel's log tells: of the group at path, at or after a time since boot. Two records
// tell of one kill, first whom and where, then how large it was.
func victim(found []Victim, record, path string, from time.Duration) []Victim {
	prefix, text, _ := strings.Cut(record, ";")
	text, _, _ = strings.Cut(text, "\n")
	fields := strings.Split(prefix, ",")
	if len(fields) < 3 {
		return found
	}
	micros, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil || time.Duration(micros)*time.Microsecond < from {
		return found
	}
	switch {
	case strings.HasPrefix(text, "oom-kill:"):
		if v, ok := parseKill(text, path); ok {
			found = append(found, v)
		}
	case strings.Contains(text, "Killed process ") && len(found) > 0:
		last := &found[len(found)-1]
		_, after, _ := strings.Cut(text, "Killed process "+strconv.Itoa(last.PID)+" (")
		// The name in parentheses may hold anything; the numbers are after its end.
		if _, size, ok := strings.Cut(after[strings.LastIndexByte(after, ')')+1:], "anon-rss:"); ok {
			kilobytes, _, _ := strings.Cut(size, "kB")
			if n, err := strconv.ParseUint(kilobytes, 10, 50); err == nil {
				last.AnonBytes = n << 10
			}
		}
	}
	return found
}

// parseKill reads "oom-kill:constraint=…,oom_memcg=…,task_memcg=/a/b,task=NAME,pid=N,uid=N". A name may hold commas.
func parseKill(text, path string) (Victim, bool) {
	_, rest, ok := strings.Cut(text, ",task_memcg=")
	group, rest, ok2 := strings.Cut(rest, ",task=")
	if !ok || !ok2 || !within(group, path) {
		return Victim{}, false
	}
	at, at2 := strings.LastIndex(rest, ",pid="), strings.LastIndex(rest, ",uid=")
	if at < 0 || at2 < at {
		return Victim{}, false
	}
	pid, err := strconv.Atoi(rest[at+len(",pid=") : at2])
	uid, err2 := strconv.ParseUint(rest[at2+len(",uid="):], 10, 32)
	if err != nil || err2 != nil {
		return Victim{}, false
	}
	return Victim{PID: pid, Name: rest[:at], UID: uint32(uid)}, true
}

// within says whether a group of the kernel's is that at path or below it. The kernel tells the path from the root of
// all; ours is below the mount point, which may be further down.
func within(group, path string) bool {
	path = "/" + strings.Trim(path, "/")
	i := strings.LastIndex(group, path)
	return i >= 0 && (len(group) == i+len(path) || group[i+len(path)] == '/')
}

package plan

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// policies are the scheduling policies by their numbers (linux/sched.h); no Linux has SCHED_ISO.
var policies = []specs.LinuxSchedulerPolicy{
	specs.SchedOther, specs.SchedFIFO, specs.SchedRR, specs.SchedBatch, specs.SchedISO, specs.SchedIdle, specs.SchedDeadline,
}

// schedulerFlags are the flags of sched_setattr(2): the index is the bit.
var schedulerFlags = []specs.LinuxSchedulerFlag{
	specs.SchedFlagResetOnFork, specs.SchedFlagReclaim, specs.SchedFlagDLOverrun, specs.SchedFlagKeepPolicy, specs.SchedFlagKeepParams,
	specs.SchedFlagUtilClampMin, specs.SchedFlagUtilClampMax,
}

// scheduler sets policy and priority. It takes the host's CAP_SYS_NICE for most, so it comes before the capabilities go.
func (p *program) scheduler(s *specs.Scheduler) error {
	if s == nil {
		return nil
	}
	p.origin = "process.scheduler"
	policy := -1
	for i, n := range policies {
		if n == s.Policy {
			policy = i
		}
	}
	realtime := s.Policy == specs.SchedFIFO || s.Policy == specs.SchedRR
	switch {
	case policy < 0:
		return fmt.Errorf("process.scheduler.policy: no policy %q", s.Policy)
	case s.Policy == specs.SchedISO:
		return fmt.Errorf("process.scheduler.policy: Linux has no %s", s.Policy)
	case s.Nice < -20 || s.Nice > 19:
		return fmt.Errorf("process.scheduler.nice: %d is not from -20 to 19", s.Nice)
	case realtime && (s.Priority < 1 || s.Priority > 99):
		return fmt.Errorf("process.scheduler.priority: %d is not from 1 to 99, as %s needs it", s.Priority, s.Policy)
	case !realtime && s.Priority != 0:
		return fmt.Errorf("process.scheduler.priority: %d, but %s has no priorities", s.Priority, s.Policy)
	case s.Policy != specs.SchedDeadline && (s.Runtime != 0 || s.Deadline != 0 || s.Period != 0):
		return fmt.Errorf("process.scheduler: runtime, deadline and period are for %s, not %s", specs.SchedDeadline, s.Policy)
	}
	flags, err := schedulerFlagsOf(s.Flags)
	if err != nil {
		return err
	}
	var b [unix.SizeofSchedAttr]byte
	binary.NativeEndian.PutUint32(b[0:], unix.SizeofSchedAttr)
	binary.NativeEndian.PutUint32(b[4:], uint32(policy))
	binary.NativeEndian.PutUint64(b[8:], flags)
	binary.NativeEndian.PutUint32(b[16:], uint32(s.Nice))
	binary.NativeEndian.PutUint32(b[20:], uint32(s.Priority))
	binary.NativeEndian.PutUint64(b[24:], s.Runtime)
	binary.NativeEndian.PutUint64(b[32:], s.Deadline)
	binary.NativeEndian.PutUint64(b[40:], s.Period)
	p.add("schedule by "+string(s.Policy), SchedSetattr, Int(0), Bytes(b[:]), Int(0)).sh(shellScheduler(s))
	return nil
}

func schedulerFlagsOf(list []specs.LinuxSchedulerFlag) (flags uint64, err error) {
flag:
	for i, n := range list {
		for bit, f := range schedulerFlags {
			if f == n {
				flags |= 1 << bit
				continue flag
			}
		}
		return 0, fmt.Errorf("process.scheduler.flags[%d]: no flag %q", i, n)
	}
	return flags, nil
}

// ioPriority sets the class and level of block I/O (ioprio_set(2)).
func (p *program) ioPriority(prio *specs.LinuxIOPriority) error {
	if prio == nil {
		return nil
	}
	p.origin = "process.ioPriority"
	var class int
	switch prio.Class {
	case specs.IOPRIO_CLASS_RT:
		class = 1
	case specs.IOPRIO_CLASS_BE:
		class = 2
	case specs.IOPRIO_CLASS_IDLE:
		class = 3
	default:
		return fmt.Errorf("process.ioPriority.class: no class %q", prio.Class)
	}
	if prio.Priority < 0 || prio.Priority > 7 {
		return fmt.Errorf("process.ioPriority.priority: %d is not from 0 to 7", prio.Priority)
	}
	const ofProcess = 1 // IOPRIO_WHO_PROCESS
	p.add(fmt.Sprintf("set I/O priority %s %d", prio.Class, prio.Priority), IoprioSet, Int(ofProcess), Int(0), Int(class<<13|prio.Priority)).
		sh(fmt.Sprintf("ionice -c %d -n %d -p $$", class, prio.Priority))
	return nil
}

// personality sets the execution domain (personality(2)); the runtime specification has no flags for it yet.
func (p *program) personality(v *specs.LinuxPersonality) error {
	if v == nil {
		return nil
	}
	p.origin = "linux.personality"
	domain := 0
	switch v.Domain {
	case specs.PerLinux:
	case specs.PerLinux32:
		domain = 0x0008
	default:
		return fmt.Errorf("linux.personality.domain: no domain %q", v.Domain)
	}
	if len(v.Flags) > 0 {
		return fmt.Errorf("linux.personality.flags: no flag %q", v.Flags[0])
	}
	p.add("be of personality "+string(v.Domain), Personality, Int(domain)).sh(bySetarch + strings.ToLower(string(v.Domain)))
	return nil
}

// affinity binds an exec to CPUs: list is as taskset(1) and cpuset(7) have it.
func (p *program) affinity(field, list string) error {
	if list == "" {
		return nil
	}
	mask, err := cpuMask(list)
	if err != nil {
		return fmt.Errorf("process.execCPUAffinity.%s: %w", field, err)
	}
	p.origin = "process.execCPUAffinity." + field
	p.add("run on CPUs "+list, SchedSetaffinity, Int(0), Int(len(mask)), Bytes(mask)).sh("taskset -pc", list, "$$")
	return nil
}

// checkAffinity is for an init, which has no use for it.
func checkAffinity(a *specs.CPUAffinity) error {
	p := &program{}
	if a == nil {
		return nil
	}
	if err := p.affinity("initial", a.Initial); err != nil {
		return err
	}
	return p.affinity("final", a.Final)
}

// maxCPU is more than any kernel is built for.
const maxCPU = 8192

// cpuMask reads a list such as 0-3,7.
func cpuMask(list string) ([]byte, error) {
	var mask [maxCPU / 8]byte
	top := 0
	for _, item := range strings.Split(list, ",") {
		from, to, ok := strings.Cut(item, "-")
		if !ok {
			to = from
		}
		a, err := strconv.ParseUint(from, 10, 16)
		b, err2 := strconv.ParseUint(to, 10, 16)
		if err != nil || err2 != nil || a > b || b >= maxCPU {
			return nil, fmt.Errorf("%s is no list of CPUs", strconv.Quote(clip(list)))
		}
		for n := a; n <= b; n++ {
			mask[n/8] |= 1 << (n % 8)
		}
		top = max(top, int(b))
	}
	// The kernel takes whole words.
	return mask[:(top/64+1)*8], nil
}

// clip shortens a text of the user's for an error.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// noID is the number that setresuid(2) and its like read as "leave it as it is": never a user.
const noID = math.MaxUint32

// shellScheduler is a policy as chrt(1) and renice(1) set it.
func shellScheduler(s *specs.Scheduler) string {
	name := strings.ToLower(strings.TrimPrefix(string(s.Policy), "SCHED_"))
	switch s.Policy {
	case specs.SchedDeadline:
		return fmt.Sprintf("chrt --deadline --sched-runtime %d --sched-deadline %d --sched-period %d -p 0 $$", s.Runtime, s.Deadline, s.Period)
	case specs.SchedFIFO, specs.SchedRR:
		return fmt.Sprintf("chrt --%s -p %d $$", name, s.Priority)
	}
	return fmt.Sprintf("chrt --%s -p 0 $$; renice -n %d -p $$", name, s.Nice)
}

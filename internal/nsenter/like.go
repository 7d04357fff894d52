package nsenter

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// Likened is what a program takes over from the target so that it can do what a process of the container can, and no
// more. The seccomp filter is not among it: a debugger would be of no use under it.
type Likened struct {
	UID, GID   uint32   // real ones, as the caller's user namespace has them
	Groups     []uint32 // as in UID
	Umask      uint32
	Bounding   uint64
	Permitted  uint64
	Effective  uint64
	Inherit    uint64
	Ambient    uint64
	NoNewPrivs bool
	Rlimits    []plan.Rlimit // by number (getrlimit(2))
	OOM        int           // oom_score_adj
}

// parseStatus reads /proc/PID/status (proc(5)). The kernel wrote it; what is not there stays 0.
func parseStatus(text string) (*Likened, error) {
	l := &Likened{}
	for line := range strings.Lines(text) {
		key, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), ":")
		words := strings.Fields(rest)
		if len(words) == 0 {
			continue
		}
		var err error
		switch key {
		case "Uid":
			l.UID, err = number32(words[0])
		case "Gid":
			l.GID, err = number32(words[0])
		case "Groups":
			for _, w := range words {
				var n uint32
				if n, err = number32(w); err != nil {
					break
				}
				l.Groups = append(l.Groups, n)
			}
		case "Umask":
			var n uint64
			n, err = strconv.ParseUint(words[0], 8, 32)
			l.Umask = uint32(n)
		case "NoNewPrivs":
			l.NoNewPrivs = words[0] == "1"
		default:
			if set := l.set(key); set != nil {
				*set, err = strconv.ParseUint(words[0], 16, 64)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	return l, nil
}

// parseLimits reads /proc/PID/limits, which has one line for each limit in the order of their numbers, below a heading
// (proc(5)). prlimit(2) would want CAP_SYS_RESOURCE for another user's.
func parseLimits(text string) ([]plan.Rlimit, error) {
	const name = 26 // the width of the first column
	var all []plan.Rlimit
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "Limit ") {
			continue
		}
		if len(line) < name {
			return nil, fmt.Errorf("%q is no limit", line)
		}
		f := strings.Fields(line[name:])
		if len(f) < 2 {
			return nil, fmt.Errorf("%q is no limit", line)
		}
		var pair [2]uint64
		for i := range pair {
			pair[i] = unix.RLIM_INFINITY
			if f[i] == "unlimited" {
				continue
			}
			var err error
			if pair[i], err = strconv.ParseUint(f[i], 10, 64); err != nil {
				return nil, fmt.Errorf("%q is no limit", line)
			}
		}
		all = append(all, plan.Rlimit{Soft: pair[0], Hard: pair[1]})
	}
	return all, nil
}

func (l *Likened) set(key string) *uint64 {
	switch key {
	case "CapBnd":
		return &l.Bounding
	case "CapPrm":
		return &l.Permitted
	case "CapEff":
		return &l.Effective
	case "CapInh":
		return &l.Inherit
	case "CapAmb":
		return &l.Ambient
	}
	return nil
}

func number32(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}

// idRange is one line of /proc/PID/uid_map: Count ids from Inner on are Outer and on for whoever reads it.
type idRange struct{ Inner, Outer, Count uint64 }

func parseMap(text string) (ranges []idRange) {
	for line := range strings.Lines(text) {
		var r idRange
		if n, _ := fmt.Sscan(line, &r.Inner, &r.Outer, &r.Count); n == 3 {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// inner is what an id of ours is called in the user namespace of these ranges.
func inner(ranges []idRange, id uint32) (uint32, bool) {
	for _, r := range ranges {
		if n := uint64(id); n >= r.Outer && n-r.Outer < r.Count {
			return uint32(r.Inner + n - r.Outer), true
		}
	}
	return 0, false
}

// limits are the target's, set while the caller's privileges are there. What takes more than those is left.
func (p *program) limits(l *Likened) {
	p.origin = "--like-container"
	score := strconv.Itoa(l.OOM)
	const file = "/proc/self/oom_score_adj"
	p.do("open "+file, "cannot open "+file+": ", plan.Openat, cwd, plan.Text(file), plan.Int(unix.O_WRONLY|unix.O_CLOEXEC)).Save = rFile
	p.do("set oom_score_adj "+score, "cannot set oom_score_adj: ", plan.Write, plan.Result(rFile), plan.Text(score), plan.Int(len(score))).Any = true
	for nr, r := range l.Rlimits {
		p.rlimit(fmt.Sprint("resource ", nr), nr, r).Any = true
	}
	p.do(fmt.Sprintf("umask %04o", l.Umask), "", plan.Umask, plan.Int(l.Umask))
}

// bound drops what the target may never have.
func (p *program) bound(l *Likened, last int) {
	for i := 0; i <= last; i++ {
		if l.Bounding&(1<<i) == 0 {
			p.do("never have "+capability(i), "cannot drop capability from bounding set: ", plan.Prctl, plan.Int(unix.PR_CAPBSET_DROP), plan.Int(i), plan.Int(0), plan.Int(0), plan.Int(0))
		}
	}
}

// capability is the name of a capability.
func capability(n int) string {
	if all := plan.Capabilities(); n < len(all) {
		return all[n]
	}
	return fmt.Sprint("capability ", n)
}

package birth

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// ticks is the processor's own clock, which the child reads too.
func ticks() uint64

// clock is the means to turn ticks into time: both clocks at one moment.
type clock struct {
	ticks uint64
	wall  time.Time
}

func now() clock { return clock{ticks(), time.Now()} }

// moment is when an op was done, in ticks, and what came of it.
type moment struct {
	at     uint64
	result int64
}

// measure makes the child note the moment of each op.
func (a *arena) measure() {
	b := a.alloc(int(unsafe.Sizeof(moment{})) * len(a.steps))
	a.clock = a.address(b)
	a.moments = unsafe.Slice((*moment)(unsafe.Pointer(b)), len(a.steps))
}

// spent reads the moments of the steps that were made, in order. The last, execve, has none: nobody came back from it.
func (a *arena) spent(p *plan.Plan, from clock) []plan.Spent {
	to := now()
	tick := float64(to.wall.Sub(from.wall)) / float64(max(1, to.ticks-from.ticks))
	var list []plan.Spent
	before := a.born
	for i, m := range a.moments {
		if m.at == 0 {
			continue
		}
		s := plan.Spent{Step: a.steps[i], Name: "begin", Call: plan.CloseRange, Took: time.Duration(float64(m.at-before) * tick)}
		if s.Step >= 0 {
			s.Name, s.Call = p.Steps[s.Step].Name, p.Steps[s.Step].Call
		}
		if m.result < 0 && m.result >= -4095 {
			s.Errno = unix.Errno(-m.result)
		}
		list = append(list, s)
		before = m.at
	}
	return list
}

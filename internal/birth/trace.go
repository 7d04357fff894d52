package birth

import (
	"time"
	"unsafe"

	"tripod/internal/plan"
)

// ticks is the processor's own clock, which the child reads too.
func ticks() uint64

// Spent is how long one step of a plan took.
type Spent struct {
	Step int
	Name string
	Took time.Duration
}

// clock is the means to turn ticks into time: both clocks at one moment.
type clock struct {
	ticks uint64
	wall  time.Time
}

func now() clock { return clock{ticks(), time.Now()} }

// measure makes the child note the time after each op.
func (a *arena) measure() {
	b := a.alloc(8 * len(a.steps))
	a.clock = uintptr(unsafe.Pointer(b))
	a.times = unsafe.Slice((*uint64)(unsafe.Pointer(b)), len(a.steps))
}

// spent reads the times of the steps that were made, in order. The last, execve, has none: nobody came back from it.
func (a *arena) spent(p *plan.Plan, from clock) []Spent {
	to := now()
	tick := float64(to.wall.Sub(from.wall)) / float64(max(1, to.ticks-from.ticks))
	var list []Spent
	before := a.born
	for i, at := range a.times {
		if at == 0 {
			continue
		}
		s := Spent{Step: a.steps[i], Name: "close the parent's descriptors", Took: time.Duration(float64(at-before) * tick)}
		if s.Step >= 0 {
			s.Name = p.Steps[s.Step].Name
		}
		list = append(list, s)
		before = at
	}
	return list
}

package life

import "time"

// Kubelet's values (pkg/kubelet: MaxContainerBackOff, backOffPeriod, minimumGracePeriodInSeconds).
const (
	backoffBase  = 10 * time.Second
	backoffMax   = 5 * time.Minute
	backoffReset = 10 * time.Minute
	minGrace     = 2 * time.Second // what a container that is told late has at least, if there is any grace
)

// Next returns the actions that are due now. It is pure: the same arguments give the same answer. Records are found by
// name; a container without one is Waiting. The caller takes all actions, brings the records up to date and asks again
// whenever one changes or a Wait is over. No action and no Finish: a container is at work and its end will be the next
// event.
func Next(l Life, records []Record, want Want, now time.Time) []Action {
	v := newView(&l, records, want, now)
	if v.closing {
		return v.stops()
	}
	var acts []Action
	var wait time.Duration
	for i := range l.Containers {
		switch v.fate[i] {
		case due:
			acts = append(acts, v.start(i))
		case later:
			wait = sooner(wait, v.delay[i])
		}
	}
	return appendWait(acts, wait)
}

// Pending says why the container called name does not run although it is to run: ReasonContainerCreating,
// ReasonPodInitializing or ReasonCrashLoopBackOff. It is "" for one that runs, has ended for good or is unknown.
func Pending(l Life, records []Record, want Want, now time.Time, name string) string {
	v := newView(&l, records, want, now)
	for i := range l.Containers {
		if l.Containers[i].Name != name {
			continue
		}
		switch {
		case v.fate[i] == held:
			return ReasonPodInitializing
		case v.fate[i] == later:
			return ReasonCrashLoopBackOff
		case v.fate[i] == due && v.recs[i].State == Waiting, v.recs[i].State == Creating:
			return ReasonContainerCreating
		}
	}
	return ""
}

// Pause is how long a container that has ended so has to wait, from its end, before it begins again.
func Pause(l Life, r Record) time.Duration {
	if r.State != Exited {
		return 0
	}
	return (&view{life: &l}).pause(&r)
}

// fate is what lies before a container.
type fate int

const (
	over  fate = iota // nothing more will happen to it
	live              // Creating or Running
	due               // begins now
	later             // begins when its back-off is over
	held              // begins when those before it allow
)

// view is a Life with the records in its order, and each container's fate.
type view struct {
	life    *Life
	recs    []Record
	want    Want
	now     time.Time
	fate    []fate
	delay   []time.Duration // until a later one begins
	closing bool            // nothing begins any more, what runs is to stop
}

func newView(l *Life, records []Record, want Want, now time.Time) *view {
	v := &view{life: l, want: want, now: now}
	v.recs = make([]Record, len(l.Containers))
	v.fate = make([]fate, len(l.Containers))
	v.delay = make([]time.Duration, len(l.Containers))
	for i := range l.Containers {
		v.recs[i] = recordOf(records, l.Containers[i].Name)
	}
	v.judge()
	return v
}

// judge gives each container its fate, in order: turn is whether those before have let the next one begin.
func (v *view) judge() {
	begun, failed := v.begun(), v.initFailed()
	turn, mainsOver := !failed, true
	for i := range v.recs {
		c, r := &v.life.Containers[i], &v.recs[i]
		switch {
		case r.State == Creating || r.State == Running:
			v.fate[i] = live
		case c.Ephemeral && r.State == Exited:
			v.fate[i] = over
		case c.Ephemeral:
			v.fate[i] = due
		case c.Init && !c.Sidecar() && r.State == Exited && (begun || r.ExitCode == 0):
			v.fate[i] = over
		case !turn && !begun:
			v.fate[i] = held
		case r.State == Waiting && r.Last == nil:
			v.fate[i] = due
		case r.State == Exited && !again(v.life, c, r):
			v.fate[i] = over
		default:
			v.fate[i], v.delay[i] = due, v.backoff(r)
			if v.delay[i] > 0 {
				v.fate[i] = later
			}
		}
		switch {
		case c.Ephemeral:
		case c.Init:
			passed := v.fate[i] == over || c.Sidecar() && r.State == Running
			turn = turn && passed
		default:
			mainsOver = mainsOver && v.fate[i] == over
		}
	}
	v.closing = v.want.Stop || failed || mainsOver && (turn || begun)
	if v.closing {
		for i := range v.fate {
			if v.fate[i] != live {
				v.fate[i] = over
			}
		}
	}
}

// begun says whether the main containers have had their turn: one is not Waiting, and no init container is. From then on
// a sidecar that crashes holds nobody back.
func (v *view) begun() bool {
	main := false
	for i := range v.recs {
		waiting := v.recs[i].State == Waiting
		if v.life.Containers[i].Init && waiting {
			return false
		}
		main = main || v.life.Containers[i].main() && !waiting
	}
	return main
}

// initFailed says whether an init container failed and is not to begin again: no later container ever will begin.
func (v *view) initFailed() bool {
	for i := range v.recs {
		c, r := &v.life.Containers[i], &v.recs[i]
		if c.Init && r.State == Exited && r.ExitCode != 0 && !again(v.life, c, r) {
			return true
		}
	}
	return false
}

// again says whether a container that has exited is to begin again by its policy. An init container that succeeded never
// is, unless it is a sidecar.
func again(l *Life, c *Container, r *Record) bool {
	switch policy(l, c) {
	case Never:
		return false
	case OnFailure:
		return r.ExitCode != 0 && (l.MaxRestarts == nil || r.Attempt < *l.MaxRestarts)
	}
	return !c.Init || c.Sidecar() || r.ExitCode != 0
}

func policy(l *Life, c *Container) string {
	if c.Ephemeral {
		return Never
	}
	if c.RestartPolicy != "" {
		return c.RestartPolicy
	}
	return l.RestartPolicy
}

// start is the Action that begins container i, its first time or again.
func (v *view) start(i int) Action {
	r := &v.recs[i]
	a := Action{Kind: Start, Container: r.Name}
	if p := previous(r); p != nil {
		a.Attempt = p.Attempt + 1
		a.Crashes = v.crashes(r, p) + 1
	}
	return a
}

// previous is the exit that a start of r would follow, nil if there was none.
func previous(r *Record) *Record {
	if r.State == Exited {
		return r
	}
	return r.Last
}

// crashes counts the restarts that still matter: a long run forgets them.
func (v *view) crashes(r, p *Record) int {
	reset := orElse(v.life.Backoff.Reset, backoffReset)
	if !p.StartedAt.IsZero() && p.FinishedAt.Sub(p.StartedAt) > reset {
		return 0
	}
	return r.Crashes
}

// backoff is how long r's container still has to wait: nothing before the first restart, then Base, doubled at each
// further one up to Max, counted from its exit (client-go flowcontrol.Backoff, as kubelet uses it).
func (v *view) backoff(r *Record) time.Duration {
	return left(v.pause(r), previous(r).FinishedAt, v.now)
}

// pause is the whole of that wait.
func (v *view) pause(r *Record) time.Duration {
	n := v.crashes(r, previous(r))
	if n <= 0 {
		return 0
	}
	d, limit := orElse(v.life.Backoff.Base, backoffBase), orElse(v.life.Backoff.Max, backoffMax)
	for ; n > 1 && d < limit; n-- {
		d *= 2
	}
	return min(d, limit)
}

// stops is Next when the Pod is closing: main containers and init containers at once, sidecars after them, the last
// first.
func (v *view) stops() []Action {
	var acts []Action
	var wait time.Duration
	alive, busy := false, false
	for i := range v.recs {
		alive = alive || v.fate[i] == live
		busy = busy || v.fate[i] == live && !v.life.Containers[i].Sidecar()
	}
	if !alive {
		return []Action{{Kind: Finish}}
	}
	for i := len(v.recs) - 1; i >= 0; i-- {
		c, r := &v.life.Containers[i], &v.recs[i]
		if v.fate[i] != live {
			continue
		}
		if !c.Sidecar() || !busy {
			if r.State == Running {
				a, d := v.stop(r)
				acts, wait = append(acts, a...), sooner(wait, d)
			}
			busy = busy || c.Sidecar()
			continue
		}
		// A sidecar whose turn has not come: when the time for all is over, so is its own.
		if d := v.overall(); d > 0 {
			wait = sooner(wait, d)
		} else if v.want.Stop && r.State == Running {
			acts = append(acts, Action{Kind: Kill, Container: r.Name})
		}
	}
	return appendWait(acts, wait)
}

// stop takes a running container one step on: its signal, then SIGKILL when the grace is over. The second value is how
// long until then.
func (v *view) stop(r *Record) ([]Action, time.Duration) {
	grace := v.grace()
	if grace <= 0 {
		return []Action{{Kind: Kill, Container: r.Name}}, 0
	}
	own := min(grace, minGrace)
	if !v.want.Stop {
		own = grace
	}
	if r.TermAt.IsZero() {
		return []Action{{Kind: Stop, Container: r.Name}}, max(own, v.overall())
	}
	d := max(left(own, r.TermAt, v.now), v.overall())
	if d <= 0 {
		return []Action{{Kind: Kill, Container: r.Name}}, 0
	}
	return nil, d
}

func (v *view) grace() time.Duration {
	if v.want.Stop {
		return v.want.Grace
	}
	return v.life.Grace
}

// overall is what is left of the whole Pod's grace. Without a wanted stop no one set a time, and none is over.
func (v *view) overall() time.Duration {
	if !v.want.Stop {
		return 0
	}
	return left(v.want.Grace, v.want.At, v.now)
}

// left is what is left at now of d since start: never less than 0, and never more than d when the clock went back.
func left(d time.Duration, start, now time.Time) time.Duration {
	return max(0, min(d, d-now.Sub(start)))
}

func orElse(d, standard time.Duration) time.Duration {
	if d <= 0 {
		return standard
	}
	return d
}

// sooner is the shorter of two waits, 0 being none.
func sooner(a, b time.Duration) time.Duration {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}

func appendWait(acts []Action, d time.Duration) []Action {
	if d > 0 {
		acts = append(acts, Action{Kind: Wait, After: d})
	}
	return acts
}

package life

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var t0 = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return t0.Add(time.Duration(seconds) * time.Second) }

// line writes actions as one word each, so that a table can be read.
func line(acts []Action) string {
	var out []string
	for _, a := range acts {
		switch a.Kind {
		case Start:
			out = append(out, fmt.Sprintf("start %s.%d c%d", a.Container, a.Attempt, a.Crashes))
		case Wait:
			out = append(out, "wait "+a.After.String())
		case Finish:
			out = append(out, "finish")
		default:
			out = append(out, string(a.Kind)+" "+a.Container)
		}
	}
	return strings.Join(out, ", ")
}

func creating(name string) Record { return Record{Name: name, State: Creating} }
func running(name string) Record  { return Record{Name: name, State: Running, StartedAt: t0} }

func told(name string, seconds int) Record {
	r := running(name)
	r.TermAt = at(seconds)
	return r
}

// exited ran one second and ended with code at the given second.
func exited(name string, code, attempt, crashes, seconds int) Record {
	return Record{
		Name: name, State: Exited, ExitCode: code, Attempt: attempt, Crashes: crashes,
		StartedAt: at(seconds - 1), FinishedAt: at(seconds),
	}
}

func long(r Record, run time.Duration) Record {
	r.StartedAt = r.FinishedAt.Add(-run)
	return r
}

func pod(policy string, names ...string) Life {
	l := Life{Version: 1, RestartPolicy: policy, Grace: 30 * time.Second}
	for _, n := range names {
		c := Container{Name: n, Bundle: "/b/" + n, Init: n[0] == 'i' || n[0] == 's'}
		if n[0] == 's' {
			c.RestartPolicy = Always
		}
		l.Containers = append(l.Containers, c)
	}
	return l
}

// limited is a Pod that restarts on failure, n times at most.
func limited(n int, names ...string) Life {
	l := pod(OnFailure, names...)
	l.MaxRestarts = &n
	return l
}

func TestNext(t *testing.T) {
	stop := Want{Stop: true, At: t0, Grace: 30 * time.Second}
	now := Want{Stop: true, At: t0}
	for _, tt := range []struct {
		name    string
		life    Life
		records []Record
		want    Want
		at      int
		out     string
	}{
		{"nothing known", pod(Always, "a", "b"), nil, Want{}, 0, "start a.0 c0, start b.0 c0"},
		{"one begun", pod(Always, "a", "b"), []Record{creating("a")}, Want{}, 0, "start b.0 c0"},
		{"all run", pod(Always, "a", "b"), []Record{running("a"), running("b")}, Want{}, 0, ""},
		{"records in another order", pod(Always, "a", "b"), []Record{running("b")}, Want{}, 0, "start a.0 c0"},
		{"a record of no container", pod(Always, "a"), []Record{running("a"), running("x")}, Want{}, 0, ""},

		{"first init", pod(Always, "i1", "i2", "a"), nil, Want{}, 0, "start i1.0 c0"},
		{"init creating", pod(Always, "i1", "i2", "a"), []Record{creating("i1")}, Want{}, 0, ""},
		{"init runs", pod(Always, "i1", "i2", "a"), []Record{running("i1")}, Want{}, 0, ""},
		{"second init", pod(Always, "i1", "i2", "a"), []Record{exited("i1", 0, 0, 0, 5)}, Want{}, 5, "start i2.0 c0"},
		{"inits over", pod(Always, "i1", "a", "b"), []Record{exited("i1", 0, 0, 0, 5)}, Want{}, 5, "start a.0 c0, start b.0 c0"},
		{"init failed, Always", pod(Always, "i1", "a"), []Record{exited("i1", 1, 0, 0, 5)}, Want{}, 5, "start i1.1 c1"},
		{"init failed, OnFailure", pod(OnFailure, "i1", "a"), []Record{exited("i1", 1, 0, 0, 5)}, Want{}, 5, "start i1.1 c1"},
		{"init failed twice", pod(OnFailure, "i1", "a"), []Record{exited("i1", 1, 1, 1, 5)}, Want{}, 6, "wait 9s"},
		{"init failed, Never", pod(Never, "i1", "a"), []Record{exited("i1", 1, 0, 0, 5)}, Want{}, 5, "finish"},
		{"init of old is not run for a crash", pod(Always, "i1", "a"), []Record{exited("i1", 0, 0, 0, 5), exited("a", 1, 0, 0, 9)}, Want{}, 9, "start a.1 c1"},

		{"exit 0, Always", pod(Always, "a"), []Record{exited("a", 0, 0, 0, 5)}, Want{}, 5, "start a.1 c1"},
		{"exit 0, OnFailure", pod(OnFailure, "a", "b"), []Record{exited("a", 0, 0, 0, 5), running("b")}, Want{}, 5, ""},
		{"exit 1, OnFailure", pod(OnFailure, "a", "b"), []Record{exited("a", 1, 0, 0, 5), running("b")}, Want{}, 5, "start a.1 c1"},
		{"exit 1, Never", pod(Never, "a", "b"), []Record{exited("a", 1, 0, 0, 5), running("b")}, Want{}, 5, ""},
		{"exit 1, OnFailure, restarts left", limited(2, "a"), []Record{exited("a", 1, 1, 1, 5)}, Want{}, 5, "wait 10s"},
		{"exit 1, OnFailure, no restarts left", limited(2, "a", "b"), []Record{exited("a", 1, 2, 2, 5), running("b")}, Want{}, 5, ""},
		{"init failed, no restarts left", limited(2, "i1", "a"), []Record{exited("i1", 1, 2, 2, 5)}, Want{}, 5, "finish"},
		{"no restart at all", limited(0, "a"), []Record{exited("a", 1, 0, 0, 5)}, Want{}, 5, "finish"},
		{"all over, OnFailure", pod(OnFailure, "a", "b"), []Record{exited("a", 0, 0, 0, 5), exited("b", 0, 3, 3, 5)}, Want{}, 5, "finish"},
		{"all over, Never", pod(Never, "a", "b"), []Record{exited("a", 0, 0, 0, 5), exited("b", 7, 0, 0, 5)}, Want{}, 5, "finish"},

		{"second crash waits", pod(Always, "a"), []Record{exited("a", 1, 1, 1, 5)}, Want{}, 5, "wait 10s"},
		{"second crash, over", pod(Always, "a"), []Record{exited("a", 1, 1, 1, 5)}, Want{}, 15, "start a.2 c2"},
		{"third crash", pod(Always, "a"), []Record{exited("a", 1, 2, 2, 5)}, Want{}, 5, "wait 20s"},
		{"sixth crash", pod(Always, "a"), []Record{exited("a", 1, 5, 5, 5)}, Want{}, 5, "wait 2m40s"},
		{"seventh crash is at the end", pod(Always, "a"), []Record{exited("a", 1, 6, 6, 5)}, Want{}, 5, "wait 5m0s"},
		{"thousandth crash", pod(Always, "a"), []Record{exited("a", 1, 1000, 1000, 5)}, Want{}, 5, "wait 5m0s"},
		{"ran ten minutes", pod(Always, "a"), []Record{long(exited("a", 1, 6, 6, 5), 10*time.Minute)}, Want{}, 5, "wait 5m0s"},
		{"ran longer: forgotten", pod(Always, "a"), []Record{long(exited("a", 1, 6, 6, 5), 10*time.Minute+1)}, Want{}, 5, "start a.7 c1"},
		{"the clock went back", pod(Always, "a"), []Record{exited("a", 1, 1, 1, 5000)}, Want{}, 5, "wait 10s"},
		{"the nearest wait counts", pod(Always, "a", "b"), []Record{exited("a", 1, 2, 2, 5), exited("b", 1, 1, 1, 8)}, Want{}, 9, "wait 9s"},

		{"sidecar first", pod(Always, "s1", "i2", "a"), nil, Want{}, 0, "start s1.0 c0"},
		{"sidecar creating holds", pod(Always, "s1", "i2", "a"), []Record{creating("s1")}, Want{}, 0, ""},
		{"sidecar runs", pod(Always, "s1", "i2", "a"), []Record{running("s1")}, Want{}, 0, "start i2.0 c0"},
		{"sidecar crashed before", pod(Never, "s1", "a"), []Record{exited("s1", 1, 0, 0, 5)}, Want{}, 5, "start s1.1 c1"},
		{"sidecar crashed during", pod(Never, "s1", "a", "b"), []Record{exited("s1", 0, 1, 1, 5), running("a")}, Want{}, 5, "start b.0 c0, wait 10s"},
		{"mains over: sidecars in turn", pod(Never, "s1", "s2", "a"), []Record{running("s1"), running("s2"), exited("a", 0, 0, 0, 5)}, Want{}, 5, "stop s2, wait 30s"},
		{"mains over: the first one", pod(Never, "s1", "s2", "a"), []Record{told("s1", 9), exited("s2", 143, 0, 0, 8), exited("a", 0, 0, 0, 5)}, Want{}, 12, "wait 27s"},
		{"mains over: it does not go", pod(Never, "s1", "a"), []Record{told("s1", 9), exited("a", 0, 0, 0, 5)}, Want{}, 39, "kill s1"},
		{"init failed: sidecar stops", pod(Never, "s1", "i2", "a"), []Record{running("s1"), exited("i2", 3, 0, 0, 5)}, Want{}, 5, "stop s1, wait 30s"},
		{"init failed: all gone", pod(Never, "s1", "i2", "a"), []Record{exited("s1", 143, 0, 0, 6), exited("i2", 3, 0, 0, 5)}, Want{}, 6, "finish"},

		{"stop: nothing ran", pod(Always, "a"), nil, stop, 0, "finish"},
		{"stop: in back-off", pod(Always, "a"), []Record{exited("a", 1, 1, 1, 5)}, stop, 5, "finish"},
		{"stop: creating is waited for", pod(Always, "a"), []Record{creating("a")}, stop, 5, ""},
		{"stop: all at once", pod(Always, "a", "b"), []Record{running("a"), running("b")}, stop, 0, "stop b, stop a, wait 30s"},
		{"stop: init likewise", pod(Always, "i1", "a"), []Record{running("i1")}, stop, 0, "stop i1, wait 30s"},
		{"stop: told", pod(Always, "a"), []Record{told("a", 0)}, stop, 10, "wait 20s"},
		{"stop: one left", pod(Always, "a", "b"), []Record{exited("a", 143, 0, 0, 5), told("b", 0)}, stop, 10, "wait 20s"},
		{"stop: grace over", pod(Always, "a", "b"), []Record{told("a", 0), told("b", 0)}, stop, 30, "kill b, kill a"},
		{"stop: told late has two seconds", pod(Always, "a"), []Record{told("a", 29)}, stop, 30, "wait 1s"},
		{"stop: no grace", pod(Always, "a"), []Record{running("a")}, now, 0, "kill a"},
		{"stop: grace taken back", pod(Always, "a"), []Record{told("a", 0)}, now, 1, "kill a"},
		{"stop: the clock went back", pod(Always, "a"), []Record{told("a", 500)}, stop, -500, "wait 30s"},
		{"stop: sidecar later", pod(Always, "s1", "a"), []Record{running("s1"), running("a")}, stop, 0, "stop a, wait 30s"},
		{"stop: sidecar after", pod(Always, "s1", "a"), []Record{running("s1"), exited("a", 143, 0, 0, 4)}, stop, 4, "stop s1, wait 26s"},
		{"stop: sidecar's turn never came", pod(Always, "s1", "a"), []Record{running("s1"), told("a", 0)}, stop, 30, "kill a, kill s1"},
		{"stop: done", pod(Always, "a"), []Record{exited("a", 143, 0, 0, 4)}, stop, 4, "finish"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := line(Next(tt.life, tt.records, tt.want, at(tt.at))); got != tt.out {
				t.Errorf("got  %q\nwant %q", got, tt.out)
			}
		})
	}
}

func TestPending(t *testing.T) {
	l := pod(Always, "i1", "a", "b")
	for _, tt := range []struct {
		name    string
		records []Record
		of, out string
	}{
		{"first", nil, "i1", ReasonContainerCreating},
		{"behind init", nil, "a", ReasonPodInitializing},
		{"under way", []Record{creating("i1")}, "i1", ReasonContainerCreating},
		{"runs", []Record{running("i1")}, "i1", ""},
		{"back-off", []Record{exited("i1", 0, 0, 0, 0), exited("a", 1, 1, 1, 5)}, "a", ReasonCrashLoopBackOff},
		{"init over", []Record{exited("i1", 0, 0, 0, 0)}, "i1", ""},
		{"unknown", nil, "x", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Pending(l, tt.records, Want{}, at(6), tt.of); got != tt.out {
				t.Errorf("got %q, want %q", got, tt.out)
			}
		})
	}
}

// world plays a keeper for one Pod: it takes the actions, and things happen in an order that chance decides.
type world struct {
	life    Life
	records []Record
	want    Want
	now     time.Time
	rnd     *rand.Rand
}

func (w *world) record(name string) *Record {
	for i := range w.records {
		if w.records[i].Name == name {
			return &w.records[i]
		}
	}
	w.records = append(w.records, Record{Name: name})
	return &w.records[len(w.records)-1]
}

// check takes one action and says what law it breaks.
func (w *world) check(a Action) error {
	r := w.record(a.Container)
	switch a.Kind {
	case Start:
		if r.State == Creating || r.State == Running {
			return fmt.Errorf("starts %s, which is %s", a.Container, r.State)
		}
		if w.want.Stop || w.failed() {
			return fmt.Errorf("starts %s though the Pod is closing", a.Container)
		}
		if r.State == Exited && a.Attempt != r.Attempt+1 {
			return fmt.Errorf("attempt %d after %d", a.Attempt, r.Attempt)
		}
		if err := w.order(a.Container); err != nil {
			return err
		}
		next := Record{Name: r.Name, State: Creating, Attempt: a.Attempt, Crashes: a.Crashes}
		if r.State == Exited {
			last := *r
			last.Last = nil
			next.Last = &last
		}
		*r = next
	case Stop, Kill:
		if r.State != Running {
			return fmt.Errorf("%ss %s, which is %q", a.Kind, a.Container, r.State)
		}
		if a.Kind == Stop {
			r.TermAt = w.now
			break
		}
		r.State, r.ExitCode, r.FinishedAt = Exited, 137, w.now
	}
	return nil
}

// failed says whether an init container under the policy Never has failed.
func (w *world) failed() bool {
	for i := range w.life.Containers {
		c := &w.life.Containers[i]
		if r := w.record(c.Name); c.Init && !c.Sidecar() && r.State == Exited && r.ExitCode != 0 && w.life.RestartPolicy == Never {
			return true
		}
	}
	return false
}

// order says whether name may begin: the init containers before it are complete, or run if they are sidecars.
func (w *world) order(name string) error {
	for i := range w.life.Containers {
		c := &w.life.Containers[i]
		if c.Name == name {
			return nil
		}
		r := w.record(c.Name)
		if c.Init && !c.Sidecar() && (r.State != Exited || r.ExitCode != 0) {
			return fmt.Errorf("starts %s before init %s is complete", name, c.Name)
		}
		if c.Sidecar() && r.State == Waiting {
			return fmt.Errorf("starts %s before sidecar %s", name, c.Name)
		}
	}
	return nil
}

// happen lets one container go on, if one is at work.
func (w *world) happen() {
	var able []*Record
	for i := range w.records {
		r := &w.records[i]
		if r.State == Creating || r.State == Running && (r.TermAt.IsZero() || w.rnd.IntN(3) == 0) {
			able = append(able, r)
		}
	}
	if len(able) == 0 {
		return
	}
	r := able[w.rnd.IntN(len(able))]
	if r.State == Creating && w.rnd.IntN(5) > 0 {
		r.State, r.StartedAt = Running, w.now
		return
	}
	r.State, r.FinishedAt, r.ExitCode = Exited, w.now, w.rnd.IntN(2)*w.rnd.IntN(200)
}

func play(seed uint64) error {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var names []string
	for i := range rnd.IntN(4) {
		names = append(names, fmt.Sprintf("%c%d", "is"[rnd.IntN(2)], i))
	}
	for i := range 1 + rnd.IntN(3) {
		names = append(names, fmt.Sprintf("m%d", i))
	}
	w := &world{life: pod([]string{Always, OnFailure, Never}[rnd.IntN(3)], names...), now: t0, rnd: rnd}
	stopAt := rnd.IntN(200)
	for step := range 2000 {
		if step == stopAt {
			w.want = Want{Stop: true, At: w.now, Grace: time.Duration(rnd.IntN(3)) * 15 * time.Second}
		}
		acts := Next(w.life, w.records, w.want, w.now)
		for _, a := range acts {
			if a.Kind == Finish {
				return w.finished()
			}
			if a.Kind == Wait && a.After <= 0 {
				return fmt.Errorf("step %d: an empty wait", step)
			}
			if err := w.check(a); err != nil {
				return fmt.Errorf("step %d: %w", step, err)
			}
		}
		if rnd.IntN(2) == 0 {
			w.happen()
		} else {
			w.now = w.now.Add(time.Duration(rnd.IntN(20)) * time.Second)
		}
	}
	return fmt.Errorf("never finishes: %+v", w.records)
}

func (w *world) finished() error {
	for _, r := range w.records {
		if r.State == Creating || r.State == Running {
			return fmt.Errorf("finishes though %s is %s", r.Name, r.State)
		}
	}
	if !w.want.Stop && w.life.RestartPolicy == Always {
		return fmt.Errorf("finishes a Pod that always restarts: %+v", w.records)
	}
	switch p := Phase(w.life, w.records, true); p {
	case PhaseSucceeded, PhaseFailed:
		return nil
	default:
		return fmt.Errorf("finished in phase %s", p)
	}
}

func TestNextLaws(t *testing.T) {
	for seed := range uint64(3000) {
		if err := play(seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func FuzzNext(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		if err := play(seed); err != nil {
			t.Error(err)
		}
	})
}

package life

import (
	"errors"
	"strings"
	"testing"
)

func TestPhase(t *testing.T) {
	again := creating("a")
	again.Last = &Record{Name: "a", State: Exited, ExitCode: 1}
	for _, tt := range []struct {
		name     string
		life     Life
		records  []Record
		finished bool
		out      string
	}{
		{"nothing known", pod(Always, "a"), nil, false, PhasePending},
		{"creating", pod(Always, "a"), []Record{creating("a")}, false, PhasePending},
		{"one of two runs", pod(Always, "a", "b"), []Record{running("a")}, false, PhasePending},
		{"both run", pod(Always, "a", "b"), []Record{running("a"), running("b")}, false, PhaseRunning},
		{"init runs", pod(Always, "i1", "a"), []Record{running("i1")}, false, PhasePending},
		{"init failed, again", pod(OnFailure, "i1", "a"), []Record{exited("i1", 1, 0, 0, 1)}, false, PhasePending},
		{"init failed, Never", pod(Never, "i1", "a"), []Record{exited("i1", 1, 0, 0, 1)}, false, PhaseFailed},
		{"init over", pod(Never, "i1", "a"), []Record{exited("i1", 0, 0, 0, 1), running("a")}, false, PhaseRunning},
		{"sidecar not yet", pod(Always, "s1", "a"), nil, false, PhasePending},
		{"sidecar and main", pod(Always, "s1", "a"), []Record{running("s1"), running("a")}, false, PhaseRunning},
		{"in back-off", pod(Always, "a"), []Record{exited("a", 1, 3, 3, 1)}, false, PhaseRunning},
		{"begins again", pod(Always, "a"), []Record{again}, false, PhaseRunning},
		{"exit 0, OnFailure", pod(OnFailure, "a"), []Record{exited("a", 0, 0, 0, 1)}, false, PhaseSucceeded},
		{"exit 1, OnFailure", pod(OnFailure, "a"), []Record{exited("a", 1, 0, 0, 1)}, false, PhaseRunning},
		{"exit 1, Never", pod(Never, "a", "b"), []Record{exited("a", 1, 0, 0, 1), exited("b", 0, 0, 0, 1)}, false, PhaseFailed},
		{"exit 1 and one runs", pod(Never, "a", "b"), []Record{exited("a", 1, 0, 0, 1), running("b")}, false, PhaseRunning},
		{"stopped well", pod(Always, "a"), []Record{exited("a", 0, 0, 0, 1)}, true, PhaseSucceeded},
		{"stopped by signal", pod(Always, "a"), []Record{exited("a", 143, 0, 0, 1)}, true, PhaseFailed},
		{"stopped before it ran", pod(Always, "a"), nil, true, PhaseFailed},
		{"stopped in init", pod(Always, "i1", "a"), []Record{exited("i1", 143, 0, 0, 1)}, true, PhaseFailed},
		{"stopped, sidecar by signal", pod(Always, "s1", "a"), []Record{exited("s1", 143, 0, 0, 1), exited("a", 0, 0, 0, 1)}, true, PhaseSucceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Phase(tt.life, tt.records, tt.finished); got != tt.out {
				t.Errorf("got %s, want %s", got, tt.out)
			}
		})
	}
}

func TestReset(t *testing.T) {
	for _, tt := range []struct {
		name    string
		life    Life
		records []Record
		out     string // what Next then says
	}{
		{"Always", pod(Always, "i1", "a"), []Record{exited("i1", 0, 0, 0, 1), exited("a", 137, 4, 0, 9)}, "start i1.1 c1"},
		{"Always, crashed before", pod(Always, "a"), []Record{exited("a", 137, 4, 2, 9)}, "wait 20s"},
		{"OnFailure: the one that failed", pod(OnFailure, "a", "b"), []Record{exited("a", 0, 0, 0, 1), exited("b", 137, 0, 0, 9)}, "start b.1 c1"},
		{"OnFailure with init", pod(OnFailure, "i1", "a", "b"), []Record{exited("i1", 0, 0, 0, 1), exited("a", 0, 0, 0, 1), exited("b", 137, 0, 0, 9)}, "start i1.1 c1"},
		{"Never", pod(Never, "a"), []Record{exited("a", 137, 0, 0, 9)}, "finish"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := Reset(tt.life, tt.records)
			if got := line(Next(tt.life, out, Want{}, at(9))); got != tt.out {
				t.Errorf("got  %q\nwant %q", got, tt.out)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Life)
		out    string // part of the error; "" for none
	}{
		{"good", func(*Life) {}, ""},
		{"restarts", func(l *Life) { n := -1; l.MaxRestarts = &n }, "maxRestarts is negative"},
		{"version", func(l *Life) { l.Version = 2 }, "version 2"},
		{"policy", func(l *Life) { l.RestartPolicy = "Sometimes" }, `restartPolicy "Sometimes"`},
		{"orphan", func(l *Life) { l.OnOrphan = "sell" }, `onOrphan "sell"`},
		{"grace", func(l *Life) { l.Grace = -1 }, "negative"},
		{"empty", func(l *Life) { l.Containers = nil }, "0 containers"},
		{"twice", func(l *Life) { l.Containers[1].Name = "i1" }, `name "i1" is there twice`},
		{"order", func(l *Life) { l.Containers[0].Init = false; l.Containers[1].Init = true }, `"a" comes after`},
		{"slash", func(l *Life) { l.Containers[0].Name = "a/b" }, `"a/b" cannot be a name`},
		{"dots", func(l *Life) { l.Containers[0].Name = ".." }, `".." cannot be a name`},
		{"newline", func(l *Life) { l.Containers[0].Name = "a\n" }, "cannot be a name"},
		{"bundle", func(l *Life) { l.Containers[0].Bundle = "b" }, `bundle "b"`},
		{"log", func(l *Life) { l.Containers[0].Log = "../x" }, `log "../x"`},
		{"signal", func(l *Life) { l.Containers[0].StopSignal = "SIGNOT" }, `signal "SIGNOT" is not known`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := pod(Always, "i1", "a")
			tt.change(&l)
			err := l.Check()
			if tt.out == "" && err != nil || tt.out != "" && (err == nil || !strings.Contains(err.Error(), tt.out) || !errors.Is(err, ErrInvalid)) {
				t.Errorf("got %v, want %q", err, tt.out)
			}
		})
	}
}

func TestSignal(t *testing.T) {
	for name, want := range map[string]int{
		"": 15, "TERM": 15, "SIGTERM": 15, "sigquit": 3, "HUP": 1, "SYS": 31, "9": 9, "64": 64,
		"RTMIN": 34, "SIGRTMIN+3": 37, "RTMAX": 64, "RTMAX-1": 63,
		"0": 0, "65": 0, "-1": 0, "RTMIN+31": 0, "RTMAX-31": 0, "SIG": 0, "RTMIN+": 0, "SIGSIGTERM": 0,
	} {
		n, err := Signal(name)
		if n != want && err == nil || (want == 0) != (err != nil) {
			t.Errorf("Signal(%q) = %d, %v, want %d", name, n, err, want)
		}
	}
}

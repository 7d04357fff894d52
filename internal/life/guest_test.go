package life

import (
	"slices"
	"testing"
	"time"
)

// TestGuest has an ephemeral container begin whatever the others do, and count for nothing.
func TestGuest(t *testing.T) {
	now := time.Unix(1000, 0)
	l := Life{Version: 1, RestartPolicy: OnFailure, Containers: []Container{
		{Name: "first", Init: true, Bundle: "/b"}, {Name: "main", Bundle: "/b"}, {Name: "guest", Ephemeral: true, Bundle: "/b"},
	}}
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
	done := func(name string, code int) Record {
		return Record{Name: name, State: Exited, ExitCode: code, StartedAt: now, FinishedAt: now}
	}
	run := func(name string) Record { return Record{Name: name, State: Running} }
	for _, c := range []struct {
		name    string
		records []Record
		kinds   []Kind
		phase   string
	}{
		{"while an init container runs", []Record{run("first"), {Name: "main"}, {Name: "guest"}}, []Kind{Start}, PhasePending},
		{"while the main one runs", []Record{done("first", 0), run("main"), {Name: "guest"}}, []Kind{Start}, PhaseRunning},
		{"when it has failed", []Record{done("first", 0), run("main"), done("guest", 1)}, nil, PhaseRunning},
		{"when it alone is left", []Record{done("first", 0), done("main", 0), run("guest")}, []Kind{Kill}, PhaseSucceeded},
		{"when all is over", []Record{done("first", 0), done("main", 0), done("guest", 1)}, []Kind{Finish}, PhaseSucceeded},
	} {
		var kinds []Kind
		for _, a := range Next(l, c.records, Want{}, now) {
			kinds = append(kinds, a.Kind)
		}
		if !slices.Equal(kinds, c.kinds) {
			t.Errorf("%s: %v, want %v", c.name, kinds, c.kinds)
		}
		if got := Phase(l, c.records, false); got != c.phase {
			t.Errorf("%s: phase %s, want %s", c.name, got, c.phase)
		}
	}
	if again := Reset(l, []Record{done("guest", 137)}); again[0].State != Exited {
		t.Errorf("it begins again with the Pod's sandbox: %+v", again[0])
	}
	l.Containers[2].Init = true
	if l.Check() == nil {
		t.Error("a guest that others wait for is valid")
	}
}

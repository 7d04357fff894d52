package birth

import (
	"testing"

	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// TestTrace: each step is told in order, with what came of it; what was skipped is not.
func TestTrace(t *testing.T) {
	missing := call("enter nothing", plan.Chdir, plan.Text("/no/such"))
	missing.On = []plan.Branch{{Errno: unix.ENOENT, Skip: 1}}
	p := program([]plan.Step{call("enter /", plan.Chdir, plan.Text("/")), missing, call("not made", plan.ExitGroup, plan.Int(9))}, "true")
	var got []plan.Spent
	p.Trace = func(s plan.Spent) { got = append(got, s) }
	c, err := Start(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	ended(t, c)
	var steps []plan.Spent
	for _, s := range got {
		if s.Took < 0 || s.Took > 60e9 {
			t.Errorf("%s took %v", s.Name, s.Took)
		}
		if s.Step >= 0 {
			steps = append(steps, plan.Spent{Step: s.Step, Name: s.Name, Call: s.Call, Errno: s.Errno})
		}
	}
	want := []plan.Spent{{Step: 0, Name: "enter /", Call: plan.Chdir}, {Step: 1, Name: "enter nothing", Call: plan.Chdir, Errno: unix.ENOENT}}
	if len(steps) != len(want) || steps[0] != want[0] || steps[1] != want[1] {
		t.Errorf("told %+v, want %+v", steps, want)
	}
}

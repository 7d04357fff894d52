package main

import (
	"encoding/xml"
	"io"
	"os"
	"strings"
	"testing"
)

func TestRunTakesTurns(t *testing.T) {
	var order string
	contender := func(name string, v float64) Contender {
		return Contender{Name: name, Measure: func() (float64, error) { order += name; return v, nil }, Reset: func() error { order += "-"; return nil }}
	}
	b := Benchmark{
		Name: "b", Rounds: 2, Contenders: []Contender{contender("o", 1), contender("p", 4)},
		Targets: []Target{{"p", atMost, 0.25}, {"p", timesFaster, 5}, {"p", timesMore, 0.1}, {"", below, 1}, {"gone", atMost, 1}},
	}
	r, err := b.Run()
	if err != nil {
		t.Fatal(err)
	}
	if order != "o-p-p-o-o-p-" {
		t.Errorf("order %s", order)
	}
	for i, kept := range []bool{true, false, true, true, false} {
		if r.Targets[i].Kept != kept {
			t.Errorf("%+v", r.Targets[i])
		}
	}
	for dec := xml.NewDecoder(strings.NewReader(string(Report{Results: []Result{r}, Machine: []string{"a < b"}}.plot()))); ; {
		if _, err := dec.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		values      []float64
		min, median float64
	}{{[]float64{3}, 3, 3}, {[]float64{4, 1}, 1, 2.5}, {[]float64{9, 1, 2}, 1, 2}} {
		if s := summary("", c.values); s.Min != c.min || s.Median != c.median {
			t.Errorf("%v: %+v", c.values, s)
		}
	}
}

func TestTotal(t *testing.T) {
	const table = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.001000          10       100         1 read
------ ----------- ----------- --------- --------- ----------------
100.00    0.001600           9       160         1 total
`
	if n, err := total(table); n != 160 || err != nil {
		t.Errorf("%v, %v", n, err)
	}
	if n, err := total("100.00 0.001600 9 160 total\n"); n != 160 || err != nil {
		t.Errorf("without errors: %v, %v", n, err)
	}
	if n, err := total("strace: cannot\n"); err == nil {
		t.Errorf("nothing is %v", n)
	}
}

// What the emulated machine counted stands in the report of the host.
func TestTake(t *testing.T) {
	file := t.TempDir() + "/counted"
	if err := os.WriteFile(file, []byte(`{"Machine":["x","Linux 6.1, cgroup v2"],"Versions":["crun 1"],"Results":[{"Name":"calls","Samples":[{"Name":"a","Median":5}]}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := r.take(file); err != nil || len(r.Results) != 1 || r.Results[0].Name != "calls, emulated machine" || r.Machine[0] != "emulated: Linux 6.1, cgroup v2, crun 1" {
		t.Errorf("%v: %+v", err, r)
	}
	if err := (&Report{}).take(""); err != nil {
		t.Error(err)
	}
}

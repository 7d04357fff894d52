package main

import (
	"strings"
	"testing"
	"time"

	"tripod/internal/engine"
	"tripod/internal/sandbox"
)

func TestOutput(t *testing.T) {
	value := listOf([]map[string]any{{"name": "a", "n": 1}, {"name": "b"}})
	for o, want := range map[output]string{
		"json":                      "{\n    \"apiVersion\": \"v1\",\n    \"kind\": \"List\",\n    \"items\": [\n        {\n            \"n\": 1,\n            \"name\": \"a\"\n        },\n        {\n            \"name\": \"b\"\n        }\n    ]\n}\n",
		"yaml":                      "apiVersion: v1\nitems:\n- \"n\": 1\n  name: a\n- name: b\nkind: List\n",
		"jsonpath={.items[*].name}": "a b",
		"jsonpath=.items[1].name":   "b",
		"jsonpath={.items[1].n}":    "",
		`jsonpath={range .items[*]}{.name}{"\n"}{end}`: "a\nb\n",
	} {
		if err := o.check(tableOutputs); err != nil {
			t.Errorf("-o %s: %v", o, err)
		}
		var b strings.Builder
		if err := o.object(&b, value); err != nil || b.String() != want {
			t.Errorf("-o %s: %q, %v, want %q", o, b.String(), err, want)
		}
	}
	var b strings.Builder
	if err := output("jsonpath={.x").object(&b, value); err == nil {
		t.Error("a template without its end is no error")
	}
	for _, o := range []output{"xml", "jsonpath", "jsonpath=", "wide"} {
		if err := o.check(objectOutputs); err == nil {
			t.Errorf("-o %s is no error", o)
		}
	}
}

func TestLogOptions(t *testing.T) {
	for _, c := range []struct {
		f     logFlags
		want  sandbox.LogOptions
		wrong string
	}{
		{logFlags{tail: "all"}, sandbox.LogOptions{}, ""},
		{logFlags{tail: "-1"}, sandbox.LogOptions{}, ""},
		{logFlags{tail: "20"}, sandbox.LogOptions{Tail: 20}, ""},
		{logFlags{tail: "0"}, sandbox.LogOptions{Tail: -1}, ""},
		{logFlags{since: "90s"}, sandbox.LogOptions{Since: now.Add(-90 * time.Second)}, ""},
		{logFlags{sinceTime: "2026-01-02T03:04:05Z"}, sandbox.LogOptions{Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, ""},
		{logFlags{since: "soon"}, sandbox.LogOptions{}, `cannot use --since "soon": not a time span`},
		{logFlags{sinceTime: "noon"}, sandbox.LogOptions{}, `cannot use --since-time "noon": not a time`},
		{logFlags{since: "1s", sinceTime: "x"}, sandbox.LogOptions{}, "cannot use --since with --since-time"},
		{logFlags{tail: "-2"}, sandbox.LogOptions{}, `cannot use --tail "-2": not a number of lines`},
	} {
		got, err := c.f.options(now)
		if wrong := errorText(err); wrong != c.wrong || wrong == "" && (got.Tail != c.want.Tail || !got.Since.Equal(c.want.Since)) {
			t.Errorf("%+v: %+v, %v, want %+v, %s", c.f, got, err, c.want, c.wrong)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Lines of several containers never mix, and a line in parts stays whole.
func TestLogWriter(t *testing.T) {
	var b strings.Builder
	w := newLogWriter(&b)
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	one := w.lines(lineStyle{prefix: "one | "})
	two := w.lines(lineStyle{prefix: "two | ", colour: palette[0], timestamps: true})
	for _, err := range []error{
		one(sandbox.Line{Partial: true, Text: []byte("half ")}),
		two(sandbox.Line{Time: at, Text: []byte("x")}),
		one(sandbox.Line{Text: []byte("whole")}),
		one(sandbox.Line{}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := "\x1b[36mtwo | \x1b[0m2026-01-02T03:04:05.0000006Z x\none | half whole\none | \n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestUsageTable(t *testing.T) {
	var b strings.Builder
	all := []engine.Usage{
		{Pod: "web", Container: "nginx", CPU: 0.256, Memory: 3 << 20, MemoryLimit: 64 << 20, Tasks: 3, TasksLimit: 100, Read: 2048},
		{Pod: "web", Container: "side", Memory: 512},
	}
	if err := usageTable(all).print(&b, true); err != nil {
		t.Fatal(err)
	}
	want := `POD   CONTAINER   CPU     MEMORY   LIMIT     MEM%   READ     WRITTEN   TASKS
web   nginx       25.6%   3.0MiB   64.0MiB   4.7%   2.0KiB   0B        3/100
web   side        0.0%    512B     -         -      0B       0B        0
`
	if b.String() != want {
		t.Errorf("got\n%s want\n%s", b.String(), want)
	}
}

package keeper

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/life"
)

var time0 = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// Whatever a request line holds, it is refused or can be acted on: no decision about it panics.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		`{"version":1,"op":"life","life":{"version":1,"containers":[{"name":"a","bundle":"/b"}]}}`,
		`{"version":1,"op":"exec","container":"a","exec":{"args":["x"],"env":["A=b","=","c"],"tty":true,"width":1}}`,
		`{"version":1,"op":"stop","grace":1e308}`,
		`{"version":1,"op":"attach","stdio":[true,true,true]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var r request
		if json.Unmarshal(line, &r) != nil {
			return
		}
		if _, err := spread(r.Stdio, nil); err == nil && r.Stdio != [3]bool{} {
			t.Error("descriptors out of nothing")
		}
		k := &keep{}
		if g := k.graceOf(&r); g < 0 {
			t.Errorf("grace %v", g)
		}
		if r.Exec != nil {
			own := &specs.Process{Env: []string{"A=1", "B=2"}}
			if p := r.Exec.process(own); len(own.Env) != 2 || p == own {
				t.Error("the container's own process was changed")
			}
		}
		if r.Life != nil && r.Life.Check() == nil {
			for _, a := range life.Next(*r.Life, nil, life.Want{}, time0) {
				if a.Kind == life.Finish {
					t.Error("a life that is over before it began")
				}
			}
		}
	})
}

func TestMergeEnv(t *testing.T) {
	got := mergeEnv([]string{"A=1", "B=2", "AB=3"}, []string{"A=9", "C=4"})
	if s := strings.Join(got, " "); s != "B=2 AB=3 A=9 C=4" {
		t.Errorf("%s", s)
	}
}

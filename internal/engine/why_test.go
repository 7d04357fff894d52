package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"tripod/internal/cgroup"
	"tripod/internal/golden"
	"tripod/internal/life"
)

// What records and figures mean, in sentences.
func TestWhy(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	ended := func(code, signal int, reason string) life.Record {
		return life.Record{
			Name: "web", State: life.Exited, Pid: 70, CreatedAt: ago(time.Minute), StartedAt: ago(time.Minute), FinishedAt: ago(time.Second),
			ExitCode: code, Signal: signal, Reason: reason,
		}
	}
	with := func(r life.Record, change func(*life.Record)) life.Record {
		change(&r)
		return r
	}
	var out strings.Builder
	for _, c := range []struct {
		name     string
		policy   corev1.RestartPolicy
		record   life.Record
		init     *life.Record
		stopping time.Time
		strain   strain
	}{
		{name: "it runs", record: life.Record{Name: "web", State: life.Running, StartedAt: ago(time.Hour)}},
		{
			name: "it runs and is throttled", record: life.Record{Name: "web", State: life.Running, StartedAt: ago(time.Hour)},
			strain: strain{Toll: cgroup.Toll{Periods: 100, Throttled: 70, PidsHits: 3, PidsLimit: 50}},
		},
		{
			name: "it runs on without a child", record: life.Record{Name: "web", State: life.Running, Pid: 70, StartedAt: ago(time.Hour)},
			strain: strain{
				Toll:    cgroup.Toll{MemoryLimit: 16 << 20, MemoryHits: 5, OOMKills: 1},
				victims: []cgroup.Victim{{PID: 71, Name: "worker", AnonBytes: 15 << 20}},
			},
		},
		{name: "killed for want of memory", record: with(ended(137, 9, life.ReasonOOMKilled), func(r *life.Record) {
			r.OOMKilled, r.OOMKills = true, 1
			r.Usage = &life.Usage{MemoryLimit: 64 << 20, MemoryPeak: 64 << 20, MemoryHits: 12, Victims: []life.Victim{{PID: 70, Name: "java", AnonBytes: 60 << 20}}}
		})},
		{name: "a child of it killed for want of memory", record: with(ended(1, 0, life.ReasonError), func(r *life.Record) {
			r.OOMKills = 1
			r.Usage = &life.Usage{MemoryLimit: 64 << 20, MemoryHits: 1, Victims: []life.Victim{{PID: 71, Name: "worker"}}}
		})},
		{name: "killed for want of the host's memory", record: with(ended(137, 9, life.ReasonOOMKilled), func(r *life.Record) { r.OOMKilled, r.OOMKills = true, 1 })},
		{name: "too many processes", record: with(ended(2, 0, life.ReasonError), func(r *life.Record) { r.Usage = &life.Usage{PidsHits: 1, PidsLimit: 50} })},
		{name: "killed from outside", record: ended(137, 9, life.ReasonError)},
		{name: "deaf to the stop", record: with(ended(137, 9, life.ReasonError), func(r *life.Record) { r.TermAt = ago(31 * time.Second) }), stopping: ago(31 * time.Second)},
		{name: "stopped", record: with(ended(143, 15, life.ReasonError), func(r *life.Record) { r.TermAt = ago(2 * time.Second) }), stopping: ago(2 * time.Second)},
		{name: "crashed", record: ended(139, 11, life.ReasonError)},
		{name: "a shell's word", record: ended(139, 0, life.ReasonError)},
		{name: "not found", record: ended(127, 0, life.ReasonError)},
		{name: "not executable", record: ended(126, 0, life.ReasonError)},
		{name: "failed", record: ended(3, 0, life.ReasonError)},
		{name: "ended well and is started again", record: ended(0, 0, life.ReasonCompleted)},
		{name: "ended well", policy: corev1.RestartPolicyNever, record: ended(0, 0, life.ReasonCompleted)},
		{name: "not started", policy: corev1.RestartPolicyNever, record: with(ended(127, 0, life.ReasonStartError), func(r *life.Record) {
			r.StartedAt, r.Message = time.Time{}, "cannot start container web: step 40, execute /nosuch: no such file or directory\nmore"
		})},
		{name: "not known", policy: corev1.RestartPolicyNever, record: ended(137, 0, life.ReasonStatusUnknown)},
		{name: "waits for another", record: life.Record{Name: "web"}, init: &life.Record{Name: "first", State: life.Running}},
		{name: "runs again", record: life.Record{
			Name: "web", State: life.Running, Attempt: 2, StartedAt: ago(time.Second),
			Last: &life.Record{Name: "web", Attempt: 1, ExitCode: 1, Reason: life.ReasonError, StartedAt: ago(time.Minute), FinishedAt: ago(2 * time.Second)},
		}},
	} {
		policy := c.policy
		if policy == "" {
			policy = corev1.RestartPolicyAlways
		}
		pod := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: policy, Containers: []corev1.Container{{Name: "web"}}}}
		pod.Name = "shop"
		l := life.Life{RestartPolicy: string(policy), Containers: []life.Container{{Name: "web"}}}
		records := []life.Record{c.record}
		if c.init != nil {
			pod.Spec.InitContainers = []corev1.Container{{Name: "first"}}
			l.Containers = []life.Container{{Name: "first", Init: true}, {Name: "web"}}
			records = []life.Record{*c.init, c.record}
		}
		w := why(pod, Seen{Life: l, Records: records, Stopping: c.stopping}, map[string]strain{"web": c.strain}, now)
		got := w.Containers[len(w.Containers)-1]
		fmt.Fprintf(&out, "%s: %s %s, log of attempt %d\n", c.name, got.State, got.Reason, got.LogAttempt)
		for _, s := range got.Causes {
			fmt.Fprintf(&out, "    %s\n", s)
		}
		for _, s := range got.Advice {
			fmt.Fprintf(&out, "    -> %s\n", s)
		}
	}
	golden.Check(t, "testdata/why.golden", out.String())
}

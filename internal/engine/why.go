package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/bundle"
	"tripod/internal/cgroup"
	"tripod/internal/life"
	"tripod/internal/sandbox"
)

// Why says how a Pod came to be as it is.
type Why struct {
	Pod        string         `json:"pod"`
	Namespace  string         `json:"namespace"`
	Phase      string         `json:"phase"`
	Containers []WhyContainer `json:"containers"` // init containers first
}

// WhyContainer says it of one container.
type WhyContainer struct {
	Name     string    `json:"name"`
	Init     bool      `json:"init,omitempty"`
	State    string    `json:"state"`            // Running, Waiting, Exited
	Reason   string    `json:"reason,omitempty"` // kubelet's word for it
	Since    time.Time `json:"since,omitzero"`
	Restarts int       `json:"restarts"`
	Ending   *Ending   `json:"ending,omitempty"` // the last one
	// Usage are the figures of one that runs, until now.
	Usage *life.Usage `json:"usage,omitempty"`
	// Causes are sentences, the most telling first.
	Causes []string `json:"causes,omitempty"`
	// Advice is what to do about them.
	Advice []string `json:"advice,omitempty"`
	// LogAttempt is the attempt whose log tells the most, or -1.
	LogAttempt int `json:"logAttempt"`
}

// Ending is how an attempt ended.
type Ending struct {
	Attempt  int           `json:"attempt"`
	At       time.Time     `json:"at"`
	Ran      time.Duration `json:"ranNanos"`
	ExitCode int           `json:"exitCode"`
	Signal   string        `json:"signal,omitempty"` // SIGKILL
	Reason   string        `json:"reason"`
	Message  string        `json:"message,omitempty"`
	Usage    *life.Usage   `json:"usage,omitempty"`
}

// Why looks at a Pod: its records, and the cgroups of what runs.
func (e *Engine) Why(ctx context.Context, box *sandbox.Sandbox) (*Why, error) {
	state, err := box.Observe(ctx)
	if err != nil {
		return nil, err
	}
	host, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	strains := map[string]strain{}
	for _, r := range state.Containers {
		if r.State != life.Running {
			continue
		}
		group := cgroup.Open(host, bundle.CgroupOf(box.Pod)+"/"+r.Name)
		toll, err := group.Toll()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		s := strain{Toll: toll}
		if toll.OOMKills > 0 {
			// Without the right to read the kernel's log it stays unknown who was killed; how many were, is told.
			s.victims, _ = group.Victims(r.CreatedAt)
		}
		strains[r.Name] = s
	}
	seen := Seen{Life: state.Life, Records: state.Containers, Finished: state.Finished, Stopping: state.Stopping}
	return why(box.Pod, seen, strains, time.Now()), nil
}

// strain is what a running container's cgroup tells, and whom the kernel killed in it.
type strain struct {
	cgroup.Toll
	victims []cgroup.Victim
}

// why is what follows from records and figures.
func why(pod *corev1.Pod, s Seen, strains map[string]strain, now time.Time) *Why {
	w := &Why{Pod: pod.Name, Namespace: pod.Namespace, Phase: life.Phase(s.Life, s.Records, s.Finished)}
	lists := []struct {
		field string
		list  []corev1.Container
	}{{"initContainers", pod.Spec.InitContainers}, {"containers", pod.Spec.Containers}}
	for _, l := range lists {
		for i := range l.list {
			c := judge{pod: pod, container: &l.list[i], field: fmt.Sprintf("spec.%s[%d]", l.field, i), seen: s, now: now}
			w.Containers = append(w.Containers, c.look(l.field == "initContainers", strains[l.list[i].Name]))
		}
	}
	return w
}

// judge looks at one container.
type judge struct {
	pod       *corev1.Pod
	container *corev1.Container
	field     string // spec.containers[0]
	seen      Seen
	now       time.Time
	out       WhyContainer
}

func (j *judge) look(init bool, t strain) WhyContainer {
	r := life.Record{Name: j.container.Name}
	for _, known := range j.seen.Records {
		if known.Name == r.Name {
			r = known
		}
	}
	j.out = WhyContainer{Name: r.Name, Init: init, Restarts: r.Attempt, LogAttempt: -1}
	stopped := life.Want{Stop: j.seen.Finished || !j.seen.Stopping.IsZero(), At: j.seen.Stopping}
	pending := life.Pending(j.seen.Life, j.seen.Records, stopped, j.now, r.Name)
	last := r.Last
	switch {
	case r.State == life.Running:
		j.out.State, j.out.Since, j.out.LogAttempt = "Running", r.StartedAt, r.Attempt
		j.strained(r, t)
	case r.State == life.Exited:
		last = &r
		j.out.State, j.out.Reason, j.out.Since = "Exited", r.Reason, r.FinishedAt
		if pending != "" {
			j.out.State, j.out.Reason = "Waiting", pending
		}
	default:
		j.out.State, j.out.Reason = "Waiting", pending
		if pending == life.ReasonPodInitializing {
			j.held()
		}
	}
	if last != nil {
		j.ended(last)
	}
	return j.out
}

func (j *judge) cause(format string, args ...any) {
	j.out.Causes = append(j.out.Causes, fmt.Sprintf(format, args...))
}

func (j *judge) advise(format string, args ...any) {
	j.out.Advice = append(j.out.Advice, fmt.Sprintf(format, args...))
}

// held names the init container that others wait for.
func (j *judge) held() {
	for _, c := range j.pod.Spec.InitContainers {
		for _, r := range j.seen.Records {
			done := r.State == life.Exited && r.ExitCode == 0
			if r.Name == c.Name && !done && r.Name != j.container.Name {
				j.cause("it waits for init container %s", c.Name)
				return
			}
		}
	}
}

// strained tells the limits that a running container is at.
func (j *judge) strained(r life.Record, t strain) {
	u := life.Usage{
		MemoryPeak: t.MemoryPeak, MemoryLimit: t.MemoryLimit, MemoryHits: t.MemoryHits,
		PidsLimit: t.PidsLimit, PidsHits: t.PidsHits, CPUNanos: t.CPUNanos, Periods: t.Periods, Throttled: t.Throttled,
	}
	for _, v := range t.victims[max(0, len(t.victims)-maxVictims):] {
		u.Victims = append(u.Victims, life.Victim(v))
	}
	j.out.Usage = &u
	j.limits(u)
	r.OOMKills = t.OOMKills
	j.victims(&r, u)
}

// maxVictims is how many of a running container's processes that were killed for want of memory are told of: the last.
const maxVictims = 4

// limits tells the limits that were hit.
func (j *judge) limits(u life.Usage) {
	limit := j.field + ".resources.limits"
	switch {
	case u.MemoryHits > 0 && u.MemoryLimit > 0:
		j.cause("the memory limit of %s (%s.memory) was hit %s", units.BytesSize(float64(u.MemoryLimit)), limit, times(u.MemoryHits))
	case u.MemoryHits > 0:
		j.cause("a memory limit above it was hit %s", times(u.MemoryHits))
	}
	if u.PidsHits > 0 {
		j.cause("the limit of %d tasks was hit: %s refused", u.PidsLimit, forks(u.PidsHits))
		j.advise("find what starts so many processes, or raise the annotation tripod/pids-limit")
	}
	// A program that is throttled now and then is as its author wants it; one that is in every fourth period is slow.
	if u.Periods >= 20 && u.Throttled*4 >= u.Periods {
		j.cause("the CPU limit (%s.cpu) stopped it in %d of 100 periods", limit, u.Throttled*100/u.Periods)
		j.advise("raise %s.cpu", limit)
	}
}

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func forks(n uint64) string {
	if n == 1 {
		return "1 fork was"
	}
	return fmt.Sprintf("%d forks were", n)
}

func processes(n uint64) string {
	if n == 1 {
		return "1 process was"
	}
	return fmt.Sprintf("%d processes were", n)
}

// ended tells of the last end.
func (j *judge) ended(r *life.Record) {
	e := &Ending{Attempt: r.Attempt, At: r.FinishedAt, ExitCode: r.ExitCode, Reason: r.Reason, Message: r.Message, Usage: r.Usage}
	if !r.StartedAt.IsZero() {
		e.Ran = r.FinishedAt.Sub(r.StartedAt)
	}
	if r.Signal != 0 {
		e.Signal = unix.SignalName(unix.Signal(r.Signal))
	}
	j.out.Ending = e
	if !r.StartedAt.IsZero() && (j.out.State != "Running" || j.now.Sub(j.out.Since) < time.Minute) {
		j.out.LogAttempt = r.Attempt
	}
	var u life.Usage
	if r.Usage != nil {
		u = *r.Usage
	}
	j.limits(u)
	j.victims(r, u)
	j.code(r)
}

func (j *judge) victims(r *life.Record, u life.Usage) {
	limit := j.field + ".resources.limits.memory"
	for _, v := range u.Victims {
		size := ""
		if v.AnonBytes > 0 {
			size = " with " + units.BytesSize(float64(v.AnonBytes)) + " of its own memory"
		}
		who := "process"
		if v.PID == r.Pid {
			who = "its first process"
		}
		j.cause("the kernel killed %s %q (PID %d on the host)%s", who, v.Name, v.PID, size)
	}
	switch {
	case r.OOMKilled && u.MemoryLimit > 0:
		j.advise("raise %s above %s, or find what takes the memory", limit, units.BytesSize(float64(u.MemoryLimit)))
	case r.OOMKilled:
		j.advise("the memory of the Pod or of the host was used up: give %s a limit, and the host more room", limit)
	case r.OOMKills > 0:
		j.cause("%s killed for want of memory, and its first process was not", processes(r.OOMKills))
		j.advise("raise %s, or let the program mind the end of its children", limit)
	}
}

// code tells what an exit code and a signal mean.
func (j *judge) code(r *life.Record) {
	stopped := !r.TermAt.IsZero()
	asked := !j.seen.Stopping.IsZero() || stopped
	always := j.pod.Spec.RestartPolicy == corev1.RestartPolicyAlways && !j.out.Init
	switch {
	case r.Reason == life.ReasonStartError || r.Reason == life.ReasonCannotRun:
		j.cause("it was not started: %s", firstLine(r.Message))
	case r.Reason == life.ReasonStatusUnknown:
		j.cause("its keeper was gone; how it ended is not known")
	case r.OOMKilled:
	case r.Signal == int(unix.SIGKILL) && stopped:
		j.cause("it did not end on %s within its grace period and was killed", j.stopSignal())
		j.advise("let PID 1 of the container handle %s (a shell as PID 1 does not pass it on)", j.stopSignal())
	case r.Signal == int(unix.SIGKILL):
		j.cause("it was killed from outside with SIGKILL, not for want of memory")
	case r.Signal == int(unix.SIGTERM) && asked, r.ExitCode == 0 && asked:
		j.cause("it ended because it was asked to")
	case r.Signal != 0:
		j.cause("it died of %s (%s)", unix.SignalName(unix.Signal(r.Signal)), unix.Signal(r.Signal))
	case r.ExitCode == 0 && always:
		j.cause("its program ended by itself, with success; with restartPolicy Always it is started again")
		j.advise("run a program that stays, or use restartPolicy OnFailure or a Job")
	case r.ExitCode == exitNotExecutable:
		j.cause("exit code 126: a command was found that cannot be executed")
	case r.ExitCode == exitNotFound:
		j.cause("exit code 127: a command was not found, mostly by a shell")
	case r.ExitCode > 128 && r.ExitCode < 128+65:
		j.cause("exit code %d: mostly a shell's word for a child that died of %s", r.ExitCode, unix.SignalName(unix.Signal(r.ExitCode-128)))
	case r.ExitCode != 0:
		j.cause("its program ended with exit code %d", r.ExitCode)
	}
}

// What shells answer for a command that cannot be run (POSIX, Shell Command Language, 2.8.2).
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

func (j *judge) stopSignal() string {
	for _, c := range j.seen.Life.Containers {
		if c.Name == j.container.Name && c.StopSignal != "" {
			return c.StopSignal
		}
	}
	return "SIGTERM"
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

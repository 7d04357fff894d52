// Package life says what is to happen to a Pod's containers, as data, and decides the next step as a pure function.
//
// A Life is the rule: which containers there are, in what order they begin, when they begin again, how they are stopped.
// A Record is what is known of one container. Next takes both, what is wanted and the time, and returns the Actions that
// are due; it reads no clock and no file. Phase says in a word how the Pod is. The rules are kubelet's.
package life

import "time"

// Version is the version of the form of Life and Record that this code writes.
const Version = 1

// The restart policies, as the Pod API spells them.
const (
	Always    = "Always"
	OnFailure = "OnFailure"
	Never     = "Never"
)

// What a keeper does when the connection of its owner closes unasked.
const (
	OrphanStop = "stop"
	OrphanKeep = "keep"
)

// The reasons a Record gives, as kubelet spells them.
const (
	ReasonContainerCreating = "ContainerCreating"
	ReasonPodInitializing   = "PodInitializing"
	ReasonCrashLoopBackOff  = "CrashLoopBackOff"
	ReasonCompleted         = "Completed"
	ReasonError             = "Error"
	ReasonOOMKilled         = "OOMKilled"
	ReasonCannotRun         = "ContainerCannotRun"
	ReasonStartError        = "StartError"
	ReasonStatusUnknown     = "ContainerStatusUnknown"
)

// Life is what is to happen to the containers of one Pod.
type Life struct {
	Version       int           `json:"version"`
	RestartPolicy string        `json:"restartPolicy"`         // Always, OnFailure or Never; "" is Always
	MaxRestarts   *int          `json:"maxRestarts,omitempty"` // of each container by OnFailure; nil is no limit
	Grace         time.Duration `json:"grace"`                 // from the stop signal to SIGKILL; 0 kills at once
	OnOrphan      string        `json:"onOrphan,omitempty"`    // OrphanStop or OrphanKeep; "" keeps
	Containers    []Container   `json:"containers"`            // in manifest order, init containers first
	Backoff       Backoff       `json:"backoff,omitzero"`
}

// Backoff is the pause before a container that keeps ending begins again. Zero fields take kubelet's values.
type Backoff struct {
	Base  time.Duration `json:"base,omitempty"`  // before the second restart; doubles at each one after; 0 is 10 s
	Max   time.Duration `json:"max,omitempty"`   // never longer than this; 0 is 5 min
	Reset time.Duration `json:"reset,omitempty"` // a run longer than this forgets all earlier ones; 0 is 10 min
}

// Container is one container of a Life.
type Container struct {
	Name string `json:"name"`
	Init bool   `json:"init,omitempty"` // runs to completion before those after it begin (RestartPolicy Always: a sidecar)
	// RestartPolicy is the container's own; "" is the Pod's. An init container whose own policy is Always is a
	// sidecar: those after it begin when it runs, and it is stopped after the main containers.
	RestartPolicy string `json:"restartPolicy,omitempty"`

	// Ephemeral is a guest: it begins at once, runs once, and counts for nothing of what the Pod is or does.
	Ephemeral bool `json:"ephemeral,omitempty"`

	Bundle string `json:"bundle"` // directory with config.json and rootfs.json
	Log    string `json:"log"`    // directory of N.log, N being the attempt; "" keeps no log

	Stdin     bool `json:"stdin,omitempty"`     // keep a standard input open for attach
	StdinOnce bool `json:"stdinOnce,omitempty"` // close it when the first attach ends
	TTY       bool `json:"tty,omitempty"`       // stdio is a terminal

	// StopSignal is a name (SIGQUIT, QUIT) or a number; "" is SIGTERM.
	StopSignal string `json:"stopSignal,omitempty"`

	Image       string `json:"image,omitempty"`
	ImageID     string `json:"imageID,omitempty"`
	LogMaxBytes int64  `json:"logMaxBytes,omitempty"` // a log file is rotated when it is this long; 0 is 10 MiB
	LogMaxFiles int    `json:"logMaxFiles,omitempty"` // files kept of one attempt, the one written to among them; 0 is 5

	TerminationLog string `json:"terminationLog,omitempty"` // host file whose end becomes Record.Message at exit
	LogsOnError    bool   `json:"logsOnError,omitempty"`    // an empty TerminationLog and a failure: the log's end does
}

// Sidecar says whether an init container runs beside the main containers instead of before them.
func (c *Container) Sidecar() bool { return c.Init && c.RestartPolicy == Always }

// main says whether a container is one that the Pod is for.
func (c *Container) main() bool { return !c.Init && !c.Ephemeral }

// State is where a container is in its life.
//
//	          Start               runs            ends
//	Waiting --------> Creating --------> Running ------> Exited
//	    ^                ^  |                             ^  | |
//	    |                |  +---- cannot be started ------+  | |
//	    |                +------- Start, attempt + 1 --------+ |
//	    +------------------------ Reset -----------------------+
//
// What Next says of each state (b: still in back-off, t: the stop signal was sent, g: the grace is over):
//
//	            its turn   not its turn   over for good   closing
//	Waiting     Start      -              -               -
//	Creating    -          -              -               -
//	Running     -          -              -               Stop; t: Wait; t,g: Kill
//	Exited      Start      -              -               -
//	Exited, b   Wait       -              -               -
//
// Closing is: a stop is wanted, or an init container failed for good, or every main container is over for good. When it
// is so and nothing is Creating or Running, Next says Finish.
type State string

// The states.
const (
	Waiting  State = ""         // never begun (since the Pod's sandbox was made)
	Creating State = "creating" // a Start is under way
	Running  State = "running"
	Exited   State = "exited" // ended, or could not be started
)

// Record is what is known of one container. A PID is believed only together with its start time.
type Record struct {
	Name     string `json:"name"`
	ID       string `json:"id,omitempty"` // of this attempt, unique on this host
	State    State  `json:"state,omitempty"`
	Attempt  int    `json:"attempt"`            // of this state; the first is 0
	Crashes  int    `json:"crashes,omitempty"`  // restarts since the last long run; rules the back-off
	Pid      int    `json:"pid,omitempty"`      // in the host's PID namespace
	PidStart uint64 `json:"pidStart,omitempty"` // field 22 of /proc/PID/stat, clock ticks since boot

	CreatedAt  time.Time `json:"createdAt,omitzero"`
	StartedAt  time.Time `json:"startedAt,omitzero"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
	TermAt     time.Time `json:"termAt,omitzero"` // when the stop signal was sent to this attempt

	ExitCode  int    `json:"exitCode"`         // 128+n when signal n ended it
	Signal    int    `json:"signal,omitempty"` // that ended it
	Reason    string `json:"reason,omitempty"`
	Message   string `json:"message,omitempty"`
	OOMKilled bool   `json:"oomKilled,omitempty"` // its first process was killed for want of memory
	OOMKills  uint64 `json:"oomKills,omitempty"`  // processes of this attempt killed so, its first one or others

	Usage *Usage  `json:"usage,omitempty"` // of an attempt that has ended
	Last  *Record `json:"last,omitempty"`  // the exit before this attempt; its own Last is nil
}

// Usage is what an attempt had used at its end, and the limits that it ran into. Zero is none, or not told by the host.
type Usage struct {
	MemoryPeak  uint64   `json:"memoryPeak,omitempty"`  // bytes
	MemoryLimit uint64   `json:"memoryLimit,omitempty"` // bytes
	MemoryHits  uint64   `json:"memoryHits,omitempty"`  // how often the limit was reached
	PidsLimit   uint64   `json:"pidsLimit,omitempty"`   // tasks
	PidsHits    uint64   `json:"pidsHits,omitempty"`    // forks that were refused
	CPUNanos    uint64   `json:"cpuNanos,omitempty"`
	Periods     uint64   `json:"periods,omitempty"`   // of the CPU quota, in which it wanted to run
	Throttled   uint64   `json:"throttled,omitempty"` // of these, the ones in which the quota was used up
	Victims     []Victim `json:"victims,omitempty"`
}

// Victim is a process that the kernel killed for want of memory.
type Victim struct {
	PID       int    `json:"pid"`  // in the host's PID namespace
	Name      string `json:"name"` // of the program; not to be trusted
	UID       uint32 `json:"uid"`
	AnonBytes uint64 `json:"anonBytes,omitempty"` // of its own memory
}

// Want is what is asked of the Pod. The zero value wants it to run.
type Want struct {
	Stop  bool          `json:"stop,omitempty"`
	At    time.Time     `json:"at,omitzero"`     // when the stop was asked
	Grace time.Duration `json:"grace,omitempty"` // from the stop signal to SIGKILL
}

// Kind is what an Action does.
type Kind string

// The kinds of Action.
const (
	Start  Kind = "start"  // create and start Container as attempt Attempt
	Stop   Kind = "stop"   // send Container its stop signal
	Kill   Kind = "kill"   // kill all of Container
	Wait   Kind = "wait"   // nothing is due before After has passed
	Finish Kind = "finish" // nothing runs and nothing will run any more
)

// Action is one thing that is due.
type Action struct {
	Kind      Kind
	Container string        // Start, Stop, Kill
	Attempt   int           // Start: the number of the attempt
	Crashes   int           // Start: what the Record's Crashes becomes
	After     time.Duration // Wait: ask Next again then
}

// Phase names, as the Pod API spells them.
const (
	PhasePending   = "Pending"
	PhaseRunning   = "Running"
	PhaseSucceeded = "Succeeded"
	PhaseFailed    = "Failed"
)

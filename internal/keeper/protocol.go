// Package keeper is the small process that is the parent of one Pod's containers and outlives everyone who asked for them.
//
// A keeper makes its Pod's pause process, which holds the namespaces that the containers share, starts the containers,
// writes their logs, records how they end and applies the Pod's Life alone. Keep is its whole run, the rest of the
// package is how others reach it: Spawn starts one, Client asks one, Read reads what it recorded, Bury cleans up after
// one that died.
//
// A Pod's folder (DIR, RUN/pods/UID) holds sandbox.json (Sandbox, written before Spawn), life.json (the Life last
// applied), status.json (Status), keeper.lock (held as long as the keeper lives; a lock that can be taken is proof that
// there is none), keeper.json (Identity), keeper.sock and keeper.log (what went wrong, and a crash's trace).
//
// The protocol is one JSON line for a request and one JSON line for its answer on a Unix stream socket; file
// descriptors travel with the line that speaks of them. Answers to watch, own, stop, exec and attach are followed by more
// lines. Only root, or the user the keeper runs as, is answered.
package keeper

import (
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/life"
)

// Version is the version of the protocol and the records. A keeper and a client may differ by one.
const Version = 1

// The names in a Pod's folder.
const (
	sandboxFile  = "sandbox.json"
	lifeFile     = "life.json"
	statusFile   = "status.json"
	identityFile = "keeper.json"
	lockFile     = "keeper.lock"
	socketFile   = "keeper.sock"
	logName      = "keeper.log"
)

// Bounds on what a client can make a keeper hold.
const (
	maxRequest  = 1 << 20          // bytes of one request line
	maxReply    = 8 << 20          // bytes of one answer line, for the client's side
	maxConns    = 256              // open connections, those of attach and exec among them
	maxFDs      = 3                // descriptors with one request
	requestTime = 10 * time.Second // from a connection's beginning, or its last answer, to a whole request
	stallTime   = 30 * time.Second // a client that takes nothing so long is dropped
)

// Process is a process that is believed only together with its start time (field 22 of /proc/PID/stat).
type Process struct {
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"`
}

// Identity is the record of a keeper.
type Identity struct {
	Version int    `json:"version"`
	Binary  string `json:"binary"` // path of the program it runs
	BootID  string `json:"bootID"`
	Process
}

// Status is how a Pod is, as its keeper tells and records it.
type Status struct {
	Version    int           `json:"version"`
	BootID     string        `json:"bootID"`
	UID        string        `json:"uid"`
	Phase      string        `json:"phase"`              // life.PhasePending ...; Pending before a Life is applied
	Finished   bool          `json:"finished,omitempty"` // nothing runs and nothing will
	Stopping   time.Time     `json:"stopping,omitzero"`  // when a stop was asked
	Pause      Process       `json:"pause,omitzero"`     // holds the Pod's namespaces
	Containers []life.Record `json:"containers,omitempty"`
}

// Container is the record of the container called name, nil if there is none.
func (s *Status) Container(name string) *life.Record {
	for i := range s.Containers {
		if s.Containers[i].Name == name {
			return &s.Containers[i]
		}
	}
	return nil
}

// Hello is what a keeper says of itself.
type Hello struct {
	Identity
	Pause   Process  `json:"pause,omitzero"`
	Sandbox *Sandbox `json:"sandbox"`
}

// The requests.
const (
	opHello  = "hello"
	opLife   = "life"
	opStatus = "status"
	opWatch  = "watch"
	opExec   = "exec"
	opAttach = "attach"
	opResize = "resize"
	opSignal = "signal"
	opStop   = "stop"
	opKill   = "kill"
	opReopen = "reopen"
	opOwn    = "own"
	opDisown = "disown"
	opQuit   = "quit"
)

// request is one line from a client.
type request struct {
	Version   int        `json:"version"`
	Op        string     `json:"op"`
	Container string     `json:"container,omitempty"`
	Life      *life.Life `json:"life,omitempty"`   // life
	Exec      *execution `json:"exec,omitempty"`   // exec
	Stdio     [3]bool    `json:"stdio,omitzero"`   // attach, exec: which of stdin, stdout, stderr come as descriptors
	Signal    int        `json:"signal,omitempty"` // signal
	Grace     *float64   `json:"grace,omitempty"`  // stop: seconds; nil takes the Life's
	Width     uint16     `json:"width,omitempty"`  // resize: columns
	Height    uint16     `json:"height,omitempty"` // resize: rows
}

// execution is what an exec runs. What is left out is taken from the container's own process.
type execution struct {
	Args         []string                 `json:"args"`
	Env          []string                 `json:"env,omitempty"` // NAME=value, beside or instead of the container's
	Cwd          string                   `json:"cwd,omitempty"`
	User         *specs.User              `json:"user,omitempty"`
	Capabilities *specs.LinuxCapabilities `json:"capabilities,omitempty"`
	Privileged   bool                     `json:"privileged,omitempty"` // all capabilities, no seccomp, new privileges allowed
	TTY          bool                     `json:"tty,omitempty"`
	Width        uint16                   `json:"width,omitempty"`
	Height       uint16                   `json:"height,omitempty"`
	Kill         bool                     `json:"kill,omitempty"` // the process does not outlive the connection
}

// reply is one line from a keeper. A request that failed has Error, and nothing came of it.
type reply struct {
	Version int     `json:"version,omitempty"`
	Error   string  `json:"error,omitempty"`
	Code    int     `json:"code,omitempty"` // with Error of exec: what a shell would exit with (126, 127), or 0
	Hello   *Hello  `json:"hello,omitempty"`
	Status  *Status `json:"status,omitempty"`
	Pid     int     `json:"pid,omitempty"`
	Exit    *Exit   `json:"exit,omitempty"`
	Done    bool    `json:"done,omitempty"` // the keeper has finished and leaves
}

// Exit is how a process ended.
type Exit struct {
	Code   int `json:"code"`             // 128+n when signal n ended it
	Signal int `json:"signal,omitempty"` // that ended it
}

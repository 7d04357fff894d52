package ns

import (
	"strconv"
	"strings"
	"time"
)

// Detail says what of a process is to be read.
type Detail uint8

// What can be read of a process, see Process.
const (
	Stat    Detail = 1 << iota // PPID, Start, State, Comm
	Owner                      // UID
	Cmdline                    // Cmdline
)

// Process returns a process of the snapshot with the details that are asked for, which are read once. What cannot be read any
// more stays empty.
func (s *Snapshot) Process(i int, want Detail) *Process {
	p := &s.Processes[i]
	if want&Stat != 0 && p.read&Stat == 0 {
		s.note(p.ReadStat(s.Proc))
	}
	if want&Owner != 0 && p.read&Owner == 0 {
		s.note(p.ReadOwner(s.Proc))
	}
	if want&Cmdline != 0 && p.read&Cmdline == 0 {
		s.note(p.ReadCmdline(s.Proc))
	}
	p.read |= want
	return p
}

// Read reads details of many processes, quicker than one after another.
func (s *Snapshot) Read(processes []int, want Detail) {
	for _, partial := range inParts(len(processes), func(from, to int) bool {
		part := Snapshot{Proc: s.Proc, Processes: s.Processes}
		for _, i := range processes[from:to] {
			part.Process(i, want)
		}
		return part.Partial
	}) {
		s.Partial = s.Partial || partial
	}
}

func (s *Snapshot) note(err error) {
	s.Partial = s.Partial || unreadable(err)
}

// CommandLine is the command line as one line: arguments with a space between them, or else the name of the program.
func (p *Process) CommandLine() string {
	if p.Cmdline == "" {
		return p.Comm
	}
	return strings.ReplaceAll(strings.TrimSuffix(p.Cmdline, "\x00"), "\x00", " ")
}

// Path is the file of a process's namespace.
func (s *Snapshot) Path(pid int, t Type) string {
	return s.Proc + "/" + strconv.Itoa(pid) + "/ns/" + t.String()
}

// Initial are the namespaces that the host began with, by type. They have numbers that never change (include/linux/proc_ns.h), the
// first network and mount namespaces since Linux 6.18; before, a thread of the kernel is asked, and where none is seen the number
// is one that nobody has.
func (s *Snapshot) Initial() [NumTypes]uint64 {
	const first = 0xEFFFFFF8 // mnt, then net, time, cgroup, pid, user, uts, ipc
	initial := [NumTypes]uint64{Mnt: first, Net: first + 1, Time: first + 2, Cgroup: first + 3, PID: first + 4, User: first + 5, UTS: first + 6, IPC: first + 7}
	const kthreadd = 2
	p, err := ReadProcess(s.Proc, kthreadd)
	if err == nil && p.PPID == 0 && p.Cmdline == "" && p.NS[PID] == initial[PID] {
		initial[Mnt], initial[Net] = p.NS[Mnt], p.NS[Net]
	}
	return initial
}

// Uptime is the time since boot, in the reader's time namespace, 0 when it cannot be told.
func (s *Snapshot) Uptime() time.Duration {
	text, err := readSome(s.Proc+"/uptime", 100)
	if err != nil {
		return 0
	}
	word, _, _ := strings.Cut(string(text), " ")
	seconds, err := strconv.ParseFloat(word, 64)
	if err != nil {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

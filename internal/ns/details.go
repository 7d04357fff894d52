package ns

import (
	"strconv"
	"strings"
)

// Detail says what of a process is to be read.
type Detail uint8

// What can be read of a process, see Process.
const (
	Stat    Detail = 1 << iota // PPID, Start, State, Comm
	Owner                      // UID
	Cmdline                    // Cmdline
)

// Process returns a process of the snapshot with the details that are asked for. What cannot be read any more stays empty.
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

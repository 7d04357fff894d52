package ns

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// MaxCmdline is how many bytes of a command line are read: as many as other tools show.
const MaxCmdline = 8191

// Process is what is known of a process, or of a thread when Scan was asked for threads.
type Process struct {
	PID, PPID int
	TGID      int              // the process that a thread belongs to; PID itself for a process
	UID       uint32           // the owner of /proc/PID: its effective user, or root when it may not be looked into
	Start     uint64           // when it began, in clock ticks since boot: field 22 of /proc/PID/stat
	State     byte             // R, S, D, T, t, Z, X, I, as in field 3 of /proc/PID/stat
	Flags     uint64           // PF_* of the kernel's sched.h: field 9 of /proc/PID/stat
	Comm      string           // the name of its program, at most 15 bytes (64 for a worker of the kernel), of its own choice
	Cmdline   string           // /proc/PID/cmdline as it is, arguments end with NUL, at most MaxCmdline bytes; "" for a kernel thread
	NS        [NumTypes]uint64 // inode numbers by type; 0: unreadable
	read      Detail           // what Snapshot.Process has read
}

// Args are the arguments of the command line.
func (p Process) Args() []string {
	if p.Cmdline == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(p.Cmdline, "\x00"), "\x00")
}

// ReadProcess reads all of a process. The error is fs.ErrNotExist when there is no such process, and fs.ErrPermission when the
// proc file system hides it; a namespace that may not be read is 0 and no error.
func ReadProcess(proc string, pid int) (Process, error) {
	p := Process{PID: pid, TGID: pid}
	if err := p.ReadStat(proc); err != nil {
		return p, err
	}
	if err := p.ReadOwner(proc); err != nil {
		return p, err
	}
	if err := p.ReadCmdline(proc); err != nil {
		return p, err
	}
	ids, err := Of(proc, pid)
	p.NS = ids
	if gone(err) {
		return p, err
	}
	return p, nil
}

// ReadStat fills PPID, Start, State, Flags and Comm.
func (p *Process) ReadStat(proc string) error {
	text, err := readSome(processPath(proc, p.PID)+"/stat", 1024)
	if err != nil {
		return fmt.Errorf("cannot read process %d: %w", p.PID, err)
	}
	got, err := parseStat(text)
	if err != nil {
		return fmt.Errorf("cannot read process %d: %w", p.PID, err)
	}
	p.PPID, p.Start, p.State, p.Flags, p.Comm = got.PPID, got.Start, got.State, got.Flags, got.Comm
	return nil
}

// ReadOwner fills UID.
func (p *Process) ReadOwner(proc string) error {
	var st unix.Stat_t
	if err := unix.Stat(processPath(proc, p.PID), &st); err != nil {
		return fmt.Errorf("cannot read process %d: %w", p.PID, err)
	}
	p.UID = st.Uid
	return nil
}

// ReadCmdline fills Cmdline.
func (p *Process) ReadCmdline(proc string) error {
	text, err := readSome(processPath(proc, p.PID)+"/cmdline", MaxCmdline)
	if err != nil {
		return fmt.Errorf("cannot read command line of process %d: %w", p.PID, err)
	}
	p.Cmdline = string(text)
	return nil
}

// errStat is what a text that is no /proc/PID/stat is answered with.
var errStat = errors.New("stat has not the form of proc_pid_stat(5)")

// parseStat reads /proc/PID/stat. Its second field, the name in parentheses, may hold anything: it ends with the last
// parenthesis of the text.
func parseStat(text []byte) (Process, error) {
	var p Process
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return p, errStat
	}
	p.Comm = string(text[open+1 : end])
	fields := bytes.Fields(text[end+1:])
	const state, ppid, flags, start = 0, 1, 6, 19 // fields 3, 4, 9 and 22 of the manual
	if len(fields) <= start || len(fields[state]) != 1 {
		return p, errStat
	}
	var err error
	if p.PPID, err = strconv.Atoi(string(fields[ppid])); err != nil {
		return p, errStat
	}
	if p.Start, err = strconv.ParseUint(string(fields[start]), 10, 64); err != nil {
		return p, errStat
	}
	if p.Flags, err = strconv.ParseUint(string(fields[flags]), 10, 64); err != nil {
		return p, errStat
	}
	p.State = fields[state][0]
	return p, nil
}

// gone says that a process has ended meanwhile, or was never there.
func gone(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ESRCH)
}

// readSome reads a file of proc up to a limit. It is not os.ReadFile, which asks of each file whether it can be waited for.
func readSome(path string, limit int) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	const first = 2048 // enough for most
	text := make([]byte, 0, min(first, limit))
	for len(text) < limit {
		if len(text) == cap(text) {
			text = slices.Grow(text, min(cap(text), limit-len(text)))
		}
		n, err := unix.Read(fd, text[len(text):min(cap(text), limit)])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return text, nil
		default:
			text = text[:len(text)+n]
		}
	}
	return text, nil
}

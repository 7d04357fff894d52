package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds how long Kill, Freeze and Remove wait for the kernel.
const patience = 10 * time.Second

// ErrPopulated is a cgroup that still has processes.
var ErrPopulated = errors.New("processes are still there")

// Join holds the descriptors through which a process enters a group.
type Join struct {
	V1      []*os.File // each v1 hierarchy's "tasks", write-only: a single-threaded child writes "0" to each
	Unified *os.File   // the v2 directory, for CLONE_INTO_CGROUP; nil where there is none
	joined  func()     // to be called when the child is in
}

// Join opens what a child needs to enter the group. "tasks" moves one thread and so takes no lock over all of the
// host's threads, as cgroup.procs does. All descriptors are close-on-exec.
func (g *Group) Join() (_ *Join, err error) {
	j := &Join{joined: g.release}
	defer func() {
		if err != nil {
			j.Close()
			err = fmt.Errorf("cannot open cgroup %s to join it: %w", g.path, err)
		}
	}()
	if s := g.host.Systemd; s != nil && s.User {
		if err := s.enter(); err != nil {
			return nil, err
		}
	}
	for _, y := range g.host.Hierarchies {
		name, flags := g.Dir(y), unix.O_RDONLY|unix.O_DIRECTORY
		if !y.Unified {
			name, flags = name+"/tasks", unix.O_WRONLY
		}
		fd, err := retry(func() (int, error) { return unix.Open(name, flags|unix.O_CLOEXEC, 0) })
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		if f := os.NewFile(uintptr(fd), name); y.Unified {
			j.Unified = f
		} else {
			j.V1 = append(j.V1, f)
		}
	}
	return j, nil
}

// Close closes the descriptors. They are of no use to the parent once the child is in the group, which has to be so by
// then: a unit of systemd that is empty ends.
func (j *Join) Close() {
	j.joined()
	for _, f := range j.V1 {
		f.Close()
	}
	if j.Unified != nil {
		j.Unified.Close()
	}
}

// Procs returns, sorted, the processes in the group and below it, in whichever hierarchy they are: a process may
// have been moved away in one of them. Processes outside the caller's PID namespace are left out.
// A group that does not exist has none.
func (g *Group) Procs() ([]int, error) {
	var pids []int
	for _, y := range g.host.Hierarchies {
		err := walk(g.Dir(y), func(fd int) error {
			text, err := readAt(fd, "cgroup.procs", listFile)
			switch {
			case errors.Is(err, unix.EOPNOTSUPP): // a threaded cgroup: its domain, above it, lists the process
				return nil
			case err != nil:
				return err
			}
			pids, err = appendPIDs(pids, text)
			return err
		}, nil)
		if err != nil {
			return nil, fmt.Errorf("cannot list the processes of cgroup %s: %w", g.path, err)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

func appendPIDs(pids []int, text string) ([]int, error) {
	for line := range strings.FieldsSeq(text) {
		pid, err := strconv.ParseInt(line, 10, 32)
		if err != nil || pid < 0 {
			return nil, fmt.Errorf("%q is no process", line)
		}
		if pid > 0 {
			pids = append(pids, int(pid))
		}
	}
	return pids, nil
}

// Kill kills every process in the group and below it and waits until they are gone; zombies do not count.
// cgroup.kill (Linux 5.14) takes all at once, however fast they fork. What it does not reach is frozen by the v1
// freezer where there is one, killed and thawed, again until nothing is left. errors.Is(err, ErrPopulated) when
// something in the kernel holds a process for longer than 10 s.
func (g *Group) Kill() error {
	dying := 0 // looks left before what was told to die is taken for missed
	if y, ok := g.host.unified(); ok && writeFile(g.Dir(y)+"/cgroup.kill", "1") == nil {
		dying = 8
	}
	var pids []int
	ok, err := eventually(func() (bool, error) {
		var err error
		if pids, err = g.Procs(); err != nil || len(pids) == 0 {
			return true, err
		}
		if dying--; dying >= 0 {
			return false, nil
		}
		_, err = g.signalListed(unix.SIGKILL)
		return false, err
	})
	if err == nil && !ok {
		err = fmt.Errorf("%w: %s", ErrPopulated, listed(pids))
	}
	if err != nil {
		return fmt.Errorf("cannot kill cgroup %s: %w", g.path, err)
	}
	return nil
}

// Signal sends a signal to every process in the group and below it, and returns to how many.
func (g *Group) Signal(sig unix.Signal) (int, error) {
	n, err := g.signalListed(sig)
	if err != nil {
		return n, fmt.Errorf("cannot signal cgroup %s: %w", g.path, err)
	}
	return n, nil
}

// signalListed sends a signal to what is in the group now, and returns to how many. Each process is taken by a pidfd that was opened before it
// was seen in the list a second time, so a recycled PID is never hit.
func (g *Group) signalListed(sig unix.Signal) (n int, err error) {
	if y, ok := g.host.v1("freezer"); ok && sig == unix.SIGKILL {
		// Freezing only stops forks: a process that cannot freeze now is killed all the same.
		state := g.Dir(y) + "/freezer.state"
		_ = writeFile(state, "FROZEN")
		defer writeFile(state, "THAWED")
	}
	first, err := g.Procs()
	if err != nil {
		return 0, err
	}
	fds := make(map[int]int, len(first))
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for _, pid := range first {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			fds[pid] = fd
		}
	}
	second, err := g.Procs()
	if err != nil {
		return 0, err
	}
	for _, pid := range second {
		if fd, ok := fds[pid]; ok {
			err := unix.PidfdSendSignal(fd, sig, nil, 0)
			switch {
			case err == nil:
				n++
			case !errors.Is(err, unix.ESRCH):
				return n, fmt.Errorf("signal process %d: %w", pid, err)
			}
		}
	}
	return n, nil
}

// Freeze stops every process in the group and below it, or lets them run again, and returns when that is so.
// The v2 freezer is preferred: what it stops can still be killed. A freeze that does not come about is undone.
func (g *Group) Freeze(frozen bool) error {
	verb := "thaw"
	if frozen {
		verb = "freeze"
	}
	err := ErrNoController
	if y, ok := g.host.unified(); ok {
		err = freezeUnified(g.Dir(y), frozen)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNoController) { // no v2, or Linux before 5.2
		if y, ok := g.host.v1("freezer"); ok {
			err = freezeV1(g.Dir(y), frozen)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot %s cgroup %s: %w", verb, g.path, err)
	}
	return nil
}

func freezeUnified(dir string, frozen bool) error {
	value := "0"
	if frozen {
		value = "1"
	}
	if err := writeFile(dir+"/cgroup.freeze", value); err != nil {
		return err
	}
	ok, err := eventually(func() (bool, error) {
		events, err := readFile(dir+"/cgroup.events", smallFile)
		if err != nil {
			return false, err
		}
		// An ancestor may keep it frozen: then a thaw is done when it is written.
		n, err := keyed(events, "frozen")
		return !frozen || n == 1, err
	})
	if err == nil && !ok {
		err = unix.ETIMEDOUT
	}
	if err != nil {
		_ = writeFile(dir+"/cgroup.freeze", "0")
	}
	return err
}

func freezeV1(dir string, frozen bool) error {
	state := dir + "/freezer.state"
	if !frozen {
		return writeFile(state, "THAWED")
	}
	ok, err := eventually(func() (bool, error) {
		// Writing again freezes what was forked since.
		if err := writeFile(state, "FROZEN"); err != nil {
			return false, err
		}
		now, err := readFile(state, smallFile)
		return strings.TrimSpace(now) == "FROZEN", err
	})
	if err == nil && !ok {
		err = unix.ETIMEDOUT
	}
	if err != nil {
		_ = writeFile(state, "THAWED")
	}
	return err
}

// Frozen tells whether Freeze(true) is in force on the group itself.
func (g *Group) Frozen() (bool, error) {
	if y, ok := g.host.unified(); ok {
		text, err := readFile(g.Dir(y)+"/cgroup.freeze", smallFile)
		if err == nil && strings.TrimSpace(text) == "1" {
			return true, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("cannot read whether cgroup %s is frozen: %w", g.path, err)
		}
	}
	if y, ok := g.host.v1("freezer"); ok {
		text, err := readFile(g.Dir(y)+"/freezer.self_freezing", smallFile)
		if err != nil {
			return false, fmt.Errorf("cannot read whether cgroup %s is frozen: %w", g.path, err)
		}
		return strings.TrimSpace(text) == "1", nil
	}
	return false, nil
}

// FreezerFile is the file that begins with 1 while Freeze(true) is in force on the group itself, "" where there is none.
func (g *Group) FreezerFile() string {
	if y, ok := g.host.unified(); ok {
		if file := g.Dir(y) + "/cgroup.freeze"; unix.Access(file, unix.F_OK) == nil {
			return file
		}
	}
	if y, ok := g.host.v1("freezer"); ok {
		return g.Dir(y) + "/freezer.self_freezing"
	}
	return ""
}

// eventually calls done with growing pauses, 50 µs to 20 ms, until it is true, fails, or patience ends.
func eventually(done func() (bool, error)) (bool, error) {
	pause := 50 * time.Microsecond
	for end := time.Now().Add(patience); ; {
		ok, err := done()
		if ok || err != nil {
			return ok, err
		}
		if time.Now().After(end) {
			return false, nil
		}
		time.Sleep(pause)
		pause = min(2*pause, 20*time.Millisecond)
	}
}

// listed names a few processes.
func listed(pids []int) string {
	var b strings.Builder
	for i, pid := range pids {
		if i == 8 {
			fmt.Fprintf(&b, " and %d more", len(pids)-i)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Itoa(pid))
	}
	return b.String()
}

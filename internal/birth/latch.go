package birth

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// Latch is where a child waits that outlives its parent. It is two FIFOs and a file in a directory: "latch", at which the
// child waits for a byte; "told", on which it tells the step that failed, and which execve closes; "steps", which says
// what the number of a step means. Whoever may open them lifts it.
type Latch struct {
	dir    string
	wait   int    // the child's end of latch, open for both ways so that it never sees an end
	status [2]int // both ends of told, until a child has them
}

const (
	latchFile = "latch"
	toldFile  = "told"
	stepsFile = "steps"
)

// MakeLatch makes a latch in a directory, which nobody but its owner may enter.
func MakeLatch(dir string) (_ *Latch, err error) {
	l := &Latch{dir: dir, wait: -1, status: [2]int{-1, -1}}
	defer func() {
		if err != nil {
			l.Close()
			err = fmt.Errorf("cannot make latch: %w", err)
		}
	}()
	for _, name := range []string{latchFile, toldFile} {
		if err := unix.Mkfifo(dir+"/"+name, 0o600); err != nil {
			return nil, &os.PathError{Op: "mkfifo", Path: dir + "/" + name, Err: err}
		}
	}
	const how = unix.O_CLOEXEC | unix.O_NOFOLLOW
	if l.wait, err = unix.Open(dir+"/"+latchFile, unix.O_RDWR|how, 0); err != nil {
		return nil, err
	}
	// The reader first and without waiting: a FIFO's ends wait for each other.
	if l.status[0], err = unix.Open(dir+"/"+toldFile, unix.O_RDONLY|unix.O_NONBLOCK|how, 0); err != nil {
		return nil, err
	}
	if l.status[1], err = unix.Open(dir+"/"+toldFile, unix.O_WRONLY|how, 0); err != nil {
		return nil, err
	}
	return l, unix.SetNonblock(l.status[0], false)
}

// Close lets go of this process's ends. What waits at the latch keeps waiting.
func (l *Latch) Close() {
	for _, fd := range []int{l.wait, l.status[0], l.status[1]} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	*l = Latch{dir: l.dir, wait: -1, status: [2]int{-1, -1}}
}

// steps are what the numbers mean that a child tells from its latch on.
type steps struct {
	First int    `json:"first"` // the number of the first
	List  []step `json:"list"`
}

type step struct {
	Number int    `json:"number"` // in its plan
	Name   string `json:"name"`
	Origin string `json:"origin,omitempty"`
	Exec   bool   `json:"exec,omitempty"` // it executes the program
}

// Leave lets a child through its last halt, to the latch, and lets go of it: it is for others to start.
func (c *Child) Leave(l *Latch) error {
	var s steps
	for i, at := range c.arena.steps {
		if at < 0 {
			continue
		}
		of := c.plan.Steps[at]
		if of.Call == plan.Read && len(of.Args) > 0 && of.Args[0].S == plan.Latch {
			s.First = i
		}
		if s.First > 0 {
			s.List = append(s.List, step{at, of.Name, of.Origin, of.Call == plan.Execve || of.Call == plan.Execveat})
		}
	}
	data, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(l.dir+"/"+stepsFile, data, 0o600)
	}
	if err != nil {
		c.Abort()
		return fmt.Errorf("cannot leave process %d at its latch: %w", c.Pid, err)
	}
	if err := c.Proceed(); err != nil {
		return err
	}
	c.release()
	return nil
}

// ErrNotLatched says that nobody waits at a latch: the process has been started, or is gone.
var ErrNotLatched = errors.New("nobody waits there")

// Latched says whether a process waits at the latch of a directory.
func Latched(dir string) bool {
	fd, err := openLatch(dir)
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}

// openLatch opens the end that a waiting process hears. A FIFO without a reader is ENXIO (fifo(7)).
func openLatch(dir string) (int, error) {
	fd, err := unix.Open(dir+"/"+latchFile, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOENT) {
		return -1, ErrNotLatched
	}
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: dir + "/" + latchFile, Err: err}
	}
	return fd, nil
}

// Lift starts the process that waits at the latch of a directory, and returns when it has become its program. If it
// cannot, the process is gone, and the error is a *StepError. A latch is lifted once: then it is removed.
func Lift(dir string) error {
	latch, err := openLatch(dir)
	if err != nil {
		return fmt.Errorf("cannot lift latch: %w", err)
	}
	defer unix.Close(latch)
	fd, err := unix.Open(dir+"/"+toldFile, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("cannot lift latch: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetNonblock(fd, false); err != nil {
		return fmt.Errorf("cannot lift latch: %w", err)
	}
	if _, err := unix.Write(latch, []byte{1}); err != nil {
		return fmt.Errorf("cannot lift latch: %w", err)
	}
	var word [16]byte
	n, err := retry(func() (int, error) { return unix.Read(fd, word[:]) })
	switch {
	case err != nil:
		return fmt.Errorf("cannot hear of the process's start: %w", err)
	case n == len(word):
		return failure(dir, word)
	}
	for _, name := range []string{latchFile, toldFile, stepsFile} {
		_ = os.Remove(dir + "/" + name)
	}
	return nil
}

// maxSteps bounds the file of steps, in bytes.
const maxSteps = 1 << 20

// failure is what a word means that came from a latch.
func failure(dir string, word [16]byte) error {
	e := &StepError{Step: -1, Name: "start", Errno: unix.Errno(binary.NativeEndian.Uint64(word[8:]))}
	f, err := os.OpenFile(dir+"/"+stepsFile, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return e
	}
	defer f.Close()
	var s steps
	if json.NewDecoder(io.LimitReader(f, maxSteps)).Decode(&s) != nil {
		return e
	}
	at := binary.NativeEndian.Uint64(word[:8])
	if n := at - uint64(s.First); at >= uint64(s.First) && n < uint64(len(s.List)) {
		e.Step, e.Name, e.Origin = s.List[n].Number, s.List[n].Name, s.List[n].Origin
		if s.List[n].Exec {
			e.Call = plan.Execve
		}
	}
	return e
}

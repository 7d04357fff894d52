package keeper

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// lateOutput is how long output is waited for after a process has ended. Only a process that it left behind, and that
// holds its output open, is waited for.
const lateOutput = 2 * time.Second

// Size is a terminal's, in characters.
type Size struct{ Width, Height uint16 }

// Streams are a client's ends of a process. A nil Stdin is empty; a nil Stdout or Stderr throws away. With a terminal
// there is no Stderr. A Read of Stdin that blocks outlives the session by one call.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan Size   // sizes of the client's terminal; may be nil
	Signals        <-chan Signal // to pass on to the process; may be nil
}

// Signal is a signal's number.
type Signal int

// ExecRequest is a process to run in a container. What is left out is the container's own.
type ExecRequest struct {
	Container    string
	Args         []string
	Env          []string // NAME=value, beside or instead of the container's
	Cwd          string
	User         *specs.User
	Capabilities *specs.LinuxCapabilities
	Privileged   bool // all capabilities, no seccomp filter, new privileges allowed
	TTY          bool
	Size         Size // of the terminal
	Kill         bool // the process does not outlive the call
	Streams
}

// Exec runs a process in a running container and returns how it ended. An error that is a *RefusedError says that it
// did not start, and its Code why, as a shell would.
func (c *Client) Exec(ctx context.Context, r ExecRequest) (Exit, error) {
	l, err := c.open(ctx)
	if err != nil {
		return Exit{}, err
	}
	defer l.close()
	s := session{streams: r.Streams, terminal: r.TTY}
	if err := s.pipes(); err != nil {
		return Exit{}, err
	}
	defer s.close()
	got, fds, err := l.ask(request{Op: opExec, Container: r.Container, Stdio: s.has(), Exec: &execution{
		Args: r.Args, Env: r.Env, Cwd: r.Cwd, User: r.User, Capabilities: r.Capabilities, Privileged: r.Privileged,
		TTY: r.TTY, Width: r.Size.Width, Height: r.Size.Height, Kill: r.Kill,
	}}, s.theirs...)
	if err != nil {
		return Exit{}, c.left(err)
	}
	if r.TTY && len(fds) == 1 && got.Exit == nil {
		s.takeTerminal(fds[0])
	} else {
		closeAll(fds)
	}
	return s.run(c, l, r.Container, false)
}

// AttachRequest says what to attach to.
type AttachRequest struct {
	Container string
	Attached  func() // called when the keeper has attached; may be nil
	Streams
}

// Attach connects to a container's own input and output and returns how the container ended. It may be called before a
// Life is applied: then nothing the container says is missed. A client that takes no output for half a minute is dropped.
func (c *Client) Attach(ctx context.Context, r AttachRequest) (Exit, error) {
	l, err := c.open(ctx)
	if err != nil {
		return Exit{}, err
	}
	defer l.close()
	s := session{streams: r.Streams}
	if err := s.pipes(); err != nil {
		return Exit{}, err
	}
	defer s.close()
	if _, _, err := l.ask(request{Op: opAttach, Container: r.Container, Stdio: s.has()}, s.theirs...); err != nil {
		return Exit{}, c.left(err)
	}
	if r.Attached != nil {
		r.Attached()
	}
	return s.run(c, l, r.Container, true)
}

// session copies between a client's streams and a process.
type session struct {
	streams  Streams
	terminal bool
	ours     [3]*os.File // our ends of the pipes; for a terminal both are it
	theirs   []int       // the other ends, until they are sent
	tty      *os.File
	copies   sync.WaitGroup
}

// has says which streams travel in pipes.
func (s *session) has() [3]bool {
	if s.terminal {
		return [3]bool{}
	}
	return [3]bool{s.streams.Stdin != nil, s.streams.Stdout != nil, s.streams.Stderr != nil}
}

// pipes makes a pipe for each stream there is. The client's own descriptors never reach a container: they may be its
// terminal, or files that could be opened again through /proc.
func (s *session) pipes() error {
	for i, want := range s.has() {
		if !want {
			continue
		}
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			s.close()
			return os.NewSyscallError("pipe2", err)
		}
		mine, other := p[0], p[1]
		if i == 0 {
			mine, other = p[1], p[0]
		}
		_ = unix.SetNonblock(mine, true)
		s.ours[i] = os.NewFile(uintptr(mine), "pipe")
		s.theirs = append(s.theirs, other)
	}
	return nil
}

func (s *session) takeTerminal(fd int) {
	_ = unix.SetNonblock(fd, true)
	s.tty = os.NewFile(uintptr(fd), "terminal")
	if s.streams.Stdin != nil {
		s.ours[0] = s.tty
	}
	if s.streams.Stdout != nil {
		s.ours[1] = s.tty
	}
}

// run copies until the process has ended and its output is through.
func (s *session) run(c *Client, l *link, container string, attached bool) (Exit, error) {
	closeAll(s.theirs)
	s.theirs = nil
	if in := s.ours[0]; in != nil {
		go func() {
			_, _ = io.Copy(in, s.streams.Stdin)
			if in != s.tty {
				in.Close()
			}
		}()
	}
	for i, to := range map[int]io.Writer{1: s.streams.Stdout, 2: s.streams.Stderr} {
		if from := s.ours[i]; from != nil {
			s.copies.Go(func() { copyAll(to, from) })
		}
	}
	stop := make(chan struct{})
	defer close(stop)
	go s.side(c, l, container, attached, stop)
	for {
		got, fds, err := l.hear()
		closeAll(fds)
		switch {
		case err != nil:
			return Exit{}, c.left(err)
		case got.Error != "":
			return Exit{}, &RefusedError{Text: got.Error, Code: got.Code}
		case got.Exit != nil:
			s.finish(attached)
			return *got.Exit, nil
		case got.Done:
			return Exit{}, errors.New("the Pod has ended")
		}
	}
}

// side passes on sizes and signals.
func (s *session) side(c *Client, l *link, container string, attached bool, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case size, ok := <-s.streams.Resize:
			switch {
			case !ok:
				s.streams.Resize = nil
			case attached:
				_ = c.Resize(l.ctx, container, size)
			case s.tty != nil:
				_ = setSize(s.tty, size)
			}
		case n, ok := <-s.streams.Signals:
			switch {
			case !ok:
				s.streams.Signals = nil
			case attached:
				_ = c.Signal(l.ctx, container, int(n))
			default:
				_ = l.say(request{Op: opSignal, Signal: int(n)})
			}
		}
	}
}

// finish waits for the rest of the output. Of an attachment the keeper ends it, of an exec whoever has it open.
func (s *session) finish(attached bool) {
	late := time.Now().Add(lateOutput)
	for _, f := range s.ours[1:] {
		if f != nil && !attached {
			_ = f.SetReadDeadline(late)
		}
	}
	s.copies.Wait()
}

// copyAll copies until the end, or until the deadline, and then what is there.
func copyAll(to io.Writer, from *os.File) {
	if _, err := io.Copy(to, from); !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	raw, err := from.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, bufferSize)
	_ = raw.Control(func(fd uintptr) {
		for {
			n, err := unix.Read(int(fd), buf)
			if n <= 0 && !errors.Is(err, unix.EINTR) {
				return
			}
			if _, err := to.Write(buf[:max(n, 0)]); err != nil {
				return
			}
		}
	})
}

func (s *session) close() {
	closeAll(s.theirs)
	s.theirs = nil
	for _, f := range s.ours {
		if f != nil {
			f.Close()
		}
	}
}

func setSize(f *os.File, s Size) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: s.Width, Row: s.Height})
	})
	return errors.Join(failed, err)
}

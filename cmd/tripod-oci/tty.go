package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"tripod/internal/container"
)

// sendConsole sends the master of a terminal over a socket to whoever will attend to it, and closes it here.
func sendConsole(path string, master *os.File) error {
	if path == "" || master == nil {
		return nil
	}
	defer master.Close()
	// Its receivers expect to wait in read(2).
	if err := unix.SetNonblock(int(master.Fd()), false); err != nil {
		return fmt.Errorf("cannot send terminal: %w", err)
	}
	if err := container.Deliver(path, []byte("/dev/ptmx"), int(master.Fd())); err != nil {
		return fmt.Errorf("cannot send terminal to --console-socket %s: %w", path, err)
	}
	return nil
}

// session is a terminal of a process while this process attends to it. A nil one attends to nothing.
type session struct {
	master *os.File
	back   *term.State   // of our own terminal, or nil
	copied chan struct{} // closed when all output has come
	ended  chan struct{} // closed when the process has ended
}

// attend passes our stdin to a terminal and its output to our stdout. Our own terminal, if we have one, becomes raw.
func attend(master *os.File) (*session, error) {
	s := &session{master: master, copied: make(chan struct{}), ended: make(chan struct{})}
	if term.IsTerminal(0) {
		back, err := term.MakeRaw(0)
		if err != nil {
			return nil, fmt.Errorf("cannot use our terminal: %w", err)
		}
		s.back = back
		s.resize()
	}
	go func() {
		_, err := io.Copy(master, os.Stdin)
		if err == nil && s.back == nil {
			// A terminal has no end of file: its reader is told by the character for it, Ctrl-D.
			_, _ = master.Write([]byte{4})
		}
	}()
	go s.output()
	return s, nil
}

// lag is how long after the process's end the last of its output may come, while others hold the terminal.
const lag = 100 * time.Millisecond

func (s *session) output() {
	defer close(s.copied)
	buf := make([]byte, 32<<10)
	for {
		select {
		case <-s.ended:
			_ = s.master.SetReadDeadline(time.Now().Add(lag))
		default:
		}
		n, err := s.master.Read(buf)
		if _, werr := os.Stdout.Write(buf[:n]); werr != nil {
			return
		}
		// The master of a terminal that nobody has open any more is EIO.
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// ownSize gives a terminal that we shall attend to the size of ours, from its program's first look on.
func ownSize(p *specs.Process) {
	if p == nil || !p.Terminal || p.ConsoleSize != nil {
		return
	}
	if size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
		p.ConsoleSize = &specs.Box{Height: uint(size.Row), Width: uint(size.Col)}
	}
}

// resize makes the terminal as large as ours.
func (s *session) resize() {
	if s == nil || s.back == nil {
		return
	}
	if size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
		_ = unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, size)
	}
}

// end waits for the last output of a process that has ended, and puts our terminal back.
func (s *session) end() {
	if s == nil {
		return
	}
	close(s.ended)
	_ = s.master.SetReadDeadline(time.Now().Add(lag))
	<-s.copied
	if s.back != nil {
		_ = term.Restore(0, s.back)
	}
}

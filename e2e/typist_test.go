package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// typist is the program "typist FILE PROGRAM [ARG...]": it sits at a terminal of its own at which the program runs, and does what
// the file says, line by line:
//
//	size ROWS COLS   give the terminal this size
//	wait TEXT        go on when the program has written TEXT behind what was waited for before
//	type TEXT        type a line
//
// It prints what the terminal showed, and ends as the program does.
func typist() {
	if len(os.Args) < 3 {
		fail("usage: typist FILE PROGRAM [ARG...]")
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		fail("%v", err)
	}
	master, slave, err := terminal()
	if err != nil {
		fail("cannot open a terminal: %v", err)
	}
	s := &screen{changed: make(chan struct{}, 1)}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for len(lines) > 0 && strings.HasPrefix(lines[0], "size ") { // before the program looks
		s.do(master, lines[0])
		lines = lines[1:]
	}
	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		fail("%v", err)
	}
	slave.Close()
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_, _ = io.Copy(s, master) // ends with EIO when nobody has the other end any more
	}()
	for _, line := range lines {
		s.do(master, line)
	}
	err = cmd.Wait()
	<-shown
	os.Stdout.WriteString(s.all())
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fail("%v", err)
	}
}

// terminal opens both ends of a new one.
func terminal() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	master = os.NewFile(uintptr(fd), "terminal")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	return master, slave, err
}

// screen is what a terminal has shown.
type screen struct {
	mu      sync.Mutex
	text    bytes.Buffer
	seen    int // up to where it was waited for
	changed chan struct{}
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return s.text.Write(p)
}

func (s *screen) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// do does one line of a typist's file.
func (s *screen) do(master *os.File, line string) {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "size":
		var size unix.Winsize
		if _, err := fmt.Sscan(rest, &size.Row, &size.Col); err != nil {
			fail("cannot read size %q: %v", rest, err)
		}
		if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &size); err != nil {
			fail("cannot set size: %v", err)
		}
	case "wait":
		s.await(rest)
	case "type":
		if _, err := master.WriteString(rest + "\r"); err != nil {
			fail("cannot type: %v", err)
		}
	default:
		fail("cannot %q", line)
	}
}

func (s *screen) await(text string) {
	over := time.After(time.Duration(30*patience()) * time.Second)
	for {
		s.mu.Lock()
		i := strings.Index(s.text.String()[s.seen:], text)
		if i >= 0 {
			s.seen += i + len(text)
		}
		s.mu.Unlock()
		if i >= 0 {
			return
		}
		select {
		case <-s.changed:
		case <-over:
			fail("the terminal never showed %q: %q", text, s.all())
		}
	}
}

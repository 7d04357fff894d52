package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// attendant waits at a console socket as conmon and containerd do, and hands out the terminal that comes.
func (g *ground) attendant() (path string, master func() *os.File) {
	g.Helper()
	path = filepath.Join(g.dir, "console.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { l.Close() })
	return path, func() *os.File {
		g.Helper()
		if err := l.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			g.Fatal(err)
		}
		conn, err := l.AcceptUnix()
		if err != nil {
			g.Fatal(err)
		}
		defer conn.Close()
		text, oob := make([]byte, 100), make([]byte, unix.CmsgSpace(4))
		n, m, _, _, err := conn.ReadMsgUnix(text, oob)
		if err != nil || n == 0 || m != len(oob) {
			g.Fatalf("%d bytes and %d of rights came: %v", n, m, err)
		}
		list, err := unix.ParseSocketControlMessage(oob)
		if err != nil {
			g.Fatal(err)
		}
		fds, err := unix.ParseUnixRights(&list[0])
		if err != nil || len(fds) != 1 {
			g.Fatal(fds, err)
		}
		if flags, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
			g.Errorf("the terminal came with flags %#x (%v): its readers wait in read(2)", flags, err)
		}
		f := os.NewFile(uintptr(fds[0]), "master")
		g.Cleanup(func() { f.Close() })
		return f
	}
}

// readAll reads a terminal until nobody has its other end any more, which is EIO.
func readAll(f *os.File) string {
	var b bytes.Buffer
	_, _ = io.Copy(&b, f)
	return strings.ReplaceAll(b.String(), "\r\n", "\n")
}

func TestConsoleSocket(t *testing.T) {
	sized := func(s *specs.Spec) {
		s.Process.Terminal = true
		s.Process.ConsoleSize = &specs.Box{Height: 33, Width: 77}
	}
	const script = "tty; stty size; [ -t 2 ] && echo all; sleep 0.1"
	const want = "/dev/pts/0\n33 77\nall\n"
	for _, how := range []string{"create", "run", "run -d"} {
		t.Run(how, func(t *testing.T) {
			g := newGround(t, sized, "sh", "-c", script)
			path, master := g.attendant()
			args := append(strings.Fields(how), "-b", g.dir, "--console-socket", path, g.id)
			done := make(chan error)
			cmd := g.command(args...)
			go func() { done <- cmd.Run() }()
			m := master()
			if how == "create" {
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				g.must("start", g.id)
			}
			if out := readAll(m); out != want {
				t.Errorf("the terminal showed %q, want %q", out, want)
			}
			if how != "create" {
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	t.Run("exec", func(t *testing.T) {
		g := newGround(t, nil)
		g.must("run", "-d", "-b", g.dir, g.id)
		path, master := g.attendant()
		pidFile := filepath.Join(g.dir, "pid")
		cmd := g.command("exec", "-td", "--pid-file", pidFile, "--console-socket="+path, g.id, "sh", "-c", "read a; echo got $a; tty")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		m := master()
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		if _, err := m.WriteString("word\n"); err != nil {
			t.Fatal(err)
		}
		if out := readAll(m); out != "word\ngot word\n/dev/pts/0\n" {
			t.Errorf("the terminal showed %q", out)
		}
		if _, err := os.Stat(pidFile); err != nil {
			t.Error(err)
		}
	})
}

// A terminal in the foreground is ours passed through, or pipes as here; its end is the process's.
func TestForegroundTerminal(t *testing.T) {
	g := newGround(t, func(s *specs.Spec) { s.Process.Terminal = true }, "sh", "-c", "read a; echo got $a; tty; exit 4")
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"run", "-b", g.dir, g.id}, 4},
		{[]string{"exec", "-t", g.id, "sh", "-c", "read a; echo got $a; tty; exit 6"}, 6},
	} {
		if c.args[0] == "exec" {
			s := example()
			s.Process.Terminal, s.Process.Args, s.Linux.CgroupsPath = false, []string{"sleep", "1000"}, "/"+g.id
			g.config(s)
			g.must("run", "-d", "-b", g.dir, g.id)
		}
		cmd := g.command(c.args...)
		in, out := strings.NewReader("word\n"), bytes.Buffer{}
		cmd.Stdin, cmd.Stdout = in, &out
		_ = cmd.Run()
		text := strings.ReplaceAll(out.String(), "\r\n", "\n")
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(text, "got word\n/dev/pts/") {
			t.Errorf("%s: exit code %d, printed %q", c.args[0], code, text)
		}
	}
}

// A terminal of ours becomes raw meanwhile, has its size passed on, and is what it was before afterwards.
func TestOwnTerminal(t *testing.T) {
	g := newGround(t, func(s *specs.Spec) { s.Process.Terminal = true }, "sh", "-c", "stty size; until [ \"$(stty size)\" = \"21 61\" ]; do sleep 0.01; done; stty size; exit 3")
	// Opened so, it is read with the poller, and closing it ends a read.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ptmx := os.NewFile(uintptr(fd), "ptmx")
	defer ptmx.Close()
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	size := func(rows, columns uint16) {
		t.Helper()
		if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
			t.Fatal(err)
		}
	}
	size(20, 60)
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	cmd := g.command("run", "-b", g.dir, g.id)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(20*time.Second, func() { ptmx.Close() })
	defer stop.Stop()
	read := func(want string) {
		t.Helper()
		var got []byte
		buf := make([]byte, 100)
		for !strings.Contains(string(got), want) {
			n, err := ptmx.Read(buf)
			if err != nil {
				t.Fatalf("the terminal showed %q, not %q: %v", got, want, err)
			}
			got = append(got, buf[:n]...)
		}
	}
	read("20 60")
	size(21, 61)
	if err := cmd.Process.Signal(unix.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	read("21 61")
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	after, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("our terminal is %+v afterwards, was %+v (%v)", after, before, err)
	}
}

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tripod/internal/record"
)

// claim takes the folders of a daemon, which have one at a time. What it returns holds them until it is closed.
func claim(dirs ...string) (io.Closer, error) {
	var held locks
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			held.Close()
			return nil, fmt.Errorf("cannot make folder: %w", err)
		}
		path := filepath.Join(dir, "tripodd.lock")
		lock, err := record.Try(path)
		if errors.Is(err, record.ErrLocked) {
			err = fmt.Errorf("cannot start on %s: tripodd runs there already%s", dir, holder(path))
		}
		if err != nil {
			held.Close()
			return nil, err
		}
		held = append(held, lock)
		f := lock.File()
		if err := f.Truncate(0); err == nil {
			_, _ = fmt.Fprintf(f, "%d\n", os.Getpid()) // for those who are refused
		}
	}
	return held, nil
}

type locks []*record.Lock

func (l locks) Close() error {
	var errs []error
	for _, lock := range l {
		errs = append(errs, lock.Release())
	}
	return errors.Join(errs...)
}

// holder tells the PID in a lock's file.
func holder(path string) string {
	text, err := os.ReadFile(path)
	if pid, cerr := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && cerr == nil {
		return fmt.Sprintf(", PID %d", pid)
	}
	return ""
}

// listenUnix makes the socket, for its owner alone. It takes the place of one that was left behind: it is made beside it and
// renamed, so that there is no moment when it is open to others.
func listenUnix(path string) (net.Listener, error) {
	switch st, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	case st.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("cannot listen on %s: there is a file that is no socket", path)
	default:
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			c.Close()
			return nil, fmt.Errorf("cannot listen on %s: somebody listens there", path)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	l, err := net.Listen("unix", fresh)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err = os.Chmod(fresh, 0o600); err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		l.Close()
		os.Remove(fresh)
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	return &ownersOnly{l, uint32(os.Geteuid()), path}, nil
}

// inherited is the socket that systemd hands over, nil when there is none (sd_listen_fds(3)).
func inherited() (net.Listener, error) {
	defer os.Unsetenv("LISTEN_PID")
	defer os.Unsetenv("LISTEN_FDS")
	defer os.Unsetenv("LISTEN_FDNAMES")
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 1 {
		return nil, nil
	}
	const first = 3
	for fd := first; fd < first+n; fd++ {
		unix.CloseOnExec(fd)
	}
	if n > 1 {
		return nil, fmt.Errorf("cannot use %d inherited sockets: one is served", n)
	}
	f := os.NewFile(first, "inherited socket")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("cannot use inherited socket: %w", err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		l.Close()
		return nil, errors.New("cannot use inherited socket: it is no unix socket")
	}
	var st unix.Stat_t
	if err := unix.Stat(u.Addr().String(), &st); err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot use inherited socket %s: %w", u.Addr(), err)
	}
	return &ownersOnly{l, st.Uid, ""}, nil
}

// ownersOnly lets in whom the kernel calls root or the socket's owner, whatever the file's mode has become.
type ownersOnly struct {
	net.Listener
	owner uint32
	path  string // to be removed at the end, when it was ours to make
}

func (l *ownersOnly) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peer(c)
		if err == nil && (uid == 0 || uid == l.owner) {
			return c, nil
		}
		slog.Warn("connection refused", "uid", uid, "error", err)
		go refuse(c)
	}
}

// Addr is where clients dial; a socket that was renamed does not know it.
func (l *ownersOnly) Addr() net.Addr {
	if l.path != "" {
		return &net.UnixAddr{Name: l.path, Net: "unix"}
	}
	return l.Listener.Addr()
}

func (l *ownersOnly) Close() error {
	err := l.Listener.Close()
	if l.path != "" {
		os.Remove(l.path)
	}
	return err
}

func peer(c net.Conn) (uint32, error) {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var who *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) { who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); cerr != nil {
		return 0, cerr
	}
	if err != nil {
		return 0, err
	}
	return who.Uid, nil
}

// refuse answers a stranger without reading a word from him.
func refuse(c net.Conn) {
	defer c.Close()
	const body = `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"this socket is its owner's","reason":"Forbidden","code":403}`
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, _ = fmt.Fprintf(c, "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
}

// loopback says whether an address is one of this host's own alone.
func loopback(address string) (host string, err error) {
	host, _, err = net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("cannot listen on %s: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", fmt.Errorf("cannot listen on %s: no loopback address", address)
	}
	return host, nil
}

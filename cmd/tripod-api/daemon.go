package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readyTimeout = 30 * time.Second // for a store of many objects on a slow disk
	readyPause   = 10 * time.Millisecond
	logLimit     = 1 << 20 // bytes of tripodd's log from which on a new start begins it anew
	logTail      = 2 << 10
)

// reach sees that tripodd answers, and starts it where it does not run and is ours. A daemon that is there and refuses us
// is left alone.
func (c *client) reach() error {
	path, ours := c.address()
	conn, err := c.dial(context.Background())
	if err == nil {
		return conn.Close()
	}
	if !absent(err) || !ours || c.quiet {
		return fmt.Errorf("cannot reach tripodd at %s: %w", path, cause(err))
	}
	return c.start(path)
}

// absent says that nobody listens.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED)
}

// cause is what is left of an error of net without the words around it.
func cause(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// start runs tripodd in the background and waits until it answers. Of several that come at once one starts it.
func (c *client) start(path string) error {
	if err := os.MkdirAll(c.runRoot, 0o755); err != nil {
		return fmt.Errorf("cannot start tripodd: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(c.runRoot, "tripodd.start"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("cannot start tripodd: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("cannot lock %s: %w", lock.Name(), err)
	}
	if conn, err := c.dial(context.Background()); err == nil {
		return conn.Close() // another was first
	}
	log, err := openLog(filepath.Join(c.runRoot, "tripodd.log"))
	if err != nil {
		return fmt.Errorf("cannot start tripodd: %w", err)
	}
	defer log.Close()
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("cannot start tripodd: %w", err)
	}
	daemon, err := c.command(log)
	if err != nil {
		return fmt.Errorf("cannot start tripodd: %w", err)
	}
	if err := daemon.Start(); err != nil {
		return fmt.Errorf("cannot start tripodd: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	if err := c.ready(ended); err != nil {
		return fmt.Errorf("cannot start tripodd: %w%s", err, tail(log, begin))
	}
	_, err = fmt.Fprintf(c.say, "tripod: started tripodd, process %d, at %s; its log is %s\n", daemon.Process.Pid, path, log.Name())
	return err
}

// command is a tripodd with our folders, in a session of its own, so that neither our terminal nor its end reaches it.
func (c *client) command(log *os.File) (*exec.Cmd, error) {
	root, err := filepath.Abs(c.root)
	if err != nil {
		return nil, err
	}
	runRoot, err := filepath.Abs(c.runRoot)
	if err != nil {
		return nil, err
	}
	daemon := exec.Command(c.daemon, "--root", root, "--run-root", runRoot)
	daemon.Dir, daemon.Stdout, daemon.Stderr = "/", log, log
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return daemon, nil
}

func openLog(path string) (*os.File, error) {
	flags := os.O_RDWR | os.O_CREATE | os.O_APPEND
	if is, err := os.Stat(path); err == nil && is.Size() > logLimit {
		flags |= os.O_TRUNC
	}
	return os.OpenFile(path, flags, 0o600)
}

// ready waits until tripodd says that it is, or has ended.
func (c *client) ready(ended <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	asker := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
	}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, host+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := asker.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-ended:
			return fmt.Errorf("it ended at once (%v)", exitOf(err))
		case <-ctx.Done():
			return fmt.Errorf("it is not ready after %s", readyTimeout)
		case <-time.After(readyPause):
		}
	}
}

// exitOf tells how a process ended.
func exitOf(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// tail is what tripodd wrote last since an offset of its log.
func tail(log *os.File, begin int64) string {
	end, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	begin = max(begin, end-logTail)
	text := make([]byte, end-begin)
	if _, err := log.ReadAt(text, begin); err != nil || len(text) == 0 {
		return ""
	}
	return "\n" + strings.TrimSpace(string(text))
}

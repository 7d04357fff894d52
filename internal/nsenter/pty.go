package nsenter

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"tripod/internal/ns"
)

// terminal is the program's own terminal, between it and ours. The nil one is none.
type terminal struct {
	master *os.File
	slave  int
	saved  *term.State // of our own, when it was put into raw mode
	sizes  chan os.Signal
	copied chan struct{} // closed when all that the program printed is copied
	once   sync.Once
}

// terminal makes the program's terminal, for --pty. Its size is ours, and what is typed goes through unchanged.
func (j *Joining) terminal(v *view) (*terminal, error) {
	if !j.Options.PTY {
		return nil, nil
	}
	fd, err := v.ptmx(j.Options)
	if err != nil {
		return nil, err
	}
	t := &terminal{slave: -1, sizes: make(chan os.Signal, 1), copied: make(chan struct{})}
	if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
		// By the master, not by name: /dev/pts may be another mount's.
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if t.slave = int(n); errno != 0 {
			t.slave, err = -1, errno
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot make a terminal: %s", text(err))
	}
	_ = unix.SetNonblock(fd, true)
	t.master = os.NewFile(uintptr(fd), "ptmx")
	if l := v.Like; l != nil {
		// It is the program's to open anew.
		_ = unix.Fchown(t.slave, int(l.UID), -1)
	}
	v.given["pty"] = t.slave
	t.resize()
	return t, nil
}

// ptmx opens what makes terminals: the target's, so that the program finds its terminal below /dev/pts, or the caller's.
// In the target anything may lie in its place: only the kernel's file system of terminals is believed (CVE-2025-52565).
func (v *view) ptmx(o Options) (int, error) {
	const how = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	if v.target != nil && (o.All || o.Spaces[ns.Mnt].Wanted && !o.Spaces[ns.Mnt].Given) {
		if root, err := v.target.open("root", unix.O_PATH|unix.O_DIRECTORY); err == nil {
			defer unix.Close(root)
			dir, err := unix.Openat2(root, "dev/pts", &unix.OpenHow{
				Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS,
			})
			if err == nil {
				defer unix.Close(dir)
				var fs unix.Statfs_t
				var st unix.Stat_t
				if unix.Fstatfs(dir, &fs) == nil && fs.Type == unix.DEVPTS_SUPER_MAGIC &&
					unix.Fstatat(dir, "ptmx", &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(5, 2) {
					if fd, err := unix.Openat(dir, "ptmx", how|unix.O_NOFOLLOW, 0); err == nil {
						return fd, nil
					}
				}
			}
		}
	}
	fd, err := unix.Open("/dev/ptmx", how, 0)
	if err != nil {
		return -1, cannotOpen("/dev/ptmx", err)
	}
	return fd, nil
}

func (t *terminal) resize() {
	if size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
		if raw, err := t.master.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) })
		}
	}
}

// serve begins to carry what is typed and printed. Ours becomes raw, so that the program's does the editing.
func (t *terminal) serve() {
	if t == nil {
		return
	}
	if saved, err := term.MakeRaw(0); err == nil {
		t.saved = saved
	}
	signal.Notify(t.sizes, unix.SIGWINCH)
	go func() {
		for range t.sizes {
			t.resize()
		}
	}()
	typed := t.saved != nil
	go func() {
		_, _ = io.Copy(t.master, os.Stdin)
		if !typed {
			// The end of a pipe is told as it is typed: ^D at the beginning of a line.
			_, _ = t.master.Write([]byte{4})
		}
	}()
	go func() {
		defer close(t.copied)
		_, _ = io.Copy(os.Stdout, t.master)
	}()
}

// finish waits until all is printed that the program wrote. The master tells the end (EIO) when nobody has the other
// side open: what the program left in the background may, and is not waited for.
func (t *terminal) finish() {
	if t == nil {
		return
	}
	_ = t.master.SetReadDeadline(time.Now().Add(lull))
	<-t.copied
}

// lull is how long what is printed after the end of the program is waited for.
const lull = 200 * time.Millisecond

// restore puts our own terminal back. It may be called twice.
func (t *terminal) restore() {
	if t == nil {
		return
	}
	t.once.Do(func() {
		signal.Stop(t.sizes)
		if t.saved != nil {
			_ = term.Restore(0, t.saved)
		}
		t.master.Close()
	})
}

package nsenter

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/birth"
	"tripod/internal/ns"
	"tripod/internal/owner"
)

// view is what is held of the target and the caller: descriptors, and what they told.
type view struct {
	Facts
	given  map[string]int
	target *process
	groups []string // cgroups that were made for the program and are removed behind it
}

func (v *view) close() {
	for _, fd := range v.given {
		unix.Close(fd)
	}
	if v.target != nil {
		v.target.close()
	}
}

// process is a process that is held: what is opened below its folder belongs to it, whoever gets its PID next.
type process struct {
	pid   int
	dir   int // /proc/PID; -1 when there is none
	pidfd int
	err   error // why dir is -1
}

func (p *process) close() {
	for _, fd := range []int{p.dir, p.pidfd} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// hold takes hold of the target. A process that is not there is told by what is opened of it.
func hold(t owner.Target) (*process, error) {
	p := &process{pid: t.PID, dir: -1, pidfd: -1}
	var err error
	if p.pidfd, err = unix.PidfdOpen(t.PID, 0); err != nil {
		p.pidfd = -1
	}
	if p.dir, p.err = unix.Open(p.path(""), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); p.err != nil {
		p.dir = -1
	}
	if t.Inode != 0 {
		if err := p.is(t.Inode); err != nil {
			p.close()
			return nil, err
		}
	}
	if t.Start != 0 && p.dir >= 0 {
		if got := (ns.Process{PID: t.PID}); got.ReadStat("") != nil || got.Start != t.Start {
			p.close()
			return nil, fmt.Errorf("cannot enter process %d: it has ended", t.PID)
		}
	}
	// The folder was opened after the pidfd: if that process lives, it is the folder's.
	if p.dir >= 0 && p.pidfd >= 0 && unix.PidfdSendSignal(p.pidfd, 0, nil, 0) == unix.ESRCH {
		unix.Close(p.dir)
		p.dir, p.err = -1, unix.ENOENT
	}
	return p, nil
}

// is sees that the process has this inode number, which no other process ever has.
func (p *process) is(inode uint64) error {
	var st unix.Stat_t
	var fs unix.Statfs_t
	const pidfs = 0x50494446 // PID_FS_MAGIC
	switch {
	case p.pidfd < 0:
		return fmt.Errorf("cannot enter process %d: it has ended", p.pid)
	case unix.Fstatfs(p.pidfd, &fs) != nil || int64(fs.Type) != pidfs:
		return fmt.Errorf("cannot check the inode of process %d: this kernel's pidfds have none (Linux 6.9)", p.pid)
	case unix.Fstat(p.pidfd, &st) != nil || st.Ino != inode:
		return fmt.Errorf("cannot enter process %d: its inode is %d, not %d: the PID has passed to another process", p.pid, st.Ino, inode)
	}
	return nil
}

func (p *process) path(name string) string {
	return strings.TrimSuffix("/proc/"+strconv.Itoa(p.pid)+"/"+name, "/")
}

// open opens a file of the process. The error is nsenter's.
func (p *process) open(name string, flags int) (int, error) {
	err := p.err
	if p.dir >= 0 {
		var fd int
		if fd, err = unix.Openat(p.dir, name, flags|unix.O_CLOEXEC, 0); err == nil {
			return fd, nil
		}
	}
	if errors.Is(err, unix.ESRCH) {
		err = unix.ENOENT
	}
	return -1, cannotOpen(p.path(name), err)
}

func cannotOpen(file string, err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return fmt.Errorf("cannot open %s: %s", file, birth.ErrnoText(errno))
	}
	return fmt.Errorf("cannot open %s: %w", file, err)
}

// read reads a whole file of the process, at most limit bytes.
func (p *process) read(name string, limit int64) (string, error) {
	fd, err := p.open(name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), p.path(name))
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", p.path(name), err)
	}
	if int64(len(data)) > limit {
		return "", fmt.Errorf("cannot read %s: more than %d bytes", p.path(name), limit)
	}
	return string(data), nil
}

// look opens what the options want, and reads what a Joining depends on.
func look(o Options, t owner.Target) (_ *view, err error) {
	v := &view{given: map[string]int{}}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	if t.PID != 0 {
		if v.target, err = hold(t); err != nil {
			return nil, err
		}
		v.PID = t.PID
	}
	v.Admin, v.Groups = rights(o.All || o.UserParent || o.Spaces[ns.User].Wanted)
	if v.Self, err = inode("/proc/self/ns/user"); err != nil {
		return nil, err
	}
	if err := v.spaces(o); err != nil {
		return nil, err
	}
	if err := v.lay(o); err != nil {
		return nil, err
	}
	if err := v.dirs(o); err != nil {
		return nil, err
	}
	if err := v.process(o); err != nil {
		return nil, err
	}
	if o.KeepCaps || o.LikeContainer {
		v.LastCap = lastCap()
	}
	v.NoFile = limitOfFiles()
	v.Mask = mask()
	return v, nil
}

// dirs opens root and working directory, while the caller's namespaces still say what their names mean.
func (v *view) dirs(o Options) error {
	for _, d := range []struct {
		name string
		Choice
	}{{"root", o.Root}, {"cwd", o.Dir}} {
		if !d.Wanted {
			continue
		}
		const how = unix.O_PATH | unix.O_DIRECTORY
		var fd int
		var err error
		if d.Given {
			if fd, err = unix.Open(d.Path, how|unix.O_CLOEXEC, 0); err != nil {
				return cannotOpen(d.Path, err)
			}
		} else if fd, err = v.target.open(d.name, how); err != nil {
			return err
		}
		v.given[d.name] = fd
	}
	_, v.Root = v.given["root"]
	_, v.Dir = v.given["cwd"]
	if o.DirInside.Wanted {
		v.Inside = o.DirInside.Path
		if !o.DirInside.Given {
			v.Inside = "/"
			if v.target != nil {
				var buf [unix.PathMax]byte
				if n, err := unix.Readlinkat(v.target.dir, "cwd", buf[:]); err == nil {
					v.Inside = path.Clean(string(buf[:n]))
				}
			}
		}
	}
	return nil
}

// inode is the inode number behind a path.
func inode(file string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		var errno unix.Errno
		errors.As(err, &errno)
		return 0, fmt.Errorf("stat of %s failed: %s", file, birth.ErrnoText(errno))
	}
	return st.Ino, nil
}

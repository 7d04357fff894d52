package nsenter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/birth"
	"tripod/internal/ns"
)

// spaces opens the namespaces that are wanted, in the order in which they are joined.
func (v *view) spaces(o Options) error {
	other := false // the target's user namespace is not the caller's, which cannot be joined again (setns(2))
	if o.All {
		id, err := v.target.stat("ns/user")
		if err != nil {
			return err
		}
		other = id != v.Self
	}
	for _, t := range order {
		fd, file, err := v.space(o, t)
		if err != nil {
			return err
		}
		if fd >= 0 {
			v.Joins = append(v.Joins, v.found(t, fd, file))
		}
	}
	fd, file, err := v.user(o, other)
	if err != nil {
		return err
	}
	if fd < 0 {
		v.owners(o)
		return nil
	}
	last := v.found(ns.User, fd, file)
	v.owners(o)
	v.way(last.ID, fd)
	v.Users = append(v.Users, last)
	return nil
}

// found is a namespace behind a descriptor, which is kept.
func (v *view) found(t ns.Type, fd int, file string) Join {
	n := Join{Type: t, File: file}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil {
		n.ID = st.Ino
	}
	if old, ok := v.given[n.file()]; ok {
		unix.Close(old)
	}
	v.given[n.file()] = fd
	return n
}

// space opens one namespace that is no user namespace; -1 when it is not wanted.
func (v *view) space(o Options, t ns.Type) (fd int, file string, err error) {
	c := o.Spaces[t]
	switch {
	case t == ns.Net && o.Socket >= 0:
		fd, err = v.target.socket(o.Socket)
		return fd, fmt.Sprintf("socket %d of process %d", o.Socket, v.PID), err
	case t == ns.PID && o.PIDForChildren && !c.Given:
		fd, err = v.target.open("ns/pid_for_children", unix.O_RDONLY)
		return fd, v.target.path("ns/pid_for_children"), err
	case c.Given:
		return named(t, c.Path)
	case c.Wanted:
		fd, err = v.target.open("ns/"+t.String(), unix.O_RDONLY)
		return fd, v.target.path("ns/" + t.String()), err
	case o.All:
		if (!v.Admin || t == ns.Time) && v.shared(t) {
			// A caller without privilege may not join even where it is already; and joining a time namespace takes a
			// process that shares no memory, which costs more.
			return -1, "", nil
		}
		fd, err = v.target.open("ns/"+t.String(), unix.O_RDONLY)
		if err != nil && !here(t) {
			return -1, "", nil
		}
		return fd, v.target.path("ns/" + t.String()), err
	}
	return -1, "", nil
}

// shared says that the target and the caller are in the same namespace.
func (v *view) shared(t ns.Type) bool {
	theirs, err := v.target.stat("ns/" + t.String())
	if err != nil {
		return false
	}
	own, err := inode("/proc/self/ns/" + t.String())
	return err == nil && own == theirs
}

// here says whether this kernel has namespaces of a type.
func here(t ns.Type) bool {
	_, err := os.Lstat("/proc/self/ns/" + t.String())
	return err == nil
}

// named opens a namespace by its file, or by its id when the name is :ID.
func named(t ns.Type, file string) (int, string, error) {
	if id, ok := strings.CutPrefix(file, ":"); ok {
		n, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return -1, "", fmt.Errorf("failed to parse namespace ID: '%s' (a file of that name is written ./%s)", id, file)
		}
		fd, err := byID(t, n)
		return fd, fmt.Sprint("namespace ", n), err
	}
	// A FIFO in the place of a namespace is not to hold us up.
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, "", cannotOpen(file, err)
	}
	return fd, file, nil
}

// nsfsHandle is the type of a file handle of a namespace (FILEID_NSFS, Linux 6.18).
const nsfsHandle = 0xf1

// byID opens a namespace by its 64-bit id: at once where the kernel can (Linux 6.19), else by looking at those of all
// processes.
func byID(t ns.Type, id uint64) (int, error) {
	const root = -10003 // FD_NSFS_ROOT
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:], id)
	fd, err := unix.OpenByHandleAt(root, unix.NewFileHandle(nsfsHandle, b[:]), unix.O_RDONLY|unix.O_CLOEXEC)
	if err == nil {
		if got, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); err == nil && got != t.Flag() {
			unix.Close(fd)
			return -1, fmt.Errorf("cannot open namespace %d: it is no %s namespace", id, t)
		}
		return fd, nil
	}
	entries, derr := os.ReadDir("/proc")
	if derr != nil {
		return -1, derr
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		fd, err := unix.Open("/proc/"+e.Name()+"/ns/"+t.String(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if h, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH); err == nil && h.Type() == nsfsHandle &&
			h.Size() >= 8 && binary.NativeEndian.Uint64(h.Bytes()) == id {
			return fd, nil
		}
		unix.Close(fd)
	}
	return -1, fmt.Errorf("cannot open %s namespace %d: no process is in a namespace of this ID", t, id)
}

// socket opens the network namespace that a socket of the process belongs to.
func (p *process) socket(n int) (int, error) {
	if p.pidfd < 0 {
		return -1, fmt.Errorf("cannot open socket %d of process %d: it has ended", n, p.pid)
	}
	sock, err := unix.PidfdGetfd(p.pidfd, n, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot duplicate descriptor %d of process %d: %s", n, p.pid, text(err))
	}
	defer unix.Close(sock)
	fd, err := unix.IoctlRetInt(sock, unix.SIOCGSKNS)
	if err != nil {
		return -1, fmt.Errorf("cannot find network namespace of descriptor %d of process %d: %s", n, p.pid, text(err))
	}
	unix.CloseOnExec(fd)
	return fd, nil
}

// text is an errno in the C library's words, or whatever the error says.
func text(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return birth.ErrnoText(errno)
	}
	return err.Error()
}

const (
	nsGetUser   = 0xb701 // NS_GET_USERNS, ioctl_nsfs(2)
	nsGetParent = 0xb702 // NS_GET_PARENT
)

// user opens the user namespace that is wanted; -1 when none is. other says that -a wants the target's.
func (v *view) user(o Options, other bool) (fd int, file string, err error) {
	c := o.Spaces[ns.User]
	switch {
	case c.Given:
		fd, file, err = named(ns.User, c.Path)
	case c.Wanted || other || o.UserParent && v.target != nil:
		fd, err = v.target.open("ns/user", unix.O_RDONLY)
		file = v.target.path("ns/user")
	case o.UserParent && len(v.Joins) > 0:
		n := v.Joins[0]
		fd, err = unix.IoctlRetInt(v.given[n.file()], nsGetUser)
		if err != nil {
			return -1, "", fmt.Errorf("cannot open owner of %s: %s", n.File, text(err))
		}
		unix.CloseOnExec(fd)
		return fd, "owner of " + n.File, nil
	case o.UserParent:
		return -1, "", errors.New("no namespace specified for --user-parent")
	default:
		return -1, "", nil
	}
	if err != nil || !o.UserParent {
		return fd, file, err
	}
	parent, err := unix.IoctlRetInt(fd, nsGetParent)
	unix.Close(fd)
	if err != nil {
		return -1, "", fmt.Errorf("cannot open parent of %s: %s", file, text(err))
	}
	unix.CloseOnExec(parent)
	return parent, "parent of " + file, nil
}

// stat is the inode number of a file of the process.
func (p *process) stat(name string) (uint64, error) {
	var st unix.Stat_t
	err := p.err
	if p.dir >= 0 {
		if err = unix.Fstatat(p.dir, name, &st, 0); err == nil {
			return st.Ino, nil
		}
	}
	if errors.Is(err, unix.ESRCH) {
		err = unix.ENOENT
	}
	return 0, fmt.Errorf("stat of %s failed: %s", p.path(name), text(err))
}

// owners asks whom the namespaces belong to, where that matters: to the caller without privilege, and to people.
func (v *view) owners(o Options) {
	if v.Admin && !o.Explain {
		return
	}
	for i, n := range v.Joins {
		fd, err := unix.IoctlRetInt(v.given[n.file()], nsGetUser)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil {
			v.Joins[i].Owner = st.Ino
		}
		unix.Close(fd)
	}
}

// maxDepth is how deep user namespaces nest (user_namespaces(7)).
const maxDepth = 33

// way keeps the user namespaces between the caller's and the one that is wanted which own something that is wanted too:
// bubblewrap and others leave their programs in one that owns nothing (util-linux issue 1592). The caller without
// privilege has to come by them, outermost first.
func (v *view) way(last uint64, fd int) {
	owns := map[uint64]bool{}
	for _, n := range v.Joins {
		owns[n.Owner] = true
	}
	at, err := unix.Dup(fd)
	for range maxDepth {
		if err != nil {
			return
		}
		var parent int
		parent, err = unix.IoctlRetInt(at, nsGetParent)
		unix.Close(at)
		if err != nil {
			return
		}
		unix.CloseOnExec(parent)
		var st unix.Stat_t
		if unix.Fstat(parent, &st) != nil || st.Ino == v.Self {
			unix.Close(parent)
			return
		}
		if owns[st.Ino] && st.Ino != last {
			kept, derr := unix.FcntlInt(uintptr(parent), unix.F_DUPFD_CLOEXEC, 3)
			if derr == nil {
				v.Users = append([]Join{v.found(ns.User, kept, "user namespace on the way")}, v.Users...)
			}
		}
		at = parent
	}
	unix.Close(at)
}

// Package ns tells which namespaces there are on the host, who is in them and what holds them.
//
// A namespace is known by its type and by the inode number of its nsfs file, as in the link /proc/PID/ns/net -> net:[4026531840].
// A process is a member of eight namespaces. A namespace without a member lives as long as something holds it: a descriptor, a
// socket, a bind mount, a child of it, or a process that has it ready for its children. See namespaces(7), ioctl_nsfs(2).
//
// Everything read from /proc is bounded, and belongs to processes that may end or lie at any time.
package ns

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Type is one of the eight types of namespaces.
type Type uint8

// The types of namespaces, see namespaces(7).
const (
	Mnt Type = iota
	Net
	IPC
	User
	PID
	UTS
	Cgroup
	Time
)

// NumTypes is how many types of namespaces there are.
const NumTypes = 8

// names are the names of the links in /proc/PID/ns.
var names = [NumTypes]string{"mnt", "net", "ipc", "user", "pid", "uts", "cgroup", "time"}

// links are they from /proc/PID on.
var links = [NumTypes]string{"ns/mnt", "ns/net", "ns/ipc", "ns/user", "ns/pid", "ns/uts", "ns/cgroup", "ns/time"}

// flags are the flags of clone(2) and setns(2).
var flags = [NumTypes]int{
	unix.CLONE_NEWNS, unix.CLONE_NEWNET, unix.CLONE_NEWIPC, unix.CLONE_NEWUSER,
	unix.CLONE_NEWPID, unix.CLONE_NEWUTS, unix.CLONE_NEWCGROUP, unix.CLONE_NEWTIME,
}

// Types are all types, in the order of their values.
func Types() []Type {
	return []Type{Mnt, Net, IPC, User, PID, UTS, Cgroup, Time}
}

// String is the name of the type's link in /proc/PID/ns: "mnt", "net", …
func (t Type) String() string {
	if int(t) < len(names) {
		return names[t]
	}
	return "type " + strconv.Itoa(int(t))
}

// Flag is the type as a flag of clone(2) and setns(2).
func (t Type) Flag() int {
	if int(t) < len(flags) {
		return flags[t]
	}
	return 0
}

// ParseType returns the type of a name.
func ParseType(name string) (Type, bool) {
	for t, n := range names {
		if n == name {
			return Type(t), true
		}
	}
	return 0, false
}

// ParseLink reads the text of a namespace's link, as "net:[4026531840]".
func ParseLink(link string) (Type, uint64, bool) {
	name, rest, ok := strings.Cut(link, ":[")
	if !ok {
		return 0, 0, false
	}
	t, ok := ParseType(name)
	if !ok || !strings.HasSuffix(rest, "]") {
		return 0, 0, false
	}
	id, err := strconv.ParseUint(rest[:len(rest)-1], 10, 64)
	return t, id, err == nil && id != 0
}

// Of returns the inode numbers of the namespaces that a process is a member of, by type. A namespace that this kernel has not
// or that may not be read is 0. Proc is where the proc file system is mounted, "" for /proc. The error is the first cause of a
// 0; it is fs.ErrNotExist when there is no such process.
func Of(proc string, pid int) ([NumTypes]uint64, error) {
	var ids [NumTypes]uint64
	dir, err := unix.Open(processPath(proc, pid)+"/ns", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ids, fmt.Errorf("cannot read namespaces of process %d: %w", pid, err)
	}
	defer closeFD(dir)
	for t, name := range names {
		var lerr error
		ids[t], lerr = readLink(dir, name, Type(t))
		err = cmp.Or(err, lerr)
	}
	if unreadable(err) && !exists(processPath(proc, pid)) {
		err = unix.ENOENT
	}
	if err != nil {
		err = fmt.Errorf("cannot read namespaces of process %d: %w", pid, err)
	}
	return ids, err
}

// readLink reads a link of a process, from an opened folder on. A kernel without this type of namespace has none: that is 0 and no error.
func readLink(dir int, name string, t Type) (uint64, error) {
	var buf [64]byte
	n, err := readlinkat(dir, name, buf[:])
	switch {
	case errors.Is(err, unix.ENOENT):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return parseID(buf[:n], t.String()), nil
}

// parseID is ParseLink where the name is known, 0 when it is another: most of what Scan does besides system calls is this.
func parseID(link []byte, name string) uint64 {
	const digits = 19 // as many as always fit
	n := len(name)
	if len(link) < n+4 || len(link) > n+3+digits || string(link[:n]) != name || link[n] != ':' || link[n+1] != '[' || link[len(link)-1] != ']' {
		return 0
	}
	var id uint64
	for _, c := range link[n+2 : len(link)-1] {
		if c < '0' || c > '9' {
			return 0
		}
		id = 10*id + uint64(c-'0')
	}
	return id
}

// exists says whether there is a file.
func exists(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil
}

// unreadable says that something is there and not to be looked at, other than gone.
func unreadable(err error) bool {
	return errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM)
}

// processPath is the folder of a process below a mount of proc.
func processPath(proc string, pid int) string {
	if proc == "" {
		proc = "/proc"
	}
	return proc + "/" + strconv.Itoa(pid)
}

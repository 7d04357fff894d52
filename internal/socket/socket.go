// Package socket lists the sockets of a network namespace, and who has them open.
//
// A network namespace's sockets are asked of the kernel in it (sock_diag(7)), from a thread that enters it for that. A socket is
// known by its inode, as in the link /proc/PID/fd/N -> socket:[12345]. Words: a holder is a process with a descriptor of it.
package socket

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Kinds of sockets, a set.
type Kinds uint8

// The kinds.
const (
	TCP Kinds = 1 << iota
	UDP
	Raw
	Unix
	All = TCP | UDP | Raw | Unix
)

// Socket is one socket.
type Socket struct {
	Proto string `json:"proto"`          // tcp, udp, raw; stream, dgram, seqpacket of unix
	V6    bool   `json:"v6,omitempty"`   // of the family AF_INET6, which may serve IPv4 too
	Unix  bool   `json:"unix,omitempty"` // of the family AF_UNIX
	State string `json:"state"`          // as ss(8) spells it: LISTEN, ESTAB, UNCONN …

	RecvQ uint32 `json:"recvQ"` // bytes; of a listening one, connections that wait
	SendQ uint32 `json:"sendQ"` // bytes; of a listening one, how many may wait

	Local  netip.AddrPort `json:"local,omitzero"`
	Remote netip.AddrPort `json:"remote,omitzero"`
	Device uint32         `json:"device,omitempty"` // index of the interface it is bound to
	Path   string         `json:"path,omitempty"`   // of a unix socket; an abstract one begins with @
	Peer   uint64         `json:"peer,omitempty"`   // inode of a unix socket's other end

	UID   uint32 `json:"uid"`
	Inode uint64 `json:"inode,omitempty"` // 0: nobody holds it any more
}

// Listening says whether it waits for connections, or, of a kind without connections, for anybody's packets.
func (s Socket) Listening() bool {
	return s.State == "LISTEN" || s.State == "UNCONN" && !s.Unix && s.Local.Port() != 0
}

// Options say which sockets to list.
type Options struct {
	NetNS     string // path of the network namespace, as /proc/PID/ns/net; "" for the caller's
	Kinds     Kinds  // 0: all
	Listening bool   // of TCP and unix the listening ones alone, which is much less work on a busy host
}

// List returns the sockets of a network namespace, by kind, address and inode. Another namespace than the caller's needs
// CAP_SYS_ADMIN in the user namespaces of both.
func List(o Options) ([]Socket, error) {
	if o.Kinds == 0 {
		o.Kinds = All
	}
	var all []Socket
	err := Inside(o.NetNS, func() (err error) {
		all, err = list(o)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list sockets: %w", err)
	}
	slices.SortStableFunc(all, compare)
	return all, nil
}

func compare(a, b Socket) int {
	order := func(s Socket) int {
		switch {
		case s.Unix:
			return 3
		case s.Proto == "tcp":
			return 0
		case s.Proto == "udp":
			return 1
		}
		return 2
	}
	listen := func(s Socket) int {
		if s.Listening() {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(listen(a), listen(b)), cmp.Compare(a.Local.Port(), b.Local.Port()),
		a.Local.Compare(b.Local), a.Remote.Compare(b.Remote), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Inode, b.Inode))
}

// Inside calls f on a thread that is in a network namespace, "" for the caller's own.
func Inside(netns string, f func() error) error {
	if netns == "" {
		return f()
	}
	fd, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open network namespace %s: %w", netns, err)
	}
	defer unix.Close(fd)
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- err
			return
		}
		defer unix.Close(back)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("cannot enter network namespace %s: %w", netns, err)
			return
		}
		err = f()
		// A thread that cannot go back stays locked, and ends with this goroutine.
		if unix.Setns(back, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// list asks for each kind and family, in the namespace of this thread.
func list(o Options) ([]Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var all []Socket
	for _, kind := range []struct {
		kind     Kinds
		protocol uint8
		name     string
	}{{TCP, unix.IPPROTO_TCP, "tcp"}, {UDP, unix.IPPROTO_UDP, "udp"}, {Raw, unix.IPPROTO_RAW, "raw"}} {
		if o.Kinds&kind.kind == 0 {
			continue
		}
		states := uint32(allStates)
		if o.Listening && kind.kind == TCP {
			states = 1 << stateListen
		}
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			err := ask(fd, inetRequest(family, kind.protocol, states), func(msg []byte) {
				if s, ok := parseInet(msg, kind.name); ok {
					all = append(all, s)
				}
			})
			if errors.Is(err, unix.ENOENT) && kind.kind == Raw {
				all, err = procRaw(all, family) // a kernel without raw_diag
			}
			if err != nil && !errors.Is(err, unix.ENOENT) { // ENOENT: the kernel has no such family
				return nil, err
			}
		}
	}
	if o.Kinds&Unix != 0 {
		states := uint32(allStates)
		if o.Listening {
			states = 1 << stateListen
		}
		err := ask(fd, unixRequest(states), func(msg []byte) {
			if s, ok := parseUnix(msg); ok {
				all = append(all, s)
			}
		})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
	}
	return all, nil
}

// Holder is a process with a descriptor of a socket.
type Holder struct {
	PID int `json:"pid"`
	FD  int `json:"fd"`
}

// maxDescriptors bounds how many descriptors of one process are looked at.
const maxDescriptors = 1 << 17

// Holders finds which of some processes hold which sockets, by inode; every socket when want is nil. Partial says that the
// descriptors of one of them could not be read, which takes the rights to trace it.
func Holders(proc string, pids []int, want func(inode uint64) bool) (held map[uint64][]Holder, partial bool) {
	if proc == "" {
		proc = "/proc"
	}
	held = map[uint64][]Holder{}
	for _, pid := range pids {
		err := descriptors(proc+"/"+strconv.Itoa(pid)+"/fd", func(fd int, link string) {
			if inode, ok := ParseLink(link); ok && (want == nil || want(inode)) {
				held[inode] = append(held[inode], Holder{PID: pid, FD: fd})
			}
		})
		partial = partial || errors.Is(err, os.ErrPermission)
	}
	return held, partial
}

// descriptors calls f for the links in a process's folder of descriptors. There may be very many such folders: they are read
// without what package os would do for each.
func descriptors(path string, f func(fd int, link string)) error {
	dir, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	var buf [8 << 10]byte
	var link [64]byte
	for seen := 0; seen < maxDescriptors; {
		n, err := unix.ReadDirent(dir, buf[:])
		if err != nil || n <= 0 {
			return err
		}
		_, count, names := unix.ParseDirent(buf[:n], -1, nil)
		seen += count
		for _, name := range names {
			l, err := unix.Readlinkat(dir, name, link[:])
			fd, nerr := strconv.Atoi(name)
			if err == nil && nerr == nil {
				f(fd, string(link[:l]))
			}
		}
	}
	return nil
}

// ParseLink reads the text of a socket's link, socket:[INODE].
func ParseLink(link string) (uint64, bool) {
	word, ok := strings.CutPrefix(link, "socket:[")
	if !ok {
		return 0, false
	}
	word, ok = strings.CutSuffix(word, "]")
	inode, err := strconv.ParseUint(word, 10, 64)
	return inode, ok && err == nil
}

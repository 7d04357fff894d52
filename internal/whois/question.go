// Package whois answers which container and Pod has a thing of the kernel: a process, a namespace, a socket, a port, an address, an
// interface, a cgroup. It asks /proc, netlink and the runtimes' state (package owner), and works for every runtime.
//
// A word may be read in several ways, such as 8080, which may be a process and a port: all of them are Questions, and each one
// that has an answer is answered.
package whois

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"tripod/internal/ns"
	"tripod/internal/owner"
	"tripod/internal/socket"
)

// Kind is what a word may name.
type Kind uint8

// The kinds.
const (
	Process Kind = iota
	Namespace
	Socket
	Port
	Address
	Interface
	Cgroup
	Container
)

// Question is one reading of a word.
type Question struct {
	Kind   Kind
	Number uint64       // of a process, a namespace, a socket, a port
	Pidfs  uint64       // of a process: its number in pidfs, 0 for any
	Type   ns.Type      // of a namespace
	Typed  bool         // Type is known
	Proto  socket.Kinds // of a port: TCP, UDP or both
	Addr   netip.Addr   // an address; of a port, the one it must be bound to, if any
	Name   string       // of an interface, a cgroup, a container
}

// firstNamespace is the least inode number of a namespace: those of the initial ones are fixed from 0xEFFFFFFA on
// (linux/proc_ns.h); others are given above 0xF0000000.
const firstNamespace = 0xEFFFFFF0

// Words is how a word may be written, for a hint.
const Words = "PID, PID:INODE, net:[N], socket:[N], PORT, tcp/PORT, udp/PORT, ADDRESS, ADDRESS:PORT, an interface's name, a cgroup's path, POD[/CONTAINER] or RUNTIME://NAME"

// Parse reads a word, in every way that it can be read. It asks nothing of the machine.
func Parse(word string) ([]Question, error) {
	refuse := func(why string) ([]Question, error) {
		return nil, fmt.Errorf("cannot read %q: %s", owner.Sanitise(word), why)
	}
	if word == "" {
		return refuse("it is empty")
	}
	if strings.HasPrefix(word, "/") {
		return []Question{{Kind: Cgroup, Name: cgroupPath(word)}}, nil
	}
	if strings.Contains(word, "://") {
		return []Question{{Kind: Container, Name: word}}, nil
	}
	if id, ok := socket.ParseLink(word); ok {
		return []Question{{Kind: Socket, Number: id}}, nil
	}
	if t, id, ok := ns.ParseLink(word); ok {
		return []Question{{Kind: Namespace, Number: id, Type: t, Typed: true}}, nil
	}
	if proto, number, ok := cutProto(word); ok {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 {
			return refuse("a port is a number from 1 to 65535")
		}
		return []Question{{Kind: Port, Number: n, Proto: proto}}, nil
	}
	if strings.ContainsAny(word, "[]") && !strings.HasPrefix(word, "[") {
		return refuse("write TYPE:[INODE], with a type of lsns, or socket")
	}
	if a, err := netip.ParseAddr(strings.Trim(word, "[]")); err == nil {
		return []Question{{Kind: Address, Addr: a.Unmap()}}, nil
	}
	if a, err := netip.ParseAddrPort(word); err == nil && a.Port() != 0 {
		return []Question{{Kind: Port, Number: uint64(a.Port()), Proto: socket.TCP | socket.UDP, Addr: a.Addr().Unmap()}}, nil
	}
	return parseNumber(word, refuse)
}

// parseNumber reads numbers, and what is left: the names of interfaces and containers.
func parseNumber(word string, refuse func(string) ([]Question, error)) ([]Question, error) {
	if pid, inode, ok := strings.Cut(word, ":"); ok && pid != "" {
		n, err := strconv.ParseUint(strings.TrimPrefix(pid, "pid"), 10, 31)
		i, err2 := strconv.ParseUint(inode, 10, 64)
		switch {
		case pid == "pid" && err2 == nil && i>>31 == 0 && i > 0:
			return []Question{{Kind: Process, Number: i}}, nil
		case err != nil || err2 != nil || n == 0:
			return refuse("it is not PID:INODE, nor anything else that may have an owner")
		}
		return []Question{{Kind: Process, Number: n, Pidfs: i}}, nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(word, ":"), 10, 64)
	if err != nil {
		if strings.ContainsAny(word, " \t\n") {
			return refuse("no interface and no container has such a name, and it is nothing else that may have an owner")
		}
		named := []Question{{Kind: Container, Name: word}}
		if len(word) <= 15 && !strings.Contains(word, "/") { // IFNAMSIZ, net/if.h
			named = append([]Question{{Kind: Interface, Name: word}}, named...)
		}
		return named, nil
	}
	var all []Question
	if n > 0 && n>>31 == 0 && word[0] != ':' {
		all = append(all, Question{Kind: Process, Number: n})
	}
	switch {
	case n == 0:
		return refuse("nothing has the number 0")
	case n <= 65535:
		all = append(all, Question{Kind: Port, Number: n, Proto: socket.TCP | socket.UDP})
	case n >= firstNamespace:
		all = append(all, Question{Kind: Namespace, Number: n})
	default:
		all = append(all, Question{Kind: Socket, Number: n})
	}
	return all, nil
}

// cutProto reads tcp/80, tcp:80, 80/tcp and port/80.
func cutProto(word string) (socket.Kinds, string, bool) {
	a, b, ok := strings.Cut(word, "/")
	if !ok {
		if a, b, ok = strings.Cut(word, ":"); !ok {
			return 0, "", false
		}
	}
	for range 2 {
		switch a {
		case "tcp":
			return socket.TCP, b, true
		case "udp":
			return socket.UDP, b, true
		case "port":
			return socket.TCP | socket.UDP, b, true
		}
		a, b = b, a
	}
	return 0, "", false
}

// cgroupPath is the path as /proc/PID/cgroup has it of one that may be a folder of a mounted hierarchy.
func cgroupPath(word string) string {
	rest, ok := strings.CutPrefix(word, "/sys/fs/cgroup")
	if !ok {
		return strings.TrimRight(word, "/")
	}
	first, below, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	for controller := range strings.SplitSeq(first, ",") {
		switch controller {
		case "unified", "systemd", "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "net_cls", "net_prio", "blkio", "pids", "perf_event", "hugetlb", "rdma", "misc":
			return strings.TrimRight("/"+below, "/")
		}
	}
	return strings.TrimRight(rest, "/")
}

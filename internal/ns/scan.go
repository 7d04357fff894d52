package ns

import (
	"fmt"
	"os"
	"slices"
	"strconv"
)

// Options say where and how far Scan looks. The zero value looks at the processes of /proc.
type Options struct {
	Proc    string // where the proc file system is mounted, "" for /proc
	Threads bool   // threads count as members too: one may be in other namespaces than its process
	Holders bool   // look for what else holds namespaces: descriptors, sockets, bind mounts, children
}

// Snapshot is what Scan found.
type Snapshot struct {
	Proc       string
	Processes  []Process   // by PID
	Namespaces []Namespace // by ID
	Partial    bool        // something was there and might not be read
}

// Namespace is one namespace.
type Namespace struct {
	ID      uint64 // inode number
	Type    Type
	Members []int // indexes in Processes, ascending
	Holders []Holder

	Parent   uint64 // of a pid or user namespace: the one that it was made in; 0 is none or not visible
	Owner    uint64 // the user namespace that owns it; 0 is none or not visible
	OwnerUID uint32 // of a user namespace: who made it
}

// Holder is what keeps a namespace that need not have a member.
type Holder struct {
	Kind  HolderKind
	PID   int    // of a descriptor, a socket, a process that waits for children
	FD    int    // of a descriptor or a socket
	Path  string // of a bind mount
	MntNS uint64 // of a bind mount: the mount namespace that has it
	Child uint64 // of a child: the namespace that is held by
}

// HolderKind is the kind of a Holder.
type HolderKind uint8

// The kinds of holders.
const (
	ByDescriptor HolderKind = iota // an open file of nsfs
	BySocket                       // a socket that was made in a network namespace
	ByMount                        // a bind mount of the nsfs file
	ByChild                        // a namespace that has this one as parent or owner
	ByWaiting                      // pid_for_children or time_for_children of a process
)

// Scan looks at all processes. One that ends meanwhile is as if it had not been there. The error says that /proc itself cannot
// be read.
func Scan(o Options) (*Snapshot, error) {
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	pids, err := listPIDs(o.Proc)
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	s := &Snapshot{Proc: o.Proc, Processes: make([]Process, 0, len(pids))}
	for _, pid := range pids {
		p := Process{PID: pid, TGID: pid}
		ids, err := Of(o.Proc, pid)
		if gone(err) {
			continue
		}
		if err != nil {
			s.Partial = true
		}
		p.NS = ids
		s.Processes = append(s.Processes, p)
	}
	s.gather()
	return s, nil
}

// gather makes Namespaces of Processes.
func (s *Snapshot) gather() {
	at := map[uint64]int{}
	for i, p := range s.Processes {
		for t, id := range p.NS {
			if id == 0 {
				continue
			}
			n, known := at[id]
			if !known {
				n = len(s.Namespaces)
				at[id] = n
				s.Namespaces = append(s.Namespaces, Namespace{ID: id, Type: Type(t)})
			}
			s.Namespaces[n].Members = append(s.Namespaces[n].Members, i)
		}
	}
	slices.SortFunc(s.Namespaces, func(a, b Namespace) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
}

// listPIDs returns the processes of a proc file system, ascending.
func listPIDs(proc string) ([]int, error) {
	dir, err := os.Open(proc)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

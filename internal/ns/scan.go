package ns

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Options say where and how far Scan looks. The zero value finds every namespace that a process, a descriptor, a socket, a bind
// mount or another namespace holds.
type Options struct {
	Proc    string         // where the proc file system is mounted, "" for /proc
	Only    [NumTypes]bool // look at these types only; all false is all types
	Members bool           // be content with members and who they are: no holders, owners and parents
	Threads bool           // look at threads too: one may be in other namespaces than its process
	Waiting bool           // look at what processes have ready for their children (pid_for_children, time_for_children) too
	// Owners and parents are asked for where that can lead to a namespace that nothing else holds. Relations asks for all.
	Relations bool
	NetNSID   bool // ask for NetNSID
	NSID      bool // ask for NSID
}

// wants says whether a type is to be looked at.
func (o Options) wants(t Type) bool {
	return o.Only == [NumTypes]bool{} || o.Only[t]
}

// Snapshot is what Scan found.
type Snapshot struct {
	Proc       string
	Processes  []Process   // by PID
	Namespaces []Namespace // by ID
	Mounts     []Mount     // bind mounts of namespaces that the caller sees in its own mount namespace
	Partial    bool        // something was there and might not be read

	options Options
	at      map[uint64]int // index in Namespaces by ID, until they are in order
}

// Namespace is one namespace.
type Namespace struct {
	ID      uint64 // inode number
	Type    Type
	Members []int    // indexes in Processes, ascending
	Holders []Holder // at most maxHolders

	Parent   uint64 // of a pid or user namespace: the one that it was made in; 0 is none or not visible
	Owner    uint64 // the user namespace that owns it; 0 is none or not visible
	OwnerUID uint32 // who made that user namespace, or this one if it is one; only when Opened
	Opened   bool   // Parent, Owner and OwnerUID were asked for
	Ancestor bool   // known only as a parent or an owner, and of a type that was not looked at
	NetNSID  int    // of a net namespace: the number that the caller's own has for it, or one of the NetNSID constants
	NSID     uint64 // the number that is never used again until reboot; 0 before Linux 6.18
}

// Values of NetNSID that are no numbers of namespaces.
const (
	NetNSIDUnassigned = -1
	NetNSIDUnknown    = -2 // not asked for, or no answer
)

// Holder is what keeps a namespace that need not have a member.
type Holder struct {
	Kind  HolderKind
	PID   int    // of a descriptor, a socket, a process that waits for children; of a mount: a process that sees it
	FD    int    // of a descriptor or a socket
	Path  string // of a bind mount
	MntNS uint64 // of a bind mount: the mount namespace that has it
	Child uint64 // the namespace that is a child of it, or owned by it
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

const (
	maxHolders = 16      // of one namespace
	maxFDs     = 1 << 16 // of one process
	partSize   = 32      // processes that are looked at in one go
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
	proc, err := unix.Open(o.Proc, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", o.Proc, err)
	}
	defer closeFD(proc)
	asked := o
	if o.Only[User] && !o.Members {
		// A user namespace may be known only as the owner of others.
		o.Only = [NumTypes]bool{}
	}
	s := &Snapshot{Proc: o.Proc, options: o, at: map[uint64]int{}}
	found := inParts(len(pids), func(from, to int) part {
		w := worker{options: o, proc: proc, self: os.Getpid()}
		w.processes = make([]Process, 0, to-from)
		defer w.process.close()
		for _, pid := range pids[from:to] {
			w.look(pid)
		}
		return w.part
	})
	// Process 1 lives as long as its namespace: where it is not to be seen, proc is mounted with hidepid.
	s.Partial = len(pids) == 0 || pids[0] != 1
	for _, p := range found {
		s.Processes = append(s.Processes, p.processes...)
		s.Partial = s.Partial || p.partial
	}
	s.gather(found)
	if !o.Members {
		s.mounts()
		s.relate()
	}
	s.Namespaces = slices.DeleteFunc(s.Namespaces, func(n Namespace) bool { return !asked.wants(n.Type) && !n.Ancestor })
	slices.SortFunc(s.Namespaces, func(a, b Namespace) int { return cmp.Compare(a.ID, b.ID) })
	return s, nil
}

// Find returns a namespace of the snapshot, or nil.
func (s *Snapshot) Find(id uint64) *Namespace {
	i, found := slices.BinarySearchFunc(s.Namespaces, id, func(n Namespace, id uint64) int { return cmp.Compare(n.ID, id) })
	if !found {
		return nil
	}
	return &s.Namespaces[i]
}

// inParts cuts n things into parts, has each looked at by a goroutine, and returns what they found in the order of the things.
// There are as many goroutines as processors: the work is system calls, and more gain nothing. Who is done takes the next part,
// for processors are busy with other things, too.
func inParts[T any](n int, look func(from, to int) T) []T {
	found := make([]T, (n+partSize-1)/partSize)
	var next atomic.Int64
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(found) {
				return
			}
			found[i] = look(i*partSize, min(n, (i+1)*partSize))
		}
	}
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(found)) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	return found
}

// add returns the namespace of an ID, a new one when it was not known.
func (s *Snapshot) add(t Type, id uint64) *Namespace {
	n, known := s.at[id]
	if !known {
		n = len(s.Namespaces)
		s.at[id] = n
		s.Namespaces = append(s.Namespaces, Namespace{ID: id, Type: t, NetNSID: NetNSIDUnknown})
	}
	return &s.Namespaces[n]
}

// gather makes Namespaces of what the workers found. A thread is a member only where its process is not.
func (s *Snapshot) gather(found []part) {
	leaders := map[int]int{}
	for i := range s.Processes {
		p := &s.Processes[i]
		leader := -1
		if p.PID == p.TGID {
			if s.options.Threads {
				leaders[p.PID] = i
			}
		} else if l, ok := leaders[p.TGID]; ok {
			leader = l
		}
		for t, id := range p.NS {
			if id == 0 || !s.options.wants(Type(t)) || leader >= 0 && s.Processes[leader].NS[t] == id {
				continue
			}
			n := s.add(Type(t), id)
			n.Members = append(n.Members, i)
		}
	}
	for _, p := range found {
		for _, h := range p.held {
			kind := ByDescriptor
			if h.socket {
				kind = BySocket
			}
			s.add(h.t, h.id).holdBy(Holder{Kind: kind, PID: h.pid, FD: h.fd})
		}
		for _, w := range p.waiting {
			s.add(w.t, w.id).holdBy(Holder{Kind: ByWaiting, PID: w.pid})
		}
	}
}

// holdBy adds a holder.
func (n *Namespace) holdBy(h Holder) {
	if len(n.Holders) < maxHolders {
		n.Holders = append(n.Holders, h)
	}
}

// listPIDs returns the processes of a proc file system, ascending.
func listPIDs(dir string) ([]int, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
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

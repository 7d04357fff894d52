package whois

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"tripod/internal/ns"
	"tripod/internal/owner"
)

// Answer is who has a thing.
type Answer struct {
	What      string          `json:"what"`             // the thing, in words
	PID       int             `json:"pid,omitempty"`    // a process that has it, the one with the least number
	Others    int             `json:"others,omitempty"` // how many more of the same container have it
	Command   string          `json:"command,omitempty"`
	Container owner.Container `json:"container"` // its Runtime is "" when it is the host's
}

// asker looks at the host once, for one word.
type asker struct {
	h       *owner.Host
	proc    string
	pids    []int
	partial atomic.Bool
	nets    []network
}

// network is a network namespace and the processes in it.
type network struct {
	id   uint64
	pids []int
}

// Ask answers all readings of a word. Partial says that something was hidden from us, so that an answer may be missing.
func Ask(h *owner.Host, word string) (answers []Answer, partial bool, err error) {
	questions, err := Parse(word)
	if err != nil {
		return nil, false, err
	}
	a := &asker{h: h, proc: h.Proc}
	if a.proc == "" {
		a.proc = "/proc"
	}
	a.hide(h.Hidden())
	for _, q := range questions {
		more, err := a.ask(q)
		if err != nil {
			return nil, a.partial.Load(), err
		}
		answers = append(answers, more...)
	}
	return answers, a.partial.Load(), nil
}

func (a *asker) ask(q Question) ([]Answer, error) {
	switch q.Kind {
	case Process:
		return a.process(q)
	case Namespace:
		return a.namespace(q)
	case Socket:
		return a.socket(q)
	case Port:
		return a.port(q)
	case Address:
		return a.address(q)
	case Interface:
		return a.link(q)
	case Container:
		return a.container(q)
	default:
		return a.cgroup(q)
	}
}

// hide notes that something could not be seen.
func (a *asker) hide(is bool) {
	if is {
		a.partial.Store(true)
	}
}

// together calls f for 0 to n-1, on all processors.
func together(n int, f func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	all.Wait()
}

// list reads the numbers of all processes, once.
func (a *asker) list() error {
	if a.pids != nil {
		return nil
	}
	pids, err := a.h.PIDs()
	a.pids = pids
	return err
}

// byNetwork groups the processes by network namespace, once. The caller's own is the first.
func (a *asker) byNetwork() error {
	if a.nets != nil {
		return nil
	}
	if err := a.list(); err != nil {
		return err
	}
	index := map[uint64]int{}
	if mine := a.link64("self", ns.Net); mine != 0 {
		index[mine] = 0
		a.nets = append(a.nets, network{id: mine})
	}
	ids := make([]uint64, len(a.pids))
	together(len(ids), func(i int) { ids[i] = a.link64(strconv.Itoa(a.pids[i]), ns.Net) })
	for n, pid := range a.pids {
		id := ids[n]
		if id == 0 {
			continue
		}
		i, ok := index[id]
		if !ok {
			i = len(a.nets)
			index[id] = i
			a.nets = append(a.nets, network{id: id})
		}
		a.nets[i].pids = append(a.nets[i].pids, pid)
	}
	return nil
}

// link64 is a namespace of a process, 0 when it cannot be read.
func (a *asker) link64(folder string, t ns.Type) uint64 {
	link, err := os.Readlink(a.proc + "/" + folder + "/ns/" + t.String())
	if err != nil {
		a.hide(errors.Is(err, fs.ErrPermission))
		return 0
	}
	_, id, _ := ns.ParseLink(link)
	return id
}

// answer is one answer a container for the processes that have a thing.
func (a *asker) answer(what string, pids []int) []Answer {
	var all []Answer
	for _, pid := range pids {
		c, _, err := a.h.OfProcess(pid)
		if err != nil {
			continue
		}
		same := func(b Answer) bool {
			return b.Container.Runtime == c.Runtime && b.Container.Cgroup == c.Cgroup && (c.Known() || c.Unit != "" || b.PID == pid)
		}
		if i := slices.IndexFunc(all, same); i >= 0 {
			if all[i].PID != pid {
				all[i].Others++
			}
			continue
		}
		m, ok := a.h.Member(pid)
		if !ok {
			continue
		}
		all = append(all, Answer{What: what, PID: pid, Command: m.What(), Container: c})
	}
	return all
}

func (a *asker) process(q Question) ([]Answer, error) {
	t, err := a.h.Pin(int(q.Number), 0)
	if errors.Is(err, fs.ErrNotExist) || err == nil && q.Pidfs != 0 && t.Inode != q.Pidfs {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, ok := a.h.Member(t.PID)
	if !ok || m.Start != t.Start {
		return nil, nil
	}
	what := "process " + strconv.Itoa(t.PID)
	if in := m.Inmost(); in != 0 {
		what += " (" + strconv.Itoa(in) + " inside)"
	}
	return []Answer{{What: what, PID: t.PID, Command: m.What(), Container: t.Container}}, nil
}

// container finds a container, or those of a Pod, by name.
func (a *asker) container(q Question) ([]Answer, error) {
	found, err := a.h.Containers(q.Name)
	if errors.Is(err, owner.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Answer
	for _, c := range found {
		one := Answer{What: "container " + c.Word(), PID: c.Init, Container: c}
		if m, ok := a.h.Member(c.Init); ok {
			one.Command = m.What()
		}
		all = append(all, one)
	}
	return all, nil
}

// namespace finds the members of a namespace.
func (a *asker) namespace(q Question) ([]Answer, error) {
	if err := a.list(); err != nil {
		return nil, err
	}
	// A namespace has one type: when one process has shown it, the rest is asked for that alone.
	var known atomic.Int64
	known.Store(-1)
	if q.Typed {
		known.Store(int64(q.Type))
	}
	has := make([]ns.Type, len(a.pids))
	together(len(has), func(i int) {
		has[i] = ns.NumTypes
		types := ns.Types()
		if t := known.Load(); t >= 0 {
			types = types[t : t+1]
		}
		for _, t := range types {
			if a.link64(strconv.Itoa(a.pids[i]), t) == q.Number {
				has[i] = t
				known.Store(int64(t))
				return
			}
		}
	})
	var pids []int
	t := q.Type
	for i, pid := range a.pids {
		if has[i] != ns.NumTypes {
			pids, t = append(pids, pid), has[i]
		}
	}
	if len(pids) == 0 {
		return a.heldNamespace(q)
	}
	return a.answer(fmt.Sprintf("%s namespace %d", t, q.Number), pids), nil
}

// heldNamespace finds who keeps a namespace that no process is in, which takes a look at every descriptor and mount.
func (a *asker) heldNamespace(q Question) ([]Answer, error) {
	s, err := ns.Scan(ns.Options{Proc: a.proc})
	if err != nil {
		return nil, err
	}
	a.hide(s.Partial)
	var all []Answer
	for _, n := range s.Namespaces {
		if n.ID != q.Number || q.Typed && n.Type != q.Type {
			continue
		}
		what := fmt.Sprintf("%s namespace %d without a process", n.Type, n.ID)
		for _, h := range n.Holders {
			how := ""
			switch h.Kind {
			case ns.ByDescriptor, ns.BySocket:
				how = fmt.Sprintf(", held by descriptor %d", h.FD)
			case ns.ByMount:
				how = ", mounted on " + owner.Sanitise(h.Path)
			case ns.ByChild:
				how = fmt.Sprintf(", held by namespace %d", h.Child)
			}
			who := []Answer{{What: what + how}}
			if h.PID != 0 {
				who = a.answer(what+how, []int{h.PID})
			}
			all = append(all, who...)
		}
		if len(n.Holders) == 0 {
			all = append(all, Answer{What: what})
		}
	}
	return all, nil
}

// address finds who has an address.
func (a *asker) address(q Question) ([]Answer, error) {
	if err := a.byNetwork(); err != nil {
		return nil, err
	}
	var all []Answer
	if a.h.HasAddress("self", q.Addr) {
		all = append(all, Answer{What: "address " + q.Addr.String() + " of the host"})
	}
	if q.Addr.IsLoopback() { // which every namespace has
		return all, nil
	}
	has := make([]bool, len(a.nets))
	together(len(a.nets), func(i int) {
		has[i] = i > 0 && len(a.nets[i].pids) > 0 && a.h.HasAddress(strconv.Itoa(a.nets[i].pids[0]), q.Addr)
	})
	for i, n := range a.nets {
		if has[i] {
			all = append(all, a.answer("address "+q.Addr.String(), n.pids)...)
		}
	}
	return all, nil
}

// cgroup says whose a cgroup is, and finds its processes.
func (a *asker) cgroup(q Question) ([]Answer, error) {
	if err := a.list(); err != nil {
		return nil, err
	}
	path := q.Name
	if path == "" {
		path = "/"
	}
	var pids []int
	for _, pid := range a.pids {
		if a.h.InCgroup(pid, path) {
			pids = append(pids, pid)
		}
	}
	what := "cgroup " + owner.Sanitise(path)
	if all := a.answer(what, pids); len(all) > 0 && path != "/" {
		return all, nil
	}
	c, ok := a.h.OfCgroup(path)
	if !ok && (c.Unit == "" || !strings.HasSuffix(path, c.Unit)) {
		return nil, nil
	}
	return []Answer{{What: what + " (no process)", Container: c}}, nil
}

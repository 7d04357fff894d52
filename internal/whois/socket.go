package whois

import (
	"fmt"
	"slices"
	"strconv"

	"tripod/internal/socket"
)

// socket finds who holds a socket.
func (a *asker) socket(q Question) ([]Answer, error) {
	if err := a.list(); err != nil {
		return nil, err
	}
	held := a.holdersOf(a.pids, func(inode uint64) bool { return inode == q.Number })
	return a.answer(fmt.Sprintf("socket %d", q.Number), holders(held[q.Number])), nil
}

// holdersOf is socket.Holders, many processes at once.
func (a *asker) holdersOf(pids []int, want func(inode uint64) bool) map[uint64][]socket.Holder {
	const portion = 64
	portions := slices.Collect(slices.Chunk(pids, portion))
	found := make([]map[uint64][]socket.Holder, len(portions))
	together(len(portions), func(i int) {
		var partial bool
		found[i], partial = socket.Holders(a.proc, portions[i], want)
		a.hide(partial)
	})
	all := map[uint64][]socket.Holder{}
	for _, held := range found {
		for inode, who := range held {
			all[inode] = append(all[inode], who...)
		}
	}
	return all
}

func holders(all []socket.Holder) []int {
	var pids []int
	for _, h := range all {
		if !slices.Contains(pids, h.PID) {
			pids = append(pids, h.PID)
		}
	}
	return pids
}

// port finds the sockets that have a port, in every network namespace, and who holds them; and Pods that have it on the host.
func (a *asker) port(q Question) ([]Answer, error) {
	if err := a.byNetwork(); err != nil {
		return nil, err
	}
	all := a.hostPorts(q)
	found, errs := make([][]socket.Socket, len(a.nets)), make([]error, len(a.nets))
	together(len(a.nets), func(i int) { found[i], errs[i] = a.socketsIn(q, i, a.nets[i]) })
	if len(errs) > 0 && errs[0] != nil {
		return nil, errs[0]
	}
	for i, n := range a.nets {
		a.hide(errs[i] != nil) // it has ended, or we may not enter it
		all = append(all, a.holding(found[i], n)...)
	}
	return all, nil
}

// socketsIn asks one network namespace for the sockets that have a port. The first one is the caller's.
func (a *asker) socketsIn(q Question, i int, n network) ([]socket.Socket, error) {
	o := socket.Options{Kinds: q.Proto, Listening: true}
	if i > 0 {
		if len(n.pids) == 0 {
			return nil, nil
		}
		o.NetNS = a.proc + "/" + strconv.Itoa(n.pids[0]) + "/ns/net"
	}
	sockets, err := socket.List(o)
	return slices.DeleteFunc(sockets, func(s socket.Socket) bool {
		return !s.Listening() || uint64(s.Local.Port()) != q.Number || q.Addr.IsValid() && !s.Local.Addr().IsUnspecified() && s.Local.Addr().Unmap() != q.Addr
	}), err
}

// holding finds who has sockets of a network namespace.
func (a *asker) holding(sockets []socket.Socket, n network) []Answer {
	if len(sockets) == 0 {
		return nil
	}
	wanted := func(inode uint64) bool {
		return slices.ContainsFunc(sockets, func(s socket.Socket) bool { return s.Inode == inode })
	}
	held := a.holdersOf(n.pids, wanted)
	if len(held) < len(sockets) {
		// A socket may be held by a process that has left its namespace, or was given it.
		held = a.holdersOf(a.pids, wanted)
	}
	var all []Answer
	for _, s := range sockets {
		what := fmt.Sprintf("%s %s %s", s.Proto, s.Local, s.State)
		if who := a.answer(what, holders(held[s.Inode])); len(who) > 0 {
			all = append(all, who...)
		} else {
			all = append(all, Answer{What: what + " of nobody that can be seen"})
		}
	}
	return all
}

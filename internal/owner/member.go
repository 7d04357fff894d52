package owner

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"tripod/internal/ns"
)

// Member is a process as the host and its container see it.
type Member struct {
	PID      int    `json:"pid"`
	PPID     int    `json:"ppid"`
	Inner    []int  `json:"innerPIDs,omitempty"` // its numbers in the PID namespaces below the reader's, the innermost last
	UID      int    `json:"uid"`                 // effective, as the reader's user namespace has it; -1 when that cannot be read
	InnerUID int    `json:"innerUID"`            // as its own user namespace has it; -1: it has none there
	Start    uint64 `json:"start"`               // clock ticks since boot
	State    string `json:"state"`               // one letter, as in proc_pid_stat(5)
	Comm     string `json:"comm"`
	Command  string `json:"command,omitempty"` // the words of its command line; "" for a kernel thread
	NetNS    uint64 `json:"netns,omitempty"`

	Container Container `json:"container,omitzero"`
}

// Inmost is its number in its own PID namespace, 0 when that is the reader's.
func (m Member) Inmost() int {
	if len(m.Inner) == 0 {
		return 0
	}
	return m.Inner[len(m.Inner)-1]
}

// What is the command line for a table, or [comm] without one, sanitised.
func (m Member) What() string {
	if m.Command == "" {
		return "[" + Sanitise(m.Comm) + "]"
	}
	return Sanitise(m.Command)
}

// Members are the processes that keep wants, by PID; every process when it is nil. Partial says that some were hidden.
func (h *Host) Members(keep func(pid int, c Container) bool) (all []Member, partial bool, err error) {
	err = h.each(func(pid int) {
		c, _, err := h.OfProcess(pid)
		if err != nil {
			partial = partial || !isGone(err)
			return
		}
		if keep != nil && !keep(pid, c) {
			return
		}
		m, ok := h.Member(pid)
		if !ok {
			return
		}
		m.Container = c
		all = append(all, m)
	})
	return all, partial || h.Hidden(), err
}

// Hidden says whether the proc file system hides other users' processes from us (hidepid, proc(5)): process 1 is always there.
func (h *Host) Hidden() bool {
	_, err := os.Stat(h.proc() + "/1")
	return err != nil
}

// Member reads one process, all but its container. It is false when it has ended.
func (h *Host) Member(pid int) (Member, bool) {
	p := ns.Process{PID: pid}
	if p.ReadStat(h.proc()) != nil {
		return Member{}, false
	}
	m := Member{PID: pid, PPID: p.PPID, Start: p.Start, State: string(p.State), Comm: p.Comm, UID: -1, InnerUID: -1, NetNS: h.netOf(pid)}
	if p.ReadCmdline(h.proc()) == nil {
		m.Command = strings.Join(p.Args(), " ")
	}
	text, err := readFile(h.proc()+"/"+strconv.Itoa(pid)+"/status", maxStatusFile, anyOwner)
	if err != nil {
		return m, !isGone(err)
	}
	inner, uid := statusFacts(string(text))
	if len(inner) > 1 {
		m.Inner = inner[1:]
	}
	m.UID = uid
	if ids, err := readFile(h.proc()+"/"+strconv.Itoa(pid)+"/uid_map", maxStatusFile, anyOwner); err == nil {
		m.InnerUID = mapDown(string(ids), uid)
	}
	// Read of this process and no other, if it is still the same.
	return m, startOf(h.proc(), pid) == p.Start
}

// statusFacts reads NSpid and the effective user from /proc/PID/status. The name of a process cannot forge them: newlines in it
// are escaped there.
func statusFacts(text string) (pids []int, uid int) {
	uid = -1
	for l := range strings.SplitSeq(text, "\n") {
		if rest, ok := strings.CutPrefix(l, "NSpid:"); ok {
			for _, word := range strings.Fields(rest) {
				pids = append(pids, number(word))
			}
			if slices.Contains(pids, -1) {
				pids = nil
			}
		}
		if rest, ok := strings.CutPrefix(l, "Uid:"); ok {
			if ids := strings.Fields(rest); len(ids) == 4 {
				if n, err := strconv.ParseUint(ids[1], 10, 32); err == nil {
					uid = int(n)
				}
			}
		}
	}
	return pids, uid
}

// mapDown is a user of the reader's namespace in another's, by its uid_map (user_namespaces(7)); -1 when it has none there.
func mapDown(text string, outer int) int {
	for l := range strings.SplitSeq(text, "\n") {
		words := strings.Fields(l)
		if len(words) != 3 {
			continue
		}
		var n [3]int
		for i, w := range words {
			v, err := strconv.ParseUint(w, 10, 32)
			if err != nil {
				return -1
			}
			n[i] = int(v)
		}
		if outer >= n[1] && outer-n[1] < n[2] {
			return n[0] + outer - n[1]
		}
	}
	return -1
}

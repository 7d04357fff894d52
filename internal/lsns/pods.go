package lsns

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tripod/internal/ns"
	"tripod/internal/owner"
)

// podTargets are the processes that a name means: of a Pod all its containers' first ones, else one.
func podTargets(h *owner.Host, word string) (map[int]bool, error) {
	t, err := h.Find(word)
	if err != nil {
		return nil, err
	}
	targets := map[int]bool{t.PID: true}
	of := t.Container
	if of.Pod == "" || !meansPod(word, of) {
		return targets, nil
	}
	all, err := h.All()
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if samePod(c, of) && c.Init != 0 && !c.Monitor {
			targets[c.Init] = true
		}
	}
	return targets, nil
}

// meansPod says whether a word means the whole Pod of what it was found to be, not one container.
func meansPod(word string, c owner.Container) bool {
	return word == c.Pod || word == c.PodNamespace+"/"+c.Pod
}

func samePod(a, b owner.Container) bool {
	if a.PodUID != "" || b.PodUID != "" {
		return a.PodUID == b.PodUID
	}
	return a.Pod == b.Pod && a.PodNamespace == b.PodNamespace
}

// ownerOf is the container of a process.
func (f *facts) ownerOf(pid int) owner.Container {
	if c, known := f.owners[pid]; known {
		return c
	}
	if f.owners == nil {
		f.owners = map[int]owner.Container{}
	}
	c, _, err := f.host.OfProcess(pid)
	if err != nil {
		c = owner.Container{}
	}
	f.owners[pid] = c
	return c
}

// of is the container of a line's process.
func (f *facts) of(l *line) owner.Container {
	if l.process < 0 {
		return owner.Container{}
	}
	return f.ownerOf(f.snapshot.Processes[l.process].PID)
}

func (f *facts) pod(l *line) string          { return f.of(l).Pod }
func (f *facts) podNamespace(l *line) string { return f.of(l).PodNamespace }
func (f *facts) image(l *line) string        { return f.of(l).Image }
func (f *facts) runtime(l *line) string      { return f.of(l).Runtime }
func (f *facts) unit(l *line) string         { return f.of(l).Unit }

func (f *facts) container(l *line) string { return containerName(f.of(l)) }

// containerName is what a container is called within its Pod.
func containerName(c owner.Container) string {
	switch {
	case c.Sandbox && c.Name == "":
		return "(sandbox)"
	case c.Name != "":
		return c.Name
	}
	return c.ShortID()
}

// shared says who shares a namespace: "host" when it is the host's, "own" when all its processes are of one container, "pod" when
// they are of one Pod, and else the containers, one a line. It is empty when nobody in it is of a container.
func (f *facts) shared(l *line) string {
	if f.isInitial(l.ns) {
		return "host"
	}
	var names []string
	var first owner.Container
	onePod := true
	for _, m := range l.ns.Members {
		c := f.ownerOf(f.snapshot.Processes[m].PID)
		if !c.Known() || c.Monitor {
			continue
		}
		if name := c.String(); !slices.Contains(names, name) {
			if len(names) == 0 {
				first = c
			}
			onePod = onePod && c.Pod != "" && samePod(c, first)
			names = append(names, name)
		}
	}
	switch {
	case len(names) == 0:
		return ""
	case len(names) == 1:
		return "own"
	case onePod:
		return "pod"
	}
	return strings.Join(names, "\n")
}

// isInitial says whether a namespace is the one that the host began with.
func (f *facts) isInitial(n *ns.Namespace) bool {
	if f.initial == nil {
		initial := f.snapshot.Initial()
		f.initial = &initial
	}
	return f.initial[n.Type] == n.ID
}

// holder is what keeps a namespace besides processes, one thing a line. What a namespace with processes has of sockets and
// children keeps nothing that would not live without.
func (f *facts) holder(l *line) string {
	var all []string
	for _, h := range l.ns.Holders {
		text := ""
		switch h.Kind {
		case ns.ByDescriptor:
			text = fmt.Sprintf("fd %d of %d", h.FD, h.PID)
		case ns.BySocket:
			if len(l.ns.Members) == 0 {
				text = fmt.Sprintf("socket %d of %d", h.FD, h.PID)
			}
		case ns.ByMount:
			text = "mount " + h.Path
			if h.PID != 0 {
				text += fmt.Sprintf(" of mnt:[%d] (process %d)", h.MntNS, h.PID)
			}
		case ns.ByChild:
			text = fmt.Sprintf("above %d", h.Child)
		case ns.ByWaiting:
			text = fmt.Sprintf("for children of %d", h.PID)
		}
		if text != "" && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return strings.Join(all, "\n")
}

// ip are the addresses of a network namespace, one a line, but for those of the loopback interface and of links.
func (f *facts) ip(l *line) string {
	if l.ns.Type != ns.Net {
		return ""
	}
	var all []string
	for _, a := range f.snapshot.Addresses(l.ns) {
		all = append(all, a.String())
	}
	return strings.Join(all, "\n")
}

func (f *facts) nsid(l *line) string {
	if l.ns.NSID == 0 {
		return ""
	}
	return strconv.FormatUint(l.ns.NSID, 10)
}

// ageSeconds is how long the oldest process of a namespace has lived. A process that came into it later makes no difference: when
// that was cannot be known.
func (f *facts) ageSeconds(l *line) (float64, bool) {
	if f.now == 0 {
		f.now = f.snapshot.Uptime()
	}
	const ticks = 100 // a second, of USER_HZ
	oldest, found := uint64(0), false
	for _, m := range l.ns.Members {
		if start := f.snapshot.Process(m, ns.Stat).Start; start != 0 && (!found || start < oldest) {
			oldest, found = start, true
		}
	}
	// What began before the clock's first tick has no start.
	if !found && len(l.ns.Members) > 0 {
		found = true
	}
	return max(0, f.now.Seconds()-float64(oldest)/ticks), found && f.now > 0
}

func (f *facts) age(l *line) string {
	seconds, known := f.ageSeconds(l)
	if !known {
		return ""
	}
	return shortAge(time.Duration(seconds) * time.Second)
}

// shortAge is a time in one or two units, as kubectl tells ages.
func shortAge(d time.Duration) string {
	n := func(unit time.Duration) string { return strconv.Itoa(int(d / unit)) }
	rest := func(of, unit time.Duration, name string) string {
		if d%of/unit == 0 {
			return ""
		}
		return strconv.Itoa(int(d%of/unit)) + name
	}
	const day = 24 * time.Hour
	switch {
	case d < 2*time.Minute:
		return n(time.Second) + "s"
	case d < 10*time.Minute:
		return n(time.Minute) + "m" + rest(time.Minute, time.Second, "s")
	case d < 3*time.Hour:
		return n(time.Minute) + "m"
	case d < 8*time.Hour:
		return n(time.Hour) + "h" + rest(time.Hour, time.Minute, "m")
	case d < 2*day:
		return n(time.Hour) + "h"
	case d < 8*day:
		return n(day) + "d" + rest(day, time.Hour, "h")
	}
	return n(day) + "d"
}

// userMap is the map of a user namespace: what users are called inside and outside, and how many, one range a line. Where groups
// are mapped otherwise they follow.
func (f *facts) userMap(l *line) string {
	if l.ns.Type != ns.User || l.process < 0 {
		return ""
	}
	pid := f.snapshot.Processes[l.process].PID
	users, groups := f.snapshot.IDMap(pid, "uid_map"), f.snapshot.IDMap(pid, "gid_map")
	all := slices.Clone(users)
	if !slices.Equal(users, groups) {
		for _, g := range groups {
			all = append(all, "gid:"+g)
		}
	}
	return strings.Join(all, "\n")
}

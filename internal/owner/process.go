package owner

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"tripod/internal/ns"
)

// Bounds on what is read of a process.
const (
	maxCgroupFile = 1 << 20
	maxStatusFile = 64 << 10
)

// memory is what a Host has read already.
type memory struct {
	cgroups map[string]Container  // by the cgroup's path
	storage map[string][]*storage // podman's and CRI-O's, by user
	bare    []bareState           // of runtimes whose cgroups have any name
	hasBare bool
}

// OfCgroup says whose a cgroup is, by its path as the host's /proc/PID/cgroup has it. It is false for one that is no container's;
// the Container has the systemd unit then, if it is one's.
func (h *Host) OfCgroup(path string) (Container, bool) {
	if c, ok := h.memory.cgroups[path]; ok {
		return c, c.Known()
	}
	c := identify(path)
	// A scope of runc's or crun's has the name that the caller chose for the cgroup, which need not be the container's.
	if scope := c.Runtime == Runc || c.Runtime == Crun; !c.Known() || c.Runtime == OCI || scope {
		if s, own := h.bareOf(path); own != "" {
			if !scope {
				c.Cgroup = own
			}
			c.Runtime, c.Engine, c.ID = s.runtime, s.engine, s.id
			if h.alive(s.pid, s.start) {
				c.Init, c.InitStart = s.pid, startOf(h.proc(), s.pid)
			}
		}
	}
	if c.Known() {
		h.name(&c)
	}
	if h.memory.cgroups == nil {
		h.memory.cgroups = map[string]Container{}
	}
	h.memory.cgroups[path] = c
	return c, c.Known()
}

// OfProcess says which container a process is in. It is false for a process of the host; the Container has its systemd unit then,
// if it has one. The error is fs.ErrNotExist when there is no such process, and fs.ErrPermission when it is hidden.
func (h *Host) OfProcess(pid int) (Container, bool, error) {
	text, err := readFile(h.proc()+"/"+strconv.Itoa(pid)+"/cgroup", maxCgroupFile, anyOwner)
	if err != nil {
		if errors.Is(err, syscall.ESRCH) {
			err = fs.ErrNotExist
		}
		return Container{}, false, fmt.Errorf("cannot read cgroup of process %d: %w", pid, err)
	}
	c, ok := h.ofLines(parseLines(string(text)))
	if !ok {
		if in, found := h.bareByNamespace(pid); found {
			h.name(&in)
			return in, true, nil
		}
	}
	return c, ok, nil
}

// lines are the lines of a process's cgroup file, none when it cannot be read.
func (h *Host) lines(pid int) []line {
	text, err := readFile(h.proc()+"/"+strconv.Itoa(pid)+"/cgroup", maxCgroupFile, anyOwner)
	if err != nil {
		return nil
	}
	return parseLines(string(text))
}

// ofLines asks the hierarchies in the order of their rank: the first one that knows a container says it. A unit is taken from the
// first that knows one.
func (h *Host) ofLines(lines []line) (Container, bool) {
	lines = slices.Clone(lines)
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(rank(a.controllers), rank(b.controllers)) })
	var unit Container
	for _, l := range lines {
		c, ok := h.OfCgroup(l.path)
		if ok {
			return c, true
		}
		if unit.Unit == "" && (c.Unit != "" || unit.Cgroup == "") {
			unit = c
		}
	}
	return unit, false
}

// All is every container that has a process, by runtime, Pod, sandbox first, and name. It is partial, without an error, where
// processes are hidden from the caller.
func (h *Host) All() ([]Container, error) {
	found := map[string]*candidate{}
	err := h.each(func(pid int) {
		c, ok, err := h.OfProcess(pid)
		if err != nil || !ok {
			return
		}
		key := c.Runtime + "\x00" + c.Cgroup + "\x00" + c.ID
		if c.Monitor { // systemd-nspawn's cgroup has both
			key += "\x00"
		}
		if found[key] == nil {
			found[key] = &candidate{Container: c}
		}
		found[key].pids = append(found[key].pids, pid)
	})
	if err != nil {
		return nil, err
	}
	all := h.settled(found)
	slices.SortFunc(all, compare)
	return all, nil
}

// settled are the candidates that turned out to be containers.
func (h *Host) settled(found map[string]*candidate) []Container {
	var all []Container
	for _, c := range found {
		if c.settle(h.proc()) {
			all = append(all, c.Container)
		}
	}
	return all
}

// each calls f for every process that /proc shows, by PID.
func (h *Host) each(f func(pid int)) error {
	pids, err := h.PIDs()
	for _, pid := range pids {
		f(pid)
	}
	return err
}

// PIDs are the numbers of all processes that /proc shows, in order.
func (h *Host) PIDs() ([]int, error) {
	dir, err := os.Open(h.proc())
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	var pids []int
	for _, name := range names {
		if pid := number(name); pid > 0 {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// InCgroup says whether a process is in a cgroup, or below it, by its path in any hierarchy.
func (h *Host) InCgroup(pid int, path string) bool {
	for _, l := range h.lines(pid) {
		if l.path == path || below(l.path, path) {
			return true
		}
	}
	return false
}

func compare(a, b Container) int {
	sandbox := func(c Container) int {
		switch {
		case c.Sandbox:
			return 0
		case c.Monitor:
			return 2
		}
		return 1
	}
	return cmp.Or(cmp.Compare(a.Runtime, b.Runtime), cmp.Compare(a.PodNamespace, b.PodNamespace), cmp.Compare(a.Pod, b.Pod),
		cmp.Compare(a.PodUID, b.PodUID), cmp.Compare(sandbox(a), sandbox(b)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID),
		cmp.Compare(a.Cgroup, b.Cgroup))
}

// candidate is a container and the processes that were seen in its cgroup.
type candidate struct {
	Container
	pids []int
}

// settle says which process is the first of the container: the one that its runtime recorded, if it is there; else one that is
// number 1 of a PID namespace, the oldest of several; else the oldest. It is false when none is left.
func (c *candidate) settle(proc string) bool {
	if c.Init != 0 && slices.Contains(c.pids, c.Init) && startOf(proc, c.Init) == c.InitStart {
		return true
	}
	c.Init, c.InitStart = 0, 0
	first := false
	slices.Sort(c.pids)
	for _, pid := range c.pids {
		start := startOf(proc, pid)
		if start == 0 {
			continue
		}
		inner := NamespacePIDs(proc, pid)
		one := len(inner) > 1 && inner[len(inner)-1] == 1
		if c.Init == 0 || one && !first || one == first && start < c.InitStart {
			c.Init, c.InitStart, first = pid, start, one
		}
	}
	return c.Init != 0
}

// startOf is when a process began, in clock ticks since boot; 0 when there is no such process.
func startOf(proc string, pid int) uint64 {
	p := ns.Process{PID: pid}
	if p.ReadStat(proc) != nil {
		return 0
	}
	return p.Start
}

// NamespacePIDs are the numbers of a process in the PID namespaces it is seen in, the reader's first: NSpid of
// /proc/PID/status. It is nil when that cannot be read.
func NamespacePIDs(proc string, pid int) []int {
	text, err := readFile(orElse(proc, "/proc")+"/"+strconv.Itoa(pid)+"/status", maxStatusFile, anyOwner)
	if err != nil {
		return nil
	}
	pids, _ := statusFacts(string(text))
	return pids
}

// isGone says that a process has ended meanwhile, or was never there.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// Pin makes a Target of a process that began at a known time, 0 for any. It is held by a descriptor while it is looked at, so that
// what is told is of one process; the error says that it is gone, or another one has its number.
func (h *Host) Pin(pid int, start uint64) (Target, error) {
	t := Target{PID: pid}
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		defer unix.Close(fd)
		t.Inode = pidfsInode(fd)
	} else if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return t, fmt.Errorf("cannot find process %d: %w", pid, fs.ErrNotExist)
	}
	p := ns.Process{PID: pid}
	if err := p.ReadStat(h.proc()); err != nil {
		return t, err
	}
	t.Start = p.Start
	if start != 0 && t.Start != start {
		return t, fmt.Errorf("cannot find process %d: it has ended, and another has its number: %w", pid, fs.ErrNotExist)
	}
	if t.Container, _, err = h.OfProcess(pid); err != nil {
		return t, err
	}
	if fd >= 0 {
		// Everything was read of this process only if it has not ended meanwhile.
		if err := unix.PidfdSendSignal(fd, 0, nil, 0); errors.Is(err, unix.ESRCH) {
			return t, fmt.Errorf("cannot find process %d: %w", pid, fs.ErrNotExist)
		}
	}
	return t, nil
}

// pidfsMagic is the type of the file system that pidfds are on since Linux 6.9; before, all of them share one inode.
const pidfsMagic = 0x50494446

func pidfsInode(fd int) uint64 {
	var f unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(fd, &f) != nil || f.Type != pidfsMagic || unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Ino
}

package owner

import (
	"strings"

	"tripod/internal/ns"
)

// bareState is what a runtime below others (runc, crun, tripod-oci) records of a container: its cgroup may have any name.
type bareState struct {
	runtime, engine, id string
	cgroups             []string // paths as /proc/PID/cgroup has them
	pid                 int
	start               uint64 // clock ticks since boot, 0: not recorded
}

// runcState is the part of runc's state.json that is read (seen with runc 1.1.5).
type runcState struct {
	ID      string            `json:"id"`
	Pid     int               `json:"init_process_pid"`
	Start   uint64            `json:"init_process_start"`
	Cgroups map[string]string `json:"cgroup_paths"` // controller ("" for v2) -> folder on the host
}

// crunState is the part of crun's status that is read (seen with crun 1.8.1).
type crunState struct {
	Pid    int    `json:"pid"`
	Start  uint64 `json:"process-start-time"`
	Cgroup string `json:"cgroup-path"`
}

// ociState is the state that tripod-oci keeps, in the form of the OCI's runtime specification.
type ociState struct {
	ID  string `json:"id"`
	Pid int    `json:"pid"`
}

// bareStates reads what runc, crun and tripod-oci keep of their containers, once.
func (h *Host) bareStates() []bareState {
	if h.memory.hasBare {
		return h.memory.bare
	}
	h.memory.hasBare = true
	var all []bareState
	all = h.runcStates(all, "/run/runc", Runc, "")
	all = h.runcStates(all, "/run/docker/runtime-runc/moby", Docker, "")
	for _, namespace := range h.entries("/run/containerd/runc") {
		if safeName(namespace) {
			all = h.runcStates(all, "/run/containerd/runc/"+namespace, Containerd, namespace)
		}
	}
	for _, id := range h.entries("/run/crun") {
		var s crunState
		if safeName(id) && h.load("/run/crun/"+id+"/status", 0, &s) && s.Pid > 0 {
			b := bareState{runtime: Crun, id: id, pid: s.Pid, start: s.Start}
			if s.Cgroup != "" {
				b.cgroups = []string{"/" + strings.Trim(s.Cgroup, "/")}
			}
			all = append(all, b)
		}
	}
	h.memory.bare = h.ociStates(all)
	return h.memory.bare
}

func (h *Host) runcStates(all []bareState, dir, runtime, engine string) []bareState {
	for _, id := range h.entries(dir) {
		var s runcState
		if !safeName(id) || !h.load(dir+"/"+id+"/state.json", 0, &s) || s.Pid <= 0 || s.ID != id {
			continue
		}
		b := bareState{runtime: runtime, engine: engine, id: id, pid: s.Pid, start: s.Start}
		for controller, folder := range s.Cgroups {
			if path := belowMount(controller, folder); path != "" {
				b.cgroups = append(b.cgroups, path)
			}
		}
		all = append(all, b)
	}
	return all
}

// ociStates adds the containers of tripod-oci. Their cgroups are those of their first process.
func (h *Host) ociStates(all []bareState) []bareState {
	dir := h.ociRoot()
	for _, id := range h.entries(dir) {
		var s ociState
		if !safeName(id) || !h.load(dir+"/"+id+"/state.json", 0, &s) || s.Pid <= 0 {
			continue
		}
		b := bareState{runtime: Tripod, id: id, pid: s.Pid}
		for _, l := range h.lines(s.Pid) {
			if strings.HasSuffix(l.path, "/"+id) {
				b.cgroups = append(b.cgroups, l.path)
			}
		}
		all = append(all, b)
	}
	return all
}

// belowMount is the path of a cgroup below its hierarchy's mount point, "" when that is not where systemd and everybody mount it.
// On a hybrid host the unified hierarchy has a folder of its own.
func belowMount(controller, folder string) string {
	rest, ok := strings.CutPrefix(folder, "/sys/fs/cgroup/")
	if !ok {
		return ""
	}
	if controller == "" {
		rest = strings.TrimPrefix(rest, "unified/")
	} else if _, rest, ok = strings.Cut(rest, "/"); !ok {
		return ""
	}
	if rest = strings.Trim(rest, "/"); rest == "" {
		return ""
	}
	return "/" + rest
}

// bareOf is the container that has recorded this cgroup, or one above it, as its own. The innermost one is it: these are the
// host's records, not what a container says.
func (h *Host) bareOf(path string) (found bareState, own string) {
	if strings.Trim(path, "/") == "" {
		return found, ""
	}
	for _, s := range h.bareStates() {
		for _, recorded := range s.cgroups {
			if below(path, recorded) && len(recorded) > len(own) {
				found, own = s, recorded
			}
		}
	}
	return found, own
}

// below says whether path is the cgroup above, or below it.
func below(path, above string) bool {
	rest, ok := strings.CutPrefix(path, above)
	return ok && above != "/" && above != "" && (rest == "" || rest[0] == '/')
}

// bareByNamespace is the container without a cgroup of its own (crun --cgroups=disabled) that has this process in its PID
// namespace, if that is not the host's.
func (h *Host) bareByNamespace(pid int) (Container, bool) {
	var mine, host [ns.NumTypes]uint64
	for _, s := range h.bareStates() {
		if len(s.cgroups) > 0 {
			continue
		}
		if mine[ns.PID] == 0 {
			mine, _ = ns.Of(h.proc(), pid)
			host, _ = ns.Of(h.proc(), 1)
			if mine[ns.PID] == 0 || mine[ns.PID] == host[ns.PID] {
				break
			}
		}
		its, _ := ns.Of(h.proc(), s.pid)
		if its[ns.PID] == mine[ns.PID] && h.alive(s.pid, s.start) {
			return Container{Runtime: s.runtime, Engine: s.engine, ID: s.id, Init: s.pid, InitStart: startOf(h.proc(), s.pid)}, true
		}
	}
	return Container{}, false
}

// alive says whether the process that a state file speaks of is there: start is 0 when it does not tell it.
func (h *Host) alive(pid int, start uint64) bool {
	now := startOf(h.proc(), pid)
	return now != 0 && (start == 0 || now == start)
}

// Package share tells what containers, Pods and the host have in common: namespaces, cgroups, host names, id maps, mounts, sockets.
//
// Look reads the facts of one container from its first process; Compare is pure: it says of each fact with whom it is shared.
// Words: a kind is one of the things that may be shared, a cell is what is said of one kind of one container.
package share

import (
	"slices"
	"strconv"

	"tripod/internal/ns"
	"tripod/internal/owner"
)

// The kinds beside the eight types of namespaces, which are called as in /proc/PID/ns.
const (
	Cgroup   = "cgroup-path" // its place below the cgroup hierarchies
	Hostname = "hostname"
	IDMap    = "idmap"
	Mounts   = "mounts"
	Sockets  = "sockets"
)

// Kinds are all kinds, in the order of the table.
func Kinds() []string {
	var all []string
	for _, t := range []ns.Type{ns.Mnt, ns.Net, ns.IPC, ns.UTS, ns.PID, ns.User, ns.Cgroup, ns.Time} {
		all = append(all, t.String())
	}
	return append(all, Cgroup, Hostname, IDMap, Mounts, Sockets)
}

// Facts are what is known of one container, or of the host.
type Facts struct {
	Name      string // as the table shows it
	Container owner.Container
	PID       int
	NS        [ns.NumTypes]uint64 // by type; 0: unreadable
	Hostname  string
	IDMap     string  // uid_map and gid_map
	Mounts    []Mount // without those that are the kernel's (proc, sysfs …)
	Sockets   map[uint64]bool
}

// Mount is a line of /proc/PID/mountinfo.
type Mount struct {
	Device string `json:"device"` // MAJOR:MINOR of the file system
	Root   string `json:"root"`   // which folder or file of it
	Target string `json:"target"` // where it is in the container
	FSType string `json:"fsType"`
}

// The words of a cell. A cell that begins with = names another container.
const (
	IsHost  = "host"
	OfPod   = "pod"
	IsOwn   = "own"
	Unknown = "?"
	None    = "-"
)

// Row is what is said of one container.
type Row struct {
	Name      string            `json:"name"`
	Container owner.Container   `json:"container"`
	PID       int               `json:"pid"`
	Cells     map[string]string `json:"shared"` // kind -> host, pod, own, =NAME, ?; a host name itself; mounts, sockets: how many
	Hostname  string            `json:"hostname,omitempty"`
	IDMap     string            `json:"idMap,omitempty"`
	NS        map[string]uint64 `json:"namespaces"`
}

// Common is one mount or socket that several containers have.
type Common struct {
	Kind string `json:"kind"` // Mounts or Sockets
	What string `json:"what"`
	By   []Use  `json:"by"`
}

// Use is who has it, and where.
type Use struct {
	Name  string `json:"name"`
	Where string `json:"where,omitempty"`
}

// Matrix is what Compare says.
type Matrix struct {
	Rows   []Row    `json:"containers"`
	Common []Common `json:"common,omitempty"`
}

// Compare says what each container shares with the others and with the host.
func Compare(all []Facts, host Facts) Matrix {
	var m Matrix
	for i, f := range all {
		r := Row{Name: f.Name, Container: f.Container, PID: f.PID, Cells: map[string]string{}, NS: map[string]uint64{}, Hostname: f.Hostname, IDMap: f.IDMap}
		for _, kind := range Kinds() {
			r.Cells[kind] = cell(all, i, host, kind)
		}
		for _, t := range ns.Types() {
			r.NS[t.String()] = f.NS[t]
		}
		m.Rows = append(m.Rows, r)
	}
	m.Common = append(commonMounts(all), commonSockets(all)...)
	return m
}

// cell says with whom container i shares a kind.
func cell(all []Facts, i int, host Facts, kind string) string {
	switch kind {
	case Mounts, Sockets:
		return count(all, i, kind)
	case Hostname:
		if all[i].Hostname == "" {
			return Unknown
		}
		if Shares(all[i], host, ns.UTS.String()) {
			return IsHost
		}
		return all[i].Hostname
	}
	if key(all[i], kind) == "" {
		return Unknown
	}
	if Shares(all[i], host, kind) {
		return IsHost
	}
	podAll, podSize, first := true, 0, ""
	outside := false
	for j, other := range all {
		mate := samePod(all[i].Container, other.Container)
		if mate {
			podSize++
		}
		switch {
		case j == i:
		case Shares(all[i], other, kind):
			if first == "" || outside && mate {
				first = other.Name
				if mate {
					first = other.Container.Name
					if first == "" {
						first = "(sandbox)"
					}
				}
			}
			outside = outside || !mate
		case mate:
			podAll = false
		}
	}
	switch {
	case first == "":
		return IsOwn
	case podAll && podSize > 1 && !outside:
		return OfPod
	}
	return "=" + first
}

// key is what two containers must have alike to share a kind; "" is not known.
func key(f Facts, kind string) string {
	switch kind {
	case Cgroup:
		return f.Container.Cgroup
	case IDMap:
		return f.IDMap
	case Hostname:
		return f.Hostname
	}
	if t, ok := ns.ParseType(kind); ok && f.NS[t] != 0 {
		return strconv.FormatUint(f.NS[t], 10)
	}
	return ""
}

// Shares says whether two have a kind in common. Two mounts are in common when they show the same folder of the same file system;
// a socket when both hold it.
func Shares(a, b Facts, kind string) bool {
	switch kind {
	case Mounts:
		return slices.ContainsFunc(a.Mounts, func(m Mount) bool { return slices.ContainsFunc(b.Mounts, m.same) })
	case Sockets:
		for inode := range a.Sockets {
			if b.Sockets[inode] {
				return true
			}
		}
		return false
	}
	k := key(a, kind)
	return k != "" && k == key(b, kind)
}

func (m Mount) same(o Mount) bool { return m.Device == o.Device && m.Root == o.Root }

func samePod(a, b owner.Container) bool {
	return a.PodUID != "" && a.PodUID == b.PodUID && a.Runtime == b.Runtime
}

package lsns

import (
	"fmt"
	"strconv"
	"strings"

	"tripod/internal/ns"
)

// column is a column that can be shown.
type column struct {
	name   string
	help   string
	right  bool // aligned to the right
	number bool // a number in JSON and in filters
	hint   int  // so wide at least, when its cells are as wide as its name
	tree   bool // carries the tree
	value  func(*facts, *line) string
}

// columns are all columns, in the order of --output-all; the first numUpstream are those of util-linux.
var columns = []column{
	{name: "NS", help: "namespace identifier (inode number)", right: true, number: true, hint: 10, value: (*facts).id},
	{name: "TYPE", help: "kind of namespace", hint: 5, value: (*facts).kind},
	{name: "PATH", help: "path to the namespace", value: (*facts).path},
	{name: "NPROCS", help: "number of processes in the namespace", right: true, number: true, hint: 5, value: (*facts).count},
	{name: "PID", help: "lowest PID in the namespace", right: true, number: true, hint: 5, value: (*facts).pid},
	{name: "PPID", help: "PPID of the PID", right: true, number: true, hint: 5, value: (*facts).ppid},
	{name: "COMMAND", help: "command line of the PID", value: (*facts).command},
	{name: "UID", help: "UID of the PID", right: true, number: true, value: (*facts).uid},
	{name: "USER", help: "username of the PID", value: (*facts).user},
	{name: "NETNSID", help: "namespace ID as used by network subsystem", right: true, value: (*facts).netnsid},
	{name: "NSFS", help: "nsfs mountpoint (usually used network subsystem)", value: (*facts).nsfs},
	{name: "PNS", help: "parent namespace identifier (inode number)", right: true, number: true, hint: 10, value: (*facts).parent},
	{name: "ONS", help: "owner namespace identifier (inode number)", right: true, number: true, hint: 10, value: (*facts).owner},

	{name: "POD", help: "Pod of the PID", value: (*facts).pod},
	{name: "PODNS", help: "Kubernetes namespace of the Pod", value: (*facts).podNamespace},
	{name: "CONTAINER", help: "container of the PID", value: (*facts).container},
	{name: "IMAGE", help: "image of the container", value: (*facts).image},
	{name: "RUNTIME", help: "runtime of the container", value: (*facts).runtime},
	{name: "UNIT", help: "systemd unit of the PID", value: (*facts).unit},
	{name: "HOLDER", help: "what keeps the namespace besides processes", value: (*facts).holder},
	{name: "SHARED", help: "who shares the namespace: host, own, pod, or the containers", value: (*facts).shared},
	{name: "IP", help: "addresses of a network namespace", value: (*facts).ip},
	{name: "NSID", help: "number of the namespace that is never used again (Linux 6.18)", right: true, number: true, value: (*facts).nsid},
	{name: "AGE", help: "since when the oldest process has been in the namespace", right: true, value: (*facts).age},
	{name: "USERMAP", help: "users of a user namespace as inside:outside:count", value: (*facts).userMap},
}

// numUpstream is how many columns are util-linux's.
const numUpstream = 13

// columnOf finds a column by its name, in any case.
func columnOf(name string) (column, bool) {
	for _, c := range columns {
		if strings.EqualFold(c.name, name) {
			return c, true
		}
	}
	return column{}, false
}

// named returns columns by their names.
func named(names ...string) []column {
	var all []column
	for _, name := range names {
		if c, ok := columnOf(name); ok {
			all = append(all, c)
		}
	}
	return all
}

// defaults are the columns that are shown when nothing is said.
func defaults(o *options) []column {
	switch {
	case o.namespace != 0 && o.pods:
		return named("PID", "PPID", "USER", "PODNS", "POD", "CONTAINER", "COMMAND")
	case o.namespace != 0:
		return named("PID", "PPID", "USER", "COMMAND")
	case o.operand != "":
		return named("NS", "TYPE", "NPROCS", "PID", "USER", "CONTAINER", "SHARED", "IP", "COMMAND")
	case o.pods:
		return named("NS", "TYPE", "NPROCS", "PID", "USER", "PODNS", "POD", "CONTAINER", "SHARED", "COMMAND")
	case o.types[ns.Net]:
		return named("NS", "TYPE", "NPROCS", "PID", "USER", "NETNSID", "NSFS", "COMMAND")
	}
	return named("NS", "TYPE", "NPROCS", "PID", "USER", "COMMAND")
}

// chooseColumns reads the value of --output, which --output-all and the defaults give way to.
func chooseColumns(o *options, given bool, list string, all bool) ([]column, error) {
	chosen := defaults(o)
	if all {
		chosen = columns[:numUpstream]
		if o.pods || o.operand != "" && o.namespace == 0 {
			chosen = columns
		}
	}
	if !given {
		return chosen, nil
	}
	rest, add := strings.CutPrefix(list, "+")
	if !add {
		chosen = nil
	}
	chosen = append([]column(nil), chosen...)
	for name := range strings.SplitSeq(rest, ",") {
		c, ok := columnOf(name)
		if !ok {
			return nil, fmt.Errorf("unknown column: %s", printable(name, true))
		}
		chosen = append(chosen, c)
	}
	if len(chosen) > maxColumns {
		return nil, fmt.Errorf("too many columns: %d (at most %d)", len(chosen), maxColumns)
	}
	return chosen, nil
}

// maxColumns is how many columns can be shown at once.
const maxColumns = 64

// The values of util-linux's columns. A value of "" is none.

func (f *facts) id(l *line) string   { return strconv.FormatUint(l.ns.ID, 10) }
func (f *facts) kind(l *line) string { return l.ns.Type.String() }

func (f *facts) path(l *line) string {
	if l.process < 0 {
		return ""
	}
	return f.snapshot.Path(f.snapshot.Processes[l.process].PID, l.ns.Type)
}

func (f *facts) count(l *line) string { return strconv.Itoa(len(l.ns.Members)) }

func (f *facts) pid(l *line) string {
	if l.process < 0 {
		return ""
	}
	return strconv.Itoa(f.snapshot.Processes[l.process].PID)
}

func (f *facts) ppid(l *line) string {
	if l.process < 0 {
		return ""
	}
	return strconv.Itoa(f.snapshot.Process(l.process, ns.Stat).PPID)
}

func (f *facts) command(l *line) string {
	if l.process < 0 {
		return ""
	}
	if p := f.snapshot.Process(l.process, ns.Cmdline); p.Cmdline != "" {
		return p.CommandLine()
	}
	return f.snapshot.Process(l.process, ns.Stat).CommandLine()
}

// userID is the user of a line's process or, without one, who made the user namespace that owns it.
func (f *facts) userID(l *line) (uint32, bool) {
	if l.process >= 0 {
		return f.snapshot.Process(l.process, ns.Owner).UID, true
	}
	return l.ns.OwnerUID, l.ns.Opened
}

func (f *facts) uid(l *line) string {
	id, known := f.userID(l)
	if !known {
		return ""
	}
	return strconv.FormatUint(uint64(id), 10)
}

func (f *facts) user(l *line) string {
	id, known := f.userID(l)
	if !known {
		return ""
	}
	if name, ok := f.userName(id); ok {
		return name
	}
	return strconv.FormatUint(uint64(id), 10)
}

func (f *facts) netnsid(l *line) string {
	switch id := l.ns.NetNSID; {
	case l.ns.Type != ns.Net || id == ns.NetNSIDUnknown:
		return ""
	case id == ns.NetNSIDUnassigned:
		return "unassigned"
	default:
		return strconv.Itoa(id)
	}
}

// nsfs are the paths where the namespace is mounted, one a line.
func (f *facts) nsfs(l *line) string {
	var paths []string
	seen := map[string]bool{}
	for _, m := range f.snapshot.Mounts {
		if m.ID == l.ns.ID && m.Type == l.ns.Type && !seen[m.Path] {
			seen[m.Path] = true
			paths = append(paths, m.Path)
		}
	}
	return strings.Join(paths, "\n")
}

func (f *facts) parent(l *line) string { return strconv.FormatUint(l.ns.Parent, 10) }
func (f *facts) owner(l *line) string  { return strconv.FormatUint(l.ns.Owner, 10) }

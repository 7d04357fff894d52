package ns

import (
	"bytes"
	"os"
	"strconv"
)

// Mount is a bind mount of a namespace's file, which keeps the namespace.
type Mount struct {
	Type Type
	ID   uint64
	Path string // where, as the reader of mountinfo sees it
}

// maxMountinfo is how much of one mount namespace's table is read, in bytes. The kernel allows 100,000 mounts (fs.mount-max).
const maxMountinfo = 32 << 20

// mounts looks at the mount tables of all mount namespaces, each by the first process of it that lets us.
func (s *Snapshot) mounts() {
	own, err := os.ReadFile(s.Proc + "/self/mountinfo")
	if err == nil {
		s.Mounts = nsMounts(own)
	}
	var self uint64
	if link, err := os.Readlink(s.Proc + "/self/ns/mnt"); err == nil {
		_, self, _ = ParseLink(link)
	}
	for _, m := range s.Mounts {
		if s.options.wants(m.Type) {
			s.add(m.Type, m.ID).holdBy(Holder{Kind: ByMount, Path: m.Path, MntNS: self})
		}
	}
	tables := s.tables(self)
	for _, table := range inParts(len(tables), func(from, to int) []mountTable {
		for i := range tables[from:to] {
			tables[from+i].read(s.Proc)
		}
		return tables[from:to]
	}) {
		for _, t := range table {
			s.Partial = s.Partial || t.partial
			for _, m := range t.found {
				if s.options.wants(m.Type) {
					s.add(m.Type, m.ID).holdBy(Holder{Kind: ByMount, PID: t.pid, Path: m.Path, MntNS: t.id})
				}
			}
		}
	}
}

// mountTable is the table of one mount namespace.
type mountTable struct {
	id      uint64
	pids    []int // processes that may be asked
	pid     int   // the one that answered
	found   []Mount
	partial bool
}

// maxAsked is how many processes of a mount namespace are asked for its table: all but the first only when it has just ended.
const maxAsked = 4

// tables are the mount namespaces that have processes, but for the reader's own.
func (s *Snapshot) tables(self uint64) []mountTable {
	var all []mountTable
	at := map[uint64]int{}
	for _, p := range s.Processes {
		id := p.NS[Mnt]
		if id == 0 || id == self {
			continue
		}
		n, known := at[id]
		if !known {
			n = len(all)
			at[id] = n
			all = append(all, mountTable{id: id})
		}
		if len(all[n].pids) < maxAsked {
			all[n].pids = append(all[n].pids, p.PID)
		}
	}
	return all
}

// read asks the processes of a mount namespace for its table until one answers.
func (t *mountTable) read(proc string) {
	for _, pid := range t.pids {
		text, err := readSome(processPath(proc, pid)+"/mountinfo", maxMountinfo+1)
		if err != nil {
			t.partial = unreadable(err)
			continue
		}
		t.pid, t.found, t.partial = pid, nsMounts(text), len(text) > maxMountinfo
		return
	}
}

// nsMounts finds the mounts of nsfs files in the text of /proc/PID/mountinfo, see proc_pid_mountinfo(5). A mount point stands
// there with octal escapes. A line of another form is none.
func nsMounts(text []byte) []Mount {
	var found []Mount
	// Most tables have none: one search is all they cost.
	if !bytes.Contains(text, []byte(" - nsfs ")) {
		return nil
	}
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		before, after, ok := bytes.Cut(line, []byte(" - "))
		if !ok || !bytes.HasPrefix(after, []byte("nsfs ")) {
			continue
		}
		fields := bytes.Fields(before) // ID, parent, device, root, mount point, options, …
		if len(fields) < 6 {
			continue
		}
		if t, id, ok := ParseLink(string(fields[3])); ok {
			found = append(found, Mount{t, id, unescape(string(fields[4]))})
		}
	}
	return found
}

// unescape replaces \ooo, as the kernel writes space, tab, newline and backslash in mount tables.
func unescape(s string) string {
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b = append(b, byte(c))
				i += 3
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

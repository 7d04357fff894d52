package lsns

import (
	"slices"

	"tripod/internal/ns"
)

// view is what is to be printed.
type view struct {
	columns []column
	tree    bool // a column carries a tree; else it is a list
	roots   []*line
	partial bool
}

// line is one namespace, or one process in the namespace that was asked for.
type line struct {
	ns       *ns.Namespace
	process  int      // index in the snapshot of the process that stands for the line, -1 for none
	cells    []string // "" is no value
	parent   *line
	children []*line
	placed   bool // in the order of lines. A parent always is: what was read while processes came and went may make a ring
}

// newView makes the lines that were asked for, as a forest.
func newView(o *options, f *facts) *view {
	v := &view{columns: o.columns}
	var lines []*line
	b := builder{options: o, facts: f}
	b.read()
	switch {
	case o.namespace != 0:
		lines = b.processes(f.snapshot.Find(o.namespace))
	case o.tree == byParent || o.tree == byOwner:
		lines = b.relatives()
	default:
		lines = b.list()
	}
	lines = b.filtered(lines)
	v.carry(o)
	for _, l := range lines {
		l.cells = make([]string, len(v.columns))
		for i, c := range v.columns {
			l.cells[i] = c.value(f, l)
		}
		if l.parent == nil || !v.tree {
			v.roots = append(v.roots, l)
		} else {
			l.parent.children = append(l.parent.children, l)
		}
	}
	return v
}

// carry finds the column that carries the tree: of processes their commands, of namespaces their numbers. Without it the tree is a
// list.
func (v *view) carry(o *options) {
	carrier := "COMMAND"
	switch o.tree {
	case flat:
		return
	case byParent, byOwner:
		carrier = "NS"
	}
	// The columns are copied, for they are everybody's.
	v.columns = slices.Clone(v.columns)
	for i := range v.columns {
		if c := &v.columns[i]; c.name == carrier {
			c.right = false // a tree grows from the left
			c.tree = o.tree == byProcess || o.namespace == 0
			v.tree = v.tree || c.tree
		}
	}
}

// builder makes lines.
type builder struct {
	options *options
	facts   *facts
}

// read reads what the columns will ask of the processes that stand for lines.
func (b *builder) read() {
	var want ns.Detail
	if b.options.tree == byProcess || b.options.shows("PPID") {
		want |= ns.Stat
	}
	if b.options.shows("UID", "USER") {
		want |= ns.Owner
	}
	if b.options.shows("COMMAND") {
		want |= ns.Cmdline
	}
	var processes []int
	s := b.facts.snapshot
	if n := s.Find(b.options.namespace); n != nil {
		processes = n.Members
	} else {
		seen := map[int]bool{}
		for i := range s.Namespaces {
			if m := s.Namespaces[i].Members; len(m) > 0 && !seen[m[0]] && b.wanted(&s.Namespaces[i]) {
				seen[m[0]] = true
				processes = append(processes, m[0])
			}
		}
	}
	if want != 0 {
		s.Read(processes, want)
	}
}

// wanted says whether a namespace is to be shown.
func (b *builder) wanted(n *ns.Namespace) bool {
	o := b.options
	if o.persistent && (n.Ancestor || len(n.Members) > 0) {
		return false
	}
	if o.task == 0 && o.targets == nil {
		// What is known only as an ancestor, and of a type that was not asked for, is there for the sake of the tree.
		return !n.Ancestor || o.tree == byOwner || o.tree == byParent
	}
	for _, m := range n.Members {
		pid := b.facts.snapshot.Processes[m].PID
		if pid == o.task || o.targets[pid] {
			return true
		}
	}
	return false
}

// lineOf is the line of a namespace: its lowest PID stands for it.
func lineOf(n *ns.Namespace) *line {
	l := &line{ns: n, process: -1}
	if len(n.Members) > 0 {
		l.process = n.Members[0]
	}
	return l
}

// list makes a line of each namespace, in the order of their numbers. In a tree of processes a line is a child of the last line
// before it that its process's parent stands for.
func (b *builder) list() []*line {
	var lines []*line
	last := map[int]*line{} // by PID
	s := b.facts.snapshot
	for i := range s.Namespaces {
		n := &s.Namespaces[i]
		if !b.wanted(n) {
			continue
		}
		l := lineOf(n)
		if b.options.tree == byProcess && l.process >= 0 {
			p := s.Process(l.process, ns.Stat)
			if above := last[p.PPID]; above != nil && p.PPID != p.PID {
				l.parent = above
			}
			last[p.PID] = l
		}
		lines = append(lines, l)
	}
	return lines
}

// relatives makes a line of each namespace, below the line of its parent or owner. Both are shown before it, whatever was asked
// for.
func (b *builder) relatives() []*line {
	var lines []*line
	s := b.facts.snapshot
	made := map[uint64]*line{}
	var add func(n *ns.Namespace) *line
	add = func(n *ns.Namespace) *line {
		if l := made[n.ID]; l != nil {
			return l
		}
		l := lineOf(n)
		made[n.ID] = l
		above := n.Owner
		if b.options.tree == byParent {
			if owner := s.Find(n.Owner); owner != nil {
				add(owner)
			}
			above = n.Parent
		}
		if up := s.Find(above); up != nil {
			if up := add(up); up.placed {
				l.parent = up
			}
		}
		lines = append(lines, l)
		l.placed = true
		return l
	}
	for i := range s.Namespaces {
		if b.wanted(&s.Namespaces[i]) {
			add(&s.Namespaces[i])
		}
	}
	return lines
}

// processes makes a line of each process in a namespace, below that of its parent if that is in it too.
func (b *builder) processes(n *ns.Namespace) []*line {
	var lines []*line
	s := b.facts.snapshot
	made := map[int]*line{}
	member := map[int]int{}
	for _, m := range n.Members {
		member[s.Processes[m].PID] = m
	}
	var add func(m int) *line
	add = func(m int) *line {
		pid := s.Processes[m].PID
		if l := made[pid]; l != nil {
			return l
		}
		l := &line{ns: n, process: m}
		made[pid] = l
		if b.options.tree == byProcess {
			if up, ok := member[s.Process(m, ns.Stat).PPID]; ok {
				if up := add(up); up.placed {
					l.parent = up
				}
			}
		}
		lines = append(lines, l)
		l.placed = true
		return l
	}
	for _, m := range n.Members {
		add(m)
	}
	return lines
}

// filtered drops the lines that the filter does not want. What was below them begins a tree of its own.
func (b *builder) filtered(lines []*line) []*line {
	if b.options.filter == nil {
		return lines
	}
	kept := map[*line]bool{}
	var all []*line
	for _, l := range lines {
		if b.options.filter.match(b.facts, l) {
			kept[l] = true
			all = append(all, l)
		}
	}
	for _, l := range all {
		if !kept[l.parent] {
			l.parent = nil
		}
	}
	return all
}

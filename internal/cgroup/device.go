package cgroup

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// access is a set of what may be done with a device node; the values are BPF's (linux/bpf.h, BPF_DEVCG_ACC_*).
type access uint8

const (
	mknod access = 1 << iota
	read
	write
	allAccess = mknod | read | write
)

func (a access) String() string {
	s := ""
	for i, letter := range [...]string{"m", "r", "w"} {
		if a&(1<<i) != 0 {
			s += letter
		}
	}
	return s
}

// devices is a set of device nodes: one type, and one major and minor number or all of them (-1).
type devices struct {
	block        bool
	major, minor int64
}

func (d devices) String() string {
	letter := "c"
	if d.block {
		letter = "b"
	}
	return letter + " " + numberOrAll(d.major) + ":" + numberOrAll(d.minor)
}

func numberOrAll(n int64) string {
	if n < 0 {
		return "*"
	}
	return itoa(n)
}

// within tells whether o holds every node of d.
func (d devices) within(o devices) bool {
	return d.block == o.block && (o.major < 0 || o.major == d.major) && (o.minor < 0 || o.minor == d.minor)
}

// overlaps tells whether d and o have nodes in common.
func (d devices) overlaps(o devices) bool {
	same := func(a, b int64) bool { return a < 0 || b < 0 || a == b }
	return d.block == o.block && same(d.major, o.major) && same(d.minor, o.minor)
}

// policy is what the kernel's v1 devices controller holds (devices.rst): an answer for all devices, and exceptions.
type policy struct {
	allow      bool
	exceptions []exception // each set of devices once, in the order of the rules
}

type exception struct {
	devices devices
	access  access
}

// DefaultDevices are the rules that every container with a list of rules gets after its own, as in runc: all nodes
// may be made, the devices of the runtime-spec ("Default Devices") and pseudo-terminals may be used.
func DefaultDevices() []specs.LinuxDeviceCgroup {
	var rules []specs.LinuxDeviceCgroup
	add := func(kind string, major, minor int64, access string) {
		r := specs.LinuxDeviceCgroup{Allow: true, Type: kind, Access: access}
		if major >= 0 {
			r.Major = &major
		}
		if minor >= 0 {
			r.Minor = &minor
		}
		rules = append(rules, r)
	}
	add("c", -1, -1, "m")
	add("b", -1, -1, "m")
	add("c", 1, 3, "rwm") // null
	add("c", 1, 5, "rwm") // zero
	add("c", 1, 7, "rwm") // full
	add("c", 1, 8, "rwm") // random
	add("c", 1, 9, "rwm") // urandom
	add("c", 5, 0, "rwm") // tty
	add("c", 5, 2, "rwm") // ptmx
	add("c", 136, -1, "rwm")
	return rules
}

// devicePolicy applies rules in order to "nothing is allowed". A rule that would punch a hole into a wider
// exception is refused: the v1 controller ignores it in silence, and would then allow what was denied.
func devicePolicy(rules []specs.LinuxDeviceCgroup) (policy, error) {
	var p policy
	for i, rule := range rules {
		acc, err := parseAccess(rule.Access)
		if err != nil {
			return policy{}, fmt.Errorf("devices[%d]: %w", i, err)
		}
		sets, err := parseDevices(rule)
		if err != nil {
			return policy{}, fmt.Errorf("devices[%d]: %w", i, err)
		}
		all := len(sets) == 2 && sets[0].major < 0 && sets[0].minor < 0
		if all && acc == allAccess {
			p = policy{allow: rule.Allow}
			continue
		}
		for _, d := range sets {
			if rule.Allow != p.allow {
				p.except(d, acc)
			} else if err := p.retract(d, acc); err != nil {
				return policy{}, fmt.Errorf("devices[%d]: %w", i, err)
			}
		}
	}
	return p, nil
}

func (p *policy) except(d devices, acc access) {
	i := slices.IndexFunc(p.exceptions, func(e exception) bool { return e.devices == d })
	if i < 0 {
		p.exceptions = append(p.exceptions, exception{d, acc})
		return
	}
	p.exceptions[i].access |= acc
}

func (p *policy) retract(d devices, acc access) error {
	kept := p.exceptions[:0]
	for _, e := range p.exceptions {
		switch {
		case e.devices.within(d):
			e.access &^= acc
		case e.devices.overlaps(d) && e.access&acc != 0:
			return fmt.Errorf("%s %s is part of %s %s before it, out of which no part can be taken", d, acc, e.devices, e.access)
		}
		if e.access != 0 {
			kept = append(kept, e)
		}
	}
	p.exceptions = kept
	return nil
}

func parseAccess(s string) (access, error) {
	if s == "" {
		return allAccess, nil
	}
	var acc access
	for i := range len(s) {
		switch s[i] {
		case 'm':
			acc |= mknod
		case 'r':
			acc |= read
		case 'w':
			acc |= write
		default:
			return 0, fmt.Errorf("access %.20q is not made of r, w and m", s)
		}
	}
	return acc, nil
}

// parseDevices returns the sets that a rule names; a rule for all types names two.
func parseDevices(rule specs.LinuxDeviceCgroup) ([]devices, error) {
	d := devices{major: -1, minor: -1}
	for _, n := range [...]struct {
		from *int64
		to   *int64
	}{{rule.Major, &d.major}, {rule.Minor, &d.minor}} {
		if n.from != nil {
			if *n.from < -1 || *n.from > 1<<32-1 {
				return nil, fmt.Errorf("%d is no device number", *n.from)
			}
			*n.to = *n.from
		}
	}
	char, block := d, d
	block.block = true
	switch rule.Type {
	case "", "a":
		return []devices{char, block}, nil
	case "c", "u":
		return []devices{char}, nil
	case "b":
		return []devices{block}, nil
	}
	return nil, fmt.Errorf("type %.20q is not a, b, c or u", rule.Type)
}

// withDefaults appends DefaultDevices to the rules a spec asks for.
func withDefaults(rules []specs.LinuxDeviceCgroup) []specs.LinuxDeviceCgroup {
	return append(slices.Clip(rules), DefaultDevices()...)
}

// devices plans the writes for the v1 controller. With none, Limit attaches a program to the unified hierarchy.
func (p *planner) devices(rules []specs.LinuxDeviceCgroup) {
	if len(rules) == 0 {
		return
	}
	pol, err := devicePolicy(withDefaults(rules))
	if err != nil {
		p.fail("devices", "%w", err)
		return
	}
	y, ok := p.host.v1("devices")
	if !ok {
		if _, ok := p.host.unified(); !ok {
			p.fail("devices", "%w", noController("devices"))
		}
		return
	}
	t := target{p, y, "devices"}
	base, exceptions := "devices.deny", "devices.allow"
	if pol.allow {
		base, exceptions = exceptions, base
	}
	t.put("devices", base, "a")
	for _, e := range pol.exceptions {
		t.put("devices", exceptions, e.devices.String()+" "+strings.TrimSpace(e.access.String()))
	}
}

// transition puts, in place of the writes that give a fresh v1 group its device rules, those that lead from its present
// rules to them, at the end: what is newly allowed first, then what no longer is.
func (g *Group) transition(settings []Setting) ([]Setting, error) {
	if _, v1 := g.host.v1("devices"); !v1 {
		return settings, nil
	}
	now, err := g.deviceList()
	if err != nil {
		return nil, err
	}
	var rules, others []Setting
	for _, s := range settings {
		if s.Controller == "devices" {
			rules = append(rules, s)
		} else {
			others = append(others, s)
		}
	}
	return append(others, deviceChanges(rules, now)...), nil
}

// allDevices is the line of devices.list in a group that allows by default. Its exceptions are not listed.
const allDevices = "a *:* rwm"

// deviceList reads what a v1 group allows.
func (g *Group) deviceList() ([]string, error) {
	y, ok := g.host.v1("devices")
	if !ok {
		return nil, &limitError{"devices", noController("devices")}
	}
	text, err := readFile(g.Dir(y)+"/devices.list", listFile)
	if err != nil {
		return nil, &limitError{"devices", err}
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n"), nil
}

// deviceChanges leads from the lines of devices.list to rules as planner.devices writes them. Where one of the two
// allows by default all rules are written, since the exceptions in force are unknown.
func deviceChanges(rules []Setting, list []string) []Setting {
	if len(rules) == 0 || rules[0].File != "devices.deny" || slices.Contains(list, allDevices) {
		return rules
	}
	now := map[string]access{}
	for _, line := range list {
		if set, acc, ok := cutAccess(line); ok {
			now[set] |= acc
		}
	}
	var changes []Setting
	for _, s := range rules[1:] {
		set, want, _ := cutAccess(s.Value)
		if more := want &^ now[set]; more != 0 {
			s.Value = set + " " + more.String()
			changes = append(changes, s)
		}
		now[set] &^= want
	}
	for _, set := range slices.Sorted(maps.Keys(now)) {
		if now[set] != 0 {
			s := rules[0]
			s.Value = set + " " + now[set].String()
			changes = append(changes, s)
		}
	}
	return changes
}

// cutAccess takes "c 1:3 rw" apart.
func cutAccess(rule string) (set string, acc access, ok bool) {
	i := strings.LastIndexByte(rule, ' ')
	if i < 0 {
		return "", 0, false
	}
	acc, err := parseAccess(rule[i+1:])
	return rule[:i], acc, err == nil
}

// formerDevices returns what takes one write to the v1 controller back. A group that allowed by default gets nothing
// back: its exceptions are unknown, and it is better to deny too much.
func (g *Group) formerDevices(s Setting) ([]Setting, error) {
	undo := s
	switch {
	case s.File == "devices.allow" && s.Value == "a":
		undo.File = "devices.deny"
		former := []Setting{undo}
		list, err := g.deviceList()
		for _, line := range list {
			if line != "" {
				former = append(former, Setting{Hierarchy: s.Hierarchy, Controller: s.Controller, Origin: s.Origin, File: s.File, Value: line})
			}
		}
		return former, err
	case s.File == "devices.allow":
		undo.File = "devices.deny"
	case s.Value == "a":
		return nil, nil
	default:
		undo.File = "devices.allow"
	}
	return []Setting{undo}, nil
}

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ErrNoController is a controller that the host lacks.
var ErrNoController = errors.New("this host has no such controller")

// Setting is one value to write to one file of a group.
type Setting struct {
	Hierarchy  string // Hierarchy.Name
	Controller string
	File       string
	Value      string
	Origin     string // the field of the OCI spec that asks for it, below linux.resources
	// Optional: a kernel without the file does what is asked, as far as it can be done.
	Optional bool
	// Kept: the value is to be read back, since some kernels take it and forget it.
	Kept bool
	// Else is written where the file is not there: another I/O scheduler's file for the same thing.
	Else *Setting
}

// limitError names a resource in front of the reason why it cannot be limited.
type limitError struct {
	resource string
	err      error
}

func (e *limitError) Error() string { return e.resource + ": " + e.err.Error() }
func (e *limitError) Unwrap() error { return e.err }

// Limit applies OCI resources to the group. A field that is absent or, as in runc, zero where zero has no meaning
// writes nothing. Asking for a controller that the host lacks is ErrNoController. The device rules, when there are
// any, get the devices every container has added to them (DefaultDevices); on v2 they become a BPF program.
func (g *Group) Limit(r *specs.LinuxResources) error {
	if r == nil {
		return nil
	}
	err := g.limit(r)
	if e := (*limitError)(nil); errors.As(err, &e) {
		return fmt.Errorf("cannot limit %s of cgroup %s: %w", e.resource, g.path, e.err)
	}
	return err
}

func (g *Group) limit(r *specs.LinuxResources) error {
	settings, err := Settings(g.host, r)
	if err != nil {
		return err
	}
	if err := g.checkUse(r.Memory); err != nil {
		return err
	}
	if err := g.limitUnit(settings, r.Devices); err != nil {
		return err
	}
	if err := g.write(settings, g.set); err != nil {
		return err
	}
	if len(r.Devices) > 0 {
		if _, ok := g.host.v1("devices"); !ok {
			return g.attachDevices(r.Devices)
		}
	}
	return nil
}

// write writes settings. The files of one controller bound each other (memory and memory+swap; quota, period and
// burst), so which order the kernel takes depends on the old values: what it calls invalid is tried again after the
// others.
func (g *Group) write(settings []Setting, set func(Setting) error) error {
	var again []Setting
	for _, s := range settings {
		err := set(s)
		if errors.Is(err, unix.EINVAL) {
			again = append(again, s)
		} else if err != nil {
			return err
		}
	}
	for _, s := range again {
		if err := set(s); err != nil {
			return err
		}
	}
	return nil
}

// set writes one setting, enabling its controller first where the unified hierarchy holds it back.
func (g *Group) set(s Setting) error {
	i := slices.IndexFunc(g.host.Hierarchies, func(y Hierarchy) bool { return y.Name == s.Hierarchy })
	if i < 0 {
		return &limitError{s.Controller, ErrNoController}
	}
	y := g.host.Hierarchies[i]
	file := g.Dir(y) + "/" + s.File
	err := writeFile(file, s.Value)
	if errors.Is(err, fs.ErrNotExist) && y.Unified && slices.Contains(y.Controllers, s.Controller) {
		if err := g.enable(y, s.Controller); err != nil {
			return &limitError{s.Controller, err}
		}
		err = writeFile(file, s.Value)
	}
	switch {
	case err == nil && s.Kept:
		if now, rerr := readValue(file); rerr != nil || !sameValue(now, s.Value) {
			return &limitError{s.Controller, fmt.Errorf("%s: this kernel takes %s no longer", s.Origin, s.File)}
		}
		return nil
	case err == nil, errors.Is(err, fs.ErrNotExist) && s.Optional:
		return nil
	case errors.Is(err, fs.ErrNotExist) && s.Else != nil:
		return g.set(*s.Else)
	}
	cause := errors.Unwrap(err)
	if cause == nil {
		cause = err
	}
	if errors.Is(err, unix.EBUSY) && s.Controller == "memory" {
		if used, uerr := g.memoryUse(); uerr == nil {
			cause = fmt.Errorf("%d bytes are in use and cannot be reclaimed: %w", used, cause)
		}
	}
	return &limitError{s.Controller, fmt.Errorf("write %q to %s (%s): %w", s.Value, s.File, s.Origin, cause)}
}

// sameValue compares what was written with what reads back: sizes are rounded to pages.
func sameValue(a, b string) bool {
	m, merr := strconv.ParseInt(a, 10, 64)
	n, nerr := strconv.ParseInt(b, 10, 64)
	return a == b || merr == nil && nerr == nil && m/65536 == n/65536 && m > 1 && n > 1
}

// checkUse refuses a limit below the present use when the spec asks for that (memory.checkBeforeUpdate). v1 needs
// none of it: the kernel refuses by itself.
func (g *Group) checkUse(m *specs.LinuxMemory) error {
	if m == nil || m.CheckBeforeUpdate == nil || !*m.CheckBeforeUpdate {
		return nil
	}
	if _, v1 := g.host.v1("memory"); v1 {
		return nil
	}
	for _, l := range [...]struct {
		name  string
		bytes *int64
	}{{"memory.limit", m.Limit}, {"memory.swap", m.Swap}} { // swap counts memory too
		if l.bytes == nil || *l.bytes <= 0 {
			continue
		}
		if used, err := g.memoryUse(); err == nil && used >= uint64(*l.bytes) {
			return &limitError{"memory", fmt.Errorf("%d bytes are in use, %s is %d: %w", used, l.name, *l.bytes, unix.EBUSY)}
		}
	}
	return nil
}

// memoryUse is the memory in use, in bytes.
func (g *Group) memoryUse() (uint64, error) {
	r := reader{group: g}
	var s MemoryStats
	r.memory(&s)
	return s.Usage.Usage, r.err
}

// Settings compiles OCI resources (runtime-spec, config-linux.md) into what is to be written, in order. The device
// rules are among them only for a v1 devices controller. It touches nothing.
func Settings(h Host, r *specs.LinuxResources) ([]Setting, error) {
	p := planner{host: h}
	p.devices(r.Devices)
	p.cpu(r.CPU)
	p.memory(r.Memory)
	p.pids(r.Pids)
	p.blockIO(r.BlockIO)
	p.hugepages(r.HugepageLimits)
	p.network(r.Network)
	p.rdma(r.Rdma)
	p.unified(r.Unified)
	return p.out, p.err
}

// planner gathers settings and keeps the first error.
type planner struct {
	host Host
	out  []Setting
	err  error
}

func (p *planner) fail(resource, format string, args ...any) {
	if p.err == nil {
		p.err = &limitError{resource, fmt.Errorf(format, args...)}
	}
}

// A target is the hierarchy that holds a controller, where settings for it go.
type target struct {
	*planner
	hierarchy  Hierarchy
	controller string
}

// find looks a controller up by its v1 name, then by its v2 name; "" is a side that never had it. Field is what asks
// for it.
func (p *planner) find(field, v1, v2 string) (target, bool) {
	if y, ok := p.host.v1(v1); ok {
		return target{p, y, v1}, true
	}
	if y, ok := p.host.unified(); ok && slices.Contains(y.Controllers, v2) {
		return target{p, y, v2}, true
	}
	name := v1
	if p.host.Mode == V2 && v2 != "" {
		name = v2
	}
	p.fail(name, "%s: %w", field, noController(name))
	return target{}, false
}

// noController says which controller the host lacks; errors.Is(err, ErrNoController).
func noController(name string) error { return missingController(name) }

type missingController string

func (m missingController) Error() string        { return "this host has no " + string(m) + " controller" }
func (m missingController) Is(target error) bool { return target == ErrNoController }

// put adds a setting.
func (t target) put(origin, file, value string) *Setting {
	t.out = append(t.out, Setting{})
	return t.set(&t.out[len(t.out)-1], origin, file, value)
}

func (t target) set(s *Setting, origin, file, value string) *Setting {
	*s = Setting{Hierarchy: t.hierarchy.Name, Controller: t.controller, Origin: origin, File: file, Value: value}
	return s
}

// v1only adds a setting that v2 has no counterpart of; nil where there is none.
func (t target) v1only(origin, file, value string) *Setting {
	if t.hierarchy.Unified {
		t.fail(t.controller, "%s has no counterpart on cgroup v2", origin)
		return nil
	}
	return t.put(origin, file, value)
}

// flag adds a setting of 0 or 1.
func (t target) flag(origin, file string, on bool) *Setting {
	value := "0"
	if on {
		value = "1"
	}
	return t.put(origin, file, value)
}

// given reports whether an optional number is asked for: runc and crun take zero for "not set".
func given[T int64 | uint64 | uint16 | uint32](v *T) bool { return v != nil && *v != 0 }

func itoa[T int64 | uint64 | uint16 | uint32](v T) string {
	if v < 0 {
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatUint(uint64(v), 10)
}

// orMax is v2's and pids.max's way to write a limit: a negative one is none.
func orMax(v int64) string {
	if v < 0 {
		return "max"
	}
	return itoa(v)
}

// unified passes cgroup v2's own files through, in the order of their names. Only controllers' files and the
// bounds of the tree can be set: the others of cgroup.* move, kill or hide processes.
func (p *planner) unified(files map[string]string) {
	if len(files) == 0 {
		return
	}
	y, ok := p.host.unified()
	if !ok {
		p.fail("unified", "this host has no cgroup v2 hierarchy")
		return
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		controller, _, dotted := strings.Cut(name, ".")
		switch {
		case !dotted || strings.ContainsAny(name, "/\n\x00"):
			p.fail("unified", "%q is not CONTROLLER.PARAMETER", name)
			return
		case name == "cgroup.max.depth", name == "cgroup.max.descendants", name == "cgroup.pressure":
		case controller == "cgroup":
			p.fail("unified", "%q is not a resource", name)
			return
		case !slices.Contains(y.Controllers, controller):
			if _, v1 := p.host.v1(controller); v1 {
				p.fail(controller, "unified.%s: this host has the %s controller on cgroup v1", name, controller)
			} else {
				p.fail(controller, "unified.%s: %w", name, noController(controller))
			}
			return
		}
		for line := range strings.Lines(files[name]) {
			target{p, y, controller}.put("unified."+name, name, strings.TrimSuffix(line, "\n"))
		}
	}
}

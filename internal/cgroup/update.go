package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Update changes the limits of a group whose processes run, as Limit sets those of a fresh one: what a field does not
// name stays. All of it happens or nothing does: when the kernel refuses a value, those written before it are put
// back. Device rules replace the former ones; no access that both allow is denied meanwhile.
func (g *Group) Update(r *specs.LinuxResources) error {
	if r == nil {
		return nil
	}
	err := g.update(r)
	if e := (*limitError)(nil); errors.As(err, &e) {
		return fmt.Errorf("cannot update %s of cgroup %s: %w", e.resource, g.path, e.err)
	}
	return err
}

func (g *Group) update(r *specs.LinuxResources) (err error) {
	settings, err := Settings(g.host, r)
	if err != nil {
		return err
	}
	if err := g.checkUse(r.Memory); err != nil {
		return err
	}
	settings = completeQuota(settings, func(s Setting, file string) string {
		i := slices.IndexFunc(g.host.Hierarchies, func(y Hierarchy) bool { return y.Name == s.Hierarchy })
		value, _ := readValue(g.Dir(g.host.Hierarchies[i]) + "/" + file)
		return value
	})
	if len(r.Devices) > 0 {
		if settings, err = g.transition(settings); err != nil {
			return err
		}
	}
	former, all, err := g.formers(settings)
	if err != nil {
		return err
	}
	var undo []Setting // the writes so far, latest first
	defer func() {
		if err == nil {
			return
		}
		uerr := g.limitUnit(all, nil)
		if werr := g.write(undo, g.set); werr != nil {
			uerr = werr
		}
		if uerr != nil {
			err = errors.Join(err, fmt.Errorf("cannot put the former limits of cgroup %s back: %w", g.path, uerr))
		}
	}()
	if err := g.updateUnit(settings, r.Devices); err != nil {
		return err
	}
	err = g.write(settings, func(s Setting) error {
		if err := g.set(s); err != nil {
			return err
		}
		undo = slices.Insert(undo, 0, former(s)...)
		return nil
	})
	if _, v1 := g.host.v1("devices"); err == nil && !v1 && len(r.Devices) > 0 {
		err = g.attachDevices(r.Devices)
	}
	return err
}

// completeQuota adds what is in force to a quota without a period and to a period without a quota: v2 has both in one
// file, and systemd reckons one by the other. Read gives the value of a file beside that of a setting.
func completeQuota(settings []Setting, read func(s Setting, file string) string) []Setting {
	has := func(file string) bool {
		return slices.ContainsFunc(settings, func(s Setting) bool { return s.File == file })
	}
	for i, s := range settings {
		other := ""
		switch {
		case s.File == "cpu.max" && !strings.HasPrefix(s.Origin, "unified."):
			now, period, _ := strings.Cut(read(s, "cpu.max"), " ")
			switch quota, given, both := strings.Cut(s.Value, " "); {
			case s.Origin == "cpu.period" && now != "":
				settings[i].Value = now + " " + given
			case !both && period != "":
				settings[i].Value = quota + " " + period
			}
		case s.File == "cpu.cfs_quota_us" && !has("cpu.cfs_period_us"):
			other = "cpu.cfs_period_us"
		case s.File == "cpu.cfs_period_us" && !has("cpu.cfs_quota_us"):
			other = "cpu.cfs_quota_us"
		}
		if other == "" {
			continue
		}
		if value := read(s, other); value != "" {
			s.File, s.Value = other, value
			return slices.Insert(slices.Clone(settings), i+1, s)
		}
	}
	return settings
}

// updateUnit tells systemd. On v1 it denies all devices before it allows some, so nothing may run meanwhile.
func (g *Group) updateUnit(settings []Setting, rules []specs.LinuxDeviceCgroup) (err error) {
	if _, v1 := g.host.v1("devices"); !v1 || g.unit.Name == "" || len(rules) == 0 {
		return g.limitUnit(settings, rules)
	}
	frozen, err := g.Frozen()
	if err != nil {
		return err
	}
	if !frozen {
		if err := g.Freeze(true); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, g.Freeze(false)) }()
	}
	if err := g.limitUnit(settings, rules); err != nil {
		return err
	}
	return g.setDevices(rules) // systemd's are not quite the same
}

// setDevices writes all device rules of a v1 group.
func (g *Group) setDevices(rules []specs.LinuxDeviceCgroup) error {
	settings, err := Settings(g.host, &specs.LinuxResources{Devices: rules})
	if err != nil {
		return err
	}
	return g.write(settings, g.set)
}

// formers reads, before anything is written, what puts settings back: of one, and of all.
func (g *Group) formers(settings []Setting) (of func(Setting) []Setting, all []Setting, err error) {
	each := make([][]Setting, len(settings))
	for i, s := range settings {
		if each[i], err = g.former(s); err != nil {
			return nil, nil, err
		}
		all = append(all, each[i]...)
	}
	return func(s Setting) []Setting { return each[slices.Index(settings, s)] }, all, nil
}

// former returns what puts back what a setting overwrites, in order. It makes a controller of v2 available that is
// not yet, for what the group has then is what it had.
func (g *Group) former(s Setting) ([]Setting, error) {
	if s.Controller == "devices" {
		return g.formerDevices(s)
	}
	i := slices.IndexFunc(g.host.Hierarchies, func(y Hierarchy) bool { return y.Name == s.Hierarchy })
	if i < 0 {
		return nil, nil // set tells
	}
	y := g.host.Hierarchies[i]
	text, err := readFile(g.Dir(y)+"/"+s.File, smallFile)
	if errors.Is(err, fs.ErrNotExist) && y.Unified && g.enable(y, s.Controller) == nil {
		text, err = readFile(g.Dir(y)+"/"+s.File, smallFile)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.Else != nil:
		return g.former(*s.Else)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.EINVAL): // set tells; a file for writing only
		return nil, nil
	case err != nil:
		return nil, &limitError{s.Controller, err}
	}
	value, ok := formerValue(s.File, s.Value, text)
	if !ok {
		return nil, nil
	}
	return []Setting{{Hierarchy: s.Hierarchy, Controller: s.Controller, File: s.File, Value: value, Origin: s.Origin}}, nil
}

// formerValue finds in a file's content what to write to have it again after value was written. Files of one value
// give it back; of those with a line for each device, interface or word, the line that the value names.
func formerValue(file, value, content string) (string, bool) {
	content = strings.TrimSuffix(content, "\n")
	if file == "memory.oom_control" { // "oom_kill_disable 0", and counts
		first, _, _ := strings.Cut(content, "\n")
		return strings.TrimPrefix(first, "oom_kill_disable "), true
	}
	key, _, keyed := strings.Cut(value, " ")
	perDevice := strings.HasSuffix(file, "_device")
	for line := range strings.Lines(content) {
		line = strings.TrimSuffix(line, "\n")
		if word, _, ok := strings.Cut(line, " "); (keyed || perDevice) && ok && word == key {
			return line, true
		}
	}
	_, _, device := deviceNumbers(key)
	switch {
	case !device && !perDevice:
		if first, _, more := strings.Cut(content, "\n"); more || strings.HasPrefix(first, "default ") {
			return first, strings.HasPrefix(first, "default ") // "io.weight": 100 is its line "default 100"
		}
		if content == "" {
			content = "\n" // writing nothing does nothing
		}
		return content, true
	case file == "io.latency":
		return key + " target=0", true
	case file == "io.max":
		return key + " rbps=max wbps=max riops=max wiops=max", true
	case strings.HasPrefix(file, "io.") && strings.HasSuffix(file, "weight"):
		return key + " default", true
	}
	return key + " 0", true
}

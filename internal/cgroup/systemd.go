package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/dbus"
)

// Systemd has groups made as transient scopes of systemd, rather than by mkdir. Paths of groups are SLICE:PREFIX:NAME
// then (see ParseUnit).
type Systemd struct {
	// User: the user's own systemd, over the user's bus, as containers without privileges need.
	User bool
	// Annotations of the container: those named org.systemd.property.* are given to its unit.
	Annotations map[string]string
	// Hold, which Make needs, starts a process that does nothing. A scope is made with a process in it, and the container's own can only be
	// cloned into a cgroup that is there: the held one goes when the container's is in. End ends it and waits for it.
	Hold func() (pid int, end func(), err error)

	base string // the cgroup of the user's systemd
}

// patient bounds how long systemd may take for one thing: with much to do it queues.
const patient = 30 * time.Second

// The names of systemd on the bus.
const (
	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = "/org/freedesktop/systemd1"
	systemdManager = "org.freedesktop.systemd1.Manager"
)

// UseSystemd makes Make, Open and what follows from them work with systemd's units. For a user's systemd it asks where
// its cgroups are.
func (h *Host) UseSystemd(s Systemd) error {
	if s.User {
		if h.Mode != V2 {
			return errors.New("cannot use the user's systemd: that needs cgroup v2, where users may have cgroups of their own")
		}
		c, err := s.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		if s.base, err = managerString(c, "ControlGroup"); err != nil {
			return fmt.Errorf("cannot ask systemd for its cgroup: %w", err)
		}
	}
	h.Systemd = &s
	return nil
}

func (s *Systemd) dial() (*dbus.Conn, error) {
	address, err := dbus.System(), error(nil)
	if s.User {
		address, err = dbus.Session()
	}
	var c *dbus.Conn
	if err == nil {
		c, err = dbus.Dial(address, patient)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot ask systemd: %w", err)
	}
	return c, nil
}

// managerString reads a property of systemd itself.
func managerString(c *dbus.Conn, name string) (string, error) {
	got, err := c.Call(systemdName, systemdPath, "org.freedesktop.DBus.Properties", "Get", "ss", systemdManager, name)
	if err != nil {
		return "", err
	}
	if len(got) == 1 {
		if v, ok := got[0].(dbus.Variant); ok && v.Signature == "s" {
			return v.Value.(string), nil
		}
	}
	return "", fmt.Errorf("%s is no text", name)
}

// systemdVersion reads the number at the start of "252.38-1~deb12u1" or "v255".
func systemdVersion(c *dbus.Conn) (int, error) {
	text, err := managerString(c, "Version")
	if err != nil {
		return 0, fmt.Errorf("cannot ask systemd for its version: %w", err)
	}
	return parseVersion(text)
}

func parseVersion(text string) (int, error) {
	digits := strings.TrimPrefix(text, "v")
	if i := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = digits[:i]
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0, fmt.Errorf("%.40q is no version of systemd", text)
	}
	return n, nil
}

// makeUnit makes the scope at s, and its cgroup in the hierarchies that systemd does not look after.
func makeUnit(h Host, s string) (_ *Group, err error) {
	g, err := openUnit(h, s)
	if err != nil {
		return nil, err
	}
	extra, err := annotated(h.Systemd.Annotations)
	if err != nil {
		return nil, err
	}
	c, err := h.Systemd.dial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	pid, end, err := h.Systemd.Hold()
	if err != nil {
		return nil, err
	}
	g.hold = end
	defer func() {
		if err != nil {
			g.release()
			_ = stopUnit(c, g.unit.Name)
			err = fmt.Errorf("cannot make unit %s of systemd: %w", g.unit.Name, err)
		}
	}()
	if err := startUnit(c, g.unit, append(scope(h, g.unit, pid), extra...)); err != nil {
		return nil, err
	}
	for _, y := range h.Hierarchies {
		_, err := readFile(g.Dir(y)+"/cgroup.procs", listFile)
		if errors.Is(err, fs.ErrNotExist) && (h.Mode == V2 || y.Name == "name=systemd") {
			return nil, fmt.Errorf("it is not at %s", g.Dir(y))
		}
	}
	bare := h
	bare.Systemd = nil
	if _, err := Make(bare, g.path); err != nil {
		return nil, err
	}
	// systemd puts the process into the hierarchies that it knows. In the others nobody waits for it.
	return g, nil
}

// enter moves this process into the cgroups of the user's systemd, as a scope, unless it is there: whoever has no
// privileges can only move or clone processes within a part of the tree that is theirs (cgroup-v2.rst, "Delegation
// Containment"). The scope ends with the process.
func (s *Systemd) enter() error {
	self, err := readFile("/proc/self/cgroup", listFile)
	if err != nil {
		return err
	}
	for line := range strings.Lines(self) {
		if at, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok && strings.HasPrefix(at, strings.TrimSuffix(s.base, "/")+"/") {
			return nil
		}
	}
	c, err := s.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	name := fmt.Sprintf("tripod-%d.scope", os.Getpid())
	err = job(c, "StartTransientUnit", "ssa(sv)a(sa(sv))", name, "replace",
		encode([]property{{"Slice", "s", "user.slice"}, {"PIDs", "au", []any{uint32(os.Getpid())}}}), []any{})
	if err != nil {
		return fmt.Errorf("cannot start unit %s of systemd: %w", name, err)
	}
	return nil
}

// openUnit returns the group of a unit. It touches nothing.
func openUnit(h Host, s string) (*Group, error) {
	u, err := ParseUnit(s, h.Systemd.User)
	if err != nil {
		return nil, err
	}
	p, err := u.path(h.Systemd.base)
	if err != nil {
		return nil, err
	}
	if err := CheckPath(p); err != nil {
		return nil, err
	}
	return &Group{host: h, path: p, unit: u}, nil
}

// scope are the properties of a container's unit: all is counted, what is below belongs to the container, and no
// shutdown of other units stops it.
func scope(h Host, u Unit, pid int) []property {
	io := "IOAccounting"
	if h.Mode != V2 {
		io = "BlockIOAccounting"
	}
	return []property{
		{"Description", "s", "container " + strings.TrimSuffix(u.Name, ".scope")},
		{"Slice", "s", u.Slice},
		{"Delegate", "b", true},
		{"PIDs", "au", []any{uint32(pid)}},
		{"MemoryAccounting", "b", true},
		{"CPUAccounting", "b", true},
		{io, "b", true},
		{"TasksAccounting", "b", true},
		{"DefaultDependencies", "b", false},
	}
}

// startUnit starts a transient unit. A failed one of that name, left by somebody who did not clean up, is forgotten.
func startUnit(c *dbus.Conn, u Unit, properties []property) error {
	for first := true; ; first = false {
		err := job(c, "StartTransientUnit", "ssa(sv)a(sa(sv))", u.Name, "replace", encode(properties), []any{})
		if e := (*dbus.Error)(nil); first && errors.As(err, &e) && e.Name == "org.freedesktop.systemd1.UnitExists" {
			if resetUnit(c, u.Name) == nil {
				continue
			}
		}
		return err
	}
}

// job calls a method that queues a job, and waits for the job's end.
func job(c *dbus.Conn, method, signature string, args ...any) error {
	if err := c.Match("type='signal',sender='" + systemdName + "',interface='" + systemdManager + "',member='JobRemoved'"); err != nil {
		return err
	}
	// Without a subscriber systemd sends no signals. One connection subscribes once: that it has done so is no error.
	if _, err := c.Call(systemdName, systemdPath, systemdManager, "Subscribe", ""); err != nil {
		if e := (*dbus.Error)(nil); !errors.As(err, &e) || e.Name != "org.freedesktop.systemd1.AlreadySubscribed" {
			return err
		}
	}
	got, err := c.Call(systemdName, systemdPath, systemdManager, method, signature, args...)
	if err != nil {
		return err
	}
	if len(got) != 1 {
		return fmt.Errorf("%s answered %d values", method, len(got))
	}
	// The number of the job, its path, the unit, the result.
	m, err := c.Wait(func(m dbus.Message) bool {
		return m.Member == "JobRemoved" && len(m.Body) == 4 && m.Body[1] == got[0]
	})
	if err != nil {
		return fmt.Errorf("wait for the job: %w", err)
	}
	if m.Body[3] != "done" {
		return fmt.Errorf("the job ended with %q", m.Body[3])
	}
	return nil
}

// stopUnit stops and forgets a unit. One that is gone is stopped.
func stopUnit(c *dbus.Conn, name string) error {
	err := job(c, "StopUnit", "ss", name, "replace")
	if e := (*dbus.Error)(nil); errors.As(err, &e) && e.Name == "org.freedesktop.systemd1.NoSuchUnit" {
		return nil
	}
	_ = resetUnit(c, name) // it is unless it failed
	return err
}

func resetUnit(c *dbus.Conn, name string) error {
	_, err := c.Call(systemdName, systemdPath, systemdManager, "ResetFailedUnit", "s", name)
	return err
}

// limitUnit tells systemd of the unit's limits. They hold until the unit ends.
func (g *Group) limitUnit(settings []Setting, rules []specs.LinuxDeviceCgroup) error {
	if g.unit.Name == "" {
		return nil
	}
	c, err := g.host.Systemd.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	version, err := systemdVersion(c)
	if err != nil {
		return err
	}
	properties, err := deviceProperties(rules)
	if err != nil {
		return err
	}
	more, err := unitProperties(settings, version)
	if err != nil {
		return err
	}
	if properties = append(properties, more...); len(properties) == 0 {
		return nil
	}
	if _, err := c.Call(systemdName, systemdPath, systemdManager, "SetUnitProperties", "sba(sv)", g.unit.Name, true, encode(properties)); err != nil {
		return fmt.Errorf("cannot set properties of unit %s of systemd: %w", g.unit.Name, err)
	}
	return nil
}

// removeUnit has systemd stop the unit.
func (g *Group) removeUnit() error {
	g.release()
	if g.unit.Name == "" {
		return nil
	}
	c, err := g.host.Systemd.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := stopUnit(c, g.unit.Name); err != nil {
		return fmt.Errorf("cannot stop unit %s of systemd: %w", g.unit.Name, err)
	}
	return nil
}

// pruneSlices removes the slices of a removed unit, where they are empty, from the v1 hierarchies that systemd knows
// nothing of: there Make made them, and nobody else takes them away.
func (g *Group) pruneSlices() {
	for _, y := range g.host.Hierarchies {
		if g.unit.Name == "" || y.Unified || y.Name == "name=systemd" || slices.ContainsFunc(y.Controllers, kept) {
			continue
		}
		for dir := path.Dir(g.path); dir != "." && unix.Rmdir(y.Mountpoint+"/"+dir) == nil; {
			dir = path.Dir(dir)
		}
	}
}

// kept tells whether systemd keeps a v1 controller's cgroups.
func kept(controller string) bool {
	switch controller {
	case "cpu", "cpuacct", "blkio", "memory", "devices", "pids":
		return true
	}
	return false
}

// release ends the process that kept a fresh scope from being empty.
func (g *Group) release() {
	if g.hold != nil {
		g.hold()
		g.hold = nil
	}
}

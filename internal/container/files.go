package container

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/birth"
	"tripod/internal/cgroup"
	"tripod/internal/plan"
)

// files collects the descriptors that a plan's Given files are, and closes those that it opened itself.
type files struct {
	fds map[string]int
	own []int
	end []func()
}

func newFiles() *files { return &files{fds: map[string]int{}} }

func (f *files) close() {
	for _, fd := range f.own {
		unix.Close(fd)
	}
	for _, end := range f.end {
		end()
	}
}

// cgroup opens what a child needs to join g, and notes it in facts.
func (f *files) cgroup(g *cgroup.Group, facts *plan.Facts) error {
	if g == nil {
		return nil
	}
	j, err := g.Join()
	if err != nil {
		return err
	}
	f.end = append(f.end, j.Close)
	for i, t := range j.V1 {
		f.fds[fmt.Sprint("cgroup:", i)] = int(t.Fd())
	}
	facts.Cgroup.Tasks = len(j.V1)
	if j.Unified != nil {
		facts.Cgroup.Into = true
		f.fds["cgroup:into"] = int(j.Unified.Fd())
	}
	return nil
}

// mapped is a spec with the mappings of the user namespace that it joins by path. Those that it names itself must be the
// same: the ids of its files were chosen by them.
func mapped(spec *specs.Spec) (*specs.Spec, error) {
	l := spec.Linux
	i := slices.IndexFunc(l.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace && n.Path != "" })
	if i < 0 {
		return spec, nil
	}
	uids, gids, err := birth.Mappings(l.Namespaces[i].Path)
	if err != nil {
		return nil, fmt.Errorf("linux.namespaces[%d]: %w", i, err)
	}
	for _, m := range []struct {
		field       string
		asked, have []specs.LinuxIDMapping
	}{{"linux.uidMappings", l.UIDMappings, uids}, {"linux.gidMappings", l.GIDMappings, gids}} {
		if len(m.asked) > 0 && !sameMappings(m.asked, m.have) {
			return nil, fmt.Errorf("%s: they are not those of the user namespace %s, which has %v", m.field, l.Namespaces[i].Path, m.have)
		}
	}
	known, linux := *spec, *l
	linux.UIDMappings, linux.GIDMappings = uids, gids
	known.Linux = &linux
	return &known, nil
}

func sameMappings(a, b []specs.LinuxIDMapping) bool {
	order := func(x, y specs.LinuxIDMapping) int { return cmp.Compare(x.ContainerID, y.ContainerID) }
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortFunc(a, order)
	slices.SortFunc(b, order)
	return slices.Equal(a, b)
}

// namespaces hands in those that the caller holds, and makes the user namespace if the spec wants a new one.
func (f *files) namespaces(cfg Config) error {
	for typ, file := range cfg.Namespaces {
		f.fds[plan.NamespaceFile(typ)] = int(file.Fd())
	}
	if cfg.Spec.Linux == nil {
		return nil
	}
	for i, n := range cfg.Spec.Linux.Namespaces {
		name := plan.NamespaceFile(n.Type)
		if _, held := f.fds[name]; held || n.Type != specs.UserNamespace {
			continue
		}
		if n.Path != "" {
			continue // the plan opens it
		}
		fd, err := birth.UserNamespace(cfg.Spec.Linux.UIDMappings, cfg.Spec.Linux.GIDMappings)
		if err != nil {
			return fmt.Errorf("linux.namespaces[%d]: %w", i, err)
		}
		f.own = append(f.own, fd)
		f.fds[name] = fd
	}
	return nil
}

// MaxExtra is how many descriptors a process can get beside the standard ones.
const MaxExtra = plan.ConsoleFD - 8

// extra hands in descriptors for the process itself, and returns how many.
func (f *files) extra(list []*os.File) int {
	for i, file := range list {
		f.fds[fmt.Sprint("extra:", i)] = int(file.Fd())
	}
	return len(list)
}

// own says which of the standard streams go to the container's user: never the host's /dev/null (CVE-2026-88265).
func own(list [3]*os.File, asked [3]bool) [3]bool {
	for i, f := range list {
		asked[i] = asked[i] && f != nil
	}
	return asked
}

// stdio hands in the standard streams. A missing one is the host's /dev/null. With a terminal the caller's are not the container's
// to have: until it is started it would keep them from ending, and who reads them waits for that (containerd's shim does).
func (f *files) stdio(list [3]*os.File, proc *specs.Process) error {
	if proc != nil && proc.Terminal {
		list = [3]*os.File{}
	}
	devnull := -1
	for i, name := range []string{plan.Stdin, plan.Stdout, plan.Stderr} {
		if list[i] != nil {
			f.fds[name] = int(list[i].Fd())
			continue
		}
		if devnull < 0 {
			fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("cannot open /dev/null: %w", err)
			}
			devnull = fd
			f.own = append(f.own, fd)
		}
		f.fds[name] = devnull
	}
	return nil
}

// takeConsole takes the terminal's master from a child at its gate and gives it its first size.
func takeConsole(child *birth.Child, size *specs.Box) (*os.File, error) {
	fd, err := child.Console()
	if err != nil {
		return nil, err
	}
	if size != nil {
		err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(size.Height), Col: uint16(size.Width)})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cannot size terminal: %w", err), unix.Close(fd))
		}
	}
	// Reads of a master are to be waited for by poll, and to end when its file is closed.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot use terminal: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "terminal"), nil
}

package container

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/birth"
	"tripod/internal/cgroup"
	"tripod/internal/plan"
)

// Host is what containers depend on and no spec says. It does not change while the host is up: look once.
type Host struct {
	Cgroup  cgroup.Host
	LastCap int         // the kernel's highest capability
	Ignored uint64      // signals that this process ignores, and its containers shall not
	Caps    uint64      // this process's permitted capabilities
	Nested  bool        // this process is in a user namespace
	NoFile  plan.Rlimit // RLIMIT_NOFILE that processes get whose spec names none
}

// Look reads the facts of this host.
func Look() (Host, error) {
	groups, err := cgroup.Detect()
	if err != nil {
		return Host{}, err
	}
	last, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return Host{}, fmt.Errorf("cannot read the kernel's capabilities: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(last)))
	if err != nil || n < 0 || n > 63 {
		return Host{}, fmt.Errorf("cannot read the kernel's capabilities: %q", last)
	}
	h := Host{Cgroup: groups, LastCap: n, Ignored: birth.Ignored()}
	if h.Caps, err = capabilities(); err != nil {
		return Host{}, err
	}
	ids, err := os.ReadFile("/proc/self/uid_map")
	h.Nested = err == nil && strings.Join(strings.Fields(string(ids)), " ") != "0 0 4294967295"
	var r unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &r); err == nil {
		h.NoFile = nofile(r)
	}
	return h, nil
}

// capabilities are those that this process may give on.
func capabilities() (uint64, error) {
	var data [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
		return 0, fmt.Errorf("cannot read the caller's capabilities: %w", err)
	}
	return uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32, nil
}

// labels says which security modules of this host take labels. Only a spec that has one asks.
func labels(proc *specs.Process, mounts string) (l plan.Labels) {
	if proc != nil && proc.ApparmorProfile != "" {
		on, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
		l.AppArmor = strings.TrimSpace(string(on)) == "Y"
	}
	if proc != nil && proc.SelinuxLabel != "" || mounts != "" {
		_, err := os.Stat("/sys/fs/selinux/enforce")
		l.SELinux = err == nil
	}
	return l
}

// nofile undoes what the Go runtime did to its own soft limit at start: it raises it to just below the hard one. What
// it was before is not known then, and the world's default is 1024.
func nofile(r unix.Rlimit) plan.Rlimit {
	soft := r.Cur
	if r.Max > 0 && soft == r.Max-1 {
		soft = min(1024, r.Max)
	}
	return plan.Rlimit{Soft: soft, Hard: r.Max}
}

// facts are those of this host that a spec's plan depends on.
func (h Host) facts(spec *specs.Spec, bundle string) plan.Facts {
	f := plan.Facts{LastCap: h.LastCap, Ignored: h.Ignored, NoFile: h.NoFile, Nested: h.Nested, Kinds: map[string]plan.Kind{}}
	for _, m := range spec.Mounts {
		m.Source = plan.Source(m, bundle)
		if m.Source != "" && strings.HasPrefix(m.Source, "/") {
			f.Kinds[m.Source] = kind(m.Source, unix.Stat)
			if filepath.Clean(m.Destination) == "/proc" && isProc(m.Source) {
				f.Kinds[m.Source] = plan.Proc
			}
		}
	}
	if spec.Linux == nil {
		return f
	}
	f.Labels = labels(spec.Process, spec.Linux.MountLabel)
	if !slices.ContainsFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace }) {
		f.Caps = h.Caps
	}
	// /proc and /sys are the same kernel's inside as outside. A path of the image is looked at by the child.
	for _, list := range [][]string{spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths} {
		for _, p := range list {
			if p = filepath.Clean(p); strings.HasPrefix(p, "/proc/") || strings.HasPrefix(p, "/sys/") {
				f.Kinds[p] = kind(p, unix.Lstat)
			}
		}
	}
	return f
}

func isProc(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.PROC_SUPER_MAGIC
}

// Unprivileged says that this process may do nothing on the host that its user may not.
func (h Host) Unprivileged() bool { return h.Caps&(1<<unix.CAP_SYS_ADMIN) == 0 }

func kind(path string, stat func(string, *unix.Stat_t) error) plan.Kind {
	var st unix.Stat_t
	switch err := stat(path, &st); {
	case err != nil:
		return plan.Missing
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return plan.Dir
	}
	return plan.Regular
}

// cgroupFacts are how a container whose cgroup is g, or nil, sees the host's hierarchies.
func (h Host) cgroupFacts(g *cgroup.Group) plan.Cgroup {
	var c plan.Cgroup
	if g != nil {
		c.Path = g.Path()
	}
	for _, y := range h.Cgroup.Hierarchies {
		if y.Unified {
			c.Unified = y.Mountpoint
			continue
		}
		v := plan.Hierarchy{Mountpoint: y.Mountpoint, Name: y.Mountpoint[strings.LastIndexByte(y.Mountpoint, '/')+1:]}
		if len(y.Controllers) == 0 {
			v.Data = "none," + y.Name
		} else {
			v.Data = strings.Join(y.Controllers, ",")
			if len(y.Controllers) > 1 {
				v.Links = y.Controllers
			}
		}
		c.V1 = append(c.V1, v)
	}
	return c
}

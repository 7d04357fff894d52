package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/birth"
	"tripod/internal/cgroup"
	"tripod/internal/container"
	"tripod/internal/plan"
)

// pauseGroup is the name of pause's cgroup below the Pod's.
const pauseGroup = "pause"

// pause is the process that holds the Pod's namespaces. The keeper holds descriptors of them beside it: when pause is
// killed they live on, and a new one joins them. A PID namespace alone dies with its first process.
type pause struct {
	process Process
	pidfd   int
	held    map[specs.LinuxNamespaceType]*os.File
}

// files are the names of namespaces below /proc/PID/ns.
func namespaceFile(t specs.LinuxNamespaceType) string {
	switch t {
	case specs.NetworkNamespace:
		return "net"
	case specs.MountNamespace:
		return "mnt"
	}
	return string(t)
}

// startPause makes a pause process. Namespaces of the Pod that are in held are joined; the others are made, and held.
func startPause(s *Sandbox, g *ground, held map[specs.LinuxNamespaceType]*os.File) (_ *pause, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot start pause of pod %s: %w", s.Name, err)
		}
	}()
	in := plan.PauseInput{
		Hostname: s.Hostname, Sysctls: s.Sysctls, Mountpoint: filepath.Join(g.dir, "root"),
		Facts: plan.Facts{LastCap: g.host.LastCap, Ignored: g.host.Ignored, NoFile: g.host.NoFile},
	}
	if err := os.MkdirAll(in.Mountpoint, 0o700); err != nil {
		return nil, err
	}
	given := map[string]int{}
	var types []specs.LinuxNamespaceType
	for _, t := range []specs.LinuxNamespaceType{
		specs.UserNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.PIDNamespace,
	} {
		if g.whose(t) != OfPod {
			continue
		}
		types = append(types, t)
		n := specs.LinuxNamespace{Type: t}
		if f := held[t]; f != nil {
			given[plan.NamespaceFile(t)] = int(f.Fd())
			n.Path = "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
		}
		in.Namespaces = append(in.Namespaces, n)
	}
	if g.whose(specs.UserNamespace) == OfPod && held[specs.UserNamespace] == nil {
		fd, err := birth.UserNamespace(s.UIDMap, s.GIDMap)
		if err != nil {
			return nil, err
		}
		defer unix.Close(fd)
		given[plan.NamespaceFile(specs.UserNamespace)] = fd
	}
	if held[specs.UTSNamespace] != nil {
		in.Hostname = ""
	}
	if len(held) > 0 {
		in.Sysctls = nil // they were set when the namespaces were made
	}
	child, err := bearPause(in, g, given)
	if err != nil {
		return nil, err
	}
	p := &pause{process: processOf(child.Pid), pidfd: child.PidFD, held: map[specs.LinuxNamespaceType]*os.File{}}
	for _, t := range types {
		f, err := os.Open("/proc/" + strconv.Itoa(child.Pid) + "/ns/" + namespaceFile(t))
		if err != nil {
			p.kill()
			return nil, err
		}
		p.held[t] = f
	}
	return p, nil
}

func bearPause(in plan.PauseInput, g *ground, given map[string]int) (*birth.Child, error) {
	group, err := cgroup.Make(g.host.Cgroup, g.cgroup+"/"+pauseGroup)
	if err != nil {
		return nil, err
	}
	join, err := group.Join()
	if err != nil {
		return nil, err
	}
	defer join.Close()
	for i, t := range join.V1 {
		given["cgroup:"+strconv.Itoa(i)] = int(t.Fd())
	}
	in.Facts.Cgroup.Tasks = len(join.V1)
	if join.Unified != nil {
		in.Facts.Cgroup.Into = true
		given["cgroup:into"] = int(join.Unified.Fd())
	}
	program, err := birth.Pause()
	if err != nil {
		return nil, err
	}
	defer unix.Close(program)
	given[plan.PauseFile] = program
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(null)
	given[plan.Stdin], given[plan.Stdout], given[plan.Stderr] = null, null, null
	p, err := plan.CompilePause(in)
	if err != nil {
		return nil, err
	}
	child, err := birth.Start(p, given)
	if err != nil {
		return nil, err
	}
	if err := child.Ready(); err != nil {
		return nil, err
	}
	return child, child.Go()
}

// kill ends pause without waiting, and lets go of the namespaces.
func (p *pause) kill() {
	_ = unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0)
	p.release()
}

func (p *pause) release() {
	for _, f := range p.held {
		f.Close()
	}
	p.held = nil
}

// look returns the ground that the Pod's containers stand on.
func look(dir string, s *Sandbox) (*ground, error) {
	host, err := container.Look()
	if err != nil {
		return nil, err
	}
	return &ground{host: host, dir: dir, cgroup: s.CgroupPath, uid: s.UID, namespaces: s.Namespaces, user: s.UserNS}, nil
}

package plan

import (
	"encoding/binary"
	"fmt"
	"maps"
	"path"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// spaces is which namespaces a container gets, by flag.
type spaces struct {
	fresh  uintptr // made for it
	joined []joined
	user   bool // a user namespace, always joined by descriptor
	// userPath is that of one that is there already.
	userPath string
}

type joined struct {
	typ    specs.LinuxNamespaceType
	flag   uintptr
	path   string
	origin string
}

func (s *spaces) has(flag uintptr) bool {
	for _, j := range s.joined {
		if j.flag == flag {
			return true
		}
	}
	return s.fresh&flag != 0
}

// NamespaceFlag is the CLONE_NEW* flag of a namespace type, or 0.
func NamespaceFlag(t specs.LinuxNamespaceType) uintptr {
	switch t {
	case specs.PIDNamespace:
		return unix.CLONE_NEWPID
	case specs.NetworkNamespace:
		return unix.CLONE_NEWNET
	case specs.MountNamespace:
		return unix.CLONE_NEWNS
	case specs.IPCNamespace:
		return unix.CLONE_NEWIPC
	case specs.UTSNamespace:
		return unix.CLONE_NEWUTS
	case specs.UserNamespace:
		return unix.CLONE_NEWUSER
	case specs.CgroupNamespace:
		return unix.CLONE_NEWCGROUP
	case specs.TimeNamespace:
		return unix.CLONE_NEWTIME
	}
	return 0
}

// namespacesOf sorts the namespaces of a spec. A user namespace is joined in every case: the caller makes the new one.
func namespacesOf(list []specs.LinuxNamespace) (spaces, error) {
	var s spaces
	var seen uintptr
	for i, n := range list {
		origin := fmt.Sprintf("linux.namespaces[%d]", i)
		flag := NamespaceFlag(n.Type)
		switch {
		case flag == 0:
			return s, fmt.Errorf("%s: no namespace type %q", origin, n.Type)
		case seen&flag != 0:
			return s, fmt.Errorf("%s: %s namespace named twice", origin, n.Type)
		case n.Path != "" && !path.IsAbs(n.Path):
			return s, fmt.Errorf("%s.path: %q is not an absolute path", origin, clip(n.Path))
		}
		seen |= flag
		switch {
		case flag == unix.CLONE_NEWUSER:
			s.user, s.userPath = true, n.Path
		case n.Path != "":
			s.joined = append(s.joined, joined{n.Type, flag, n.Path, origin})
		default:
			s.fresh |= flag
		}
	}
	if !s.has(unix.CLONE_NEWNS) {
		return s, fmt.Errorf("linux.namespaces: no mount namespace: a container without one would change the host's root")
	}
	if s.user && s.fresh&unix.CLONE_NEWNS == 0 {
		return s, fmt.Errorf("linux.namespaces: a mount namespace by path does not go together with a user namespace")
	}
	return s, nil
}

// clocks are those that a time namespace shifts (time_namespaces(7)).
var clocks = []string{"boottime", "monotonic"}

// checkOffsets is for clocks that would not be shifted, or by what no clock shows.
func checkOffsets(list map[string]specs.LinuxTimeOffset, s spaces) error {
	for _, clock := range slices.Sorted(maps.Keys(list)) {
		switch o := list[clock]; {
		case !slices.Contains(clocks, clock):
			return fmt.Errorf("linux.timeOffsets: no clock %q can be shifted", clip(clock))
		case s.fresh&unix.CLONE_NEWTIME == 0:
			return fmt.Errorf("linux.timeOffsets.%s: there is no new time namespace to shift it in", clock)
		case o.Nanosecs >= 1e9:
			return fmt.Errorf("linux.timeOffsets.%s.nanosecs: %d is a second or more", clock, o.Nanosecs)
		}
	}
	return nil
}

// NamespaceFile is the name of the Open that is the namespace of this type.
func NamespaceFile(t specs.LinuxNamespaceType) string { return "ns:" + string(t) }

// join enters and makes namespaces. Named ones come first, while the child still is the host's root and may enter
// whatever user namespace they belong to; then the user namespace; then the new ones, which belong to it.
//
// root is the path of the container's / so far: a descriptor stays in the mount namespace that it was opened in, and is of
// no use in one that the user namespace owns; the working directory comes along. stage mounts what can be mounted only
// before the user namespace is joined.
func (p *program) join(s spaces, offsets map[string]specs.LinuxTimeOffset, root string, stage func()) uint64 {
	for _, j := range s.joined {
		if j.flag == unix.CLONE_NEWNS {
			continue // privateView did
		}
		p.origin = j.origin
		ns := p.open(Open{Name: NamespaceFile(j.typ), Kind: Namespace, Path: j.path})
		p.add(fmt.Sprintf("join %s namespace", j.typ), Setns, ns, Int(j.flag)).sh(byNsenter + "--" + shellNamespace(j.typ) + "=" + quote(j.path))
	}
	p.origin = "linux.namespaces"
	if s.user && !p.unprivileged {
		stage()
		p.add("enter "+root, Chdir, Text(root))
		p.joinUser()
		p.add("new mount namespace of the user namespace", Unshare, Int(unix.CLONE_NEWNS))
		p.add("open root", Openat, cwd, Text("."), Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).save(rDest)
		// What a user namespace was given is locked and cannot be pivoted to; a bind of it is its own.
		p.add("clone root", OpenTree, Result(rDest), empty, Int(uint(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|emptyPath|unix.AT_RECURSIVE))).save(rRoot)
		p.attach("bind root on itself", Result(rRoot))
	}
	for _, n := range []struct {
		flag uintptr
		name string
	}{
		{unix.CLONE_NEWUTS, "uts"},
		{unix.CLONE_NEWIPC, "ipc"},
		{unix.CLONE_NEWNET, "network"},
		{unix.CLONE_NEWCGROUP, "cgroup"},
		{unix.CLONE_NEWTIME, "time"},
	} {
		if s.fresh&n.flag != 0 {
			p.add("new "+n.name+" namespace", Unshare, Int(n.flag)).sh(byUnshare + "--" + shellNamespace(specs.LinuxNamespaceType(n.name)))
		}
	}
	for _, clock := range clocks {
		if o, ok := offsets[clock]; ok {
			p.origin = "linux.timeOffsets." + clock
			if s.user {
				// Nobody of a container sees this process yet: it is its child that comes into the PID namespace.
				p.show()
			}
			p.write("set "+clock+" clock", "/proc/self/timens_offsets", fmt.Sprintf("%s %d %d", clock, o.Secs, o.Nanosecs)).
				sh(fmt.Sprintf("%s--%s=%d", byUnshare, clock, o.Secs))
			if s.user {
				p.hide()
			}
		}
	}
	return p.fork(s)
}

// fork says how the process comes into its PID and time namespaces: only a child does. A new PID namespace alone is a
// flag of the birth's own clone; a joined one, and a time namespace, take a second clone whose child stays a child of
// ours (CLONE_PARENT), and the first one ends.
func (p *program) fork(s spaces) uint64 {
	pid := uint64(s.fresh & unix.CLONE_NEWPID)
	inner := s.has(unix.CLONE_NEWTIME)
	for _, j := range s.joined {
		inner = inner || j.flag == unix.CLONE_NEWPID
	}
	// A PID namespace that belongs to the user namespace can only be made from within it.
	if !inner && !(s.user && pid != 0) {
		return pid
	}
	p.inner(pid)
	return 0
}

// shellNamespace is the option of unshare(1) and nsenter(1) for a namespace.
func shellNamespace(t specs.LinuxNamespaceType) string {
	if t == specs.NetworkNamespace {
		return "net"
	}
	return string(t)
}

func (p *program) inner(flags uint64) {
	p.origin = "linux.namespaces"
	s := p.add("second clone", Clone, Int(flags|unix.CLONE_PARENT|unix.CLONE_PARENT_SETTID|uint64(unix.SIGCHLD)),
		Int(0), Arg{Kind: InnerArg}, Int(0), Int(0))
	s.Skip, s.When = 1, Zero
	if flags&unix.CLONE_NEWPID != 0 {
		s.sh(byUnshare + "--pid")
	}
	p.add("leave it to the second clone", ExitGroup, Int(0))
	// Only the leader of a session can have a controlling terminal, and the first clone was the leader.
	p.add("new session of the second clone", Setsid)
}

func (p *program) joinUser() {
	p.add("join user namespace", Setns, File("ns:user"), Int(unix.CLONE_NEWUSER)).sh("# in a user namespace: unshare --user, and its maps")
	p.becomeRoot()
}

// becomeRoot takes the identity of the user namespace's root: the host's root has none in it, and files that it made
// would belong to nobody.
func (p *program) becomeRoot() {
	p.add("be group 0 of the user namespace", Setresgid, Int(0), Int(0), Int(0))
	p.add("be user 0 of the user namespace", Setresuid, Int(0), Int(0), Int(0))
	// A change of identity makes a process dumpable anew by fs.suid_dumpable; the host's files are still open.
	p.hide()
}

// hide keeps others from looking into this process, and /proc/self from being its own.
func (p *program) hide() {
	p.add("hide from the container", Prctl, Int(unix.PR_SET_DUMPABLE), Int(0), Int(0), Int(0), Int(0))
}

// show takes hide back.
func (p *program) show() {
	p.add("show itself", Prctl, Int(unix.PR_SET_DUMPABLE), Int(1), Int(0), Int(0), Int(0))
}

// loopback brings lo up in a new network namespace.
func (p *program) loopback() {
	p.origin = "linux.namespaces"
	p.add("socket for lo", Socket, Int(unix.AF_INET), Int(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), Int(0)).save(rFile)
	var ifreq [40]byte
	copy(ifreq[:], "lo")
	binary.NativeEndian.PutUint16(ifreq[16:], unix.IFF_UP|unix.IFF_RUNNING)
	p.add("bring lo up", Ioctl, Result(rFile), Int(unix.SIOCSIFFLAGS), Bytes(ifreq[:])).sh("ip link set lo up")
	p.add("close socket", Close, Result(rFile))
}

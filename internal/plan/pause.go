package plan

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// PauseInput says what a Pod's pause process is to hold.
type PauseInput struct {
	Namespaces []specs.LinuxNamespace // made when they have no path, joined when they have one; mount is always new
	Hostname   string                 // of a new UTS namespace
	Domainname string
	Sysctls    map[string]string
	// Mountpoint is an empty directory of the host; pause's own / is mounted on it, in its mount namespace only.
	Mountpoint string
	Facts      Facts
}

// PauseFile is the name of the Given file that is the pause program.
const PauseFile = "pause"

// CompilePause makes the Plan of a pause process: it holds namespaces and can do nothing else. Its root is an empty
// read-only tmpfs, so that /proc/1/root of a Pod that shares its PID namespace shows nothing of the host; it has no
// capability, and a user that owns nothing.
func CompilePause(in PauseInput) (*Plan, error) {
	spaced := append([]specs.LinuxNamespace{{Type: specs.MountNamespace}}, in.Namespaces...)
	s, err := namespacesOf(spaced)
	if err != nil {
		return nil, err
	}
	p := &program{}
	p.begin(in.Facts, &specs.Process{})
	p.origin = "sandbox"
	p.privateView(s, false)
	p.add("mount empty root", Mount, Text("tmpfs"), Text(in.Mountpoint), Text("tmpfs"),
		Int(unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC), Text("nr_blocks=1,nr_inodes=2"))
	p.openRoot(in.Mountpoint)
	clone := p.join(s, nil, in.Mountpoint, func() {})
	if s.fresh&unix.CLONE_NEWNET != 0 {
		p.loopback()
	}
	if err := p.sysctls(in.Sysctls, s); err != nil {
		return nil, err
	}
	spec := &specs.Spec{}
	if s.fresh&unix.CLONE_NEWUTS != 0 {
		spec.Hostname, spec.Domainname = in.Hostname, in.Domainname
	}
	if err := p.names(spec, s); err != nil {
		return nil, err
	}
	p.origin = "sandbox"
	p.pivot()
	// What is open closes itself at execveat: pause's own file must last until then.
	p.gate()
	var none capSets
	const nobody = 65535 // the last id that a user namespace of 65536 ids maps
	p.bound(none, in.Facts.LastCap)
	p.identity(specs.User{UID: nobody, GID: nobody})
	p.limit(none)
	p.add("no new privileges", Prctl, Int(unix.PR_SET_NO_NEW_PRIVS), Int(1), Int(0), Int(0), Int(0))
	// Signals stay blocked: pause takes them one by one.
	p.signals(in.Facts.Ignored)
	p.add("execute pause", Execveat, File(PauseFile), empty, Strings([]string{"/pause"}), Strings(nil), Int(emptyPath))
	return p.plan(clone, in.Facts)
}

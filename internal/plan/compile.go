package plan

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Input is what a Plan is compiled from beside the spec.
type Input struct {
	Root  Rootfs
	Facts Facts
	// Bundle is the directory that relative sources of mounts are below, or "".
	Bundle string
	// Unprivileged says that the caller may do nothing on the host that its user may not: all is made by the root of the
	// user namespace.
	Unprivileged bool
	// Gated makes the child tell that it is ready, and wait at the gate, before it becomes the container's program.
	Gated bool
	// Latched makes it wait behind the gate once more, at the Given file Latch, for somebody who is not its parent.
	Latched bool
}

// Compile turns a spec into the Plan of a container's first process. What it does not implement, or what makes no
// sense, is an error that begins with the field's name.
//
// The order is the kernel's, not the spec's: cgroups while the host's are in reach; namespaces; then everything that
// needs the host's files and the new namespaces at once (sysctls, mounts); the pivot; the gate; credentials; execve.
func Compile(spec *specs.Spec, in Input) (*Plan, error) {
	p, err := compile(spec, in)
	if err != nil {
		return nil, tidy(err)
	}
	return p, nil
}

// Check is what Compile refuses without a look at mounts and devices: nothing need be made for a spec that it refuses.
func Check(spec *specs.Spec, in Input) error {
	err := refuse(spec)
	if err == nil {
		var s spaces
		if s, err = namespacesOf(spec.Linux.Namespaces); err == nil {
			err = check(spec, in, s)
		}
	}
	if err != nil {
		return tidy(err)
	}
	return nil
}

// tidy makes an error one short line: the values in it are whatever somebody wrote.
func tidy(err error) error {
	const most = 300
	s := strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, err.Error())
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	if s == err.Error() {
		return err
	}
	return errors.New(s)
}

func compile(spec *specs.Spec, in Input) (*Plan, error) {
	if err := refuse(spec); err != nil {
		return nil, err
	}
	s, err := namespacesOf(spec.Linux.Namespaces)
	if err != nil {
		return nil, err
	}
	if err := check(spec, in, s); err != nil {
		return nil, err
	}
	filter, err := compileFilter(spec.Linux.Seccomp)
	if err != nil {
		return nil, err
	}
	p := &program{unprivileged: in.Unprivileged}
	if s.userPath != "" {
		p.origin = "linux.namespaces"
		p.open(Open{Name: NamespaceFile(specs.UserNamespace), Kind: Namespace, Path: s.userPath})
	}
	p.begin(in.Facts, spec.Process)
	clone, err := p.separate(spec, in, s)
	if err != nil {
		return nil, err
	}
	if err := p.furnish(spec, in, s); err != nil {
		return nil, err
	}
	if early(spec.Hooks) {
		p.origin = "hooks"
		p.halt(Mounted)
	}
	p.changeRoot(spec)
	if err := p.allot(spec.Process, in.Facts); err != nil {
		return nil, err
	}
	if in.Latched {
		p.find(spec.Process)
	}
	if spec.Process.Terminal {
		p.halt(Terminal)
	}
	// A listener is handed over while the container is created, so its filter is loaded then too.
	late := filter != nil && filter.Notify
	if in.Gated && !late {
		p.gate()
	}
	t := tail{filter: filter, facts: in.Facts}
	if late {
		t.gated, t.latched = in.Gated, in.Latched
		p.forget(in.Facts.Extra, kept(in)...)
	} else {
		if in.Latched {
			p.latch()
		}
		p.forget(in.Facts.Extra)
	}
	if err := p.process(spec.Process, t); err != nil {
		return nil, err
	}
	done, err := p.plan(clone, in.Facts)
	if err == nil {
		done.Filter = filter
	}
	return done, err
}

// check says what makes no sense, or what this host cannot have, before anything is opened.
func check(spec *specs.Spec, in Input, s spaces) error {
	for _, err := range []error{
		checkProcess(spec.Process),
		checkMountLabel(spec.Linux.MountLabel, in.Facts.Labels),
		checkAffinity(spec.Process.ExecCPUAffinity),
		checkUser(spec, s, in.Root, in.Unprivileged),
		checkOffsets(spec.Linux.TimeOffsets, s),
	} {
		if err != nil {
			return err
		}
	}
	_, err := rootPropagation(spec.Linux.RootfsPropagation)
	return err
}

// separate takes what is to be had of the host's, makes the root, and enters the namespaces. It returns the flags of the
// birth's own clone.
func (p *program) separate(spec *specs.Spec, in Input, s spaces) (uint64, error) {
	if err := p.score(spec.Process.OOMScoreAdj); err != nil {
		return 0, err
	}
	if err := p.labels(spec.Process, in.Facts.Labels); err != nil {
		return 0, err
	}
	if err := p.personality(spec.Linux.Personality); err != nil {
		return 0, err
	}
	p.origin = "linux.namespaces"
	if p.unprivileged {
		p.joinUser()
	}
	spread, _ := rootPropagation(spec.Linux.RootfsPropagation)
	slave := spread&unix.MS_SLAVE != 0
	p.privateView(s, slave)
	at, err := p.root(in.Root, s.user && !p.unprivileged, ownerOf(spec.Linux), slave)
	if err != nil {
		return 0, err
	}
	clone := p.join(s, spec.Linux.TimeOffsets, at, func() { p.stage(spec.Mounts, s) })
	if s.fresh&unix.CLONE_NEWNET != 0 {
		p.loopback()
	}
	if err := p.sysctls(spec.Linux.Sysctl, s); err != nil {
		return 0, err
	}
	return clone, p.names(spec, s)
}

// furnish makes everything in the root: mounts, devices, the terminal, masks.
func (p *program) furnish(spec *specs.Spec, in Input, s spaces) error {
	closing, err := p.mounts(spec, in, s)
	if err != nil {
		return err
	}
	if err := p.populate(spec, s.user || in.Facts.Nested); err != nil {
		return err
	}
	if spec.Process.Terminal {
		p.terminal(true)
		p.control()
	}
	if err := p.masks(spec.Linux, in.Facts); err != nil {
		return err
	}
	closing()
	if cwd := path.Clean("/" + spec.Process.Cwd); cwd != "/" {
		p.origin = "process.cwd"
		p.dir(cwd)
	}
	return nil
}

// changeRoot leaves the host's root for the container's, and closes that as the spec says.
func (p *program) changeRoot(spec *specs.Spec) {
	p.pivot()
	if word := spec.Linux.RootfsPropagation; word != "" {
		spread, _ := rootPropagation(word)
		p.origin = "linux.rootfsPropagation"
		p.add("make / "+word, Mount, null, Text("/"), null, Int(spread), null).sh("mount --make-" + word + " .")
	}
	if spec.Root.Readonly {
		p.origin = "root.readonly"
		p.add("open /", Openat, cwd, Text("/"), Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).save(rDest)
		p.attr("make / read-only", Result(rDest), 0, unix.MOUNT_ATTR_RDONLY, 0, 0).sh("mount -o remount,bind,ro .")
	}
}

// ownerOf is what the container's root is on the host, by the spec's mappings.
func ownerOf(l *specs.Linux) owner {
	return owner{hostID(l.UIDMappings), hostID(l.GIDMappings)}
}

func hostID(maps []specs.LinuxIDMapping) uint32 {
	for _, m := range maps {
		if m.ContainerID == 0 && m.Size > 0 {
			return m.HostID
		}
	}
	return 0
}

// plan is the finished Plan.
func (p *program) plan(clone uint64, f Facts) (*Plan, error) {
	if p.err != nil {
		return nil, p.err
	}
	done := &Plan{Opens: p.opens, Clone: clone, Steps: p.steps, Halts: p.halts, Warnings: p.warned}
	if f.Cgroup.Into {
		done.IntoCgroup = "cgroup:into"
	}
	return done, nil
}

// begin is what every child does first. It is not to be looked into by the container that it comes near to
// (CVE-2016-9962), and it is a session of its own. It joins cgroups before any user or cgroup namespace: a thread that
// moves itself by "tasks" takes no lock that waits for all of the host (cgroup.procs does).
func (p *program) begin(f Facts, proc *specs.Process) {
	// One without rights on the host could not write to its own /proc then; it hides when it has joined its user namespace.
	if !p.unprivileged {
		p.hide()
	}
	p.add("new session", Setsid)
	if !proc.Terminal {
		for i, name := range []string{Stdin, Stdout, Stderr} {
			p.add("take "+name, Dup3, File(name), Int(i), Int(0))
		}
	}
	p.origin = "linux.cgroupsPath"
	for i := range f.Cgroup.Tasks {
		s := p.add(fmt.Sprint("join cgroup ", i), Write, File(fmt.Sprint("cgroup:", i)), Text("0"), Int(1))
		if i < len(f.Cgroup.V1) {
			s.sh(shellCgroup(f.Cgroup.V1[i], f.Cgroup.Path))
		}
	}
	p.origin = ""
	p.keyLabel(proc.SelinuxLabel)
	if !f.Keyring {
		p.add("new session keyring", Keyctl, Int(unix.KEYCTL_JOIN_SESSION_KEYRING), null).on(unix.ENOSYS, 0).on(unix.EDQUOT, 0)
	}
	p.add("umask 0", Umask, Int(0))
}

// score sets the OOM killer's bias. Less than before takes CAP_SYS_RESOURCE on the host; without it the process keeps
// the score that it was born with, which is the worst that can be had.
func (p *program) score(adj *int) error {
	switch {
	case adj == nil:
		return nil
	case *adj < -1000 || *adj > 1000:
		return fmt.Errorf("process.oomScoreAdj: %d is not from -1000 to 1000", *adj)
	}
	p.origin = "process.oomScoreAdj"
	p.write(fmt.Sprint("set oom_score_adj ", *adj), "/proc/self/oom_score_adj", fmt.Sprint(*adj)).on(unix.EACCES, 0).on(unix.EPERM, 0)
	return nil
}

// names sets the host name and the NIS domain of a new UTS namespace. In a joined one they belong to others.
func (p *program) names(spec *specs.Spec, s spaces) error {
	for _, n := range []struct {
		field, value string
		call         Call
	}{{"hostname", spec.Hostname, Sethostname}, {"domainname", spec.Domainname, Setdomainname}} {
		if n.value == "" {
			continue
		}
		p.origin = n.field
		if !s.has(unix.CLONE_NEWUTS) {
			return fmt.Errorf("%s: set without a UTS namespace: it would rename the host", n.field)
		}
		if len(n.value) > 64 {
			return fmt.Errorf("%s: longer than 64 bytes", n.field)
		}
		p.add("set "+n.field+" "+n.value, n.call, Text(n.value), Int(len(n.value))).sh("echo", quote(n.value), "> /proc/sys/kernel/"+n.field)
	}
	return nil
}

// sysctls writes /proc/sys of the host's procfs: what is behind it are the writer's namespaces.
func (p *program) sysctls(list map[string]string, s spaces) error {
	keys := make([]string, 0, len(list))
	for k := range list {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		p.origin = "linux.sysctl." + k
		needs, err := sysctlNamespace(k)
		if err != nil {
			return err
		}
		if !s.has(needs) {
			return fmt.Errorf("%s: the container has no namespace of its own that this belongs to: it would change the host", p.origin)
		}
		p.write("set "+k, "/proc/sys/"+sysctlPath(k), list[k])
	}
	return nil
}

// SysctlNamespace says which namespace a kernel parameter belongs to, by its CLONE_NEW* flag; a parameter of the whole
// host is an error (CVE-2022-0532, CVE-2022-0811).
func sysctlNamespace(key string) (uintptr, error) {
	name := strings.ReplaceAll(key, "/", ".")
	if strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./") != "" || strings.Contains(name, "..") {
		return 0, fmt.Errorf("linux.sysctl: no parameter %q", key)
	}
	switch {
	case strings.HasPrefix(name, "net."):
		return unix.CLONE_NEWNET, nil
	case strings.HasPrefix(name, "fs.mqueue."):
		return unix.CLONE_NEWIPC, nil
	case name == "kernel.domainname", name == "kernel.hostname":
		return unix.CLONE_NEWUTS, nil
	}
	switch name {
	case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced":
		return unix.CLONE_NEWIPC, nil
	}
	return 0, fmt.Errorf("linux.sysctl: %s is not a parameter of a namespace: it would change the host", key)
}

// sysctlPath is where a parameter is below /proc/sys. A name with a slash in it uses slashes as separators, so that
// its dots are part of interface names (sysctl(8)).
func sysctlPath(key string) string {
	if strings.Contains(key, "/") {
		return key
	}
	return strings.ReplaceAll(key, ".", "/")
}

// rootPropagation is the MS_* of a word, or 0 for none.
func rootPropagation(name string) (uintptr, error) {
	if name == "" {
		return 0, nil
	}
	w, ok := find(propagations, name)
	if !ok {
		return 0, fmt.Errorf("linux.rootfsPropagation: no propagation %q", clip(name))
	}
	return w.set, nil
}

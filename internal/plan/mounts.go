package plan

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mounts makes the spec's mounts in their order. Those that must be writable while later ones go below them (a
// read-only tmpfs) are closed by the returned function, after everything else.
func (p *program) mounts(spec *specs.Spec, in Input, s spaces) (closing func(), err error) {
	var readonly []string
	for i, m := range spec.Mounts {
		p.origin = fmt.Sprintf("mounts[%d]", i)
		o := parseOptions(m.Options)
		if err := p.checkMount(&m, o, in); err != nil {
			return nil, err
		}
		switch {
		case o.bind && o.flags&unix.MS_REMOUNT != 0:
			p.remount(m, o)
		case o.bind || m.Type == "bind":
			err = p.bind(i, m, o, in.Facts, s)
		case m.Type == "cgroup" || m.Type == "cgroup2":
			err = p.cgroupMount(m, o, in.Facts.Cgroup, s.has(unix.CLONE_NEWCGROUP))
		case staged(m.Type, s) && p.unprivileged:
			p.borrow(m, o)
		case staged(m.Type, s):
			p.unstage(m, o, slices.ContainsFunc(spec.Mounts[:i], func(b specs.Mount) bool { return b.Type == m.Type }))
		case o.copyUp:
			err = p.copyUp(i, m, o, in.Root, spec.Linux.MountLabel)
		default:
			if m.Type == "tmpfs" && o.flags&unix.MS_RDONLY != 0 {
				o.flags &^= unix.MS_RDONLY
				readonly = append(readonly, m.Destination)
			}
			o.data = labelled(m.Type, p.mapped(m.Type, o.data, spec.Linux, s), spec.Linux.MountLabel)
			p.filesystem(m, o)
		}
		if err != nil {
			return nil, err
		}
	}
	return func() {
		for _, dest := range readonly {
			p.origin = "mounts"
			p.inside("open "+dest, dest, unix.O_PATH, rDest)
			p.attr("make "+dest+" read-only", Result(rDest), 0, unix.MOUNT_ATTR_RDONLY, 0, 0).
				sh("mount -o remount,bind,ro", quote("."+path.Clean("/"+dest)))
		}
	}, nil
}

// checkMount says what of a mount makes no sense. A relative destination is one below /, a relative source one of the
// bundle (config.md, "Mounts").
func (p *program) checkMount(m *specs.Mount, o options, in Input) error {
	switch {
	case m.Destination == "":
		return fmt.Errorf("%s.destination: missing", p.origin)
	case slices.Contains(strings.Split(m.Destination, "/"), ".."):
		return fmt.Errorf("%s.destination: %q has a .. in it", p.origin, clip(m.Destination))
	case path.Clean("/"+m.Destination) == "/":
		return fmt.Errorf("%s.destination: / is the root file system's", p.origin)
	case m.Type == "" && !o.bind:
		return fmt.Errorf("%s.type: missing, and it is no bind", p.origin)
	case o.copyUp && m.Type != "tmpfs":
		return fmt.Errorf("%s.options: tmpcopyup is for a tmpfs, not for a %s", p.origin, m.Type)
	case (len(m.UIDMappings) > 0) != (len(m.GIDMappings) > 0):
		return fmt.Errorf("%s: uidMappings and gidMappings go together", p.origin)
	case o.idmap+mappedWord(*m) != "" && !o.bind && m.Type != "bind":
		return fmt.Errorf("%s: only a bind mount can map owners", p.origin)
	}
	if !path.IsAbs(m.Destination) {
		m.Destination = "/" + m.Destination
	}
	m.Source = Source(*m, in.Bundle)
	for field, list := range map[string][]specs.LinuxIDMapping{".uidMappings": m.UIDMappings, ".gidMappings": m.GIDMappings} {
		if err := checkMappings(p.origin+field, list); err != nil {
			return err
		}
	}
	return procOnly(p.origin, *m, in.Facts)
}

func mappedWord(m specs.Mount) string {
	if len(m.UIDMappings) > 0 {
		return "idmap"
	}
	return ""
}

// Source is where the source of a mount lies on the host, if it is a bind's.
func Source(m specs.Mount, bundle string) string {
	if m.Source == "" || path.IsAbs(m.Source) || bundle == "" || m.Type != "bind" && !parseOptions(m.Options).bind {
		return m.Source
	}
	return path.Join(bundle, m.Source)
}

// remount changes the attributes of a mount that is there already.
func (p *program) remount(m specs.Mount, o options) {
	p.inside("open "+m.Destination, m.Destination, unix.O_PATH, rDest)
	set, clr := o.attributes()
	if set, clr = normalAtime(set, clr, o.flags&unix.MS_RELATIME != 0); set|clr != 0 {
		p.attr("change "+m.Destination, Result(rDest), 0, set, clr, 0).sh("mount -o", quote("bind,remount,"+strings.Join(m.Options, ",")), quote("."+m.Destination))
	}
	p.after(m.Destination, o)
}

// mapped leaves out of a file system's data a group that the user namespace does not have: the kernel would refuse the
// mount. A devpts without its gid gives terminals to their openers' groups.
func (p *program) mapped(typ, data string, l *specs.Linux, s spaces) string {
	if typ != "devpts" || !s.user || len(l.GIDMappings) == 0 {
		return data
	}
	list := strings.Split(data, ",")
	return strings.Join(slices.DeleteFunc(list, func(word string) bool {
		id, ok := strings.CutPrefix(word, "gid=")
		gid, err := strconv.ParseUint(id, 10, 32)
		gone := ok && err == nil && !has(l.GIDMappings, uint32(gid))
		if gone {
			p.warn("%s.options: %s is left out: linux.gidMappings does not have it", p.origin, word)
		}
		return gone
	}), ",")
}

// copyUp mounts a tmpfs that begins with what the image has there. The parent fills it: a plan has no loops.
func (p *program) copyUp(i int, m specs.Mount, o options, r Rootfs, label string) error {
	if r.Path == "" || p.unprivileged {
		return fmt.Errorf("%s.options: tmpcopyup needs a plain directory as root, and privileges on the host", p.origin)
	}
	set, _ := o.attributes()
	set, clr := normalAtime(set, 0, o.flags&unix.MS_RELATIME != 0)
	fs := p.open(Open{
		Name: fmt.Sprintf("mount:%d", i), Kind: Tmpfs, Path: r.Path, Copy: m.Destination, Data: labelled("tmpfs", o.data, label),
		Set: set, Clear: clr, RSet: o.rset, RClear: o.rclr, Propagation: unix.MS_PRIVATE,
	})
	p.mountpoint(m)
	p.attach("mount tmpfs at "+m.Destination, fs).
		sh("mkdir .tmp && cp -a", quote("."+m.Destination+"/."), ".tmp && mount -t tmpfs", shellOptions(without(m.Options, "tmpcopyup")), "tmpfs", quote("."+m.Destination),
			"&& cp -a .tmp/.", quote("."+m.Destination), "&& rm -r .tmp")
	p.after(m.Destination, options{propagation: o.propagation})
	return nil
}

// without is a list of options without one.
func without(list []string, word string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(w string) bool { return w == word })
}

// staged says which file systems show namespaces that do not belong to the container's user namespace. The kernel
// refuses to mount those from within it; the child mounts them before it joins it, and attaches the mount later.
func staged(typ string, s spaces) bool {
	return s.user && (typ == "sysfs" && s.fresh&unix.CLONE_NEWNET == 0 || typ == "mqueue" && s.fresh&unix.CLONE_NEWIPC == 0)
}

// borrow binds the host's mount of a file system that the user namespace may not mount.
func (p *program) borrow(m specs.Mount, o options) {
	from := "/sys"
	if m.Type == "mqueue" {
		from = "/dev/mqueue"
	}
	set, _ := o.attributes()
	p.mountpoint(m)
	tree := p.tree(Open{Name: m.Type, Path: from, Recursive: true, RSet: set | o.rset, Propagation: unix.MS_PRIVATE})
	p.attach(fmt.Sprintf("bind %s at %s", from, m.Destination), tree).sh("mount --rbind", from, quote("."+m.Destination))
}

// aside is the register of a file system that is staged.
func aside(typ string) Reg {
	if typ == "sysfs" {
		return rSysfs
	}
	return rMqueue
}

// stage mounts what is staged, attached to nothing.
func (p *program) stage(mounts []specs.Mount, s spaces) {
	done := map[string]bool{}
	for _, m := range mounts {
		if !staged(m.Type, s) || done[m.Type] {
			continue
		}
		done[m.Type] = true
		p.add("begin "+m.Type, Fsopen, Text(m.Type), Int(unix.FSOPEN_CLOEXEC)).save(rFile)
		p.add("make "+m.Type, Fsconfig, Result(rFile), Int(unix.FSCONFIG_CMD_CREATE), null, null, Int(0))
		const attr = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
		p.add("mount "+m.Type+" aside", Fsmount, Result(rFile), Int(unix.FSMOUNT_CLOEXEC), Int(attr)).save(aside(m.Type))
		p.add("close it", Close, Result(rFile))
	}
}

// unstage attaches what was staged, with again a clone of it: one that is attached to nothing cannot be cloned before
// Linux 6.15.
func (p *program) unstage(m specs.Mount, o options, again bool) {
	p.mountpoint(m)
	from, clr := aside(m.Type), uint64(0)
	if again {
		p.add("clone "+m.Type, OpenTree, Result(from), empty, Int(uint(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|emptyPath))).save(rTree)
		from, clr = rTree, unix.MOUNT_ATTR_RDONLY
	}
	if set, _ := o.attributes(); set|clr != 0 {
		p.attr("set attributes of "+m.Destination, Result(from), 0, set, clr&^set, 0)
	}
	p.attach(fmt.Sprintf("attach %s at %s", m.Type, m.Destination), Result(from))
	p.after(m.Destination, o)
}

// procOnly refuses what would put something of the image's over the places that the runtime or the kernel's
// protections rely on: /proc is a procfs or nothing, and below it only the well-known files of lxcfs are covered
// (CVE-2019-16884, CVE-2019-19921, CVE-2025-52881).
func procOnly(origin string, m specs.Mount, f Facts) error {
	dest := path.Clean(m.Destination)
	if bind := m.Type == "bind" || parseOptions(m.Options).bind; dest == "/proc" && bind {
		if f.Kinds[m.Source] != Proc {
			return fmt.Errorf("%s: /proc cannot be a bind of %s, which is no procfs", origin, m.Source)
		}
	} else if dest == "/proc" && m.Type != "proc" {
		return fmt.Errorf("%s: /proc cannot be a %s", origin, m.Type)
	}
	below, ok := strings.CutPrefix(dest, "/proc/")
	if !ok {
		return nil
	}
	switch below {
	case "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev", "sys/kernel/ns_last_pid",
		"sys/crypto/fips_enabled", "interrupts":
		return nil
	}
	if m.Type == "proc" || below == "sys/fs/binfmt_misc" || below == "scsi" || below == "acpi" {
		return nil
	}
	return fmt.Errorf("%s: %s lies inside /proc, which nothing may cover", origin, dest)
}

// filesystem mounts a file system of the kernel's.
func (p *program) filesystem(m specs.Mount, o options) {
	source := m.Source
	if source == "" {
		source = m.Type
	}
	p.mountpoint(m)
	p.add("enter "+m.Destination, Fchdir, Result(rDest))
	p.add(fmt.Sprintf("mount %s at %s", m.Type, m.Destination), Mount, Text(source), Text("."), Text(m.Type), Int(o.flags), data(o.data)).
		sh("mount -t", m.Type, shellOptions(append(shellFlags(o), o.data)), quote(source), quote("."+path.Clean(m.Destination)))
	p.after(m.Destination, o)
}

func data(s string) Arg {
	if s == "" {
		return null
	}
	return Text(s)
}

func shellOptions(list []string) string {
	list = slices.DeleteFunc(list, func(w string) bool { return w == "" })
	if len(list) == 0 {
		return ""
	}
	return "-o " + quote(strings.Join(list, ","))
}

// after sets what mount(2) could not in one call: propagation and recursive attributes.
func (p *program) after(dest string, o options) {
	if len(o.propagation) == 0 && o.rset|o.rclr == 0 {
		return
	}
	p.inside("open "+dest, dest, unix.O_PATH, rDest)
	if o.rset|o.rclr != 0 {
		set, clr := normalAtime(o.rset, o.rclr, false)
		p.attr("set attributes below "+dest, Result(rDest), unix.AT_RECURSIVE, set, clr&^set|clr&unix.MOUNT_ATTR__ATIME, 0)
	}
	for _, flag := range o.propagation {
		p.attr("set propagation of "+dest, Result(rDest), recursiveFlag(flag), 0, 0, uint64(flag&^unix.MS_REC))
	}
}

func recursiveFlag(flags uintptr) int {
	if flags&unix.MS_REC != 0 {
		return unix.AT_RECURSIVE
	}
	return 0
}

// bind puts a clone of a host's directory or file at the destination. The parent opened it, so neither the child's
// namespaces nor the container's links have a say in what it is.
func (p *program) bind(i int, m specs.Mount, o options, f Facts, s spaces) error {
	origin := p.origin
	if !path.IsAbs(m.Source) {
		return fmt.Errorf("%s.source: %q is not absolute, and there is no bundle", origin, clip(m.Source))
	}
	// What a file system would read, such as size=1k, a bind mount has no use for (mount(2): the data is ignored), and callers leave
	// it in. A word alone is a flag that nobody knows, perhaps one that was to protect.
	for word := range strings.SplitSeq(o.data, ",") {
		if word == "" || strings.Contains(word, "=") {
			continue
		}
		return fmt.Errorf("%s.options: a bind mount has no option %q", origin, word)
	}
	own := len(m.UIDMappings) > 0
	if own && o.idmap == "" {
		o.idmap = "idmap"
	}
	if o.idmap != "" && !own && !s.user {
		return fmt.Errorf("%s.options: %s needs mappings, of the mount or of a user namespace", origin, o.idmap)
	}
	open := Open{Name: fmt.Sprintf("mount:%d", i), Path: m.Source, NoFollow: o.nofollow, Recursive: o.flags&unix.MS_REC != 0}
	if o.idmap != "" {
		open.Idmap, open.IdmapAll = "ns:user", o.idmap == "ridmap"
	}
	if own {
		open.Idmap = fmt.Sprintf("idmap:%d", i)
		p.open(Open{Name: open.Idmap, Kind: Mapping, UIDs: m.UIDMappings, GIDs: m.GIDMappings})
	}
	set, clr := o.attributes()
	open.Set, open.Clear = normalAtime(set, clr, o.flags&unix.MS_RELATIME != 0)
	open.RSet, open.RClear = normalAtime(o.rset, o.rclr, false)
	open.Propagation = unix.MS_PRIVATE
	if len(o.propagation) > 0 {
		open.Propagation = uint64(o.propagation[len(o.propagation)-1] &^ unix.MS_REC)
	}
	switch f.Kinds[m.Source] {
	case Missing:
		return fmt.Errorf("%s.source: %s does not exist", origin, m.Source)
	case Dir, Proc:
		p.mountpoint(m)
	case Regular:
		p.file(m.Destination)
	}
	tree := p.tree(open)
	flags := "--bind"
	if open.Recursive {
		flags = "--rbind"
	}
	p.attach("bind "+m.Source+" at "+m.Destination, tree).sh("mount", flags, shellOptions(slices.Clone(m.Options)), quote(m.Source), quote("."+m.Destination))
	return nil
}

// cgroupMount shows the container its own cgroup, and nothing above it: the one hierarchy of cgroup v2, or a tmpfs with
// a directory for each hierarchy.
func (p *program) cgroupMount(m specs.Mount, o options, c Cgroup, private bool) error {
	unified := Hierarchy{Name: "unified", Mountpoint: c.Unified}
	switch {
	case len(c.V1) == 0 && c.Unified == "":
		return fmt.Errorf("%s: this host has no cgroups to mount", p.origin)
	case len(c.V1) == 0:
		p.mountpoint(m)
		p.hierarchy(m.Destination, unified, o, c.Path, private)
		return nil
	}
	tmp := o
	tmp.flags &^= unix.MS_RDONLY
	tmp.data, tmp.propagation = "mode=755,size=1m", nil
	p.filesystem(specs.Mount{Destination: m.Destination, Type: "tmpfs", Options: []string{"mode=755", "size=1m"}}, tmp)
	p.inside("open "+m.Destination, m.Destination, unix.O_PATH|unix.O_DIRECTORY, rGroups)
	list := c.V1
	if c.Unified != "" {
		list = append(list[:len(list):len(list)], unified)
	}
	for _, h := range list {
		at := path.Join(m.Destination, h.Name)
		// The tmpfs is new and nobody else's: plain names are safe in it.
		p.add("make "+at, Mkdirat, Result(rGroups), Text(h.Name), Int(0o755)).sh("mkdir -p", quote("."+at))
		p.add("open "+at, Openat, Result(rGroups), Text(h.Name), Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC)).save(rDest)
		p.hierarchy(at, h, o, c.Path, private)
		for _, link := range h.Links {
			if link != h.Name {
				p.add("link "+link, Symlinkat, Text(h.Name), Result(rGroups), Text(link)).sh("ln -s", h.Name, "."+path.Join(m.Destination, link))
			}
		}
	}
	if o.flags&unix.MS_RDONLY != 0 {
		p.attr("make "+m.Destination+" read-only", Result(rGroups), 0, unix.MOUNT_ATTR_RDONLY, 0, 0).
			sh("mount -o", strings.Join(append(shellFlags(o), "remount,bind,ro"), ","), quote("."+m.Destination))
	}
	return nil
}

// hierarchy mounts one hierarchy of cgroups on rDest: as the cgroup namespace shows it, or the container's own
// directory of it where there is none.
func (p *program) hierarchy(dest string, h Hierarchy, o options, cgroup string, private bool) {
	if !private {
		set, _ := o.attributes()
		tree := p.tree(Open{Name: "cgroup:" + dest, Path: path.Join(h.Mountpoint, cgroup), Set: set, Propagation: unix.MS_PRIVATE})
		p.attach("show cgroup at "+dest, tree).sh("mount", shellOptions(append([]string{"bind"}, shellFlags(o)...)), quote(path.Join(h.Mountpoint, cgroup)), quote("."+dest))
		return
	}
	typ := "cgroup"
	if h.Data == "" {
		typ = "cgroup2"
	}
	p.add("enter "+dest, Fchdir, Result(rDest))
	mount := p.add(fmt.Sprintf("mount %s at %s", typ, dest), Mount, Text("cgroup"), Text("."), Text(typ), Int(o.flags), data(h.Data)).
		sh("mount -t", typ, shellOptions(append(shellFlags(o), h.Data)), "cgroup", quote("."+dest))
	if p.unprivileged {
		// Below a /sys of the host's it is there already (mount(2), EBUSY); it is not to be written to (CVE-2023-25809).
		mount.on(unix.EBUSY, 0)
		p.inside("open "+dest, dest, unix.O_PATH|unix.O_DIRECTORY, rDest)
		set, _ := o.attributes()
		p.attr("set attributes of "+dest, Result(rDest), 0, set, 0, 0)
	}
}

package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// device is a device node of the container.
type device struct {
	path     string
	mode     uint32 // type and permissions
	dev      uint64
	uid, gid uint32
	origin   string
}

// defaultDevices are those that every Linux container has (config-linux.md, "Default Devices").
func defaultDevices() []device {
	var l []device
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}} {
		l = append(l, device{path: "/dev/" + d.name, mode: unix.S_IFCHR | 0o666, dev: unix.Mkdev(d.major, d.minor)})
	}
	return l
}

// devicesOf is what the spec asks for, with the default ones before that it does not name.
func devicesOf(spec *specs.Spec) ([]device, error) {
	var asked []device
	named := map[string]bool{}
	for i, d := range spec.Linux.Devices {
		origin := fmt.Sprintf("linux.devices[%d]", i)
		v, err := deviceOf(origin, d)
		if err != nil {
			return nil, err
		}
		if d.FileMode != nil {
			v.mode = v.mode&unix.S_IFMT | uint32(d.FileMode.Perm())
		}
		if d.UID != nil {
			v.uid = *d.UID
		}
		if d.GID != nil {
			v.gid = *d.GID
		}
		named[v.path] = true
		asked = append(asked, v)
	}
	var all []device
	for _, d := range defaultDevices() {
		if !named[d.path] {
			all = append(all, d)
		}
	}
	return append(all, asked...), nil
}

// deviceOf reads what every device has.
func deviceOf(origin string, d specs.LinuxDevice) (device, error) {
	var typ uint32
	switch d.Type {
	case "c", "u":
		typ = unix.S_IFCHR
	case "b":
		typ = unix.S_IFBLK
	case "p":
		typ = unix.S_IFIFO
	default:
		return device{}, fmt.Errorf("%s.type: no device type %q", origin, clip(d.Type))
	}
	const majors, minors = 1 << 12, 1 << 20
	switch clean := path.Clean(d.Path); {
	case !path.IsAbs(d.Path) || clean == "/" || slices.Contains(strings.Split(d.Path, "/"), ".."):
		return device{}, fmt.Errorf("%s.path: %q is not an absolute path of a file", origin, clip(d.Path))
	case d.Major < 0 || d.Major >= majors:
		return device{}, fmt.Errorf("%s.major: %d is not from 0 to %d", origin, d.Major, majors-1)
	case d.Minor < 0 || d.Minor >= minors:
		return device{}, fmt.Errorf("%s.minor: %d is not from 0 to %d", origin, d.Minor, minors-1)
	case d.UID != nil && *d.UID == noID || d.GID != nil && *d.GID == noID:
		return device{}, fmt.Errorf("%s: its owner %d is nobody", origin, uint32(noID))
	default:
		v := device{path: clean, mode: typ | 0o666, origin: origin}
		if typ != unix.S_IFIFO {
			v.dev = unix.Mkdev(uint32(d.Major), uint32(d.Minor))
		}
		return v, nil
	}
}

// links are the symbolic links of /dev (config-linux.md, "Default Devices" and runtime-linux.md, "Dev symbolic links").
var links = [][2]string{
	{"/proc/self/fd", "fd"},
	{"/proc/self/fd/0", "stdin"},
	{"/proc/self/fd/1", "stdout"},
	{"/proc/self/fd/2", "stderr"},
	{"/proc/kcore", "core"},
	{"pts/ptmx", "ptmx"},
}

// populate fills /dev. A bind of the host's /dev is left as it is. In a user namespace nodes cannot be made: the
// host's are bound.
func (p *program) populate(spec *specs.Spec, user bool) error {
	for _, m := range spec.Mounts {
		if path.Clean(m.Destination) == "/dev" && (m.Type == "bind" || parseOptions(m.Options).bind) {
			return nil
		}
	}
	devices, err := devicesOf(spec)
	if err != nil {
		return err
	}
	p.origin = "linux.devices"
	at := ""
	for _, d := range devices {
		if d.origin != "" {
			p.origin = d.origin
		}
		if user && d.mode&unix.S_IFMT != unix.S_IFIFO {
			p.file(d.path)
			p.attach("bind "+d.path, p.tree(Open{Name: "dev:" + d.path, Path: d.path, Device: d.dev, Propagation: unix.MS_PRIVATE}))
			continue
		}
		if dir := path.Dir(d.path); dir != at {
			at = dir
			p.dir(dir)
		}
		p.node(d)
	}
	p.origin = "linux.devices"
	p.dir("/dev")
	for _, l := range links {
		p.add("link /dev/"+l[1], Symlinkat, Text(l[0]), Result(rDest), Text(l[1])).on(unix.EEXIST, 0).
			sh("[ -e", "./dev/"+l[1], "] || [ -L", "./dev/"+l[1], "] || ln -s", l[0], "./dev/"+l[1])
	}
	return nil
}

// node makes one device in the directory in rDest. Whatever the image has under that name is replaced, never
// trusted: a link in its place would lead the runtime's own opens astray (CVE-2025-31133, CVE-2026-88265).
func (p *program) node(d device) {
	base := path.Base(d.path)
	p.add("make "+d.path, Mknodat, Result(rDest), Text(base), Int(d.mode), Int(d.dev)).on(unix.EEXIST, 0).
		sh(shellNode(d)).
		Skip = 2
	const temp = ".tripod-node"
	p.add("make "+d.path+" beside", Mknodat, Result(rDest), Text(temp), Int(d.mode), Int(d.dev))
	p.add("replace "+d.path, Renameat2, Result(rDest), Text(temp), Result(rDest), Text(base), Int(0))
	if d.uid != 0 || d.gid != 0 {
		p.add("open "+d.path, Openat, Result(rDest), Text(base), Int(unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)).save(rFile)
		p.add("own "+d.path, Fchownat, Result(rFile), empty, Int(d.uid), Int(d.gid), Int(unix.AT_EMPTY_PATH))
	}
}

// shellNode makes a device by mknod(1).
func shellNode(d device) string {
	at := quote("." + d.path)
	line := fmt.Sprintf("[ -e %s ] || mknod -m %o %s %s", at, d.mode&0o777, at, letter(d.mode))
	if d.mode&unix.S_IFMT != unix.S_IFIFO {
		line += fmt.Sprintf(" %d %d", unix.Major(d.dev), unix.Minor(d.dev))
	}
	if d.uid != 0 || d.gid != 0 {
		line += fmt.Sprintf(" && chown %d:%d %s", d.uid, d.gid, at)
	}
	return line
}

// shellMask hides a directory.
func shellMask(m string) string {
	return fmt.Sprintf("if [ -d %[1]s ]; then mount -t tmpfs -o ro,nr_blocks=1,nr_inodes=1 tmpfs %[1]s; fi", quote("."+m))
}

func letter(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFBLK:
		return "b"
	case unix.S_IFIFO:
		return "p"
	}
	return "c"
}

// terminal opens a pair of the container's own devpts, shows the slave as /dev/console and makes it stdin, stdout and
// stderr. The slave is had from the master by ioctl, never by a path (CVE-2025-52565).
func (p *program) terminal(console bool) {
	p.origin = "process.terminal"
	p.inside("open terminal", "/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY, rMaster)
	p.add("unlock terminal", Ioctl, Result(rMaster), Int(unix.TIOCSPTLCK), Bytes(make([]byte, 4)))
	p.add("open other end", Ioctl, Result(rMaster), Int(unix.TIOCGPTPEER), Int(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)).save(rSlave)
	if console {
		p.file("/dev/console")
		p.add("clone terminal's mount", OpenTree, Result(rSlave), empty, Int(uint(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|emptyPath))).save(rTree)
		p.attach("bind terminal at /dev/console", Result(rTree))
	}
	for i, name := range []string{"stdin", "stdout", "stderr"} {
		p.add("terminal as "+name, Dup3, Result(rSlave), Int(i), Int(0))
	}
	p.add("keep master for the keeper", Dup3, Result(rMaster), Int(ConsoleFD), Int(unix.O_CLOEXEC))
	p.add("close master", Close, Result(rMaster))
	p.add("close other end", Close, Result(rSlave))
}

// control makes stdin the controlling terminal of the session that this process leads.
func (p *program) control() {
	p.origin = "process.terminal"
	p.add("make it the controlling terminal", Ioctl, Int(0), Int(unix.TIOCSCTTY), Int(0))
}

// masks hides paths, and makes others read-only. What they are is known from Facts: /proc and /sys are the same
// kernel's, and a mount that fails costs an RCU grace period.
func (p *program) masks(l *specs.Linux, f Facts) error {
	for i, m := range l.ReadonlyPaths {
		p.origin = fmt.Sprintf("linux.readonlyPaths[%d]", i)
		if !path.IsAbs(m) {
			return fmt.Errorf("%s: %q is not an absolute path", p.origin, clip(m))
		}
		m = path.Clean(m)
		if f.Kinds[m] == Missing && kernelPath(m) {
			continue
		}
		p.inside("open "+m, m, unix.O_PATH, rDest).on(unix.ENOENT, 3)
		p.add("clone "+m, OpenTree, Result(rDest), empty, Int(uint(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|emptyPath|unix.AT_RECURSIVE))).save(rTree)
		p.attr("make "+m+" read-only", Result(rTree), unix.AT_RECURSIVE, unix.MOUNT_ATTR_RDONLY, 0, 0)
		p.attach("cover "+m, Result(rTree)).
			sh(fmt.Sprintf("if [ -e %[1]s ]; then mount --rbind %[1]s %[1]s; mount -o remount,bind,ro,$(findmnt -no VFS-OPTIONS -T %[1]s | sed 's/^rw//') %[1]s; fi", quote("."+m)))
	}
	for i, m := range l.MaskedPaths {
		p.origin = fmt.Sprintf("linux.maskedPaths[%d]", i)
		if !path.IsAbs(m) {
			return fmt.Errorf("%s: %q is not an absolute path", p.origin, clip(m))
		}
		m = path.Clean(m)
		switch {
		case f.Kinds[m] == Missing && kernelPath(m):
		case f.Kinds[m] == Dir && kernelPath(m):
			p.inside("open "+m, m, unix.O_PATH|unix.O_DIRECTORY, rDest).on(unix.ENOENT, 2)
			p.add("enter "+m, Fchdir, Result(rDest))
			p.add("mask "+m, Mount, Text("tmpfs"), Text("."), Text("tmpfs"), Int(unix.MS_RDONLY), Text("nr_blocks=1,nr_inodes=1")).
				sh(shellMask(m))
		case kernelPath(m):
			p.inside("open "+m, m, unix.O_PATH, rDest).on(unix.ENOENT, 2)
			p.maskFile(m)
		default:
			// A path of the image: a directory or a file, or nothing at all.
			p.inside("open "+m, m, unix.O_PATH|unix.O_DIRECTORY, rDest).on(unix.ENOENT, 5).on(unix.ENOTDIR, 2)
			p.add("enter "+m, Fchdir, Result(rDest))
			p.add("mask "+m, Mount, Text("tmpfs"), Text("."), Text("tmpfs"), Int(unix.MS_RDONLY), Text("nr_blocks=1,nr_inodes=1")).
				sh(shellMask(m)).Skip = 3
			p.inside("open "+m, m, unix.O_PATH, rDest).on(unix.ENOENT, 2)
			p.maskFile(m)
		}
	}
	return nil
}

// maskFile covers the file in rDest with the host's /dev/null: the child still sees the host's root here.
func (p *program) maskFile(m string) {
	p.add("clone /dev/null", OpenTree, cwd, Text("/dev/null"), Int(uint(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC))).save(rTree)
	p.attach("mask "+m, Result(rTree)).sh(fmt.Sprintf("if [ -e %[1]s ] && [ ! -d %[1]s ]; then mount --bind /dev/null %[1]s; fi", quote("."+m)))
}

func kernelPath(m string) bool {
	return strings.HasPrefix(m, "/proc/") || strings.HasPrefix(m, "/sys/")
}

package plan

import (
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Registers of a birth.
const (
	rRoot   Reg = iota + 1 // the container's /, for openat2
	rDest                  // what the next deed works on
	rWalk                  // a directory on the way to it
	rTree                  // a mount that is not attached yet
	rFile                  // a file of the host or of /proc
	rMaster                // the terminal's two ends
	rSlave
	rGroups // the tmpfs that the v1 hierarchies are mounted on
	rSysfs  // file systems of namespaces that are not the user namespace's
	rMqueue
	rListener
)

const (
	inRoot    = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	emptyPath = unix.AT_EMPTY_PATH
)

// how is a struct open_how of openat2(2).
func how(flags, mode, resolve uint64) Arg {
	var b [24]byte
	binary.NativeEndian.PutUint64(b[0:], flags|unix.O_CLOEXEC)
	binary.NativeEndian.PutUint64(b[8:], mode)
	binary.NativeEndian.PutUint64(b[16:], resolve)
	return Bytes(b[:])
}

// inside opens a path of the container, resolved in its root, into register r.
func (p *program) inside(name, file string, flags uint64, r Reg) *Step {
	return p.resolve(name, file, flags, inRoot, r)
}

func (p *program) resolve(name, file string, flags, by uint64, r Reg) *Step {
	rel := strings.TrimPrefix(path.Clean("/"+file), "/")
	if rel == "" {
		rel = "."
	}
	return p.add(name, Openat2, Result(rRoot), Text(rel), how(flags, 0, by), Int(24)).save(r)
}

// maxDepth bounds a path inside the container: a step can leave out 255 others at most.
const maxDepth = 100

// dir leaves the directory at file in rDest; what is missing of it is made, mode 0755.
func (p *program) dir(file string) { p.directory(file, inRoot) }

// mountpoint is dir for a mount. A file system of the kernel's, and what lies where one belongs, goes into a directory
// that no symbolic link leads to: what is hidden later has to be found again at the same place (CVE-2019-19921,
// CVE-2023-27561, CVE-2023-28642).
func (p *program) mountpoint(m specs.Mount) {
	dest := path.Clean("/" + m.Destination)
	if m.Type == "proc" || m.Type == "sysfs" || dest == "/proc" || dest == "/sys" || kernelPath(dest) {
		p.directory(m.Destination, inRoot|unix.RESOLVE_NO_SYMLINKS)
		return
	}
	p.dir(m.Destination)
}

func (p *program) directory(file string, by uint64) {
	parts := strings.FieldsFunc(path.Clean("/"+file), func(r rune) bool { return r == '/' })
	open := p.resolve("open "+file, file, unix.O_PATH|unix.O_DIRECTORY, by, rDest)
	if len(parts) == 0 {
		return
	}
	open.sh("mkdir -p", quote("."+path.Clean("/"+file)))
	if len(parts) > maxDepth {
		p.fail(fmt.Errorf("%s: %q is deeper than %d directories", p.origin, clip(file), maxDepth))
		return
	}
	open.on(unix.ENOENT, 0)
	open.Skip = uint8(2 * len(parts))
	parent, prefix := rRoot, ""
	for i, part := range parts {
		prefix += "/" + part
		p.add("make "+prefix, Mkdirat, Result(parent), Text(part), Int(0o755)).on(unix.EEXIST, 0)
		to := rWalk
		if i == len(parts)-1 {
			to = rDest
		}
		p.resolve("open "+prefix, prefix, unix.O_PATH|unix.O_DIRECTORY, by, to)
		parent = to
	}
}

// file leaves the file at name in rDest; a missing one is made empty, for a bind to cover it.
func (p *program) file(name string) {
	p.inside("open "+name, name, unix.O_PATH, rDest).on(unix.ENOENT, 0)
	at, before := len(p.steps)-1, len(p.steps)
	p.dir(path.Dir(path.Clean("/" + name)))
	p.add("make "+name, Mknodat, Result(rDest), Text(path.Base(name)), Int(unix.S_IFREG|0o644), Int(0)).on(unix.EEXIST, 0).
		sh("[ -e", quote("."+path.Clean("/"+name)), "] || : >", quote("."+path.Clean("/"+name)))
	p.inside("open "+name, name, unix.O_PATH, rDest)
	p.steps[at].Skip = uint8(len(p.steps) - before)
}

// attach puts the detached mount in tree onto rDest.
func (p *program) attach(name string, tree Arg) *Step {
	return p.add(name, MoveMount, tree, empty, Result(rDest), empty, Int(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// attr changes the mount whose root (or tree) is fd.
func (p *program) attr(name string, fd Arg, flags int, set, clr, propagation uint64) *Step {
	var b [32]byte
	binary.NativeEndian.PutUint64(b[0:], set)
	binary.NativeEndian.PutUint64(b[8:], clr)
	binary.NativeEndian.PutUint64(b[16:], propagation)
	return p.add(name, MountSetattr, fd, empty, Int(flags|emptyPath), Bytes(b[:]), Int(32))
}

// procfs is the name of the Open that is the host's /proc: the parent saw that it is a procfs, and its root.
const procfs = "proc"

// openProc opens a file of the host's procfs into rFile: nothing that is mounted on it, and no magic link in it, leads to
// another file. The namespaces of the writer, not of the mount, decide what /proc/sys means (CVE-2025-52881: never
// through the container's /proc).
func (p *program) openProc(file string, flags uint64) *Step {
	if !slices.ContainsFunc(p.opens, func(o Open) bool { return o.Name == procfs }) {
		p.open(Open{Name: procfs, Kind: Procfs, Path: "/proc"})
	}
	const by = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS
	return p.add("open /proc/"+file, Openat2, File(procfs), Text(file), how(flags|unix.O_NOFOLLOW, 0, by), Int(24)).save(rFile)
}

// write writes text to a file of the host's /proc.
func (p *program) write(name, file, text string) *Step {
	p.openProc(strings.TrimPrefix(file, "/proc/"), unix.O_WRONLY)
	s := p.add(name, Write, Result(rFile), Text(text), Int(len(text)))
	s.sh("echo", quote(text), ">", file)
	p.add("close "+file, Close, Result(rFile))
	return &p.steps[len(p.steps)-2]
}

func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+./,:@%") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Package plan is everything the kernel will be asked to do to turn a bundle into a process, in order, as plain data.
//
// A Plan has three parts. Opens are the host's files that the parent takes hold of before the birth: bind sources,
// namespaces, cgroups. Clone says how the child is cloned. Steps are the system calls that the child, single-threaded
// and before it is anybody's program, makes one after another; the last is execve. A Step knows its name and its
// origin, the field of the OCI runtime specification that asked for it, so that a failure can name both.
//
// Compile, CompileExec and CompilePause make Plans. They are pure: what depends on this host comes in by Facts.
// Package birth spends Plans. Nothing here makes a system call.
//
// Paths inside the container's root are never resolved by name alone: a step opens the destination with openat2
// RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS below the root's descriptor and works on what it got, so that neither a
// symbolic link in the image nor /proc/self/fd leads out (CVE-2019-18837, CVE-2024-21626, CVE-2025-31133).
package plan

import (
	"fmt"
	"strings"
	"time"

	"tripod/internal/seccomp"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Plan is one process to be.
type Plan struct {
	// Opens is what the parent opens, in this order, and undoes if the birth fails.
	Opens []Open
	// Clone is the flags of clone3(2) beside those that the birth itself needs.
	Clone uint64
	// IntoCgroup names the Open that is the child's cgroup for CLONE_INTO_CGROUP, or is "".
	IntoCgroup string
	// Lend lends the child the parent's memory until it is its program, and has the parent's thread wait that long
	// (CLONE_VM, CLONE_VFORK): nothing is copied. It is for a plan that inherits, halts nowhere, clones no second time, and
	// joins no time namespace, which takes a process that shares no memory.
	Lend bool
	// Birthplace names the Given file that is the PID namespace which the child is born into, or is "". It takes
	// CAP_SYS_ADMIN over that namespace, and no second clone.
	Birthplace string
	// Steps are spent in the child, in this order; the first that fails, and does not say what then, ends the birth.
	Steps []Step
	// Halts are where the child stops, tells that it is there, and waits for the parent's word, in order.
	Halts []Halt
	// Inherit leaves every descriptor that is not close-on-exec to the program, as any command does for another. Without
	// it all are closed but 0, 1, 2, and the child leaves the parent's program before it does anything.
	Inherit bool
	// Warnings are what the spec asks for and cannot have, where the runtime specification wants no error for that.
	Warnings []string
	// Filter is the seccomp filter that the steps load, or nil. A further process of the container is to have it too.
	Filter *seccomp.Filter
	// Trace, if any, is told after the birth of each step that was made, in order.
	Trace func(Spent)
}

// Spent is a step that was made.
type Spent struct {
	Step  int // its number; -1 is what the birth adds to the plan
	Name  string
	Call  Call
	Took  time.Duration
	Errno unix.Errno // what came of it; 0 is success
}

// Halt is why a child waits.
type Halt uint8

// The reasons to wait. A child comes to each once at most.
const (
	// Mounted: everything is there, the mounts too, and the host's root is still the child's: for hooks.
	Mounted Halt = iota
	// Terminal: the master of the terminal is at ConsoleFD, to be taken.
	Terminal
	// Listening: the listener of the seccomp filter is at the descriptor that register Listener has, to be taken.
	Listening
	// Created: the gate between created and running.
	Created
)

// ConsoleFD is where a child with a terminal keeps the master until the parent has taken it with pidfd_getfd(2).
const ConsoleFD = 200

// Names of descriptors that the parent of a birth always has, for File.
const (
	Stdin  = "stdin"
	Stdout = "stdout"
	Stderr = "stderr"
	Status = "status" // errors and "ready" go out here
	Gate   = "gate"   // the child waits here between created and running
	Latch  = "latch"  // or here, when it is to outlive its parent
)

// Open is one file of the host that the parent opens for the child.
type Open struct {
	Name   string   // what Steps call it
	Origin string   // the spec field that asked for it
	Kind   OpenKind // how it is opened
	Path   string   // on the host; "" when the caller hands in a descriptor of this Name

	// For Tree: a detached clone of the mount at Path, with these changes (mount_setattr(2)).
	NoFollow     bool // no symbolic link is followed on the way to Path
	Recursive    bool
	Set, Clear   uint64 // MOUNT_ATTR_* of the top mount
	RSet, RClear uint64 // MOUNT_ATTR_* of all mounts of the clone
	Propagation  uint64 // MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE; 0 keeps it
	Idmap        string // name of the Open (a user namespace) whose mapping the clone gets, or ""
	IdmapAll     bool   // the mapping is for all mounts of the clone
	Device       uint64 // the device that the file must be, or 0

	// For Mapping: what the user namespace maps.
	UIDs, GIDs []specs.LinuxIDMapping

	// For Tmpfs: mount data, and the directory below Path whose content is copied into it, resolved inside Path.
	Data, Copy string
}

// OpenKind is how an Open is opened.
type OpenKind uint8

// The kinds of Open.
const (
	Given     OpenKind = iota // the caller hands it in
	Tree                      // open_tree(OPEN_TREE_CLONE)
	Namespace                 // O_RDONLY of a namespace file, its type checked
	Mapping                   // a new user namespace, for idmapped mounts
	Tmpfs                     // a detached tmpfs with a copy of a directory in it
	Procfs                    // O_PATH of a procfs, seen to be one and its root
)

// Step is one system call of the child.
type Step struct {
	Name   string // what it does, for people: "mount proc at /proc"
	Origin string // what asked for it: "mounts[0]", or "" for what every container gets
	Call   Call
	Args   []Arg
	Save   Reg      // the register that keeps the result; 0 keeps none
	On     []Branch // what to do instead of failing
	Skip   uint8    // after success, steps to leave out
	When   When     // which results Skip is for
	// Again repeats the call as long as it is interrupted (EINTR).
	Again bool
	// Any goes on whatever the result is.
	Any bool
	// Fails is what a command of its own right says when this step fails, before the errno's text: "nsenter: cannot
	// change root directory: ". Exit is the exit code then. Plans of containers leave both to their parent.
	Fails string
	Exit  uint8
	// Script is the same deed as a line of shell, "" when a shell does it by itself or cannot.
	Script string
}

// When says for which results of a successful call its Skip holds.
type When uint8

// The conditions of a Skip.
const (
	Always When = iota
	NotZero
	Zero
)

// Branch says which step comes next after an errno: Skip steps are left out.
type Branch struct {
	Errno unix.Errno
	Skip  uint8
}

// Reg is a register of the child: a result that a later step uses. Register 0 is no register.
type Reg uint8

// Listener is the register of a seccomp filter's listener.
const Listener = rListener

// Registers is how many registers there are, with the unused register 0.
const Registers = 16

// Arg is one argument of a system call.
type Arg struct {
	Kind ArgKind
	N    uint64   // Int: the value; Result: the register; Zeroed: the size in bytes
	S    string   // Text: the string; File: the name; Bytes: the bytes
	List []string // Strings
}

// ArgKind is what an Arg is.
type ArgKind uint8

// The kinds of Arg.
const (
	IntArg     ArgKind = iota
	TextArg            // address of a string that ends in NUL
	BytesArg           // address of these bytes
	StringsArg         // address of an array of strings that ends in NULL
	ResultArg          // what a step saved
	FileArg            // number of the descriptor that has this name
	ZeroedArg          // address of zeroed bytes, private to this step
	InnerArg           // address where the parent finds the PID of the inner clone
	FilterArg          // address of a struct sock_fprog of these instructions
	BelowArg           // one less than the number of the descriptor that has this name
	AboveArg           // one more
)

// Int is a number as an argument.
func Int[T ~int | ~int32 | ~int64 | ~uint | ~uint32 | ~uint64 | ~uintptr](n T) Arg {
	return Arg{N: uint64(n)}
}

// Text is a C string as an argument.
func Text(s string) Arg { return Arg{Kind: TextArg, S: s} }

// Bytes is memory as an argument.
func Bytes(b []byte) Arg { return Arg{Kind: BytesArg, S: string(b)} }

// Strings is an array of C strings as an argument.
func Strings(l []string) Arg { return Arg{Kind: StringsArg, List: l} }

// Result is what an earlier step saved.
func Result(r Reg) Arg { return Arg{Kind: ResultArg, N: uint64(r)} }

// File is the descriptor of that name.
func File(name string) Arg { return Arg{Kind: FileArg, S: name} }

var (
	cwd   = Int(unix.AT_FDCWD)
	null  = Arg{}
	empty = Text("")
)

// Facts is what a Plan depends on and a spec does not say: read once by the caller, plain data here.
type Facts struct {
	LastCap  int             // the highest capability of this kernel, from /proc/sys/kernel/cap_last_cap
	Caps     uint64          // the caller's permitted capabilities; 0 says that they are not known
	Nested   bool            // the caller is in a user namespace, where no device can be made
	Labels   Labels          // security modules
	Kinds    map[string]Kind // of the host's files: bind sources, and masked and read-only paths below /proc and /sys
	Ignored  uint64          // signals that the parent ignores, bit N-1 for signal N
	NoFile   Rlimit          // RLIMIT_NOFILE for a process whose spec names none
	Cgroup   Cgroup
	Extra    int     // how many Given files "extra:0" … the process gets as descriptors from 3 on
	Keyring  bool    // the caller's session keyring is kept
	ChownStd [3]bool // stdin, stdout, stderr are the caller's own pipes: they are given to the container's user
}

// Kind is what a path of the host is.
type Kind uint8

// The kinds of path.
const (
	Missing Kind = iota
	Regular      // anything but a directory
	Dir
	Proc // the root of a procfs; told only of what is bound at /proc
)

// Rlimit is a pair of limits as prlimit(2) takes it.
type Rlimit struct{ Soft, Hard uint64 }

// Cgroup is how the host's cgroups and the container's place in them look from inside.
type Cgroup struct {
	Unified string      // mount point of the cgroup v2 hierarchy, "" without one
	V1      []Hierarchy // cgroup v1 hierarchies
	Path    string      // of the container in each hierarchy, below the mount point
	Tasks   int         // how many Given files "cgroup:0" … the child writes 0 to
	Into    bool        // the Given file "cgroup:into" is there, for CLONE_INTO_CGROUP
}

// Hierarchy is one cgroup v1 hierarchy.
type Hierarchy struct {
	Name       string // last part of the mount point: "cpu,cpuacct", "systemd"
	Data       string // mount data: "cpu,cpuacct", "none,name=systemd"
	Mountpoint string
	Links      []string // other names of it: "cpu", "cpuacct"
}

// Rootfs is how the container's / is made, in the child's own mount namespace.
type Rootfs struct {
	// Lower are the directories of an overlay, topmost first, absolute.
	Lower []string `json:"lower,omitempty"`
	// Upper and Work are the overlay's writable half: two directories in one. Both "" makes it read-only.
	Upper string `json:"upper,omitempty"`
	Work  string `json:"work,omitempty"`
	// Scratch puts the writable half into a tmpfs of the container's own, for stores on a file system that overlayfs
	// refuses as an upper (an overlay, NFS).
	Scratch bool `json:"scratch,omitempty"`
	// Path is a plain directory used instead of an overlay.
	Path string `json:"path,omitempty"`
	// Owned says that the files of Path belong to the host's ids of the container's users already: a user namespace needs
	// no mapping of them, and no Mountpoint.
	Owned bool `json:"owned,omitempty"`
	// Mountpoint is an empty directory of the host on which the child mounts the root, in its own namespace only.
	Mountpoint string `json:"mountpoint,omitempty"`
}

// program collects steps. Its methods are named after what they ask the kernel for.
type program struct {
	opens  []Open
	steps  []Step
	halts  []Halt
	origin string
	warned []string
	// unprivileged: the child has no rights on the host, and opens what is the host's as the user namespace's root.
	unprivileged bool
	err          error // the first thing that no step can say
}

// add appends one step and returns it, to be completed by the caller.
func (p *program) add(name string, call Call, args ...Arg) *Step {
	for _, a := range args {
		if a.Kind == TextArg && len(a.S) >= maxText {
			p.fail(fmt.Errorf("%s: %q… is %d bytes, and the kernel takes %d", p.origin, a.S[:64], len(a.S), maxText-1))
		}
		if strings.ContainsRune(a.S, 0) && a.Kind == TextArg || strings.ContainsRune(strings.Join(a.List, ""), 0) {
			p.fail(fmt.Errorf("%s: %q has a NUL byte in it", p.origin, name))
		}
	}
	p.steps = append(p.steps, Step{Name: name, Origin: p.origin, Call: call, Args: args})
	return &p.steps[len(p.steps)-1]
}

// maxText is how long a path, and the data of a mount, may be for the kernel, with the NUL at the end: it would cut
// mount data short without a word.
const maxText = 4096

// fail keeps the first error.
func (p *program) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *program) open(o Open) Arg {
	o.Origin = p.origin
	if len(o.Path) >= maxText {
		p.fail(fmt.Errorf("%s: the path %q… is %d bytes, and the kernel takes %d", p.origin, o.Path[:64], len(o.Path), maxText-1))
	}
	if strings.ContainsRune(o.Path, 0) {
		p.fail(fmt.Errorf("%s: the path %q has a NUL byte in it", p.origin, clip(o.Path)))
	}
	p.opens = append(p.opens, o)
	return File(o.Name)
}

// tree is a detached clone of a mount of the host. The parent makes it, whatever the child may still do by then; one
// that has no rights on the host leaves it to the child, as the root of its user namespace.
func (p *program) tree(o Open) Arg {
	if !p.unprivileged {
		o.Kind = Tree
		return p.open(o)
	}
	how := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if o.Recursive {
		how |= unix.AT_RECURSIVE
	}
	if o.NoFollow || o.Idmap != "" {
		p.fail(fmt.Errorf("%s: options %s and idmap need privileges on the host", p.origin, NoFollow))
	}
	p.add("clone "+o.Path, OpenTree, cwd, Text(o.Path), Int(how)).save(rTree)
	for _, c := range []struct {
		flags            int
		set, clr, spread uint64
	}{{unix.AT_RECURSIVE, 0, 0, o.Propagation}, {0, o.Set, o.Clear, 0}, {unix.AT_RECURSIVE, o.RSet, o.RClear, 0}} {
		if c.set|c.clr|c.spread != 0 {
			p.attr("change "+o.Path, Result(rTree), c.flags, c.set, c.clr, c.spread)
		}
	}
	return Result(rTree)
}

// on says that errno is no failure: skip steps are left out instead.
func (s *Step) on(errno unix.Errno, skip int) *Step {
	s.On = append(s.On, Branch{errno, uint8(skip)})
	return s
}

func (s *Step) save(r Reg) *Step { s.Save = r; return s }

func (s *Step) sh(words ...string) *Step { s.Script = strings.Join(words, " "); return s }

// Package nsenter runs a program in the namespaces of another process.
//
// It does what util-linux's nsenter(1) 2.42 does, option by option, and more. Parse turns words into Options. Decide,
// a pure function of Options and Facts, makes a Joining: what is joined in which order, as whom, and the plan.Plan that
// does it. Run opens what the Joining needs, and spends the Plan in this process itself, or in a child that it waits
// for when there is a PID namespace to enter, a terminal to serve or something to undo.
//
// Words. The target is the process whose namespaces are wanted. A pass is one try at joining: the first with the
// caller's own rights, its errors ignored; the second after the user namespace is joined, its errors fatal. So the
// privileged enter a user namespace last, and others enter it first.
package nsenter

import (
	"tripod/internal/ns"
)

// Options are the words of the command line. The zero value asks for nothing.
type Options struct {
	Target  string              // -t as it was written: PID, PID:INODE or a name; "" without
	Operand bool                // it was the first operand, not an option's value
	Start   uint64              // --start-time: when the target began, in clock ticks since boot; 0 when that is not checked
	All     bool                // -a: every namespace of the target
	Spaces  [ns.NumTypes]Choice // -m -u -i -n -p -C -U -T
	Socket  int                 // -N: a socket of the target's whose network namespace is wanted; -1 without

	UserParent  bool // --user-parent: the parent of the user namespace that would be joined
	UID, GID    ID   // -S, -G
	Preserve    bool // --preserve-credentials
	KeepCaps    bool // --keep-caps
	Root        Choice
	Dir         Choice // -w: opened before the namespaces change
	DirInside   Choice // -W: opened after
	Env         bool   // -e: the target's environment in the place of the caller's
	NoFork      bool   // -F
	JoinCgroup  bool   // -c
	FollowLabel bool   // -Z: the target's SELinux context

	PIDForChildren bool   // the PID namespace that the target's children get
	LikeContainer  bool   // the target's limits, groups, capabilities, label
	MountProc      bool   // a /proc that shows the PID namespace, in a mount namespace of its own
	PTY            bool   // a terminal of its own
	ForwardSignals bool   // signals go on to the program
	KillChild      int    // the signal that the program gets when nsenter dies; 0 for none
	Tools          string // directories of tools that are laid over the target's root: see Tools
	Explain        bool   // print what would be done

	Help, Version bool
	Args          []string // the program and its arguments
}

// Choice is something that is wanted from the target, or from a path when there is one.
type Choice struct {
	Wanted bool
	Given  bool // Path was written, though it may be ""
	Path   string
}

// ID is a user's or group's number.
type ID struct {
	Set    bool
	Follow bool // the target's
	N      uint32
}

// order is how namespaces are joined: all that a user namespace may stand before. It is nsenter(1)'s.
var order = [...]ns.Type{ns.Cgroup, ns.IPC, ns.UTS, ns.Net, ns.PID, ns.Mnt, ns.Time}

// asksNothing says that the options would change nothing about a program.
func (o Options) asksNothing() bool {
	for _, c := range o.Spaces {
		if c.Wanted {
			return false
		}
	}
	return !o.All && o.Socket < 0 && !o.UserParent && !o.UID.Set && !o.GID.Set && !o.Root.Wanted && !o.Dir.Wanted &&
		!o.DirInside.Wanted && !o.Env && !o.JoinCgroup && !o.FollowLabel && !o.LikeContainer && !o.MountProc && !o.PTY &&
		o.Tools == "" && !o.PIDForChildren
}

// Forks says whether the program is a child of nsenter's: there is something to do while it runs, or a PID namespace
// that only a child comes into.
func (o Options) Forks() bool {
	pid := (o.All || o.Spaces[ns.PID].Wanted || o.PIDForChildren) && !o.NoFork
	return pid || o.PTY || o.ForwardSignals || o.KillChild != 0
}

package plan

import "golang.org/x/sys/unix"

// Call is a system call, by the name that all architectures share.
type Call uint8

// The calls that Plans are made of. Only calls that every architecture of Linux has are here: the *at forms, no open,
// mkdir or symlink.
const (
	Capset Call = iota + 1
	Chdir
	Chroot
	Clone
	CloseRange
	Close
	Dup3
	Execve
	Execveat
	ExitGroup
	Faccessat
	Fchdir
	Fchown
	Fchownat
	Fcntl
	Fsconfig
	Fsmount
	Fsopen
	Ioctl
	IoprioSet
	Keyctl
	Mkdirat
	Mknodat
	Mount
	MountSetattr
	MoveMount
	OpenTree
	Openat
	Openat2
	Personality
	PivotRoot
	Prctl
	Prlimit64
	Read
	Renameat2
	RtSigaction
	RtSigprocmask
	SchedSetaffinity
	SchedSetattr
	Seccomp
	Setdomainname
	Setgroups
	Sethostname
	Setns
	Setresgid
	Setresuid
	Setsid
	Socket
	Symlinkat
	Umask
	Umount2
	Unshare
	Write
	callEnd
)

// calls has each Call's name and its number on the architecture that this was compiled for.
var calls = [callEnd]struct {
	name string
	nr   uint16
}{
	Capset:           {"capset", unix.SYS_CAPSET},
	Chdir:            {"chdir", unix.SYS_CHDIR},
	Chroot:           {"chroot", unix.SYS_CHROOT},
	Clone:            {"clone", unix.SYS_CLONE},
	CloseRange:       {"close_range", unix.SYS_CLOSE_RANGE},
	Close:            {"close", unix.SYS_CLOSE},
	Dup3:             {"dup3", unix.SYS_DUP3},
	Execve:           {"execve", unix.SYS_EXECVE},
	Execveat:         {"execveat", unix.SYS_EXECVEAT},
	ExitGroup:        {"exit_group", unix.SYS_EXIT_GROUP},
	Faccessat:        {"faccessat", unix.SYS_FACCESSAT},
	Fchdir:           {"fchdir", unix.SYS_FCHDIR},
	Fchown:           {"fchown", unix.SYS_FCHOWN},
	Fchownat:         {"fchownat", unix.SYS_FCHOWNAT},
	Fcntl:            {"fcntl", unix.SYS_FCNTL},
	Fsconfig:         {"fsconfig", unix.SYS_FSCONFIG},
	Fsmount:          {"fsmount", unix.SYS_FSMOUNT},
	Fsopen:           {"fsopen", unix.SYS_FSOPEN},
	Ioctl:            {"ioctl", unix.SYS_IOCTL},
	IoprioSet:        {"ioprio_set", unix.SYS_IOPRIO_SET},
	Keyctl:           {"keyctl", unix.SYS_KEYCTL},
	Mkdirat:          {"mkdirat", unix.SYS_MKDIRAT},
	Mknodat:          {"mknodat", unix.SYS_MKNODAT},
	Mount:            {"mount", unix.SYS_MOUNT},
	MountSetattr:     {"mount_setattr", unix.SYS_MOUNT_SETATTR},
	MoveMount:        {"move_mount", unix.SYS_MOVE_MOUNT},
	OpenTree:         {"open_tree", unix.SYS_OPEN_TREE},
	Openat:           {"openat", unix.SYS_OPENAT},
	Openat2:          {"openat2", unix.SYS_OPENAT2},
	Personality:      {"personality", unix.SYS_PERSONALITY},
	PivotRoot:        {"pivot_root", unix.SYS_PIVOT_ROOT},
	Prctl:            {"prctl", unix.SYS_PRCTL},
	Prlimit64:        {"prlimit64", unix.SYS_PRLIMIT64},
	Read:             {"read", unix.SYS_READ},
	Renameat2:        {"renameat2", unix.SYS_RENAMEAT2},
	RtSigaction:      {"rt_sigaction", unix.SYS_RT_SIGACTION},
	RtSigprocmask:    {"rt_sigprocmask", unix.SYS_RT_SIGPROCMASK},
	SchedSetaffinity: {"sched_setaffinity", unix.SYS_SCHED_SETAFFINITY},
	SchedSetattr:     {"sched_setattr", unix.SYS_SCHED_SETATTR},
	Seccomp:          {"seccomp", unix.SYS_SECCOMP},
	Setdomainname:    {"setdomainname", unix.SYS_SETDOMAINNAME},
	Setgroups:        {"setgroups", unix.SYS_SETGROUPS},
	Sethostname:      {"sethostname", unix.SYS_SETHOSTNAME},
	Setns:            {"setns", unix.SYS_SETNS},
	Setresgid:        {"setresgid", unix.SYS_SETRESGID},
	Setresuid:        {"setresuid", unix.SYS_SETRESUID},
	Setsid:           {"setsid", unix.SYS_SETSID},
	Socket:           {"socket", unix.SYS_SOCKET},
	Symlinkat:        {"symlinkat", unix.SYS_SYMLINKAT},
	Umask:            {"umask", unix.SYS_UMASK},
	Umount2:          {"umount2", unix.SYS_UMOUNT2},
	Unshare:          {"unshare", unix.SYS_UNSHARE},
	Write:            {"write", unix.SYS_WRITE},
}

// String is the call's name.
func (c Call) String() string {
	if c == 0 || c >= callEnd {
		return "?"
	}
	return calls[c].name
}

// Number is the call's number on this architecture.
func (c Call) Number() uint16 { return calls[c].nr }

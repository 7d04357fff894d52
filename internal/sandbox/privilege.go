package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/cgroup"
)

// PrivilegeError says what this process lacks to make a Pod.
type PrivilegeError struct {
	What string
	Fix  string
}

func (e *PrivilegeError) Error() string { return "cannot run Pods here: " + e.What }

// Hint says how to get it.
func (e *PrivilegeError) Hint() string { return e.Fix }

// Privileged returns a PrivilegeError when this process lacks something that every Pod needs. It changes nothing.
func Privileged() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return &PrivilegeError{"cannot read /proc/self/status: " + err.Error(), "mount proc on /proc"}
	}
	ids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		ids = nil // a kernel without user namespaces
	}
	if err := lacks(string(status), string(ids), os.Geteuid()); err != nil {
		return err
	}
	if seccomped(string(status)) {
		for _, p := range probes {
			if err := refused(p.call()); err != nil {
				return &PrivilegeError{
					fmt.Sprintf("a seccomp filter refuses %s (%v)", p.name, err),
					"the container around us needs seccomp=unconfined, as with docker run --privileged",
				}
			}
		}
	}
	if err := descriptors(); err != nil {
		return err
	}
	return cgroups()
}

// fewest descriptors with which a Pod of some containers can be made, and taken away again.
const fewest = 256

func descriptors() error {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err == nil && r.Max < fewest {
		return &PrivilegeError{fmt.Sprintf("a process may have %d files open, and %d are needed", r.Max, fewest), fmt.Sprintf("ulimit -n %d, or more", fewest)}
	}
	return nil
}

// needed are the capabilities without which no container can be made, by number (linux/capability.h).
var needed = []struct {
	number int
	name   string
}{
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"},
	{unix.CAP_SYS_CHROOT, "CAP_SYS_CHROOT"},
	{unix.CAP_MKNOD, "CAP_MKNOD"},
	{unix.CAP_CHOWN, "CAP_CHOWN"},
	{unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"},
	{unix.CAP_FOWNER, "CAP_FOWNER"},
	{unix.CAP_SETUID, "CAP_SETUID"},
	{unix.CAP_SETGID, "CAP_SETGID"},
	{unix.CAP_SETPCAP, "CAP_SETPCAP"},
	{unix.CAP_KILL, "CAP_KILL"},
}

// lacks reads what /proc says of a process: its user, its user namespace and its capabilities.
func lacks(status, ids string, uid int) error {
	if f := strings.Fields(ids); len(f) == 3 && !(f[0] == "0" && f[1] == "0" && f[2] == "4294967295") {
		return &PrivilegeError{"this process is in a user namespace", "run it as root of the host"}
	}
	have, err := strconv.ParseUint(field(status, "CapEff"), 16, 64)
	if err != nil {
		return &PrivilegeError{"cannot read CapEff in /proc/self/status", "mount proc on /proc"}
	}
	var missing []string
	for _, c := range needed {
		if have&(1<<c.number) == 0 {
			missing = append(missing, c.name)
		}
	}
	switch {
	case len(missing) == 0:
		return nil
	case uid != 0:
		return &PrivilegeError{"it needs root", "use sudo"}
	}
	return &PrivilegeError{"missing " + strings.Join(missing, ", "), "the container around us needs more privileges, as with docker run --privileged"}
}

// seccomped reports whether a filter is on this process (proc(5): Seccomp: 2).
func seccomped(status string) bool { return field(status, "Seccomp") == "2" }

func field(status, name string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// probes are calls with arguments that can do nothing: where they are allowed they fail for their arguments, and where
// a filter refuses them they fail for that.
var probes = []struct {
	name string
	call func() error
}{
	{"mount", func() error { return unix.Mount("none", "/proc/self/fd/-1", "tmpfs", 0, "") }},
	{"umount2", func() error { return unix.Unmount("/proc/self/fd/-1", 0) }},
	{"pivot_root", func() error { return unix.PivotRoot("/proc/self/fd/-1", "/proc/self/fd/-1") }},
	{"setns", func() error { return unix.Setns(-1, 0) }},
	{"unshare", unshare},
	{"clone3", func() error { // with arguments of no size
		_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0)
		return errno
	}},
	{"open_tree", func() error { _, err := unix.OpenTree(-1, "", 0); return err }},
	{"move_mount", func() error { return unix.MoveMount(-1, "", -1, "", 0) }},
	{"mount_setattr", func() error { return unix.MountSetattr(-1, "", 0, &unix.MountAttr{}) }},
	{"openat2", func() error { _, err := unix.Openat2(-1, "", &unix.OpenHow{}); return err }},
	{"mknodat", func() error { return unix.Mknodat(-1, "none", 0, 0) }},
	{"keyctl", func() error { _, err := unix.KeyctlInt(-1, 0, 0, 0, 0); return err }},
	{"seccomp", func() error {
		_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, ^uintptr(0), 0, 0)
		return errno
	}},
	{"sethostname", func() error {
		// A length that no kernel takes, so nothing is set.
		_, _, errno := unix.RawSyscall(unix.SYS_SETHOSTNAME, 0, ^uintptr(0), 0)
		return errno
	}},
}

// unshare makes a UTS namespace for a thread that ends with it: no argument of unshare is refused by all kernels alike.
func unshare() error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		done <- unix.Unshare(unix.CLONE_NEWUTS)
	}()
	return <-done
}

// refused returns the error of a call that was not allowed, and nil for one that failed for its arguments.
func refused(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EACCES) {
		return err
	}
	return nil
}

// cgroups says what is wrong with this host's cgroups for us.
func cgroups() error {
	host, err := cgroup.Detect()
	if err != nil {
		return &PrivilegeError{err.Error(), "mount the cgroup file systems below /sys/fs/cgroup"}
	}
	for _, y := range host.Hierarchies {
		if err := unix.Access(y.Mountpoint, unix.W_OK); err != nil {
			return &PrivilegeError{
				fmt.Sprintf("cannot write to %s: %v", y.Mountpoint, err),
				"the cgroup file systems must be writable, as with docker run --privileged --cgroupns host",
			}
		}
	}
	return nil
}

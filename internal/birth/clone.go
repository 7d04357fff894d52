package birth

import (
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// spend clones a child that spends the ops of state and returns its PID, or a negative errno.
//
//go:noescape
func spend(args, size, state uintptr) (pid uintptr)

// lift moves descriptors away from the numbers that the plan gives a meaning: 0, 1, 2, those that the process gets beside
// them, the first ones that it closes by range, and the console's.
func lift(fds map[string]int, own *[]int) error {
	low := 3
	for name := range fds {
		if strings.HasPrefix(name, "extra:") {
			low++
		}
	}
	for name, fd := range fds {
		if fd > low && fd != plan.ConsoleFD {
			continue
		}
		if err := raise(fds, name, low+1, own); err != nil {
			return err
		}
	}
	return nil
}

// raise gives a descriptor of the plan a number from low on, which is not the console's.
func raise(fds map[string]int, name string, low int, own *[]int) error {
	up, err := unix.FcntlInt(uintptr(fds[name]), unix.F_DUPFD_CLOEXEC, low)
	if err == nil && up == plan.ConsoleFD {
		*own = append(*own, up)
		up, err = unix.FcntlInt(uintptr(fds[name]), unix.F_DUPFD_CLOEXEC, plan.ConsoleFD+1)
	}
	if err != nil {
		return fmt.Errorf("cannot duplicate descriptor of %s: %w", name, err)
	}
	*own = append(*own, up)
	fds[name] = up
	return nil
}

// above gives gate and latch higher numbers than the status pipe, in this order: a plan that keeps them closes what is
// around them.
func above(fds map[string]int, own *[]int) error {
	last := fds[plan.Status]
	for _, name := range []string{plan.Gate, plan.Latch} {
		if fd, ok := fds[name]; ok && fd <= last {
			if err := raise(fds, name, last+1, own); err != nil {
				return err
			}
		}
		last = max(last, fds[name])
	}
	return nil
}

// cloneArgs is struct clone_args of clone3(2).
type cloneArgs struct {
	flags, pidFD, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

func (c *Child) clone(fds map[string]int, begin *state) error {
	args := (*cloneArgs)(unsafe.Pointer(c.arena.alloc(int(unsafe.Sizeof(cloneArgs{})))))
	pidfd := (*int32)(unsafe.Pointer(c.arena.alloc(4)))
	*args = cloneArgs{
		flags:      c.plan.Clone | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND,
		pidFD:      uint64(uintptr(unsafe.Pointer(pidfd))),
		exitSignal: uint64(unix.SIGCHLD),
	}
	if begin != c.arena.state || c.plan.Lend {
		// The few calls up to the seed need no copy of this program's memory, nor do they write to it.
		args.flags |= unix.CLONE_VM | unix.CLONE_VFORK
	}
	if c.plan.IntoCgroup != "" {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(fds[c.plan.IntoCgroup])
	}
	if c.plan.Birthplace != "" {
		back, err := unix.Open("/proc/self/ns/pid", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot open own PID namespace: %w", err)
		}
		defer unix.Close(back)
		begin.into, begin.back = uintptr(fds[c.plan.Birthplace])+1, uintptr(back)
	}
	pid := int(spend(uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), uintptr(unsafe.Pointer(begin))))
	runtime.KeepAlive(c.arena)
	if pid < 0 {
		return &StepError{Step: -1, Name: "clone", Origin: "linux.namespaces", Errno: unix.Errno(-pid)}
	}
	c.Pid, c.PidFD = pid, int(*pidfd)
	return nil
}

package keeper

import (
	"errors"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"tripod/internal/ns"
)

// adopt has f called when a child of this process has ended. The pidfd is adopt's from then on.
func (k *keep) adopt(pid, pidfd int, f func(Exit)) error {
	ready := func() {
		exit, ended := reap(pidfd)
		if !ended {
			return
		}
		k.loop.closeFD(pidfd)
		delete(k.known, pid)
		f(exit)
	}
	k.known[pid] = ready
	return k.loop.on(pidfd, unix.EPOLLIN, ready)
}

// strays reaps children that nobody adopted: processes that lost their parents, which the kernel gives to a subreaper.
// While a child is being made, birth itself waits for what it clones, so strays have to wait.
func (k *keep) strays() {
	for k.making == 0 {
		pid, _, ok := wait(unix.P_ALL, 0, unix.WNOWAIT)
		if !ok {
			return
		}
		if ready := k.known[pid]; ready != nil {
			ready()
			if k.known[pid] != nil {
				return
			}
			continue
		}
		wait(unix.P_PID, pid, 0)
	}
}

// reap takes the end of the process behind a pidfd, if it has ended.
func reap(pidfd int) (Exit, bool) {
	_, exit, ok := wait(unix.P_PIDFD, pidfd, 0)
	return exit, ok
}

// wait is waitid(2), which never blocks here. An error counts as the end: there is nothing to wait for.
func wait(kind, id, flags int) (pid int, exit Exit, ok bool) {
	// The part of siginfo_t that waitid fills in on 64-bit Linux, padded to its 128 bytes.
	var info struct {
		signo, errno, code, _ int32
		pid, uid, status      int32
		_                     [25]int32
	}
	err := again(func() error {
		return unix.Waitid(kind, id, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|flags, nil)
	})
	if err != nil {
		return 0, Exit{Code: exitUnknown}, kind == unix.P_PIDFD && !errors.Is(err, unix.EAGAIN)
	}
	if info.pid == 0 {
		return 0, Exit{}, false
	}
	const exited = 1 // CLD_EXITED
	exit.Code = int(info.status)
	if info.code != exited {
		exit.Signal = int(info.status)
		exit.Code = 128 + exit.Signal
	}
	return int(info.pid), exit, true
}

// exitUnknown is the exit code of a process whose end nobody saw, as kubelet has it for ContainerStatusUnknown.
const exitUnknown = 137

// processOf names a process so that its number alone is not believed.
func processOf(pid int) Process {
	return Process{Pid: pid, Start: startTime(pid)}
}

// startTime is when a process started, in clock ticks since boot; 0 if there is none.
func startTime(pid int) uint64 {
	p := ns.Process{PID: pid}
	if p.ReadStat("/proc") != nil {
		return 0
	}
	return p.Start
}

func bootID() string {
	text, _ := readSmall("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(text)
}

// readSmall reads the first 4 KiB of a file.
func readSmall(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, 4<<10)
	n, err := unix.Read(fd, buf)
	return string(buf[:max(n, 0)]), err
}

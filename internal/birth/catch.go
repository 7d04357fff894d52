package birth

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigaction is struct sigaction as the kernel has it on every architecture that this is made for.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

const (
	saSiginfo  = 0x00000004
	saRestorer = 0x04000000
	saOnStack  = 0x08000000
	saRestart  = 0x10000000
)

// catching says where a caught signal goes: the pipe's end, and what Go's runtime does with a fault of its own. The
// handlers read it.
var catching struct {
	runtime uintptr
	fd      int32
}

// handlers are for signals that others send, for those that a fault of this program's can be too, and the way back from
// both.
func handlers() (sent, fault, back uintptr)

// passedOn says that a signal is one to be passed on to another process: not one of our own children's, of Go's scheduler
// or of our own pipes, none that cannot be caught, and none of the three that C libraries keep for themselves.
func passedOn(n unix.Signal) bool {
	switch n {
	case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGKILL, unix.SIGSTOP, 32, 33, 34:
		return false
	}
	return true
}

// Catch has every signal that can be passed on written to a pipe, from now until the end of this process: its number as one
// byte. It returns the end to read. os/signal does the like with three changes of thread for each signal, together as long as
// half of a short container's life.
func Catch() (int, error) {
	var ends [2]int
	// A pipe that nobody empties holds more signals than anybody means: what does not fit is lost, and none waits.
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return -1, fmt.Errorf("cannot make pipe for signals: %w", err)
	}
	catching.fd = int32(ends[1])
	sent, fault, back := handlers()
	for n := unix.Signal(1); n <= 64; n++ {
		if !passedOn(n) {
			continue
		}
		a := sigaction{handler: sent, flags: saSiginfo | saRestorer | saOnStack | saRestart, restorer: back, mask: ^uint64(0)}
		switch n {
		case unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS:
			var old sigaction
			if errno := act(n, nil, &old); errno != 0 || old.handler <= 1 {
				continue
			}
			catching.runtime, a.handler = old.handler, fault
		}
		if errno := act(n, &a, nil); errno != 0 {
			return -1, fmt.Errorf("cannot catch signal %d: %w", n, errno)
		}
	}
	return ends[0], nil
}

func act(n unix.Signal, to, old *sigaction) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	return errno
}

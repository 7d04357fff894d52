package birth

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ignored are the signals that this process ignores, bit N-1 for signal N: it was born so (nohup, a shell's background
// job), and its children would be too.
func Ignored() (set uint64) {
	const ignore = 1 // SIG_IGN
	for n := uintptr(1); n <= 64; n++ {
		// struct sigaction as the kernel has it; the handler comes first on every architecture.
		var old [4]uintptr
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, n, 0, uintptr(unsafe.Pointer(&old)), 8, 0, 0)
		if errno == 0 && old[0] == ignore {
			set |= 1 << (n - 1)
		}
	}
	return set
}

// Mask is the calling thread's signal mask, as rt_sigprocmask(2) takes it.
func Mask() []byte {
	set := make([]byte, 8)
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, 0, 0, uintptr(unsafe.Pointer(&set[0])), 8, 0, 0)
	return set
}

// Default gives signals the disposition that a program without handlers has: the Go runtime would print its goroutines
// on a SIGQUIT. Ignored ones stay ignored.
func Default(signals ...unix.Signal) {
	var action [4]uintptr
	for _, n := range signals {
		var old [4]uintptr
		const ignore = 1 // SIG_IGN
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), 0, uintptr(unsafe.Pointer(&old)), 8, 0, 0)
		if errno == 0 && old[0] != ignore {
			_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
		}
	}
}

// Die ends this process by a signal, as a child of it has ended: without a core of its own. It returns when the signal
// does not kill.
func Die(sig unix.Signal) {
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	Default(sig)
	var none [8]byte
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&none)), 0, 8, 0, 0)
	_ = unix.Kill(unix.Getpid(), sig)
}

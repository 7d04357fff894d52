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

package ns

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Scan makes tens of thousands of the system calls below, on files of proc that never wait. They are made without what package unix
// adds to each: a copy of the name on the heap, and two words to the scheduler, whose watchman wakes for them. A seventh of Scan's
// time is saved.

// readlinkat is readlinkat(2) of a short name.
func readlinkat(dir int, name string, buf []byte) (int, error) {
	var text [32]byte // the rest stays 0: the end of the name
	if copy(text[:len(text)-1], name) < len(name) || len(buf) == 0 {
		return 0, unix.ENAMETOOLONG
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_READLINKAT, uintptr(dir), uintptr(unsafe.Pointer(&text)), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0)
	if errno != 0 {
		return 0, syscall.Errno(errno)
	}
	return int(n), nil
}

// openat is openat(2) of a short name.
func openat(dir int, name string, flags int) (int, error) {
	var text [32]byte
	if copy(text[:len(text)-1], name) < len(name) {
		return -1, unix.ENAMETOOLONG
	}
	fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(&text)), uintptr(flags), 0, 0, 0)
	if errno != 0 {
		return -1, syscall.Errno(errno)
	}
	return int(fd), nil
}

// closeFD is close(2) of a descriptor of proc, which says nothing worth to know.
func closeFD(fd int) {
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

// sizeAt is the size of a file of a short name: of /proc/PID/fd, how many descriptors there are (Linux 6.2).
func sizeAt(dir int, name string) (uint64, error) {
	var text [32]byte
	if copy(text[:len(text)-1], name) < len(name) {
		return 0, unix.ENAMETOOLONG
	}
	var st unix.Statx_t
	_, _, errno := unix.RawSyscall6(unix.SYS_STATX, uintptr(dir), uintptr(unsafe.Pointer(&text)), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_SIZE, uintptr(unsafe.Pointer(&st)), 0)
	if errno != 0 {
		return 0, syscall.Errno(errno)
	}
	return st.Size, nil
}

// existsAt says whether there is a file of a short name.
func existsAt(dir int, name string) bool {
	_, err := sizeAt(dir, name)
	return err == nil
}

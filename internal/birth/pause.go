package birth

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// code is where the pause program lies in this binary.
func code() (start, end uintptr)

// textAt is where programs that are made here are loaded, headers first.
const textAt = 0x400000

// text is the machine code between two addresses of this binary.
func text(start, end uintptr) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&start))), end-start)
}

// pauseELF is the pause program as an executable: headers and some 150 bytes of code.
func pauseELF() []byte {
	return executable(segment{textAt + headersSize(1), 5, text(code())})
}

// Pause is a sealed file in memory that holds the pause program. The descriptor is the caller's.
func Pause() (int, error) {
	fd, err := sealed("pause", pauseELF())
	if err != nil {
		return -1, fmt.Errorf("cannot make pause program: %w", err)
	}
	return fd, nil
}

// Hold runs the pause program as a child that holds something until end ends it and has waited for it. It dies with
// the caller.
func Hold() (pid int, end func(), err error) {
	fd, err := Pause()
	if err != nil {
		return 0, nil, err
	}
	defer unix.Close(fd)
	p, err := os.StartProcess(fmt.Sprintf("/proc/self/fd/%d", fd), []string{"pause"}, &os.ProcAttr{Env: []string{}, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}})
	if err != nil {
		return 0, nil, fmt.Errorf("cannot run pause program: %w", err)
	}
	return p.Pid, func() {
		_ = p.Kill() // it can only be gone already
		_, _ = p.Wait()
	}, nil
}

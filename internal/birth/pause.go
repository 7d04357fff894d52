package birth

import (
	"fmt"
	"unsafe"
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

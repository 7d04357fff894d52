package birth

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// code is where the pause program lies in this binary.
func code() (start, end uintptr)

// pauseELF is the pause program as an executable: two headers and some 150 bytes of code (elf(5)).
func pauseELF() []byte {
	start, end := code()
	text := unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&start))), end-start)
	const base, headers = 0x400000, 64 + 2*56
	machine := uint16(62) // EM_X86_64
	if runtime.GOARCH == "arm64" {
		machine = 183 // EM_AARCH64
	}
	size := uint64(headers + len(text))
	var b bytes.Buffer
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	for _, v := range []any{
		uint16(2), machine, uint32(1), uint64(base + headers), uint64(64), uint64(0), uint32(0), uint16(64), uint16(56), uint16(2), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(0x1000), // PT_LOAD, read and execute
		uint32(0x6474e551), uint32(6), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(16), // PT_GNU_STACK, not executable
	} {
		_ = binary.Write(&b, binary.LittleEndian, v)
	}
	b.Write(text)
	return b.Bytes()
}

// Pause is a sealed file in memory that holds the pause program. The descriptor is the caller's.
func Pause() (int, error) {
	const execute = 0x10 // MFD_EXEC, asked for where vm.memfd_noexec knows it (Linux 6.3)
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("pause", flags|execute)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("pause", flags)
	}
	if err != nil {
		return -1, fmt.Errorf("cannot make pause program: %w", err)
	}
	if _, err = unix.Write(fd, pauseELF()); err == nil {
		err = unix.Fchmod(fd, 0o555)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("cannot make pause program: %w", err)
	}
	return fd, nil
}

package birth

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"

	"golang.org/x/sys/unix"
)

// segment is a part of a program that is loaded at an address.
type segment struct {
	at    uint64
	flags uint32 // PF_X 1, PF_W 2, PF_R 4
	data  []byte
}

// executable is a program of these segments as a file, which starts with the first one's first byte (elf(5)). The first has room
// for the headers before its address.
func executable(segments ...segment) []byte {
	machine := uint16(62) // EM_X86_64
	if runtime.GOARCH == "arm64" {
		machine = 183 // EM_AARCH64
	}
	const page = 0x1000
	headers := headersSize(len(segments))
	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			_ = binary.Write(&b, binary.LittleEndian, v)
		}
	}
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	put(uint16(2), machine, uint32(1), segments[0].at, uint64(64), uint64(0), uint32(0), uint16(64), uint16(56),
		uint16(len(segments)+1), uint16(0), uint16(0), uint16(0))
	offset := uint64(0)
	for i, s := range segments {
		at, size := s.at, uint64(len(s.data))
		if i == 0 {
			at, size = at-headers, size+headers
		}
		put(uint32(1), s.flags, offset, at, at, size, size, uint64(page)) // PT_LOAD
		offset = (offset + size + page - 1) &^ (page - 1)
	}
	put(uint32(0x6474e551), uint32(6), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(16)) // PT_GNU_STACK, not executable
	for i, s := range segments {
		if i > 0 {
			b.Write(make([]byte, -b.Len()&(page-1)))
		}
		b.Write(s.data)
	}
	return b.Bytes()
}

// headersSize is what the headers of so many segments take, in bytes.
func headersSize(segments int) uint64 { return uint64(64 + 56*(segments+1)) }

// sealed is a sealed executable file in memory. The descriptor is the caller's.
func sealed(name string, program []byte) (int, error) {
	const execute = 0x10 // MFD_EXEC, asked for where vm.memfd_noexec knows it (Linux 6.3)
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|execute)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return -1, err
	}
	if _, err = unix.Write(fd, program); err == nil {
		err = unix.Fchmod(fd, 0o555)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

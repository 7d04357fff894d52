package cgroup

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// instruction is struct bpf_insn: source in the high half of the registers, destination in the low one.
type instruction struct {
	code      uint8
	registers uint8
	offset    int16
	immediate int32
}

// deviceProgram compiles a policy to a program of type BPF_PROG_TYPE_CGROUP_DEVICE: its context is three 32-bit
// words (access<<16 | type, major, minor), its answer 1 to allow and 0 to deny (linux/bpf.h).
func deviceProgram(p policy) []instruction {
	const (
		load  = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W
		move  = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K
		copyR = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_X
		and   = unix.BPF_ALU64 | unix.BPF_AND | unix.BPF_K
		shift = unix.BPF_ALU64 | unix.BPF_RSH | unix.BPF_K
		skip  = unix.BPF_JMP32 | unix.BPF_JNE | unix.BPF_K
		skipE = unix.BPF_JMP32 | unix.BPF_JEQ | unix.BPF_K
		exit  = unix.BPF_JMP | unix.BPF_EXIT
	)
	prog := []instruction{
		{load, 1<<4 | 2, 0, 0}, // r2 = type
		{and, 2, 0, 0xffff},
		{load, 1<<4 | 3, 0, 0}, // r3 = access
		{shift, 3, 0, 16},
		{load, 1<<4 | 4, 4, 0}, // r4 = major
		{load, 1<<4 | 5, 8, 0}, // r5 = minor
	}
	answer := func(allow bool) []instruction {
		value := int32(0)
		if allow {
			value = 1
		}
		return []instruction{{move, 0, 0, value}, {exit, 0, 0, 0}}
	}
	for _, e := range p.exceptions {
		kind := int32(unix.BPF_DEVCG_DEV_CHAR)
		if e.devices.block {
			kind = unix.BPF_DEVCG_DEV_BLOCK
		}
		block := []instruction{{skip, 2, 0, kind}}
		switch {
		case p.allow: // denied: any of these is enough
			block = append(block, instruction{copyR, 3<<4 | 6, 0, 0}, instruction{and, 6, 0, int32(e.access)}, instruction{skipE, 6, 0, 0})
		case e.access != allAccess: // allowed: nothing beyond these
			block = append(block, instruction{copyR, 3<<4 | 6, 0, 0}, instruction{and, 6, 0, int32(allAccess &^ e.access)}, instruction{skip, 6, 0, 0})
		}
		if e.devices.major >= 0 {
			block = append(block, instruction{skip, 4, 0, int32(uint32(e.devices.major))})
		}
		if e.devices.minor >= 0 {
			block = append(block, instruction{skip, 5, 0, int32(uint32(e.devices.minor))})
		}
		block = append(block, answer(!p.allow)...)
		for i := range block { // every jump goes behind the block
			if block[i].code == skip || block[i].code == skipE {
				block[i].offset = int16(len(block) - i - 1)
			}
		}
		prog = append(prog, block...)
	}
	return append(prog, answer(p.allow)...)
}

// attachDevices makes rules the group's device policy on the unified hierarchy: the new program is attached before
// the old ones go, so that the group is never without.
func (g *Group) attachDevices(rules []specs.LinuxDeviceCgroup) error {
	p, err := devicePolicy(withDefaults(rules))
	if err != nil {
		return &limitError{"devices", err}
	}
	y, ok := g.host.unified()
	if !ok {
		return &limitError{"devices", noController("devices")}
	}
	err = replacePrograms(g.Dir(y), deviceProgram(p))
	if errors.Is(err, unix.EPERM) && !privileged() {
		return nil
	}
	if err != nil {
		return &limitError{"devices", err}
	}
	return nil
}

// privileged tells whether this process has the rights over the host that device rules take. Who has not can make no
// device node, and opens none that the user could not anyway: runc and crun go without rules there, too.
func privileged() bool {
	ids, err := readFile("/proc/self/uid_map", smallFile)
	return unix.Geteuid() == 0 && err == nil && strings.Join(strings.Fields(ids), " ") == "0 0 4294967295"
}

func replacePrograms(dir string, prog []instruction) error {
	cgroup, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(cgroup)
	old, err := attachedPrograms(cgroup)
	if err != nil {
		return fmt.Errorf("list attached BPF programs: %w", err)
	}
	fd, err := loadProgram(prog)
	if err != nil {
		return fmt.Errorf("load the BPF program of %d instructions: %w", len(prog), err)
	}
	defer unix.Close(fd)
	attach := attachAttr{target: uint32(cgroup), program: uint32(fd), kind: unix.BPF_CGROUP_DEVICE, flags: unix.BPF_F_ALLOW_MULTI}
	if _, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attach), unsafe.Sizeof(attach)); err != nil {
		return fmt.Errorf("attach the BPF program: %w", err)
	}
	for _, id := range old {
		// One that has gone meanwhile needs no detaching.
		get := idAttr{id: id}
		fd, err := bpf(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&get), unsafe.Sizeof(get))
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return fmt.Errorf("open attached BPF program %d: %w", id, err)
		}
		detach := attachAttr{target: uint32(cgroup), program: uint32(fd), kind: unix.BPF_CGROUP_DEVICE}
		_, err = bpf(unix.BPF_PROG_DETACH, unsafe.Pointer(&detach), unsafe.Sizeof(detach))
		unix.Close(fd)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("detach BPF program %d: %w", id, err)
		}
	}
	return nil
}

// The members of union bpf_attr that are used here, each up to its last field.
type (
	attachAttr struct{ target, program, kind, flags uint32 }
	idAttr     struct{ id, next, flags uint32 }
	queryAttr  struct {
		target, kind, queryFlags, attachFlags uint32
		ids                                   uint64
		count, _                              uint32
	}
	loadAttr struct {
		kind, count           uint32
		instructions, license uint64
		logLevel, logSize     uint32
		log                   uint64
	}
)

func attachedPrograms(cgroup int) ([]uint32, error) {
	ids := make([]uint32, 64) // the kernel's own bound, BPF_CGROUP_MAX_PROGS
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&ids[0])
	q := queryAttr{target: uint32(cgroup), kind: unix.BPF_CGROUP_DEVICE, count: uint32(len(ids)), ids: address(&ids[0])}
	_, err := bpf(unix.BPF_PROG_QUERY, unsafe.Pointer(&q), unsafe.Sizeof(q))
	if err != nil {
		return nil, err
	}
	return ids[:min(int(q.count), len(ids))], nil
}

func loadProgram(prog []instruction) (int, error) {
	license := []byte("Apache-2.0\x00")
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&prog[0])
	pin.Pin(&license[0])
	a := loadAttr{
		kind:         unix.BPF_PROG_TYPE_CGROUP_DEVICE,
		count:        uint32(len(prog)),
		instructions: address(&prog[0]),
		license:      address(&license[0]),
	}
	return bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&a), unsafe.Sizeof(a))
}

// address is a pointer as the kernel reads it out of an attribute. What it points to must be pinned: as a number
// it keeps nothing alive and follows no moving stack.
func address[T any](p *T) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }

// bpf is bpf(2). Descriptors it returns are close-on-exec. The verifier gives up with EAGAIN when a signal comes,
// and the Go runtime sends some: it is asked again, a bounded number of times.
func bpf(command int, attr unsafe.Pointer, size uintptr) (int, error) {
	for tries := 0; ; tries++ {
		r, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(attr), size)
		switch {
		case errno == 0:
			return int(r), nil
		case tries < 30 && (errno == unix.EINTR || errno == unix.EAGAIN):
		default:
			return -1, errno
		}
	}
}

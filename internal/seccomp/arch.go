package seccomp

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

//go:generate go run generate.go

// row is one system call of the table: its number in each column, or -1.
type row struct {
	name    string
	numbers [5]int32
}

// architecture is one calling convention of a kernel.
type architecture struct {
	name   specs.Arch
	audit  uint32 // AUDIT_ARCH_*; x32 shares x86_64's
	column int    // of the table
	base   uint32 // added to the table's numbers
	short  bool   // arguments have 32 bits
}

// x32Bit marks the numbers of x32 calls (__X32_SYSCALL_BIT).
const x32Bit = 0x40000000

// privateCalls is where ARM's private calls begin (__ARM_NR_BASE). How new a profile is cannot be told by them.
const privateCalls = 0xf0000

// family returns the calling conventions of a GOARCH's kernels, the native one first.
func family(goarch string) []architecture {
	i386 := architecture{name: specs.ArchX86, audit: unix.AUDIT_ARCH_I386, column: 1, short: true}
	arm := architecture{name: specs.ArchARM, audit: unix.AUDIT_ARCH_ARM, column: 4, short: true}
	switch goarch {
	case "amd64":
		return []architecture{
			{name: specs.ArchX86_64, audit: unix.AUDIT_ARCH_X86_64, column: 0},
			{name: specs.ArchX32, audit: unix.AUDIT_ARCH_X86_64, column: 2, base: x32Bit, short: true},
			i386,
		}
	case "arm64":
		return []architecture{{name: specs.ArchAARCH64, audit: unix.AUDIT_ARCH_AARCH64, column: 3}, arm}
	case "386":
		return []architecture{i386}
	case "arm":
		return []architecture{arm}
	}
	return nil
}

// architectures returns those of the family that a profile names, and the native one, which it need not name. The
// known ones of other machines are passed over: no call of theirs can come.
func architectures(names []specs.Arch, goarch string) ([]architecture, error) {
	all := family(goarch)
	if len(all) == 0 {
		return nil, fmt.Errorf("the system calls of %s are not known", goarch)
	}
	for i, name := range names {
		if !known(name) {
			return nil, fmt.Errorf("architectures[%d]: %.40q is no architecture", i, name)
		}
	}
	kept := all[:1]
	for _, a := range all[1:] {
		if slices.Contains(names, a.name) {
			kept = append(kept, a)
		}
	}
	return kept, nil
}

func known(name specs.Arch) bool {
	switch name {
	case specs.ArchX86, specs.ArchX86_64, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64,
		specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32, specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32,
		specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390, specs.ArchS390X,
		specs.ArchPARISC, specs.ArchPARISC64, specs.ArchRISCV64, specs.ArchLOONGARCH64,
		specs.ArchM68K, specs.ArchSH, specs.ArchSHEB:
		return true
	}
	return false
}

// find returns a call of the table; nil for a name that no kernel has.
func find(name string) *row {
	low, high := 0, len(table)
	for low < high {
		half := int(uint(low+high) / 2)
		switch c := strings.Compare(name, table[half].name); {
		case c == 0:
			return &table[half]
		case c < 0:
			high = half
		default:
			low = half + 1
		}
	}
	return nil
}

// number returns the number of a call, as the kernel tells it to a filter.
func (a architecture) number(call *row) (uint32, bool) {
	n := call.numbers[a.column]
	return uint32(n) + a.base, n >= 0
}

// carrier returns the call of i386 that carries another one, and by which first argument: socketcall(2), ipc(2).
func (a architecture) carrier(call *row) (number uint32, which uint64, ok bool) {
	if a.name != specs.ArchX86 {
		return 0, 0, false
	}
	const socketcall, ipc = 102, 117
	switch call.name {
	case "semop":
		return ipc, 1, true
	case "semget":
		return ipc, 2, true
	case "semctl":
		return ipc, 3, true
	case "semtimedop":
		return ipc, 4, true
	case "msgsnd":
		return ipc, 11, true
	case "msgrcv":
		return ipc, 12, true
	case "msgget":
		return ipc, 13, true
	case "msgctl":
		return ipc, 14, true
	case "shmat":
		return ipc, 21, true
	case "shmdt":
		return ipc, 22, true
	case "shmget":
		return ipc, 23, true
	case "shmctl":
		return ipc, 24, true
	}
	i := slices.Index(socketCalls[:], call.name)
	return socketcall, uint64(i) + 1, i >= 0
}

// socketCalls are the calls that socketcall carries, in the order of linux/net.h from 1.
var socketCalls = [...]string{
	"socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair", "send", "recv",
	"sendto", "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg", "recvmsg", "accept4", "recvmmsg", "sendmmsg",
}

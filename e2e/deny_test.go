package e2e

import (
	"os"
	"os/exec"
	"strings"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/seccomp"
)

// deny is the program "deny CALL[,CALL...] PROGRAM [ARG...]": it runs a program under a seccomp filter that answers EPERM to the system
// calls named, as a container around us may have it. Of clone only calls that make a namespace are denied.
func deny() {
	if len(os.Args) < 3 {
		fail("usage: deny CALL[,CALL...] PROGRAM [ARG...]")
	}
	profile := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchAARCH64}}
	for name := range strings.SplitSeq(os.Args[1], ",") {
		if name != "clone" {
			profile.Syscalls = append(profile.Syscalls, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActErrno})
			continue
		}
		for _, flag := range []uint64{
			unix.CLONE_NEWNS, unix.CLONE_NEWUTS, unix.CLONE_NEWIPC, unix.CLONE_NEWUSER, unix.CLONE_NEWPID, unix.CLONE_NEWNET, unix.CLONE_NEWCGROUP,
		} {
			arg := specs.LinuxSeccompArg{Index: 0, Value: flag, ValueTwo: flag, Op: specs.OpMaskedEqual}
			profile.Syscalls = append(profile.Syscalls, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{arg}})
		}
	}
	filter, err := seccomp.Compile(profile)
	if err != nil {
		fail("%v", err)
	}
	program, err := exec.LookPath(os.Args[2])
	if err != nil {
		fail("%v", err)
	}
	prog := unix.SockFprog{Len: uint16(len(filter.Program)), Filter: &filter.Program[0]}
	const setModeFilter, tsync = 1, 1 // seccomp(2): all threads
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, setModeFilter, tsync, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		fail("cannot set the filter: %v", errno)
	}
	fail("cannot run %s: %v", program, unix.Exec(program, os.Args[2:], os.Environ()))
}

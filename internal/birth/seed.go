package birth

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// A child leaves the runtime's program before it does anything else: it executes a seed, a sealed file in memory whose
// whole text is the loop, and spends the plan there. So nothing that looks at the child from a container, however it got
// its eye on it, finds the runtime's binary behind /proc/PID/exe, and neither does an image whose entry point is
// /proc/self/exe or a script that begins with #!/proc/self/exe (CVE-2019-5736); nor is the runtime's memory there to be
// read (CVE-2016-9962). A created container is then a few pages instead of a copy of the runtime.

const (
	// seedFD is where the seed finds the file with the plan; spend_*.s has it too. All of the plan's are above it (lift).
	seedFD = 3
	// maxArena is how much of that file it maps, in bytes; spend_*.s has it too.
	maxArena = 0x4000000
)

// Names of descriptors beside those of the plan.
const (
	seedProgram = "birth:program"
	seedMemory  = "birth:memory"
)

// seedling is what a child needs to leave the runtime's program.
type seedling struct {
	program, memory int
	size            int // of memory, in bytes
	hop             *state
}

// sow makes the two files and hands them to own and fds, like the descriptors of a plan.
func sow(fds map[string]int, own *[]int) (*seedling, error) {
	program, err := sealed("tripod-oci", executable(segment{textAt + headersSize(1), 5, text(seed())}))
	if err != nil {
		return nil, memoryError(err)
	}
	*own = append(*own, program)
	memory, err := unix.MemfdCreate("plan", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot make file in memory: %w", err)
	}
	*own = append(*own, memory)
	fds[seedProgram], fds[seedMemory] = program, memory
	return &seedling{}, nil
}

// memoryError says what an administrator can do who has forbidden programs in memory.
func memoryError(err error) error {
	if errors.Is(err, unix.EACCES) {
		return fmt.Errorf("cannot make program in memory: %w: sysctl vm.memfd_noexec must be 0 or 1", err)
	}
	return fmt.Errorf("cannot make program in memory: %w", err)
}

// seed is where the loop lies in this binary, from the entry of a child that has left the runtime's program.
func seed() (start, end uintptr)

// grow makes the file of the plan large enough and returns it.
func (s *seedling) grow(size int) (int, error) {
	page := unix.Getpagesize()
	s.size = (size + page - 1) &^ (page - 1)
	if s.size > maxArena {
		return -1, unix.E2BIG
	}
	return s.memory, unix.Ftruncate(s.memory, int64(s.size))
}

// leap encodes what the child does in this program: it closes what is not the plan's, and executes the seed with the rest.
// These few calls are told apart from the plan's by that the seed has not begun (state.born).
func (a *arena) leap(s *seedling) {
	kept := a.fds
	a.fds = make(map[string]int, len(kept)+2)
	for name, fd := range kept {
		a.fds[name] = fd
	}
	a.fds[seedProgram], a.fds[seedMemory] = s.program, s.memory
	ops := a.closeOthers()
	a.fds = kept
	for _, fd := range kept {
		ops = append(ops, op{nr: plan.Fcntl.Number(), args: [6]uintptr{uintptr(fd), unix.F_SETFD, 0}})
	}
	ops = append(ops, op{nr: plan.Dup3.Number(), args: [6]uintptr{uintptr(s.memory), seedFD, 0}})
	// These addresses are this program's, not the seed's.
	shift := a.shift
	a.shift = 0
	argv := a.words(a.text("tripod-oci"), a.text("init"))
	ops = append(ops, op{nr: plan.Execveat.Number(), args: [6]uintptr{uintptr(s.program), a.text(""), argv, a.words(), unix.AT_EMPTY_PATH}})
	list := a.alloc(64 * len(ops))
	copy(unsafe.Slice((*op)(unsafe.Pointer(list)), len(ops)), ops)
	s.hop = (*state)(unsafe.Pointer(a.alloc(int(unsafe.Sizeof(state{})))))
	s.hop.ops, s.hop.nops = uintptr(unsafe.Pointer(list)), uintptr(len(ops))
	s.hop.status, s.hop.sigall = a.state.status, a.sigall
	a.shift = shift
}

// settle are the first ops of the seed: it has a name, and its descriptors are the plan's program's no more than before.
func (a *arena) settle() []op {
	return []op{
		{nr: plan.Prctl.Number(), args: [6]uintptr{unix.PR_SET_NAME, a.text("tripod-oci")}},
		{nr: plan.CloseRange.Number(), args: [6]uintptr{3, uintptr(^uint32(0)), unix.CLOSE_RANGE_CLOEXEC}},
	}
}

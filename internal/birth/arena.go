package birth

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// state is what the assembly reads and writes; the offsets stand there too.
type state struct {
	ops, nops uintptr
	at        uintptr // the op that is being spent
	status    uintptr // descriptor that errors are told on
	regs      [plan.Registers]uintptr
	sigold    uint64
	sigall    uint64
	clock     uintptr // where the time after each op goes, or 0
	born      uint64  // time of the child's first instruction
	inner     uint64  // PID of a second clone, written by the kernel
	told      uintptr // a complaint for each op, for a process that has no parent to tell; 0 with one
	errors    uintptr // the text of each errno, for complaints
	into      uintptr // one more than the descriptor of the PID namespace that the child is born into, or 0
	back      uintptr // the descriptor of the parent's own
}

// op is one system call as the assembly spends it.
type op struct {
	nr           uint16
	regs         uint8 // bit i: argument i is a register's number
	save         uint8
	flags        uint8
	skip         uint8
	skip1, skip2 uint8
	errno1       uint16
	errno2       uint16
	_            uint32
	args         [6]uintptr
}

const (
	flagAny = 1 << iota
	flagAgain
	flagNotZero
	flagZero
	flagSilent // is not told as state.at: a second clone's parent must not overwrite what its child told
)

// arena is memory outside the Go heap, shared with the child, that holds everything that the child reads: the garbage
// collector cannot move or free it, and the parent sees how far the child came.
type arena struct {
	mem  []byte
	used int
	*state
	// steps[i] is the number of the plan's step that op i spends, or -1.
	steps []int
	fds   map[string]int
	lists map[*string]uintptr // lists of strings that were encoded, by their first: an environment is one of many steps
	// moments are those of each op; nil unless measured.
	moments []moment
	shift   uintptr // what the child adds to the parent's addresses
}

// newArena encodes p with the descriptors fds into fresh memory. The child closes what is not among fds, unless p lets
// it inherit. The memory is at address at, or where there is room if that is 0. With a seed it is that of its file.
func newArena(p *plan.Plan, fds map[string]int, at uintptr, seed *seedling) (*arena, error) {
	size := int(unsafe.Sizeof(state{})) + (64+16)*(len(p.Steps)+len(fds)+8)
	if at != 0 {
		size += complaints * (len(p.Steps) + len(fds) + maxErrno)
	}
	seen := map[*string]bool{}
	for _, s := range p.Steps {
		size += len(s.Fails)
		for _, a := range s.Args {
			size += 128 + len(a.S) + int(a.N*b2u(a.Kind == plan.ZeroedArg))
			if len(a.List) == 0 || seen[&a.List[0]] {
				continue
			}
			seen[&a.List[0]] = true
			for _, l := range a.List {
				size += 64 + 8 + len(l)
			}
		}
	}
	page := unix.Getpagesize()
	size = (size + 2*page) &^ (page - 1)
	fd := -1
	if seed != nil {
		var err error
		if fd, err = seed.grow(size + len(fds)*64 + page); err != nil {
			return nil, fmt.Errorf("cannot get memory for a plan of %d steps: %w", len(p.Steps), err)
		}
		size = seed.size
	}
	mem, err := memory(at, size, fd)
	if err != nil {
		return nil, fmt.Errorf("cannot get memory for a plan of %d steps: %w", len(p.Steps), err)
	}
	a := &arena{mem: mem, state: (*state)(unsafe.Pointer(&mem[0])), used: int(unsafe.Sizeof(state{})), fds: fds, lists: map[*string]uintptr{}}
	a.sigall = ^uint64(0)
	a.state.status = uintptr(fds[plan.Status])
	if seed != nil {
		a.shift = arenaAt - uintptr(unsafe.Pointer(&mem[0]))
	}
	var ops []op
	switch {
	case seed != nil:
		ops = a.settle()
	case at != 0:
		ops = a.closeOnExec()
	case !p.Inherit:
		ops = a.closeOthers()
	}
	for range ops {
		a.steps = append(a.steps, -1)
	}
	for i, s := range p.Steps {
		ops = append(ops, a.encode(s))
		a.steps = append(a.steps, i)
	}
	list := a.alloc(64 * len(ops))
	copy(unsafe.Slice((*op)(unsafe.Pointer(list)), len(ops)), ops)
	a.ops, a.nops = a.address(list), uintptr(len(ops))
	return a, nil
}

// memory is shared with children, and lies at an address if that is not 0. It is a file's, or nobody's if that is -1.
func memory(at uintptr, size, fd int) ([]byte, error) {
	const how = unix.PROT_READ | unix.PROT_WRITE
	flags := unix.MAP_SHARED
	if fd < 0 {
		flags |= unix.MAP_ANON
	}
	if at != 0 {
		flags |= unix.MAP_FIXED_NOREPLACE
	}
	p, err := unix.MmapPtr(fd, 0, *(*unsafe.Pointer)(unsafe.Pointer(&at)), uintptr(size), how, flags)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), size), nil
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func (a *arena) free() {
	if a.mem != nil {
		_ = unix.MunmapPtr(unsafe.Pointer(&a.mem[0]), uintptr(len(a.mem)))
		a.mem = nil
	}
}

// alloc takes n bytes, aligned to 64.
func (a *arena) alloc(n int) *byte {
	at := (a.used + 63) &^ 63
	a.used = at + n
	return &a.mem[at : at+n : at+n][0]
}

// address is where the child finds what is at b.
func (a *arena) address(b *byte) uintptr { return uintptr(unsafe.Pointer(b)) + a.shift }

func (a *arena) text(s string) uintptr {
	b := a.alloc(len(s) + 1)
	copy(unsafe.Slice(b, len(s)+1), s)
	return a.address(b)
}

func (a *arena) words(w ...uintptr) uintptr {
	b := a.alloc(8 * (len(w) + 1))
	copy(unsafe.Slice((*uintptr)(unsafe.Pointer(b)), len(w)), w)
	return a.address(b)
}

func (a *arena) arg(v plan.Arg) uintptr {
	switch v.Kind {
	case plan.TextArg:
		return a.text(v.S)
	case plan.BytesArg:
		return a.text(v.S)
	case plan.StringsArg:
		if len(v.List) == 0 {
			return a.words()
		}
		if at := a.lists[&v.List[0]]; at != 0 {
			return at
		}
		list := make([]uintptr, len(v.List))
		for i, s := range v.List {
			list[i] = a.text(s)
		}
		at := a.words(list...)
		a.lists[&v.List[0]] = at
		return at
	case plan.FileArg:
		return uintptr(a.fds[v.S])
	case plan.BelowArg:
		return uintptr(a.fds[v.S] - 1)
	case plan.AboveArg:
		return uintptr(a.fds[v.S] + 1)
	case plan.ZeroedArg:
		return a.address(a.alloc(int(v.N)))
	case plan.InnerArg:
		return uintptr(unsafe.Pointer(&a.inner)) + a.shift
	case plan.FilterArg:
		var head [8]byte
		binary.NativeEndian.PutUint16(head[:], uint16(len(v.S)/8))
		return a.words(uintptr(binary.NativeEndian.Uint64(head[:])), a.text(v.S))
	}
	return uintptr(v.N)
}

func (a *arena) encode(s plan.Step) op {
	o := op{nr: s.Call.Number(), save: uint8(s.Save), skip: s.Skip}
	for i, v := range s.Args {
		o.args[i] = a.arg(v)
		if v.Kind == plan.ResultArg {
			o.regs |= 1 << i
		}
	}
	if s.Any {
		o.flags |= flagAny
	}
	if s.Again {
		o.flags |= flagAgain
	}
	if s.Call == plan.ExitGroup {
		o.flags |= flagSilent
	}
	switch s.When {
	case plan.NotZero:
		o.flags |= flagNotZero
	case plan.Zero:
		o.flags |= flagZero
	}
	if len(s.On) > 0 {
		o.errno1, o.skip1 = uint16(s.On[0].Errno), s.On[0].Skip
	}
	if len(s.On) > 1 {
		o.errno2, o.skip2 = uint16(s.On[1].Errno), s.On[1].Skip
	}
	return o
}

// closeOthers are the ops that close every descriptor which is neither standard nor the plan's: whatever the parent
// has open, inherited or on its way, is not the container's (CVE-2024-21626).
func (a *arena) closeOthers() []op {
	keep := make([]int, 0, len(a.fds))
	for _, fd := range a.fds {
		keep = insert(keep, fd)
	}
	var ops []op
	from := 3
	for _, fd := range append(keep, -1) {
		to := uintptr(fd - 1)
		if fd < 0 {
			to = uintptr(^uint32(0))
		}
		if fd < 0 || fd > from {
			ops = append(ops, op{nr: plan.CloseRange.Number(), args: [6]uintptr{uintptr(from), to}})
		}
		from = max(from, fd+1)
	}
	return ops
}

// insert keeps list sorted and without doubles.
func insert(list []int, n int) []int {
	for i, v := range list {
		if v == n {
			return list
		}
		if v > n {
			return append(list[:i], append([]int{n}, list[i:]...)...)
		}
	}
	return append(list, n)
}

// step is the plan's step that op number at belongs to.
func (a *arena) step(at uint64) int {
	if at < uint64(len(a.steps)) {
		return a.steps[at]
	}
	return -1
}

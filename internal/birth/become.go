package birth

import (
	"fmt"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

const (
	// arenaAt is where the arena of a process that is taken over lies, before and after; spend_*.s has it too.
	arenaAt = 0x10000000
	// maxErrno is how many errnos have a text, errno(3); the assembly knows the last. What is beyond has that of 0.
	maxErrno = 134
	// complaints is what one complaint or one text takes of the arena, in bytes, without the complaint's own text.
	complaints = 24 + 16 + 128
)

// Become spends p in this process itself, which becomes p's program without a change of its PID: there is no child, no
// gate and no status pipe. It is for plans that a process of many threads may not spend, such as one that joins a user
// namespace, and for programs whose PID is the caller's. Become returns only when it could not begin. A step that
// fails from then on ends the process: its Fails and the errno's text go to stderr, its Exit is the exit code.
//
// The process first executes a small program in memory, which is the loop that children run, and the encoded plan. So
// the signal dispositions are what any program gets by execve(2), the signal mask is the calling thread's, and the soft
// limit of open files that the Go runtime raised is put back. Capabilities that an execve of a file without any takes
// away are gone (capabilities(7)).
func Become(p *plan.Plan, given map[string]int) error {
	fds := make(map[string]int, len(given)+len(p.Opens))
	var names []string
	for name, fd := range given {
		fds[name] = fd
		names = append(names, name)
	}
	if err := p.Verify(names...); err != nil {
		return err
	}
	var own []int
	defer func() {
		for _, fd := range own {
			unix.Close(fd)
		}
	}()
	if err := openAll(p.Opens, given, fds, &own); err != nil {
		return err
	}
	a, err := newArena(p, fds, arenaAt, nil)
	if err != nil {
		return err
	}
	defer a.free()
	a.complain(p)
	code := segment{textAt + headersSize(2), 5, text(takeover())}
	fd, err := sealed("tripod", executable(code, segment{arenaAt, 6, a.mem}))
	if err != nil {
		return fmt.Errorf("cannot make program in memory: %w", err)
	}
	defer unix.Close(fd)
	for _, kept := range fds {
		if _, err := unix.FcntlInt(uintptr(kept), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("cannot keep descriptor %d: %w", kept, err)
		}
	}
	err = syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), []string{"tripod"}, nil)
	for _, kept := range fds {
		unix.CloseOnExec(kept)
	}
	return fmt.Errorf("cannot execute program in memory: %w", err)
}

// takeover is where the loop lies in this binary, from the entry of a process that is taken over.
func takeover() (start, end uintptr)

// closeOnExec are the ops that keep the plan's descriptors from its program.
func (a *arena) closeOnExec() []op {
	var ops []op
	for _, fd := range a.fds {
		ops = append(ops, op{nr: plan.CloseRange.Number(), args: [6]uintptr{uintptr(fd), uintptr(fd), unix.CLOSE_RANGE_CLOEXEC}})
	}
	return ops
}

// complaint is what the assembly says when an op fails.
type complaint struct{ text, size, exit uintptr }

// complain encodes what each op says when it fails, and the texts of errnos.
func (a *arena) complain(p *plan.Plan) {
	told := unsafe.Slice((*complaint)(unsafe.Pointer(a.alloc(len(a.steps)*24))), len(a.steps))
	for i, at := range a.steps {
		said, exit := "cannot close descriptors: ", uint8(1)
		if at >= 0 {
			if said, exit = p.Steps[at].Fails, p.Steps[at].Exit; said == "" {
				said, exit = "cannot "+p.Steps[at].Name+": ", max(exit, 1)
			}
		}
		told[i] = complaint{a.text(said), uintptr(len(said)), uintptr(exit)}
	}
	texts := unsafe.Slice((*[2]uintptr)(unsafe.Pointer(a.alloc(maxErrno*16))), maxErrno)
	for n := range texts {
		line := ErrnoText(unix.Errno(n)) + "\n"
		texts[n] = [2]uintptr{a.text(line), uintptr(len(line))}
	}
	a.told, a.errors = uintptr(unsafe.Pointer(&told[0])), uintptr(unsafe.Pointer(&texts[0]))
}

// ErrnoText is an errno in the words of the C library: "No such file or directory".
func ErrnoText(e unix.Errno) string {
	s := e.Error()
	if e == 0 || strings.HasPrefix(s, "errno ") {
		return "Unknown error"
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

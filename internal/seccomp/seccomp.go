// Package seccomp compiles an OCI seccomp profile to a classic BPF program, in pure Go and with libseccomp's meaning.
//
// A verdict is what a filter returns: an action and its data. A span is a run of system call numbers with one
// verdict, or with one tree of argument tests that ends in verdicts. For each architecture the program searches the
// spans by halves; adjacent calls that are treated alike cost nothing.
//
// What a profile means (runtime-spec, config-linux.md "Seccomp"; seccomp_rule_add(3)):
//
//   - A rule without arguments beats all others for its system call; the first of several wins.
//   - Conditions within a rule must all hold, except that conditions on one and the same argument make each
//     condition of the rule a rule of its own, as in runc. Of several rules that hold, the first wins.
//   - A rule whose verdict is the default's says nothing. Names that no kernel knows are ignored.
//   - The native architecture is always among the profile's. On 32-bit ones, x32 among them, the low halves of
//     arguments and values are compared.
//   - A call of an architecture that is not in the profile kills the thread.
//   - Where the default is to refuse, a number beyond the newest call that the profile names is answered with
//     ENOSYS, as in runc, so that programs fall back from calls newer than the profile instead of failing.
//   - i386's socketcall and ipc carry other calls. A rule for one of those covers the carried form too; with
//     conditions, which cannot be tested there, only if it does not allow more than the default does.
package seccomp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Instruction is one instruction of classic BPF, laid out as struct sock_filter.
type Instruction = unix.SockFilter

// MaxInstructions is how long a program may be: the kernel's BPF_MAXINSNS.
const MaxInstructions = 4096

// ErrTooLong is a profile whose program is longer than the kernel takes.
var ErrTooLong = errors.New("the program is longer than the kernel takes")

// Filter is a compiled profile.
type Filter struct {
	Program []Instruction
	Flags   uint32 // of seccomp(SECCOMP_SET_MODE_FILTER); with Notify, SECCOMP_FILTER_FLAG_NEW_LISTENER is among them
	Notify  bool   // calls go to a supervisor: seccomp(2) returns the listener, which goes to the profile's listenerPath
}

// Bytes is the filter as Parse reads it: flags, how many instructions, and these as the kernel has them.
func (f *Filter) Bytes() []byte {
	b := make([]byte, 0, 8+8*len(f.Program))
	b = binary.NativeEndian.AppendUint32(b, f.Flags)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(f.Program)))
	return append(b, f.Instructions()...)
}

// Instructions are those of the program as the kernel has them.
func (f *Filter) Instructions() []byte {
	b := make([]byte, 0, 8*len(f.Program))
	for _, in := range f.Program {
		b = binary.NativeEndian.AppendUint16(b, in.Code)
		b = append(b, in.Jt, in.Jf)
		b = binary.NativeEndian.AppendUint32(b, in.K)
	}
	return b
}

// Parse reads a filter that Bytes made, which asks no supervisor. It returns nil for anything that is not whole.
func Parse(b []byte) *Filter {
	if len(b) < 16 || len(b)%8 != 0 || binary.NativeEndian.Uint32(b[4:]) != uint32(len(b)/8-1) || len(b)/8-1 > MaxInstructions {
		return nil
	}
	f := &Filter{Flags: binary.NativeEndian.Uint32(b), Program: make([]Instruction, 0, len(b)/8-1)}
	if f.Flags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
		return nil
	}
	for b = b[8:]; len(b) > 0; b = b[8:] {
		f.Program = append(f.Program, Instruction{Code: binary.NativeEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.NativeEndian.Uint32(b[4:])})
	}
	return f
}

// Compile compiles a profile for the architecture this program runs on and those of the profile that its kernel can
// also run: i386 and x32 on x86_64, arm on arm64. It touches nothing. Errors name the profile's field below
// linux.seccomp; a program beyond MaxInstructions is ErrTooLong.
func Compile(p *specs.LinuxSeccomp) (*Filter, error) { return compile(p, runtime.GOARCH) }

func compile(p *specs.LinuxSeccomp, goarch string) (*Filter, error) {
	f, err := build(p, goarch)
	if err != nil {
		return nil, fmt.Errorf("cannot compile seccomp profile: %w", err)
	}
	return f, nil
}

func build(p *specs.LinuxSeccomp, goarch string) (*Filter, error) {
	arches, err := architectures(p.Architectures, goarch)
	if err != nil {
		return nil, err
	}
	pol, err := read(p)
	if err != nil {
		return nil, err
	}
	f := &Filter{Notify: pol.notify}
	if f.Flags, err = flags(p.Flags, f.Notify); err != nil {
		return nil, err
	}
	b := builder{nodes: make(map[node]*node, 1024)}
	f.Program = assemble(b.program(pol, arches))
	if len(f.Program) > MaxInstructions {
		return nil, fmt.Errorf("%w: %d instructions, of %d", ErrTooLong, len(f.Program), MaxInstructions)
	}
	return f, nil
}

// policy is a profile with its actions and names looked up.
type policy struct {
	fallback verdict
	rules    []rule
	named    []*row // every system call of the profile, those of rules without effect too
	notify   bool
}

// rule is one alternative of the profile for some calls: all of its conditions hold, or it has none.
type rule struct {
	calls []*row
	clause
}

// clause is what a rule says about a call.
type clause struct {
	verdict    verdict
	conditions []specs.LinuxSeccompArg
}

func read(p *specs.LinuxSeccomp) (policy, error) {
	var pol policy
	var err error
	if pol.fallback, err = lookup(p.DefaultAction, p.DefaultErrnoRet); err != nil {
		return policy{}, fmt.Errorf("defaultAction: %w", err)
	}
	if p.DefaultAction == specs.ActNotify {
		// The program that answers could not be waited for: its own answer would be asked about.
		return policy{}, fmt.Errorf("defaultAction: %s cannot be the default", p.DefaultAction)
	}
	if p.ListenerMetadata != "" && p.ListenerPath == "" {
		return policy{}, errors.New("listenerMetadata: there is no listenerPath to send it to")
	}
	for i, s := range p.Syscalls {
		r := rule{clause: clause{conditions: s.Args}}
		if r.verdict, err = lookup(s.Action, s.ErrnoRet); err != nil {
			return policy{}, fmt.Errorf("syscalls[%d]: %w", i, err)
		}
		if len(s.Names) == 0 {
			return policy{}, fmt.Errorf("syscalls[%d]: names is empty", i)
		}
		for j, a := range s.Args {
			if err := checkCondition(a); err != nil {
				return policy{}, fmt.Errorf("syscalls[%d].args[%d]: %w", i, j, err)
			}
		}
		if s.Action == specs.ActNotify {
			if slices.Contains(s.Names, "write") {
				return policy{}, fmt.Errorf("syscalls[%d]: %s cannot be used for write, by which the runtime itself reports", i, s.Action)
			}
			if p.ListenerPath == "" {
				return policy{}, fmt.Errorf("syscalls[%d]: %s needs a listenerPath, else nobody would answer", i, s.Action)
			}
			pol.notify = true
		}
		r.calls = make([]*row, 0, len(s.Names))
		for _, name := range s.Names {
			if call := find(name); call != nil {
				r.calls = append(r.calls, call)
			}
		}
		pol.named = append(pol.named, r.calls...)
		if r.verdict != pol.fallback {
			pol.rules = append(pol.rules, r.alternatives()...)
		}
	}
	return pol, nil
}

// alternatives splits a rule that tests one argument more than once into a rule for each of its conditions.
func (r rule) alternatives() []rule {
	for i, a := range r.conditions {
		for _, b := range r.conditions[:i] {
			if a.Index != b.Index {
				continue
			}
			var all []rule
			for _, c := range r.conditions {
				all = append(all, rule{r.calls, clause{r.verdict, []specs.LinuxSeccompArg{c}}})
			}
			return all
		}
	}
	return []rule{r}
}

func checkCondition(a specs.LinuxSeccompArg) error {
	if a.Index > 5 {
		return fmt.Errorf("index is %d, not 0 to 5", a.Index)
	}
	switch a.Op {
	case specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual,
		specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual:
		return nil
	}
	return fmt.Errorf("op %.40q is not one of SCMP_CMP_EQ, NE, LT, LE, GE, GT, MASKED_EQ", a.Op)
}

// verdict is what a filter returns to the kernel: action in the high half, data in the low one.
type verdict uint32

// The actions (linux/seccomp.h); read as signed numbers, the lesser one permits less.
const (
	killProcess verdict = 0x80000000
	killThread  verdict = 0x00000000
	trap        verdict = 0x00030000
	errnoReturn verdict = 0x00050000
	notify      verdict = 0x7fc00000
	trace       verdict = 0x7ff00000
	logAllow    verdict = 0x7ffc0000
	allow       verdict = 0x7fff0000
)

func (v verdict) action() verdict { return v &^ 0xffff }

// permitsMore tells whether v lets more happen than o does.
func (v verdict) permitsMore(o verdict) bool { return int32(v.action()) > int32(o.action()) }

// refuses tells whether calls end here: those answered with ENOSYS when they are newer than the profile. A tracer
// should see them all.
func (v verdict) refuses() bool {
	switch v.action() {
	case allow, logAllow, trace:
		return false
	}
	return v != errnoReturn|verdict(unix.ENOSYS)
}

// lookup returns the verdict of an action. The spec wants an errno with one that takes none to be an error.
func lookup(action specs.LinuxSeccompAction, errno *uint) (verdict, error) {
	var v verdict
	switch action {
	case specs.ActAllow:
		v = allow
	case specs.ActLog:
		v = logAllow
	case specs.ActKill, specs.ActKillThread:
		v = killThread
	case specs.ActKillProcess:
		v = killProcess
	case specs.ActTrap:
		v = trap
	case specs.ActNotify:
		v = notify
	case specs.ActErrno:
		return withData(errnoReturn, errno, 4095) // the kernel cuts greater ones off (MAX_ERRNO)
	case specs.ActTrace:
		return withData(trace, errno, 0xffff)
	default:
		return 0, fmt.Errorf("action %.40q is not one of SCMP_ACT_ALLOW, ERRNO, KILL, KILL_PROCESS, KILL_THREAD, LOG, NOTIFY, TRACE, TRAP", action)
	}
	if errno != nil {
		return 0, fmt.Errorf("action %s takes no errnoRet", action)
	}
	return v, nil
}

func withData(v verdict, data *uint, greatest uint) (verdict, error) {
	if data == nil {
		return v | verdict(unix.EPERM), nil
	}
	if *data > greatest {
		return 0, fmt.Errorf("errnoRet is %d, more than %d", *data, greatest)
	}
	return v | verdict(*data), nil
}

// flags returns the flags of seccomp(2).
func flags(names []specs.LinuxSeccompFlag, notify bool) (uint32, error) {
	var all uint32
	if notify {
		all |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	for i, name := range names {
		switch name {
		case "SECCOMP_FILTER_FLAG_TSYNC":
			all |= unix.SECCOMP_FILTER_FLAG_TSYNC
			if notify { // which else share one return value
				all |= unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
			}
		case specs.LinuxSeccompFlagLog:
			all |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			all |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case specs.LinuxSeccompFlagWaitKillableRecv:
			if !notify {
				return 0, fmt.Errorf("flags[%d]: %s needs a rule with %s", i, name, specs.ActNotify)
			}
			all |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
		default:
			return 0, fmt.Errorf("flags[%d]: %.60q is not one of SECCOMP_FILTER_FLAG_TSYNC, LOG, SPEC_ALLOW, WAIT_KILLABLE_RECV", i, name)
		}
	}
	return all, nil
}

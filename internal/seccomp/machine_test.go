package seccomp

import (
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// data is struct seccomp_data.
type data struct {
	number, arch uint32
	args         [6]uint64
}

func (d data) word(offset uint32) uint32 {
	switch {
	case offset == 0:
		return d.number
	case offset == 4:
		return d.arch
	case offset >= 16 && offset < 64:
		return uint32(d.args[(offset-16)/8] >> (8 * (offset % 8)))
	}
	return 0 // the instruction pointer
}

// run is a machine for classic BPF as seccomp runs it.
func run(prog []Instruction, d data) uint32 {
	var acc uint32
	var mem [16]uint32
	for pc := 0; ; pc++ {
		i := prog[pc]
		taken := false
		switch i.Code {
		case load:
			acc = d.word(i.K)
			continue
		case and:
			acc &= i.K
			continue
		case unix.BPF_ST:
			mem[i.K] = acc
			continue
		case unix.BPF_LD | unix.BPF_MEM:
			acc = mem[i.K]
			continue
		case jump:
			pc += int(i.K)
			continue
		case returnK:
			return i.K
		case jumpEqual:
			taken = acc == i.K
		case jumpGreater:
			taken = acc > i.K
		case jumpAtLeast:
			taken = acc >= i.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			taken = acc&i.K != 0
		default:
			panic(fmt.Sprintf("instruction %d: code %#x", pc, i.Code))
		}
		if taken {
			pc += int(i.Jt)
		} else {
			pc += int(i.Jf)
		}
	}
}

// verify checks what the kernel checks (seccomp_check_filter, bpf_check_classic): known instructions, loads of
// whole words inside the data, jumps forward to an instruction, a return at every end; and that none is idle.
func verify(prog []Instruction) error {
	if len(prog) == 0 || len(prog) > MaxInstructions {
		return fmt.Errorf("%d instructions", len(prog))
	}
	reached := make([]bool, len(prog))
	reached[0] = true
	for pc, i := range prog {
		if !reached[pc] {
			return fmt.Errorf("instruction %d is never reached", pc)
		}
		var next []int
		switch i.Code {
		case returnK:
			continue
		case load:
			if i.K%4 != 0 || i.K >= 64 {
				return fmt.Errorf("instruction %d loads at %d", pc, i.K)
			}
			next = []int{pc + 1}
		case and:
			next = []int{pc + 1}
		case jump:
			next = []int{pc + 1 + int(i.K)}
		case jumpEqual, jumpGreater, jumpAtLeast:
			next = []int{pc + 1 + int(i.Jt), pc + 1 + int(i.Jf)}
		default:
			return fmt.Errorf("instruction %d has code %#x", pc, i.Code)
		}
		for _, n := range next {
			if n >= len(prog) {
				return fmt.Errorf("instruction %d goes to %d, of %d", pc, n, len(prog))
			}
			reached[n] = true
		}
	}
	return nil
}

// meaning is what the package comment says a profile means, for one call, found the slow way.
func meaning(p *specs.LinuxSeccomp, goarch string, d data) uint32 {
	fallback, _ := lookup(p.DefaultAction, p.DefaultErrnoRet)
	arches, _ := architectures(p.Architectures, goarch)
	i := slices.IndexFunc(arches, func(a architecture) bool { return a.speaks(d) })
	if i < 0 {
		if d.arch == unix.AUDIT_ARCH_X86_64 && d.number == 1<<32-1 {
			return uint32(fallback)
		}
		return uint32(killThread)
	}
	a := arches[i]
	newest := uint32(0)
	unconditional, conditional := fallback, fallback
	always, sometimes := false, false
	for _, s := range p.Syscalls {
		v, _ := lookup(s.Action, s.ErrnoRet)
		for _, name := range s.Names {
			call := find(name)
			if call == nil {
				continue
			}
			number, ok := a.number(call)
			if ok && (a.name != specs.ArchARM || number < privateCalls) {
				newest = max(newest, number)
			}
			if v == fallback {
				continue
			}
			if carrier, which, carried := a.carrier(call); carried && carrier == d.number {
				harmless := len(s.Args) == 0 || int32(v&^0xffff) <= int32(fallback&^0xffff)
				if harmless && uint32(d.args[0]) == uint32(which) && !sometimes {
					sometimes, conditional = true, v
				}
			}
			if !ok || number != d.number {
				continue
			}
			if len(s.Args) == 0 {
				if !always {
					always, unconditional = true, v
				}
				continue
			}
			if !sometimes && holds(s.Args, d, a.short) {
				sometimes, conditional = true, v
			}
		}
	}
	switch {
	case always:
		return uint32(unconditional)
	case sometimes:
		return uint32(conditional)
	case d.number > newest && newest > a.base && !(a.name == specs.ArchARM && namesCall(p, d.number)):
		if fallback.refuses() {
			return uint32(errnoReturn) | uint32(unix.ENOSYS)
		}
	}
	return uint32(fallback)
}

// speaks tells whether d is a call of this architecture.
func (a architecture) speaks(d data) bool {
	return a.audit == d.arch && (a.audit != unix.AUDIT_ARCH_X86_64 || (a.base == x32Bit) == (d.number >= x32Bit))
}

// namesCall tells whether a rule with an effect is for this call of ARM.
func namesCall(p *specs.LinuxSeccomp, number uint32) bool {
	fallback, _ := lookup(p.DefaultAction, p.DefaultErrnoRet)
	for _, s := range p.Syscalls {
		v, _ := lookup(s.Action, s.ErrnoRet)
		for _, name := range s.Names {
			if call := find(name); call != nil && v != fallback && call.numbers[family("arm")[0].column] == int32(number) && number>>31 == 0 {
				return true
			}
		}
	}
	return false
}

func holds(args []specs.LinuxSeccompArg, d data, short bool) bool {
	repeated := false
	for i, a := range args {
		for _, b := range args[:i] {
			repeated = repeated || a.Index == b.Index
		}
	}
	all, some := true, false
	for _, a := range args {
		x, v, w := d.args[a.Index], a.Value, a.ValueTwo
		if short {
			x, v, w = uint64(uint32(x)), uint64(uint32(v)), uint64(uint32(w))
		}
		var ok bool
		switch a.Op {
		case specs.OpEqualTo:
			ok = x == v
		case specs.OpNotEqual:
			ok = x != v
		case specs.OpLessThan:
			ok = x < v
		case specs.OpLessEqual:
			ok = x <= v
		case specs.OpGreaterThan:
			ok = x > v
		case specs.OpGreaterEqual:
			ok = x >= v
		case specs.OpMaskedEqual:
			ok = x&v == w&v
		}
		all, some = all && ok, some || ok
	}
	if repeated {
		return some
	}
	return all
}

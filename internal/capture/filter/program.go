package filter

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ErrProgram says that a program is not one that a packet socket would take.
var ErrProgram = errors.New("no valid BPF program")

// ReadProgram reads what tcpdump -ddd prints: the number of instructions, then one a line, as four decimal numbers. The
// program is checked as the kernel checks it (bpf_check_classic of net/core/filter.c).
func ReadProgram(text string) ([]bpf.RawInstruction, error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	count, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	switch {
	case err != nil || count < 1 || count > MaxInstructions:
		return nil, fmt.Errorf("cannot read BPF program: line 1: a number of instructions from 1 to %d is expected: %w", MaxInstructions, ErrProgram)
	case count != len(lines)-1:
		return nil, fmt.Errorf("cannot read BPF program: %d instructions are promised, %d are there: %w", count, len(lines)-1, ErrProgram)
	}
	program := make([]bpf.RawInstruction, count)
	for i, line := range lines[1:] {
		fields := strings.Fields(line)
		if len(fields) != 4 {
			return nil, fmt.Errorf("cannot read BPF program: line %d: four numbers are expected: %w", i+2, ErrProgram)
		}
		var n [4]uint64
		for j, bits := range []int{16, 8, 8, 32} {
			if n[j], err = strconv.ParseUint(fields[j], 10, bits); err != nil {
				return nil, fmt.Errorf("cannot read BPF program: line %d: %q is no number of %d bits: %w", i+2, clip(fields[j]), bits, ErrProgram)
			}
		}
		program[i] = bpf.RawInstruction{Op: uint16(n[0]), Jt: uint8(n[1]), Jf: uint8(n[2]), K: uint32(n[3])}
	}
	return program, Check(program)
}

// PrintProgram is a program in the form that ReadProgram reads.
func PrintProgram(program []bpf.RawInstruction) string {
	var out strings.Builder
	fmt.Fprintln(&out, len(program))
	for _, i := range program {
		fmt.Fprintln(&out, i.Op, i.Jt, i.Jf, i.K)
	}
	return out.String()
}

// Check sees that every instruction is known, that jumps go forward and stay inside, that memory is within its sixteen
// words, and that the program ends with a return.
func Check(program []bpf.RawInstruction) error {
	wrong := func(at int, why string) error {
		return fmt.Errorf("cannot use BPF program: instruction %d: %s: %w", at, why, ErrProgram)
	}
	if len(program) == 0 || len(program) > MaxInstructions {
		return fmt.Errorf("cannot use BPF program: it has %d instructions, not 1 to %d: %w", len(program), MaxInstructions, ErrProgram)
	}
	for at, i := range program {
		room := len(program) - at - 1 // instructions that follow
		switch i.Op & 0x07 {
		case unix.BPF_JMP:
			if i.Op == unix.BPF_JMP|unix.BPF_JA {
				if uint64(i.K) >= uint64(room) {
					return wrong(at, "it jumps out of the program")
				}
			} else if int(i.Jt) >= room || int(i.Jf) >= room {
				return wrong(at, "it jumps out of the program")
			}
		case unix.BPF_ST, unix.BPF_STX:
			if i.K >= scratch {
				return wrong(at, "it uses memory beyond the 16 words")
			}
		case unix.BPF_LD, unix.BPF_LDX:
			if i.Op&0xe0 == unix.BPF_MEM && i.K >= scratch {
				return wrong(at, "it uses memory beyond the 16 words")
			}
		case unix.BPF_ALU:
			if k := i.Op&unix.BPF_X == 0; k && i.K == 0 && (i.Op&0xf0 == unix.BPF_DIV || i.Op&0xf0 == unix.BPF_MOD) {
				return wrong(at, "it divides by zero")
			} else if k && i.K > 31 && (i.Op&0xf0 == unix.BPF_LSH || i.Op&0xf0 == unix.BPF_RSH) {
				return wrong(at, "it shifts by more than 31 bits")
			}
		}
		if !valid(i.Op) {
			return wrong(at, fmt.Sprintf("there is no operation %#x", i.Op))
		}
	}
	switch program[len(program)-1].Op {
	case unix.BPF_RET | unix.BPF_K, unix.BPF_RET | unix.BPF_A:
		return nil
	}
	return wrong(len(program)-1, "the last one is no return")
}

// valid says whether the kernel knows an operation (chk_code_allowed).
func valid(op uint16) bool {
	switch op & 0x07 {
	case unix.BPF_LD:
		switch op &^ 0x18 { // its width
		case unix.BPF_LD | unix.BPF_ABS, unix.BPF_LD | unix.BPF_IND:
			return op&0x18 != 0x18
		}
		return op == unix.BPF_LD|unix.BPF_W|unix.BPF_LEN || op == unix.BPF_LD|unix.BPF_IMM || op == unix.BPF_LD|unix.BPF_MEM
	case unix.BPF_LDX:
		return op == unix.BPF_LDX|unix.BPF_W|unix.BPF_LEN || op == unix.BPF_LDX|unix.BPF_IMM || op == unix.BPF_LDX|unix.BPF_MEM ||
			op == unix.BPF_LDX|unix.BPF_B|unix.BPF_MSH
	case unix.BPF_ST:
		return op == unix.BPF_ST
	case unix.BPF_STX:
		return op == unix.BPF_STX
	case unix.BPF_ALU:
		if op == unix.BPF_ALU|unix.BPF_NEG {
			return true
		}
		code := op & 0xf0
		return op&^0xf8 == unix.BPF_ALU && code <= unix.BPF_XOR && code != unix.BPF_NEG
	case unix.BPF_JMP:
		if op == unix.BPF_JMP|unix.BPF_JA {
			return true
		}
		code := op & 0xf0
		return op&^0xf8 == unix.BPF_JMP && code > unix.BPF_JA && code <= unix.BPF_JSET
	case unix.BPF_RET:
		return op == unix.BPF_RET|unix.BPF_K || op == unix.BPF_RET|unix.BPF_A
	}
	return op == unix.BPF_MISC|unix.BPF_TAX || op == unix.BPF_MISC|unix.BPF_TXA
}

// Print is an instruction as tcpdump -d prints it.
func Print(at int, i bpf.RawInstruction) string {
	name, operand := mnemonic(i)
	if i.Op&0x07 == unix.BPF_JMP && i.Op != unix.BPF_JMP|unix.BPF_JA {
		return fmt.Sprintf("(%03d) %-8s %-16s jt %d\tjf %d", at, name, operand, at+1+int(i.Jt), at+1+int(i.Jf))
	}
	if i.Op == unix.BPF_JMP|unix.BPF_JA {
		operand = strconv.Itoa(at + 1 + int(i.K))
	}
	return fmt.Sprintf("(%03d) %-8s %s", at, name, operand)
}

func mnemonic(i bpf.RawInstruction) (name, operand string) {
	size := map[uint16]string{unix.BPF_W: "", unix.BPF_H: "h", unix.BPF_B: "b"}[i.Op&0x18]
	number := fmt.Sprintf("#0x%x", i.K)
	switch i.Op & 0x07 {
	case unix.BPF_LD, unix.BPF_LDX:
		name = "ld" + size
		if i.Op&0x07 == unix.BPF_LDX {
			name = "ldx" + size
		}
		switch i.Op & 0xe0 {
		case unix.BPF_IMM:
			return name, number
		case unix.BPF_ABS:
			return name, fmt.Sprintf("[%d]", i.K)
		case unix.BPF_IND:
			return name, fmt.Sprintf("[x + %d]", i.K)
		case unix.BPF_MEM:
			return name, fmt.Sprintf("M[%d]", i.K)
		case unix.BPF_LEN:
			return name, "#pktlen"
		}
		return name, fmt.Sprintf("4*([%d]&0xf)", i.K)
	case unix.BPF_ST:
		return "st", fmt.Sprintf("M[%d]", i.K)
	case unix.BPF_STX:
		return "stx", fmt.Sprintf("M[%d]", i.K)
	case unix.BPF_JMP:
		name = [...]string{"ja", "jeq", "jgt", "jge", "jset"}[min(i.Op>>4, 4)]
		if i.Op&unix.BPF_X != 0 {
			return name, "x"
		}
		return name, number
	case unix.BPF_ALU:
		name = [...]string{"add", "sub", "mul", "div", "or", "and", "lsh", "rsh", "neg", "mod", "xor"}[min(i.Op>>4, 10)]
		switch {
		case i.Op&0xf0 == unix.BPF_NEG:
			return name, ""
		case i.Op&unix.BPF_X != 0:
			return name, "x"
		case i.Op&0xf0 == unix.BPF_AND || i.Op&0xf0 == unix.BPF_OR || i.Op&0xf0 == unix.BPF_XOR:
			return name, number
		}
		return name, fmt.Sprintf("#%d", i.K)
	case unix.BPF_RET:
		if i.Op == unix.BPF_RET|unix.BPF_A {
			return "ret", ""
		}
		return "ret", fmt.Sprintf("#%d", i.K)
	}
	if i.Op == unix.BPF_MISC|unix.BPF_TXA {
		return "txa", ""
	}
	return "tax", ""
}

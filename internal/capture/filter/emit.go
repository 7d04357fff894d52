package filter

import (
	"fmt"
	"math"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// scratch is how many words of memory a program has (BPF_MEMWORDS of linux/filter.h).
const scratch = 16

// registers are what the accumulator and the index register hold; nil is not known.
type registers struct{ a, x *value }

// emit lays a graph out as a program. Nodes stand in the order in which the last of the ways to each is known: no before
// yes, seen from the end. It says no when a value takes more memory than there is.
func emit(root *node) ([]bpf.RawInstruction, bool) {
	var order []*node // children before parents
	seen := map[*node]bool{}
	var visit func(n *node)
	visit = func(n *node) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		visit(n.no)
		visit(n.yes)
		order = append(order, n)
	}
	visit(root)

	entry := map[*node]*registers{root: {}}
	code := make(map[*node][]bpf.RawInstruction, len(order))
	for _, n := range slices.Backward(order) {
		if n.yes == nil {
			continue
		}
		e := &evaluator{registers: *entry[n]}
		e.prepare(n.test)
		if e.overflow {
			return nil, false
		}
		code[n] = e.code
		for _, next := range []*node{n.yes, n.no} {
			if have, ok := entry[next]; !ok {
				left := e.registers
				entry[next] = &left
			} else {
				if have.a != e.a {
					have.a = nil
				}
				if have.x != e.x {
					have.x = nil
				}
			}
		}
	}
	l := &layout{at: map[*node]int{}, blocks: map[string]int{}}
	for _, n := range order {
		l.place(n, code[n])
	}
	slices.Reverse(l.out)
	return l.out, true
}

// layout writes a program from its end, since jumps go forward only.
type layout struct {
	out    []bpf.RawInstruction // backwards
	at     map[*node]int        // the place in out of a node's first instruction
	blocks map[string]int       // the same by what a node's instructions are: equal ones stand there once
}

func (l *layout) place(n *node, before []bpf.RawInstruction) {
	if n.yes == nil {
		l.out = append(l.out, bpf.RawInstruction{Op: unix.BPF_RET | unix.BPF_K, K: n.verdict})
		l.at[n] = len(l.out) - 1
		return
	}
	op, k := uint16(unix.BPF_JMP|unix.BPF_K), n.k
	if n.right != nil {
		op = unix.BPF_JMP | unix.BPF_X
	}
	switch n.op {
	case equal:
		op |= unix.BPF_JEQ
	case greater:
		op |= unix.BPF_JGT
	case atLeast:
		op |= unix.BPF_JGE
	case anyBit:
		op |= unix.BPF_JSET
	}
	key := fmt.Sprint(before, op, k, l.at[n.yes], l.at[n.no])
	if at, ok := l.blocks[key]; ok {
		l.at[n] = at
		return
	}
	// Bringing no nearer moves yes away by one instruction.
	yes := l.reach(l.at[n.yes], 1)
	no := l.reach(l.at[n.no], 0)
	here := len(l.out)
	l.out = append(l.out, bpf.RawInstruction{Op: op, Jt: uint8(here - yes - 1), Jf: uint8(here - no - 1), K: k})
	for _, i := range slices.Backward(before) {
		l.out = append(l.out, i)
	}
	l.at[n] = len(l.out) - 1
	l.blocks[key] = l.at[n]
}

// reach gives a place within a conditional jump's reach from which the program goes on at target, when room more
// instructions come in between: target itself, or a long jump.
func (l *layout) reach(target, room int) int {
	if len(l.out)-target-1+room <= math.MaxUint8 {
		return target
	}
	l.out = append(l.out, bpf.RawInstruction{Op: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(l.out) - target - 1)})
	return len(l.out) - 1
}

// evaluator makes the instructions that bring values into the registers.
type evaluator struct {
	registers
	code     []bpf.RawInstruction
	used     int // words of memory
	overflow bool
}

func (e *evaluator) add(op uint16, k uint32) {
	e.code = append(e.code, bpf.RawInstruction{Op: op, K: k})
}

// prepare brings a test's left value into the accumulator, and its right one into the index register.
func (e *evaluator) prepare(t test) {
	if t.right == nil {
		e.accumulate(t.left)
		return
	}
	e.pair(t.left, t.right)
}

// pair brings left into the accumulator and right into the index register.
func (e *evaluator) pair(left, right *value) {
	if right.kind == header && !usesIndex(left) {
		e.accumulate(left)
		e.index(right)
		return
	}
	if right.kind == header && left.kind != indexed && left.kind != computed {
		e.index(right)
		e.accumulate(left)
		return
	}
	e.accumulate(left)
	slot := e.used
	if e.used++; e.used > scratch {
		e.overflow = true
		return
	}
	e.add(unix.BPF_ST, uint32(slot))
	e.index(right)
	e.add(unix.BPF_LD|unix.BPF_MEM, uint32(slot))
	e.a = left
	e.used--
}

// usesIndex says whether making a value changes the index register.
func usesIndex(v *value) bool {
	switch v.kind {
	case indexed:
		return true
	case computed:
		return usesIndex(v.left) || v.right.kind != literal
	}
	return false
}

// index brings a value into the index register. The accumulator is lost unless the value is a header's length.
func (e *evaluator) index(v *value) {
	switch {
	case e.x == v || e.overflow:
		return
	case v.kind == header:
		e.add(unix.BPF_LDX|unix.BPF_B|unix.BPF_MSH, v.k)
	case v.kind == literal:
		e.add(unix.BPF_LDX|unix.BPF_IMM, v.k)
	default:
		e.accumulate(v)
		e.add(unix.BPF_MISC|unix.BPF_TAX, 0)
	}
	e.x = v
}

// accumulate brings a value into the accumulator.
func (e *evaluator) accumulate(v *value) {
	if e.a == v || e.overflow {
		return
	}
	switch v.kind {
	case literal:
		e.add(unix.BPF_LD|unix.BPF_IMM, v.k)
	case absolute:
		e.add(unix.BPF_LD|unix.BPF_ABS|width(v.size), v.k)
	case length:
		e.add(unix.BPF_LD|unix.BPF_W|unix.BPF_LEN, 0)
	case header:
		e.index(v)
		e.add(unix.BPF_MISC|unix.BPF_TXA, 0)
	case indexed:
		e.index(v.left)
		e.add(unix.BPF_LD|unix.BPF_IND|width(v.size), v.k)
	case computed:
		if v.right.kind == literal {
			e.accumulate(v.left)
			e.add(unix.BPF_ALU|unix.BPF_K|arithmetic(v.op), v.right.k)
		} else {
			e.pair(v.left, v.right)
			e.add(unix.BPF_ALU|unix.BPF_X|arithmetic(v.op), 0)
		}
	}
	e.a = v
}

func width(size uint8) uint16 {
	switch size {
	case 1:
		return unix.BPF_B
	case 2:
		return unix.BPF_H
	}
	return unix.BPF_W
}

func arithmetic(op byte) uint16 {
	switch op {
	case '+':
		return unix.BPF_ADD
	case '-':
		return unix.BPF_SUB
	case '*':
		return unix.BPF_MUL
	case '/':
		return unix.BPF_DIV
	case '%':
		return unix.BPF_MOD
	case '&':
		return unix.BPF_AND
	case '|':
		return unix.BPF_OR
	case '^':
		return unix.BPF_XOR
	case '<':
		return unix.BPF_LSH
	}
	return unix.BPF_RSH
}

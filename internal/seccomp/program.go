package seccomp

import (
	"math"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// node is one step of a decision: a return, a load or mask that goes on to yes, or a test that goes to yes or no.
// Equal nodes are one node, so equal parts of a program are there once.
type node struct {
	code    uint16
	k       uint32
	yes, no *node
}

// The opcodes in use (linux/filter.h).
const (
	load         = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	and          = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	jump         = unix.BPF_JMP | unix.BPF_JA
	jumpEqual    = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpGreater  = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	jumpAtLeast  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	returnK      = unix.BPF_RET | unix.BPF_K
	numberOffset = 0  // of struct seccomp_data
	archOffset   = 4  //
	argsOffset   = 16 // six words of 64 bits, little-endian on all architectures here
)

type builder struct {
	nodes   map[node]*node
	returns []*node // those of nodes that are verdicts: few, and asked for by every call
}

func (b *builder) node(n node) *node {
	if have, ok := b.nodes[n]; ok {
		return have
	}
	kept := n // n itself stays off the heap when there is nothing to keep
	b.nodes[n] = &kept
	return &kept
}

func (b *builder) verdict(v verdict) *node {
	for _, n := range b.returns {
		if n.k == uint32(v) {
			return n
		}
	}
	n := b.node(node{code: returnK, k: uint32(v)})
	b.returns = append(b.returns, n)
	return n
}

func (b *builder) load(offset uint32, next *node) *node {
	return b.node(node{code: load, k: offset, yes: next})
}

func (b *builder) test(code uint16, k uint32, yes, no *node) *node {
	if yes == no {
		return yes
	}
	return b.node(node{code, k, yes, no})
}

// program decides by architecture, then by number.
func (b *builder) program(p policy, arches []architecture) *node {
	next := b.verdict(killThread)
	for len(arches) > 0 {
		last := arches[len(arches)-1].audit
		same := slices.IndexFunc(arches, func(a architecture) bool { return a.audit == last })
		spans := b.spans(p, arches[same:])
		next = b.test(jumpEqual, last, b.load(numberOffset, b.search(spans)), next)
		arches = arches[:same]
	}
	return b.load(archOffset, next)
}

// span is a run of numbers, up to the next span's first, that are treated alike.
type span struct {
	first uint32
	to    *node
}

// spans lays out all numbers of architectures that share an audit value, x86_64 and x32 or one alone.
func (b *builder) spans(p policy, arches []architecture) []span {
	fallback := b.verdict(p.fallback)
	newer := fallback
	if p.fallback.refuses() {
		newer = b.verdict(errnoReturn | verdict(unix.ENOSYS))
	}
	all := make([]span, 0, 2*len(arches)*(len(p.named)+4))
	for _, a := range arches {
		calls, newest := b.calls(p, a), p.newest(a)
		all = append(all, span{a.base, fallback})
		for _, c := range calls {
			if c.first > newest {
				break
			}
			all = append(all, c, span{c.first + 1, fallback})
		}
		if newest > a.base {
			all = append(all, span{newest + 1, newer})
		}
		for _, c := range calls {
			if c.first > newest {
				all = append(all, c, span{c.first + 1, newer})
			}
		}
	}
	if arches[0].audit == unix.AUDIT_ARCH_X86_64 && len(arches) == 1 {
		// x32 is not in the profile. Minus one is no call: a tracer put it there.
		all = append(all, span{x32Bit, b.verdict(killThread)}, span{math.MaxUint32, fallback})
	}
	return compact(all)
}

// compact drops spans that are empty or go on as the one before.
func compact(all []span) []span {
	kept := all[:0]
	for i, s := range all {
		if i+1 < len(all) && all[i+1].first == s.first {
			continue
		}
		if len(kept) == 0 || kept[len(kept)-1].to != s.to {
			kept = append(kept, s)
		}
	}
	return kept
}

// search finds the span of the number in the accumulator.
func (b *builder) search(spans []span) *node {
	if len(spans) == 1 {
		return spans[0].to
	}
	half := len(spans) / 2
	return b.test(jumpAtLeast, spans[half].first, b.search(spans[half:]), b.search(spans[:half]))
}

// newest returns the greatest number that the profile names, ARM's private ones apart; the base if it names none.
func (p policy) newest(a architecture) uint32 {
	newest := a.base
	for _, call := range p.named {
		if number, ok := a.number(call); ok && (a.name != specs.ArchARM || number < privateCalls) {
			newest = max(newest, number)
		}
	}
	return newest
}

// calls decides each call the rules name, in the order of their numbers.
func (b *builder) calls(p policy, a architecture) []span {
	said := make([]clause, 0, 2*len(p.rules))
	mentions := make([]uint64, 0, len(p.named)) // number, and index of what is said about it: sorts by both
	mention := func(number uint32) { mentions = append(mentions, uint64(number)<<32|uint64(len(said)-1)) }
	for _, r := range p.rules {
		said = append(said, r.clause)
		for _, call := range r.calls {
			if number, ok := a.number(call); ok {
				mention(number)
			}
		}
		if len(r.conditions) > 0 && r.verdict.permitsMore(p.fallback) {
			continue
		}
		for _, call := range r.calls {
			if carrier, which, ok := a.carrier(call); ok {
				condition := specs.LinuxSeccompArg{Index: 0, Value: which, Op: specs.OpEqualTo}
				said = append(said, clause{r.verdict, []specs.LinuxSeccompArg{condition}})
				mention(carrier)
			}
		}
	}
	slices.Sort(mentions)
	otherwise := b.verdict(p.fallback)
	spans := make([]span, 0, len(mentions))
	var clauses []clause
	for i, m := range mentions {
		clauses = append(clauses, said[uint32(m)])
		if i+1 == len(mentions) || mentions[i+1]>>32 != m>>32 {
			spans = append(spans, span{uint32(m >> 32), b.decide(clauses, a.short, otherwise)})
			clauses = clauses[:0]
		}
	}
	return spans
}

// decide tries the clauses for one call in order; one without conditions beats all others.
func (b *builder) decide(clauses []clause, short bool, otherwise *node) *node {
	for _, c := range clauses {
		if len(c.conditions) == 0 {
			return b.verdict(c.verdict)
		}
	}
	return b.alternatives(clauses, short, otherwise)
}

// alternatives tries clauses with conditions in order.
func (b *builder) alternatives(clauses []clause, short bool, otherwise *node) *node {
	if len(clauses) == 0 {
		return otherwise
	}
	if n := sameArgument(clauses); n > 1 {
		return b.oneOf(clauses[:n], short, b.alternatives(clauses[n:], short, otherwise))
	}
	next := b.alternatives(clauses[1:], short, otherwise)
	to := b.verdict(clauses[0].verdict)
	for _, c := range slices.Backward(clauses[0].conditions) {
		to = b.condition(c, short, to, next)
	}
	return to
}

// sameArgument counts the clauses from the first that only ask whether one argument equals a value, with one verdict:
// lists of address families and the like, which are searched by halves.
func sameArgument(clauses []clause) int {
	plain := func(r clause) bool { return len(r.conditions) == 1 && r.conditions[0].Op == specs.OpEqualTo }
	n := 0
	for n < len(clauses) && plain(clauses[n]) && clauses[n].verdict == clauses[0].verdict && clauses[n].conditions[0].Index == clauses[0].conditions[0].Index {
		n++
	}
	return n
}

func (b *builder) oneOf(clauses []clause, short bool, otherwise *node) *node {
	yes := b.verdict(clauses[0].verdict)
	halves := make(map[uint32][]uint32) // low halves by high half
	for _, r := range clauses {
		high := uint32(r.conditions[0].Value >> 32)
		if short {
			high = 0
		}
		halves[high] = append(halves[high], uint32(r.conditions[0].Value))
	}
	low, high := offsets(clauses[0].conditions[0])
	to := make(map[uint32]*node, len(halves))
	for h, lows := range halves {
		to[h] = b.load(low, b.search(members(lows, yes, otherwise)))
	}
	if short {
		return to[0]
	}
	keys := make([]uint32, 0, len(to))
	for h := range to {
		keys = append(keys, h)
	}
	slices.Sort(keys)
	spans := []span{{0, otherwise}}
	for _, h := range keys {
		spans = append(spans, span{h, to[h]})
		if h != math.MaxUint32 {
			spans = append(spans, span{h + 1, otherwise})
		}
	}
	return b.load(high, b.search(compact(spans)))
}

// members lays out all 32-bit values: yes for the listed ones, no for the others.
func members(values []uint32, yes, no *node) []span {
	slices.Sort(values)
	spans := []span{{0, no}}
	for _, v := range slices.Compact(values) {
		spans = append(spans, span{v, yes})
		if v != math.MaxUint32 {
			spans = append(spans, span{v + 1, no})
		}
	}
	return compact(spans)
}

// offsets returns where an argument's halves are.
func offsets(c specs.LinuxSeccompArg) (low, high uint32) {
	low = argsOffset + 8*uint32(c.Index)
	return low, low + 4
}

// condition tests one argument; a value of 64 bits takes two comparisons.
func (b *builder) condition(c specs.LinuxSeccompArg, short bool, yes, no *node) *node {
	switch c.Op {
	case specs.OpNotEqual:
		c.Op = specs.OpEqualTo
		return b.condition(c, short, no, yes)
	case specs.OpLessThan:
		c.Op = specs.OpGreaterEqual
		return b.condition(c, short, no, yes)
	case specs.OpLessEqual:
		c.Op = specs.OpGreaterThan
		return b.condition(c, short, no, yes)
	case specs.OpEqualTo:
		return b.masked(c, math.MaxUint64, c.Value, short, yes, no)
	case specs.OpMaskedEqual:
		return b.masked(c, c.Value, c.ValueTwo&c.Value, short, yes, no)
	}
	code := uint16(jumpGreater)
	if c.Op == specs.OpGreaterEqual {
		code = jumpAtLeast
	}
	low, high := offsets(c)
	test := b.load(low, b.test(code, uint32(c.Value), yes, no))
	if short {
		return test
	}
	h := uint32(c.Value >> 32)
	return b.load(high, b.test(jumpGreater, h, yes, b.test(jumpEqual, h, test, no)))
}

// masked asks whether the argument's bits in mask are those of value.
func (b *builder) masked(c specs.LinuxSeccompArg, mask, value uint64, short bool, yes, no *node) *node {
	low, high := offsets(c)
	to := b.half(low, uint32(mask), uint32(value), yes, no)
	if short {
		return to
	}
	return b.half(high, uint32(mask>>32), uint32(value>>32), to, no)
}

func (b *builder) half(offset, mask, value uint32, yes, no *node) *node {
	test := b.test(jumpEqual, value, yes, no)
	switch mask {
	case 0:
		return yes
	case math.MaxUint32:
		return b.load(offset, test)
	}
	return b.load(offset, b.node(node{code: and, k: mask, yes: test}))
}

// assemble lays a decision out as a program. It goes from the end, since jumps go forward only; a conditional jump
// reaches 255 instructions, beyond which a return is repeated and anything else gets a long jump on the way.
func assemble(root *node) []Instruction {
	a := assembler{at: make(map[*node]int, 1024)}
	a.place(root)
	slices.Reverse(a.out)
	return a.out
}

type assembler struct {
	out []Instruction // backwards
	at  map[*node]int // index in out of what to jump to
}

func (a *assembler) emit(n *node, i Instruction) {
	a.at[n] = len(a.out)
	a.out = append(a.out, i)
}

func (a *assembler) place(n *node) {
	if _, ok := a.at[n]; ok {
		return
	}
	switch n.code {
	case returnK:
		a.emit(n, Instruction{Code: returnK, K: n.k})
	case load, and:
		a.place(n.yes)
		if a.at[n.yes] != len(a.out)-1 {
			a.nearer(n.yes)
		}
		a.emit(n, Instruction{Code: n.code, K: n.k})
	default:
		a.place(n.yes)
		a.place(n.no)
		// Bringing one nearer moves the other away by one instruction.
		a.reach(n.yes, 1)
		a.reach(n.no, 0)
		here := len(a.out)
		a.emit(n, Instruction{Code: n.code, Jt: uint8(here - a.at[n.yes] - 1), Jf: uint8(here - a.at[n.no] - 1), K: n.k})
	}
}

// reach brings a node into a conditional jump's reach when room more instructions come in between.
func (a *assembler) reach(n *node, room int) {
	if len(a.out)-a.at[n]-1+room > math.MaxUint8 {
		a.nearer(n)
	}
}

// nearer puts a way to the node here.
func (a *assembler) nearer(n *node) {
	if n.code == returnK {
		a.emit(n, Instruction{Code: returnK, K: n.k})
		return
	}
	a.emit(n, Instruction{Code: jump, K: uint32(len(a.out) - a.at[n] - 1)})
}

package seccomp

import (
	"math/rand/v2"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// calls yields every number of every architecture, and some of none, each with arguments around the values that the
// profile's conditions for it name.
func calls(p *specs.LinuxSeccomp, goarch string) func(func(data) bool) {
	return func(yield func(data) bool) {
		random := rand.New(rand.NewPCG(1, 2))
		for _, a := range append(family(goarch), architecture{audit: unix.AUDIT_ARCH_S390X}) {
			byNumber := map[uint32][]specs.LinuxSeccompArg{}
			for _, s := range p.Syscalls {
				for _, name := range s.Names {
					call := find(name)
					if call == nil {
						continue
					}
					if n, ok := a.number(call); ok {
						byNumber[n] = append(byNumber[n], s.Args...)
					}
					if n, which, ok := a.carrier(call); ok {
						byNumber[n] = append(append(byNumber[n], s.Args...), specs.LinuxSeccompArg{Value: which})
					}
				}
			}
			numbers := []uint32{a.base + 5000, a.base + 0xf0000, a.base + 0xf0002, a.base + 0xf0005, a.base + 0xf0006, x32Bit - 1, x32Bit, 1<<32 - 1, 1 << 31}
			for n := range uint32(520) {
				numbers = append(numbers, a.base+n)
			}
			for _, n := range numbers {
				for _, args := range arguments(byNumber[n], random) {
					if !yield(data{number: n, arch: a.audit, args: args}) {
						return
					}
				}
			}
		}
	}
}

// arguments returns samples of the six arguments.
func arguments(conditions []specs.LinuxSeccompArg, random *rand.Rand) [][6]uint64 {
	samples := [][6]uint64{{}, {1, 2, 3, 4, 5, 6}}
	var interesting [6][]uint64
	for _, c := range conditions {
		for _, v := range []uint64{c.Value, c.ValueTwo, c.Value & c.ValueTwo} {
			interesting[c.Index] = append(interesting[c.Index], v, v-1, v+1, v^1<<32, v+1<<32, v-1<<32, v^1<<uint(random.IntN(64)), uint64(uint32(v)), v|0xffffffff<<32)
		}
	}
	if len(conditions) == 0 {
		return samples
	}
	for range min(40+20*len(conditions), 600) {
		var args [6]uint64
		for i, values := range interesting {
			args[i] = random.Uint64() >> uint(random.IntN(64))
			if len(values) > 0 && random.IntN(8) > 0 {
				args[i] = values[random.IntN(len(values))]
			}
		}
		samples = append(samples, args)
	}
	return samples
}

func pick[T any](random *rand.Rand, of []T) T { return of[random.IntN(len(of))] }

func randomProfile(random *rand.Rand, goarch string, oneVerdict bool) *specs.LinuxSeccomp {
	actions := []specs.LinuxSeccompAction{
		specs.ActAllow, specs.ActErrno, specs.ActKill, specs.ActKillProcess, specs.ActKillThread,
		specs.ActTrap, specs.ActTrace, specs.ActLog,
	}
	ops := []specs.LinuxSeccompOperator{
		specs.OpEqualTo, specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual,
		specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpMaskedEqual,
	}
	values := []uint64{0, 1, 2, 3, 8, 0x20000, 0x7e020000, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 32, 1<<32 + 5, 1<<63 + 1, 1<<64 - 1}
	p := &specs.LinuxSeccomp{DefaultAction: pick(random, actions), ListenerPath: "/l"}
	for _, a := range family(goarch) {
		if random.IntN(3) > 0 {
			p.Architectures = append(p.Architectures, a.name)
		}
	}
	if !oneVerdict {
		actions = append(actions, specs.ActNotify)
	}
	chosen := map[string]bool{}
	for range 1 + random.IntN(40) {
		s := specs.LinuxSyscall{Action: pick(random, actions)}
		if s.Action == specs.ActErrno && random.IntN(2) == 0 {
			n := uint(random.IntN(100))
			s.ErrnoRet = &n
		}
		name := pick(random, table[:]).name
		if chosen[name] && oneVerdict {
			continue
		}
		chosen[name] = true
		s.Names = []string{name}
		for index := range uint(6) {
			if random.IntN(5) == 0 {
				s.Args = append(s.Args, specs.LinuxSeccompArg{Index: index, Value: pick(random, values), ValueTwo: pick(random, values), Op: pick(random, ops)})
			}
		}
		if !oneVerdict && len(s.Args) > 0 && random.IntN(4) == 0 {
			s.Args = append(s.Args, s.Args[0])
			s.Args[len(s.Args)-1].Value = pick(random, values)
		}
		if s.Action == specs.ActNotify && name == "write" {
			continue
		}
		p.Syscalls = append(p.Syscalls, s)
		for len(s.Args) < 2 && random.IntN(3) > 0 { // more rules for the same call
			again, index, op := s, uint(random.IntN(2)), pick(random, ops)
			if oneVerdict {
				op = specs.OpEqualTo
				if len(s.Args) > 0 && s.Args[0].Op != op {
					break
				}
				if len(s.Args) > 0 {
					index = s.Args[0].Index
				}
			}
			again.Args = []specs.LinuxSeccompArg{{Index: index, Value: pick(random, values), ValueTwo: pick(random, values), Op: op}}
			if !oneVerdict && random.IntN(2) == 0 {
				again.Action, again.ErrnoRet = specs.ActAllow, nil
			}
			p.Syscalls = append(p.Syscalls, again)
		}
	}
	return p
}

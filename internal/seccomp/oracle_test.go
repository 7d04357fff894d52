package seccomp

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/seccomp/profile"
)

// oracle is libseccomp, asked through a small C program.
type oracle struct {
	in  io.Writer
	out *bufio.Reader
	err *strings.Builder
}

// buildC builds a program of testdata.
func buildC(t testing.TB, name string) string {
	t.Helper()
	if os.Getenv("TRIPOD_VM") != "" {
		t.Skip("the emulated machine has no C compiler, and what this test looks at does not depend on it")
	}
	bin := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("gcc", "-O1", "-Wall", "-o", bin, "testdata/"+name+".c", "-lseccomp").CombinedOutput(); err != nil {
		t.Fatalf("cannot build %s.c (Debian: gcc libc6-dev libseccomp-dev): %v\n%s", name, err, out)
	}
	return bin
}

func newOracle(t testing.TB) *oracle {
	t.Helper()
	bin := buildC(t, "oracle")
	cmd := exec.Command(bin)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	o := &oracle{in, bufio.NewReader(out), &strings.Builder{}}
	cmd.Stderr = o.err
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("oracle: %v: %s", err, o.err)
		}
	})
	return o
}

// resolve returns a call's numbers in the table's columns; negative where there is none.
func (o *oracle) resolve(t testing.TB, name string) [5]int32 {
	t.Helper()
	fmt.Fprintln(o.in, "resolve", name)
	var n [5]int32
	line, err := o.out.ReadString('\n')
	if err != nil {
		t.Fatalf("oracle: %v: %s", err, o.err)
	}
	if _, err := fmt.Sscan(line, &n[0], &n[1], &n[2], &n[3], &n[4]); err != nil {
		t.Fatal(err)
	}
	return n
}

// compile returns libseccomp's program for a profile, without what runc puts in front of it.
func (o *oracle) compile(t testing.TB, p *specs.LinuxSeccomp, goarch string) []Instruction {
	t.Helper()
	fallback, _ := lookup(p.DefaultAction, p.DefaultErrnoRet)
	arches, _ := architectures(p.Architectures, goarch)
	fmt.Fprintf(o.in, "begin %d 2", fallback)
	for _, a := range arches {
		fmt.Fprint(o.in, " ", strings.ToLower(strings.TrimPrefix(string(a.name), "SCMP_ARCH_")))
	}
	fmt.Fprintln(o.in)
	for _, s := range p.Syscalls {
		v, _ := lookup(s.Action, s.ErrnoRet)
		if v == fallback {
			continue // libseccomp refuses such a rule, and runc leaves it out
		}
		for _, r := range (rule{clause: clause{v, s.Args}}).alternatives() {
			for _, name := range s.Names {
				fmt.Fprintf(o.in, "rule %d %s", v, name)
				for _, a := range r.conditions {
					fmt.Fprintf(o.in, " %d %s %d %d", a.Index, strings.TrimPrefix(string(a.Op), "SCMP_CMP_"), a.Value, a.ValueTwo)
				}
				fmt.Fprintln(o.in)
			}
		}
	}
	fmt.Fprintln(o.in, "end")
	line, err := o.out.ReadString('\n')
	if err != nil {
		t.Fatalf("oracle: %v: %s", err, o.err)
	}
	size, _ := strconv.Atoi(strings.TrimSpace(line))
	raw := make([]byte, size)
	if _, err := io.ReadFull(o.out, raw); err != nil {
		t.Fatal(err)
	}
	prog := make([]Instruction, size/8)
	for i := range prog {
		b := raw[8*i:]
		prog[i] = Instruction{Code: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:])}
	}
	return prog
}

// withENOSYS runs libseccomp's program behind runc's stub: a number beyond the newest that the profile names.
func withENOSYS(prog []Instruction, p *specs.LinuxSeccomp, goarch string, newest map[specs.Arch]uint32, d data) uint32 {
	if fallback, _ := lookup(p.DefaultAction, p.DefaultErrnoRet); fallback.refuses() {
		arches, _ := architectures(p.Architectures, goarch)
		for _, a := range arches {
			if a.speaks(d) && newest[a.name] > a.base && d.number > newest[a.name] && (a.name != specs.ArchARM || d.number < privateCalls) {
				return uint32(errnoReturn) | uint32(unix.ENOSYS)
			}
		}
	}
	return run(prog, d)
}

// The table says the same as libseccomp of every call that both know.
func TestTable(t *testing.T) {
	o := newOracle(t)
	both := 0
	for i, r := range table {
		if i > 0 && table[i-1].name >= r.name {
			t.Errorf("%s is out of order", r.name)
		}
		theirs := o.resolve(t, r.name)
		for c := range r.numbers {
			if theirs[c] >= 0 && r.numbers[c] >= 0 {
				both++
			}
			// Minus one is a name libseccomp does not know, less one that the architecture lacks or carries.
			_, _, carried := family("386")[0].carrier(&r)
			if theirs[c] != -1 && max(r.numbers[c], -1) != max(theirs[c], -1) && !(c == 1 && carried) {
				t.Errorf("%s: %v, libseccomp %v", r.name, r.numbers, theirs)
				break
			}
		}
	}
	if both < 1800 {
		t.Errorf("only %d numbers are known to both", both)
	}
}

// The columns that generate.go takes over as they are have every call of its source, also those libseccomp is too old
// for; from pidfd_send_signal on, all architectures number new calls alike.
func TestTableSource(t *testing.T) {
	for column, source := range map[int]*arch.Info{0: arch.X86_64, 1: arch.I386, 4: arch.ARM} {
		for number, name := range source.SyscallNumbers {
			if call := find(name); call == nil || call.numbers[column] != int32(number) {
				t.Errorf("%s of %s, %d, is not in the table: go generate", name, source.Name, number)
			}
		}
	}
	for _, r := range table {
		if n := r.numbers[0]; n >= 424 {
			for _, m := range r.numbers {
				if m != n && m != -1 {
					t.Errorf("%s: %v", r.name, r.numbers)
				}
			}
		}
	}
}

// The default profile, for several sets of capabilities, treats every call as libseccomp's program does, and means
// what it says also of the calls that are newer than libseccomp.
func TestDefaultProfile(t *testing.T) {
	o := newOracle(t)
	for _, caps := range [][]string{
		nil,
		{"CAP_CHOWN", "CAP_NET_RAW", "CAP_SYS_CHROOT"},
		{"CAP_SYS_ADMIN"},
		{"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_BPF", "CAP_SYS_MODULE", "CAP_SYSLOG", "CAP_PERFMON", "CAP_SYS_TIME", "CAP_SYS_NICE"},
	} {
		p, err := profile.Default(caps)
		if err != nil {
			t.Fatal(err)
		}
		for _, goarch := range []string{"amd64", "arm64"} {
			q := *p
			if goarch != runtime.GOARCH {
				q.Architectures = otherArches(goarch)
			}
			name := fmt.Sprintf("%s, %d capabilities", goarch, len(caps))
			f := compare(t, o, name, &q, goarch)
			if goarch == "amd64" {
				k := knownToBoth(t, o, &q)
				mine, err := compile(k, goarch)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s: %d instructions; of the calls libseccomp knows, %d against its %d", name, len(f.Program), len(mine.Program), len(o.compile(t, k, goarch)))
			}
		}
	}
}

func otherArches(goarch string) []specs.Arch {
	var names []specs.Arch
	for _, a := range family(goarch) {
		names = append(names, a.name)
	}
	return names
}

// compare checks a profile against its meaning, and what libseccomp knows of it against libseccomp.
func compare(t *testing.T, o *oracle, name string, p *specs.LinuxSeccomp, goarch string) *Filter {
	t.Helper()
	f, err := compile(p, goarch)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := verify(f.Program); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	known := knownToBoth(t, o, p)
	mine, err := compile(known, goarch)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	theirs := o.compile(t, known, goarch)
	newest := o.newest(t, known, goarch)
	for d := range calls(p, goarch) {
		if got, want := run(f.Program, d), meaning(p, goarch, d); got != want {
			t.Fatalf("%s: %+v is %#x, means %#x; profile %s", name, d, got, want, show(p))
		}
		if carriedWithConditions(p, d) || d.arch == unix.AUDIT_ARCH_ARM && d.number >= privateCalls && !namesCall(known, d.number) {
			continue // the known differences: see the package comment; runc's ENOSYS never comes where set_tls is named
		}
		if got, want := run(mine.Program, d), withENOSYS(theirs, known, goarch, newest, d); got != want {
			t.Fatalf("%s: %+v is %#x, libseccomp %#x; profile %s", name, d, got, want, show(known))
		}
	}
	return f
}

func (o *oracle) newest(t testing.TB, p *specs.LinuxSeccomp, goarch string) map[specs.Arch]uint32 {
	newest := map[specs.Arch]uint32{}
	for _, s := range p.Syscalls {
		for _, name := range s.Names {
			theirs := o.resolve(t, name)
			for _, a := range family(goarch) {
				if n := theirs[a.column]; n >= 0 && n < privateCalls {
					newest[a.name] = max(newest[a.name], uint32(n)+a.base)
				}
			}
		}
	}
	return newest
}

// knownToBoth leaves out the names that only one of the two tables has.
func knownToBoth(t testing.TB, o *oracle, p *specs.LinuxSeccomp) *specs.LinuxSeccomp {
	k := *p
	k.Syscalls = nil
	for _, s := range p.Syscalls {
		var names []string
		for _, name := range s.Names {
			theirs := o.resolve(t, name)
			call := find(name)
			if call == nil {
				continue
			}
			same := true
			for c, n := range call.numbers {
				same = same && (n == theirs[c] || n < 0 && theirs[c] < 0)
			}
			if same {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			s.Names = names
			k.Syscalls = append(k.Syscalls, s)
		}
	}
	return &k
}

// carriedWithConditions tells whether d is i386's socketcall or ipc while the profile has a rule with conditions for
// a call it carries.
func carriedWithConditions(p *specs.LinuxSeccomp, d data) bool {
	if d.arch != unix.AUDIT_ARCH_I386 {
		return false
	}
	for _, s := range p.Syscalls {
		for _, name := range s.Names {
			call := find(name)
			if call == nil {
				continue
			}
			carrier, _, ok := family("386")[0].carrier(call)
			if ok && carrier == d.number && len(s.Args) > 0 {
				return true
			}
		}
	}
	return false
}

func show(p *specs.LinuxSeccomp) string {
	text, _ := json.Marshal(p)
	return string(text)
}

// Each call that socketcall and ipc carry is found in them under libseccomp's number.
func TestCarried(t *testing.T) {
	o := newOracle(t)
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86}}
	for i, r := range table {
		if _, _, ok := family("386")[0].carrier(&r); ok {
			p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{r.name}, Action: specs.ActErrno, ErrnoRet: ptr(uint(i))})
		}
	}
	if len(p.Syscalls) < 30 {
		t.Errorf("only %d calls are carried", len(p.Syscalls))
	}
	compare(t, o, "carried calls", p, "amd64")
}

// Random profiles: what libseccomp makes of them, this package does too. A call has either one rule with any number
// of conditions or several that ask whether the same argument equals a value. libseccomp 2.5.4 gets other mixtures
// wrong: of "argument < 0x7e020000" and "argument <= 0x8000000000000001" it has none hold for 0xffffffff.
func TestRandomProfiles(t *testing.T) {
	o := newOracle(t)
	rounds := 100
	if testing.Short() {
		rounds = 20
	}
	for seed := range rounds {
		random := rand.New(rand.NewPCG(7, uint64(seed)))
		goarch := []string{"amd64", "arm64"}[random.IntN(2)]
		compare(t, o, fmt.Sprintf("seed %d, %s", seed, goarch), randomProfile(random, goarch, true), goarch)
	}
}

// Profiles whose rules for one call overlap and differ: which of them libseccomp heeds follows from how it sorts
// them, so they are only checked against their meaning.
func TestOverlappingRules(t *testing.T) {
	for seed := range 40 {
		random := rand.New(rand.NewPCG(8, uint64(seed)))
		p := randomProfile(random, "amd64", false)
		f, err := compile(p, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(f.Program); err != nil {
			t.Fatal(err)
		}
		for d := range calls(p, "amd64") {
			if got, want := run(f.Program, d), meaning(p, "amd64", d); got != want {
				t.Fatalf("seed %d: %+v is %#x, means %#x; profile %s", seed, d, got, want, show(p))
			}
		}
	}
}

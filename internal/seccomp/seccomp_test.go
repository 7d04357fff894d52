package seccomp

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/seccomp/profile"
)

func ptr[T any](v T) *T { return &v }

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		profile specs.LinuxSeccomp
		want    string
	}{
		{specs.LinuxSeccomp{}, `defaultAction: action "" is not one of SCMP_ACT_ALLOW, ERRNO, KILL, KILL_PROCESS, KILL_THREAD, LOG, NOTIFY, TRACE, TRAP`},
		{specs.LinuxSeccomp{DefaultAction: specs.ActNotify}, "defaultAction: SCMP_ACT_NOTIFY cannot be the default"},
		{specs.LinuxSeccomp{DefaultAction: specs.ActAllow, DefaultErrnoRet: ptr(uint(1))}, "defaultAction: action SCMP_ACT_ALLOW takes no errnoRet"},
		{specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: ptr(uint(4096))}, "defaultAction: errnoRet is 4096, more than 4095"},
		{specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"SCMP_ARCH_X86", "VAX"}}, `architectures[1]: "VAX" is no architecture`},
		{specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"X"}}, `flags[0]: "X" is not one of SECCOMP_FILTER_FLAG_TSYNC, LOG, SPEC_ALLOW, WAIT_KILLABLE_RECV`},
		{specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv}}, "flags[0]: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with SCMP_ACT_NOTIFY"},
		{specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerMetadata: "x"}, "listenerMetadata: there is no listenerPath to send it to"},
		{rules(specs.LinuxSyscall{Action: specs.ActErrno}), "syscalls[0]: names is empty"},
		{rules(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActTrap, ErrnoRet: ptr(uint(1))}), "syscalls[0]: action SCMP_ACT_TRAP takes no errnoRet"},
		{rules(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActTrace, ErrnoRet: ptr(uint(1 << 16))}), "syscalls[0]: errnoRet is 65536, more than 65535"},
		{rules(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActNotify}), "syscalls[0]: SCMP_ACT_NOTIFY needs a listenerPath, else nobody would answer"},
		{rules(specs.LinuxSyscall{Names: []string{"read", "write"}, Action: specs.ActNotify}), "syscalls[0]: SCMP_ACT_NOTIFY cannot be used for write, by which the runtime itself reports"},
		{rules(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}), "syscalls[0].args[0]: index is 6, not 0 to 5"},
		{rules(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: "EQ"}}}), `syscalls[0].args[0]: op "EQ" is not one of SCMP_CMP_EQ, NE, LT, LE, GE, GT, MASKED_EQ`},
	} {
		_, err := compile(&c.profile, "amd64")
		if want := "cannot compile seccomp profile: " + c.want; err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	if _, err := compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow}, "riscv64"); err == nil {
		t.Error("riscv64: no error")
	}
}

func rules(s ...specs.LinuxSyscall) specs.LinuxSeccomp {
	return specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: s}
}

func TestFlags(t *testing.T) {
	p := rules(specs.LinuxSyscall{Names: []string{"mount"}, Action: specs.ActNotify})
	p.ListenerPath = "/run/listener"
	p.Flags = []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow, specs.LinuxSeccompFlagWaitKillableRecv}
	f, err := compile(&p, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	want := uint32(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH |
		unix.SECCOMP_FILTER_FLAG_LOG | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	if f.Flags != want || !f.Notify {
		t.Errorf("flags %#x, notify %v", f.Flags, f.Notify)
	}
	if got := run(f.Program, data{number: 165, arch: unix.AUDIT_ARCH_X86_64}); got != uint32(notify) {
		t.Errorf("mount is %#x", got)
	}
}

// Single points of the package comment.
func TestMeaning(t *testing.T) {
	eq := func(v uint64) []specs.LinuxSeccompArg {
		return []specs.LinuxSeccompArg{{Index: 0, Value: v, Op: specs.OpEqualTo}}
	}
	const x86, amd64 = unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_X86_64
	both := []specs.Arch{specs.ArchX86_64, specs.ArchX86}
	deny := specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: both, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"socket"}, Action: specs.ActAllow, Args: eq(unix.AF_UNIX)},
		{Names: []string{"bind", "no_such_call"}, Action: specs.ActAllow},
		{Names: []string{"personality"}, Action: specs.ActAllow, Args: eq(8)},
		{Names: []string{"personality"}, Action: specs.ActTrap, Args: []specs.LinuxSeccompArg{{Value: 100, Op: specs.OpLessThan}}},
		{Names: []string{"mseal"}, Action: specs.ActErrno},
	}}
	block := specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: both, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"socket"}, Action: specs.ActErrno, ErrnoRet: ptr(uint(97)), Args: eq(unix.AF_ALG)},
	}}
	for _, c := range []struct {
		what    string
		profile specs.LinuxSeccomp
		d       data
		want    verdict
	}{
		{"a condition that holds", deny, data{number: 41, arch: amd64, args: [6]uint64{1}}, allow},
		{"and one that does not", deny, data{number: 41, arch: amd64, args: [6]uint64{2}}, errnoReturn | 1},
		{"nor with high bits", deny, data{number: 41, arch: amd64, args: [6]uint64{1<<32 | 1}}, errnoReturn | 1},
		{"carried: conditions cannot be tested, so nothing is allowed", deny, data{number: 102, arch: x86, args: [6]uint64{1}}, errnoReturn | 1},
		{"carried, without conditions", deny, data{number: 102, arch: x86, args: [6]uint64{2}}, allow},
		{"carried: what is blocked stays blocked", block, data{number: 102, arch: x86, args: [6]uint64{1}}, errnoReturn | 97},
		{"the first rule", deny, data{number: 135, arch: amd64, args: [6]uint64{8}}, allow},
		{"the second", deny, data{number: 135, arch: amd64, args: [6]uint64{9}}, trap},
		{"the newest named call, although its rule says nothing", deny, data{number: 462, arch: amd64}, errnoReturn | 1},
		{"one that is newer", deny, data{number: 463, arch: amd64}, errnoReturn | 38},
		{"newer, where the default allows", block, data{number: 463, arch: amd64}, allow},
		{"x32, not in the profile", deny, data{number: x32Bit, arch: amd64}, killThread},
		{"skipped by a tracer", deny, data{number: 1<<32 - 1, arch: amd64}, errnoReturn | 1},
		{"another machine", block, data{number: 1, arch: unix.AUDIT_ARCH_RISCV64}, killThread},
	} {
		f, err := compile(&c.profile, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		if got := run(f.Program, c.d); got != uint32(c.want) {
			t.Errorf("%s: %#x, want %#x", c.what, got, c.want)
		}
	}
}

// Decisions farther apart than a conditional jump reaches, and a program that is too long.
func TestLong(t *testing.T) {
	p := specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86}}
	for i, r := range table {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{r.name}, Action: specs.ActErrno, ErrnoRet: ptr(uint(i)), Args: []specs.LinuxSeccompArg{
			{Index: 2, Value: uint64(i) << 31, Op: specs.OpGreaterThan},
		}})
	}
	f, err := compile(&p, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(f.Program); err != nil {
		t.Fatal(err)
	}
	jumps := 0
	for _, i := range f.Program {
		if i.Code == jump {
			jumps++
		}
	}
	if jumps == 0 {
		t.Error("no long jump in it")
	}
	for i, r := range table {
		d := data{arch: unix.AUDIT_ARCH_X86_64, number: uint32(r.numbers[0])}
		for _, v := range []uint64{0, uint64(i) << 31, uint64(i)<<31 + 1, 1<<64 - 1} {
			d.args[2] = v
			want := uint32(errnoReturn | 1)
			if v > uint64(i)<<31 {
				want = uint32(errnoReturn) | uint32(i)
			}
			if got := run(f.Program, d); r.numbers[0] >= 0 && got != want {
				t.Errorf("%s(%#x) is %#x, want %#x", r.name, v, got, want)
			}
		}
	}
	for i := range uint(3000) {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActTrace, ErrnoRet: &i, Args: []specs.LinuxSeccompArg{{Value: uint64(i), Op: specs.OpEqualTo}}})
	}
	if _, err := compile(&p, "amd64"); !errors.Is(err, ErrTooLong) {
		t.Errorf("%v is not ErrTooLong", err)
	}
}

// One program, whatever the order in which maps are gone through.
func TestDeterministic(t *testing.T) {
	p, err := profile.Default(nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		again, err := Compile(p)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(first) {
			t.Fatalf("another program: %v", err)
		}
	}
}

const helperVar = "TRIPOD_SECCOMP_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperVar) != "" {
		underFilter(os.Getenv(helperVar))
		return
	}
	os.Exit(m.Run())
}

// underFilter loads a profile into this process and tells what some calls then return.
func underFilter(text string) {
	var p specs.LinuxSeccomp
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		panic(err)
	}
	f, err := Compile(&p)
	if err != nil {
		panic(err)
	}
	fmt.Println("loaded", int(install(f)))
	for _, c := range kernelCalls {
		_, _, e := syscall.RawSyscall6(c.number, c.args[0], c.args[1], c.args[2], 0, 0, 0)
		fmt.Println(c.what, int(e))
	}
}

func install(f *Filter) syscall.Errno {
	runtime.LockOSThread()
	if _, _, e := syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); e != 0 {
		return e
	}
	prog := unix.SockFprog{Len: uint16(len(f.Program)), Filter: &f.Program[0]}
	_, _, e := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(f.Flags|unix.SECCOMP_FILTER_FLAG_TSYNC), uintptr(unsafe.Pointer(&prog)))
	return e
}

var kernelCalls = []struct {
	what   string
	number uintptr
	args   [3]uintptr
	want   syscall.Errno
}{
	{"getppid", unix.SYS_GETPPID, [3]uintptr{}, 0},
	{"personality as it is", unix.SYS_PERSONALITY, [3]uintptr{0xffffffff}, 0},
	{"personality(154), of a call's number", unix.SYS_PERSONALITY, [3]uintptr{154}, unix.EPERM},
	{"unshare a user namespace", unix.SYS_UNSHARE, [3]uintptr{unix.CLONE_NEWUSER}, unix.EPERM},
	{"mount", unix.SYS_MOUNT, [3]uintptr{}, unix.EPERM},
	{"keyctl", unix.SYS_KEYCTL, [3]uintptr{}, unix.EPERM},
	{"clone3", unix.SYS_CLONE3, [3]uintptr{}, unix.ENOSYS},
	{"socket unix", unix.SYS_SOCKET, [3]uintptr{unix.AF_UNIX, unix.SOCK_STREAM, 0}, 0},
	{"socket alg", unix.SYS_SOCKET, [3]uintptr{unix.AF_ALG, unix.SOCK_SEQPACKET, 0}, unix.EPERM},
	{"a call to come", 4000, [3]uintptr{}, unix.ENOSYS},
}

// The kernel loads the default profile and does what it says.
func TestKernel(t *testing.T) {
	p, err := profile.Default([]string{"CAP_CHOWN"})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperVar+"="+show(p))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := "loaded 0\n"
	for _, c := range kernelCalls {
		want += fmt.Sprintln(c.what, int(c.want))
	}
	if string(out) != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

// A verdict to kill kills.
func TestKernelKills(t *testing.T) {
	p := rules(specs.LinuxSyscall{Names: []string{"keyctl"}, Action: specs.ActKillProcess})
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperVar+"="+show(&p))
	out, err := cmd.CombinedOutput()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGSYS {
		t.Errorf("it ended with %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "mount") || strings.Contains(string(out), "keyctl") {
		t.Errorf("it got elsewhere:\n%s", out)
	}
}

// The kernel takes i386's calls, which 64-bit programs can make too, by i386's numbers.
func TestKernelI386(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("i386's calls exist on amd64 only")
	}
	bin := buildC(t, "caller")
	p, err := profile.Default([]string{"CAP_CHOWN"})
	if err != nil {
		t.Fatal(err)
	}
	native := *p
	native.Architectures = native.Architectures[:1]
	for _, c := range []struct {
		profile *specs.LinuxSeccomp
		call    string
		want    int // less than zero: an errno, or the signal that ends it
	}{
		{p, "64", os.Getpid()},                  // getppid; on x86_64 64 is semget
		{p, "359 38 5", -int(unix.EPERM)},       // socket(AF_ALG)
		{p, "21", -int(unix.EPERM)},             // mount; on x86_64 21 is access
		{p, "310 0x10000000", -int(unix.EPERM)}, // unshare(CLONE_NEWUSER)
		{p, "4000", -int(unix.ENOSYS)},          // newer than the profile
		{&native, "64", -int(unix.SIGSYS)},      // not in this profile
	} {
		f, err := Compile(c.profile)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(bin, strings.Fields(c.call)...)
		cmd.Stdin = strings.NewReader(string(unsafe.Slice((*byte)(unsafe.Pointer(&f.Program[0])), 8*len(f.Program))))
		out, err := cmd.CombinedOutput()
		if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			out = fmt.Append(nil, -int(ws.Signal()), "\n")
		}
		if got := strings.TrimSpace(string(out)); got != fmt.Sprint(c.want) {
			t.Errorf("i386 call %s: %s (%v), want %d", c.call, got, err, c.want)
		}
	}
}

// FuzzCompile: any profile is refused or becomes a program that the kernel takes.
func FuzzCompile(f *testing.F) {
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X32"],"syscalls":[{"names":["read","socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":4294967296,"valueTwo":7,"op":"SCMP_CMP_MASKED_EQ"},{"index":1,"value":3,"op":"SCMP_CMP_LE"}]}]}`))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38},{"names":["clone"],"action":"SCMP_ACT_TRAP","args":[{"value":1,"op":"SCMP_CMP_EQ"}]},{"names":["clone"],"action":"SCMP_ACT_TRAP","args":[{"value":2,"op":"SCMP_CMP_EQ"}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var p specs.LinuxSeccomp
		if json.Unmarshal(text, &p) != nil {
			return
		}
		for _, goarch := range []string{"amd64", "arm64"} {
			c, err := compile(&p, goarch)
			if err != nil {
				continue
			}
			if err := verify(c.Program); err != nil {
				t.Errorf("%s: %v", goarch, err)
			}
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	p, err := profile.Default(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(p); err != nil {
			b.Fatal(err)
		}
	}
}

// How long the kernel takes to load the default profile's program, against libseccomp's (threads are thrown away:
// a filter cannot be taken off).
func BenchmarkLoad(b *testing.B) {
	o := newOracle(b)
	p, err := profile.Default(nil)
	if err != nil {
		b.Fatal(err)
	}
	known := knownToBoth(b, o, p)
	mine, err := Compile(known)
	if err != nil {
		b.Fatal(err)
	}
	for name, prog := range map[string][]Instruction{"own": mine.Program, "libseccomp": o.compile(b, known, runtime.GOARCH)} {
		b.Run(name, func(b *testing.B) {
			var total time.Duration
			for range b.N {
				done := make(chan time.Duration)
				go func() { // it ends locked, so its thread ends
					runtime.LockOSThread()
					_, _, _ = syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
					fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
					begin := time.Now()
					_, _, e := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog)))
					took := time.Since(begin)
					if e != 0 {
						took = -1
					}
					done <- took
				}()
				took := <-done
				if took < 0 {
					b.Fatal("the kernel refused it")
				}
				total += took
			}
			b.ReportMetric(float64(total.Microseconds())/float64(b.N), "µs/load")
			b.ReportMetric(float64(len(prog)), "instructions")
		})
	}
}

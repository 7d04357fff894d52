package seccomp

import (
	"reflect"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestParse: a filter that was kept is the one that was compiled; of a part of it, or of anything else, nothing is read.
func TestParse(t *testing.T) {
	f, err := Compile(&specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog},
		Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b := f.Bytes()
	if got := Parse(b); !reflect.DeepEqual(got, f) {
		t.Errorf("Parse = %v, want %v", got, f)
	}
	for n := range b {
		if got := Parse(b[:n]); got != nil {
			t.Errorf("Parse of the first %d of %d bytes = %v", n, len(b), got)
		}
	}
	if got := Parse(append(b, make([]byte, 8)...)); got != nil {
		t.Errorf("Parse of one instruction too many = %v", got)
	}
	f.Flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	if got := Parse(f.Bytes()); got != nil {
		t.Error("Parse took a filter that asks a supervisor, who is not known")
	}
}

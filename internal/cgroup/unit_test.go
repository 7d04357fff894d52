package cgroup

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups/systemd"
	"github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/dbus"
	"tripod/internal/golden"
)

func TestParseUnit(t *testing.T) {
	for _, c := range []struct {
		s, base, path string
		user          bool
	}{
		{"machine.slice:libpod:abc", "", "machine.slice/libpod-abc.scope", false},
		{"a-b-c.slice:crio:x", "", "a.slice/a-b.slice/a-b-c.slice/crio-x.scope", false},
		{":runc:x", "", "system.slice/runc-x.scope", false},
		{":runc:x", "/user.slice/user-1000.slice/user@1000.service", "user.slice/user-1000.slice/user@1000.service/user.slice/runc-x.scope", true},
		{"-.slice::x", "", "x.scope", false},
		{"-.slice::x", "/", "x.scope", false},
	} {
		u, err := ParseUnit(c.s, c.user)
		if err != nil {
			t.Errorf("%s: %v", c.s, err)
			continue
		}
		if got, err := u.path(c.base); err != nil || got != c.path {
			t.Errorf("%s: %s, %v; want %s", c.s, got, err, c.path)
		}
	}
	for _, s := range []string{
		"", "/a/b", "a:b", "a:b:c:d", "a:b:c", "a.slice:b:", ".slice:b:c", "a--b.slice:b:c", "-a.slice:b:c", "a-.slice:b:c", "a/b.slice:b:c", "../a.slice:b:c",
		"a.slice:b:../c", "a.slice:b:c/d", "a.slice:b:c d", "a.slice:b:c\n", "a.slice:b+c:d", "a.slice:_b:c", "a.slice:.b:c", "a.slice:cgroup.b:c",
		"a.slice:b:" + strings.Repeat("c", 255), "cgroup.a.slice:b:c",
	} {
		if u, err := ParseUnit(s, false); err == nil {
			t.Errorf("%q is %+v", s, u)
		}
	}
}

// Slices expand as the library that runc and kubelet use has them.
func FuzzExpandSlice(f *testing.F) {
	for _, s := range []string{"a.slice", "a-b.slice", "-.slice", "--.slice", "a--b.slice", ".slice", "x", "-a.slice", "a-.slice"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := expandSlice(s)
		want, wantErr := systemd.ExpandSlice(s)
		if err == nil && (wantErr != nil || "/"+got != want) {
			t.Errorf("%q: %q, the library %q, %v", s, got, want, wantErr)
		}
		if err != nil && wantErr == nil && unitName(s) {
			t.Errorf("%q: %v, the library %q", s, err, want)
		}
	})
}

func (p property) String() string { return fmt.Sprintf("%s %s %v", p.name, p.signature, p.value) }

// The goldens show what systemd is told of each of the documents that TestSettings writes files for.
func TestUnitProperties(t *testing.T) {
	inputs, err := filepath.Glob("testdata/resources/*.json")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no inputs: %v", err)
	}
	for _, input := range inputs {
		text, err := os.ReadFile(input)
		if err != nil {
			t.Fatal(err)
		}
		var r specs.LinuxResources
		if err := json.Unmarshal(text, &r); err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, h := range []Host{hostV1(), hostV2()} {
			fmt.Fprintf(&b, "%s\n", h.Mode)
			settings, err := Settings(h, &r)
			devices, derr := deviceProperties(r.Devices)
			for _, p := range devices {
				fmt.Fprintln(&b, p)
			}
			more, perr := unitProperties(settings, 252)
			for _, p := range more {
				fmt.Fprintln(&b, p)
			}
			for _, e := range []error{err, derr, perr} {
				if e != nil {
					fmt.Fprintln(&b, "error:", e)
				}
			}
		}
		golden.Check(t, strings.TrimSuffix(input, "json")+"unit", b.String())
	}
}

// What a systemd does not know it is not told.
func TestUnitPropertiesOfOldSystemd(t *testing.T) {
	r := specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(12345)), Period: ptr(uint64(50000)), Cpus: "0-8", Idle: ptr(int64(1)), Shares: ptr(uint64(1024))}}
	settings, err := Settings(hostV2(), &r)
	if err != nil {
		t.Fatal(err)
	}
	for version, want := range map[int]string{
		240: "CPUWeight t 100; CPUQuotaPerSecUSec t 250000",
		251: "CPUWeight t 100; AllowedCPUs ay [255 1]; CPUQuotaPeriodUSec t 50000; CPUQuotaPerSecUSec t 250000",
		252: "AllowedCPUs ay [255 1]; CPUWeight t 0; CPUQuotaPeriodUSec t 50000; CPUQuotaPerSecUSec t 250000",
	} {
		list, err := unitProperties(settings, version)
		var got []string
		for _, p := range list {
			got = append(got, p.String())
		}
		if text := strings.Join(got, "; "); err != nil || text != want {
			t.Errorf("%d: %s, %v\nwant %s", version, text, err, want)
		}
	}
}

// An annotation sets what concerns its scope alone: nothing that starts, stops or runs something else.
func TestCVE_2024_3154(t *testing.T) {
	for key, value := range map[string]string{
		"SuccessAction": "'poweroff-force'", "FailureAction": "'reboot'", "JobTimeoutAction": "'reboot'", "Wants": "['poweroff.target']",
		"Requires": "['x.service']", "BindsTo": "['x.service']", "Conflicts": "['ssh.service']", "OnFailure": "['x.service']", "OnSuccess": "['x.service']",
		"Slice": "'-.slice'", "PIDs": "[uint32 1]", "Delegate": "false", "ExecStart": "[('/bin/sh', ['sh'], false)]", "ExecStopPost": "x",
		"DeviceAllow": "[('/dev/sda','rwm')]", "DevicePolicy": "'auto'", "MemoryMax": "uint64 1", "StopWhenUnneeded": "true", "PartOf": "['x']",
		"RequiresMountsFor": "['/x']", "User": "'root'", "": "true", "timeoutStopUSec": "uint64 1", "Sec": "1",
	} {
		if got, err := annotated(map[string]string{annotation + key: value}); err == nil {
			t.Errorf("%s=%s is let through as %v", key, value, got)
		}
	}
	for _, c := range [][3]string{
		{"TimeoutStopUSec", "uint64 1500", "TimeoutStopUSec t 1500"},
		{"TimeoutStopSec", "1.5", "TimeoutStopUSec t 1500000"},
		{"CollectMode", "'inactive-or-failed'", "CollectMode s inactive-or-failed"},
		{"Description", `"it's \"x\""`, `Description s it's "x"`},
		{"After", "['a.service', \"b.service\" ]", "After as [a.service b.service]"},
		{"Before", "[]", "Before as []"},
		{"DefaultDependencies", "true", "DefaultDependencies b true"},
		{"KillSignal", "int32 9", "KillSignal i 9"},
	} {
		got, err := annotated(map[string]string{annotation + c[0]: c[1], "org.systemd.other": "x"})
		if err != nil || len(got) != 1 || got[0].String() != c[2] {
			t.Errorf("%s=%s: %v, %v", c[0], c[1], got, err)
			continue
		}
		if _, err := (dbus.Message{Kind: dbus.Call, Signature: "a(sv)", Body: []any{encode(got)}}).Encode(); err != nil {
			t.Error(err)
		}
	}
	for _, c := range [][2]string{
		{"TimeoutStopUSec", "-1"},
		{"TimeoutStopUSec", "1.5"},
		{"TimeoutStopSec", "-1"},
		{"TimeoutStopSec", "NaN"},
		{"TimeoutStopSec", "1e300"},
		{"TimeoutStopUSec", ""},
		{"CollectMode", "inactive"},
		{"CollectMode", "'a' 'b'"},
		{"CollectMode", "'a"},
		{"CollectMode", ""},
		{"Description", "'a\nb'"},
		{"Description", `'\`},
		{"After", "'a'"},
		{"After", "['a' 'b']"},
		{"After", "['a',"},
		{"After", "[a]"},
		{"After", ""},
		{"KillSignal", "uint32 9"},
		{"SendSIGKILL", "1"},
	} {
		if got, err := annotated(map[string]string{annotation + c[0]: c[1]}); err == nil {
			t.Errorf("%s=%s: %v", c[0], c[1], got)
		}
	}
}

func FuzzAnnotation(f *testing.F) {
	for _, text := range []string{"true", "'a'", "['a', \"b\"]", "uint64 5", "1.5", "[", "'\\"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range []string{"DefaultDependencies", "CollectMode", "After", "KillSignal", "TimeoutStopUSec", "TimeoutStopSec"} {
			got, err := annotated(map[string]string{annotation + name: text})
			if err != nil {
				continue
			}
			if _, err := (dbus.Message{Kind: dbus.Call, Signature: "a(sv)", Body: []any{encode(got)}}).Encode(); err != nil && !strings.Contains(text, "\x00") {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]int{"252.38-1~deb12u1": 252, "v255": 255, "245": 245, "": 0, "x": 0, "v": 0} {
		if got, err := parseVersion(text); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

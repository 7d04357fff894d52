package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// deviceRules reads "allow c 1:3 rwm; deny a" into rules.
func deviceRules(text string) []specs.LinuxDeviceCgroup {
	var rules []specs.LinuxDeviceCgroup
	for part := range strings.SplitSeq(text, ";") {
		f := strings.Fields(part)
		if len(f) == 0 {
			continue
		}
		r := specs.LinuxDeviceCgroup{Allow: f[0] == "allow", Type: f[1]}
		if len(f) > 2 {
			major, minor, _ := strings.Cut(f[2], ":")
			var n int64
			if _, err := fmt.Sscan(major, &n); err == nil {
				r.Major = ptr(n)
			}
			if _, err := fmt.Sscan(minor, &n); err == nil {
				r.Minor = ptr(n)
			}
			r.Access = f[3]
		}
		rules = append(rules, r)
	}
	return rules
}

func (p policy) String() string {
	s := "deny"
	if p.allow {
		s = "allow"
	}
	for _, e := range p.exceptions {
		s += fmt.Sprintf("; %s %s", e.devices, e.access)
	}
	return s
}

func TestDevicePolicy(t *testing.T) {
	for _, c := range [][2]string{
		{"", "deny"},
		{"deny a", "deny"},
		{"allow a", "allow"},
		{"allow a; deny a; allow c 1:3 rw", "deny; c 1:3 rw"},
		{"allow c 1:3 r; allow c 1:3 w", "deny; c 1:3 rw"},
		{"allow c 1:3 rwm; deny c 1:3 m", "deny; c 1:3 rw"},
		{"allow c 1:3 rwm; deny c 1:3 rwm", "deny"},
		{"allow c 1:3 rwm; allow c 1:5 rwm; allow b 1:3 r; deny c *:* w", "deny; c 1:3 mr; c 1:5 mr; b 1:3 r"},
		{"allow a *:* m", "deny; c *:* m; b *:* m"},
		{"allow a; deny b *:* w; deny c 10:* rw", "allow; b *:* w; c 10:* rw"},
		{"allow a; deny c 10:5 rw; allow c 10:* r", "allow; c 10:5 w"},
		{"allow u 1:3 r", "deny; c 1:3 r"},
		{"allow c 10:* rwm; deny c 10:5 m", "error: devices[1]: c 10:5 m is part of c 10:* mrw before it, out of which no part can be taken"},
		{"allow a; deny c *:5 r; allow c 1:* r", "error: devices[2]: c 1:* r is part of c *:5 r before it, out of which no part can be taken"},
		{"allow c 10:* r; deny c 10:5 w", "deny; c 10:* r"},
		{"allow c 1:3 x", `error: devices[0]: access "x" is not made of r, w and m`},
		{"allow p 1:3 r", `error: devices[0]: type "p" is not a, b, c or u`},
		{"allow c -2:3 r", "error: devices[0]: -2 is no device number"},
		{"allow c 4294967296:3 r", "error: devices[0]: 4294967296 is no device number"},
	} {
		p, err := devicePolicy(deviceRules(c[0]))
		got := p.String()
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != c[1] {
			t.Errorf("%s:\ngot  %s\nwant %s", c[0], got, c[1])
		}
	}
}

// The v1 controller and the BPF program let a process in the group do the same, and that is what the rules say.
func TestDeviceEnforcement(t *testing.T) {
	h := needHost(t)
	dir := t.TempDir()
	probes := []string{"c 1 3 m", "c 1 3 r", "c 1 3 w", "c 1 3 rw", "c 1 5 r", "c 1 11 r", "c 10 229 rw", "c 10 200 m", "b 7 0 m", "b 7 0 r", "c 136 9 w"}
	for _, probe := range probes {
		var kind rune
		var major, minor uint32
		var access string
		_, _ = fmt.Sscanf(probe, "%c %d %d %s", &kind, &major, &minor, &access)
		mode := uint32(unix.S_IFCHR)
		if kind == 'b' {
			mode = unix.S_IFBLK
		}
		name := filepath.Join(dir, fmt.Sprintf("%c%d-%d", kind, major, minor))
		if err := unix.Mknod(name, mode|0o600, int(unix.Mkdev(major, minor))); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ rules, denied string }{
		{"deny a", "c 1 11 r,c 10 229 rw,b 7 0 r"},
		{"deny a; allow c 10:229 rwm; allow b 7:* r", "c 1 11 r"},
		{"allow c 10:229 r", "c 1 11 r,c 10 229 rw,b 7 0 r"},
		{"allow a; deny c 1:11 r; deny b *:* w", "c 1 11 r"},
	} {
		for name, part := range hosts(t) {
			t.Run(name+": "+c.rules, func(t *testing.T) {
				g := newGroup(t, part)
				for range 2 { // the second time replaces the first
					if err := g.Limit(&specs.LinuxResources{Devices: deviceRules(c.rules)}); err != nil {
						t.Fatal(err)
					}
				}
				p := start(t, g, "mknod", "TRIPOD_CGROUP_DIR="+dir)
				for _, probe := range probes {
					if _, err := fmt.Fprintln(p.in, probe); err != nil {
						t.Fatal(err)
					}
					line, err := p.out.ReadString('\n')
					if err != nil {
						t.Fatal(err)
					}
					denied := strings.TrimSpace(line) == fmt.Sprint(int(unix.EPERM))
					if want := strings.Contains(","+c.denied+",", ","+probe+","); denied != want {
						t.Errorf("%s: denied is %v (errno %s), want %v", probe, denied, strings.TrimSpace(line), want)
					}
				}
			})
			made, _ := filepath.Glob(dir + "/*.made")
			for _, name := range made {
				_ = os.Remove(name)
			}
		}
	}
	if y, ok := h.unified(); ok && h.Mode == Hybrid {
		g := newGroup(t, Host{Mode: Hybrid, Hierarchies: []Hierarchy{y}})
		for range 3 {
			if err := g.Limit(&specs.LinuxResources{Devices: deviceRules("deny a")}); err != nil {
				t.Fatal(err)
			}
		}
		fd, err := unix.Open(g.Dir(y), unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if ids, err := attachedPrograms(fd); err != nil || len(ids) != 1 {
			t.Errorf("programs %v, %v, after three times Limit", ids, err)
		}
	}
}

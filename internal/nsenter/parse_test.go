package nsenter

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tripod/internal/ns"
)

// TestMistakes are nsenter's own words for what is wrong (util-linux 2.38 for what it has, 2.42 for the rest).
func TestMistakes(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--foo", "unrecognized option '--foo'"},
		{"-x", "invalid option -- 'x'"},
		{"-t", "option requires an argument -- 't'"},
		{"--target", "option '--target' requires an argument"},
		{"--all=3 true", "option '--all' doesn't allow an argument"},
		{"--n true", "option '--n' is ambiguous; possibilities: '--net' '--net-socket' '--no-fork'"},
		{"--explai true", "unrecognized option '--explai'"},
		{"-t 1 -t 2 -n true", "option --target may be given only once"},
		{"-m true", "neither filename nor target pid supplied for ns/mnt"},
		{"-U true", "neither filename nor target pid supplied for ns/user"},
		{"-r true", "neither filename nor target pid supplied for root"},
		{"-w true", "neither filename nor target pid supplied for cwd"},
		{"-a true", "no target PID specified for --all"},
		{"-e -n/x true", "no target PID specified for --env"},
		{"-t 1 -w -W true", "mutually exclusive arguments: --wdns --wd"},
		{"-t 1 -S abc true", "failed to parse uid: 'abc'"},
		{"-t 1 -G 4294967295 true", "failed to parse gid: '4294967295'"},
		{"-t 1 -S 4294967296 true", "failed to parse uid: '4294967296'"},
		{"-t 1 -N x true", "failed to parse file descriptor: 'x'"},
		{"-t 1 true", "no namespace specified"},
		{"", "no namespace specified"},
		{"/bin/true", "no namespace specified"},
		{"-t 1 -n --kill-child=FOO true", "unknown signal: 'FOO'"},
		{"-t 1 web -n true", ""},
		{"docker://x -t 2 -n true", "cannot enter docker://x and 2: name one target"},
	} {
		_, err := Parse(strings.Fields(c.args))
		if c.args == "-t 1 web -n true" {
			// With a target the first operand is the program, as ever.
			if err == nil || err.Error() != "no namespace specified" {
				t.Errorf("%s: %v", c.args, err)
			}
			continue
		}
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.args, err, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	net := func(path string) (o Options) {
		o.Spaces[ns.Net] = Choice{Wanted: true, Given: path != "", Path: path}
		return o
	}
	for _, c := range []struct {
		args  string
		check func(o Options) bool
	}{
		{"-n/x true", func(o Options) bool { return o.Spaces == net("/x").Spaces }},
		{"-n=/x true", func(o Options) bool { return o.Spaces == net("/x").Spaces }},
		{"--net=/x true", func(o Options) bool { return o.Spaces == net("/x").Spaces }},
		{"-n:7 true", func(o Options) bool { return o.Spaces == net(":7").Spaces }},
		{"-t 1 -n true -m", func(o Options) bool { return o.Spaces == net("").Spaces && len(o.Args) == 2 }},
		{"-t 1 -nu true", func(o Options) bool { return o.Spaces == net("u").Spaces }},
		{"-t 1 -n -- -m", func(o Options) bool { return o.Args[0] == "-m" }},
		{"--ta 1 --moun true", func(o Options) bool { return o.Spaces[ns.Mnt].Wanted && o.Target == "1" }},
		{"--targ=1:77 --net true", func(o Options) bool { return o.Target == "1:77" && o.Spaces[ns.Net].Wanted }},
		{"-t 1 -S follow -G 5 true", func(o Options) bool { return o.UID.Follow && o.GID == ID{Set: true, N: 5} }},
		{"-t 1 -W true", func(o Options) bool { return o.DirInside.Wanted && !o.DirInside.Given }},
		{"-t 1 -n --kill-child true", func(o Options) bool { return o.KillChild == 9 }},
		{"-t 1 -n --kill-child=term true", func(o Options) bool { return o.KillChild == 15 }},
		{"-t 1 --e true", func(o Options) bool { return o.Env }},
		{"web", func(o Options) bool { return o.Target == "web" && o.All && o.Args == nil }},
		{"web/nginx ls -l", func(o Options) bool { return o.Target == "web/nginx" && o.All && len(o.Args) == 2 }},
		{"web -n -- ip a", func(o Options) bool { return o.Target == "web" && !o.All && len(o.Args) == 2 }},
		{"-n docker://a ip a", func(o Options) bool { return o.Target == "docker://a" && !o.All && len(o.Args) == 2 }},
		{"-h --foo", func(o Options) bool { return o.Help }},
		{"-V -t", func(o Options) bool { return o.Version }},
	} {
		if o, err := Parse(strings.Fields(c.args)); err != nil || !c.check(o) {
			t.Errorf("%s: %+v, %v", c.args, o, err)
		}
	}
}

// FuzzParse: whatever the words, they are understood or refused in one line; what is understood is one plan that ends
// in the program.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"-t 1 -a true", "-n=/x -S follow", "web -n -- ip", "--kill-child=KILL -t 3:4 -p", "--net-socket=3 -t 1", "-mun:7"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		o, err := Parse(strings.Split(line, " "))
		if err != nil {
			if s := err.Error(); s == "" {
				t.Error("an error without words")
			}
			return
		}
		if o.Help || o.Version {
			return
		}
		j, err := Decide(o, Facts{PID: 1, Joins: []Join{{Type: ns.Net, ID: 1}}, Users: []Join{{Type: ns.User, ID: 2}}, Env: []string{"PATH=/a:/b"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Plan.Verify("ns:net:1", "ns:user:2", "pty"); err != nil && !strings.ContainsRune(line, 0) {
			t.Error(err)
		}
	})
}

func TestStatus(t *testing.T) {
	l, err := parseStatus("Name:\tx\nUmask:\t0077\nUid:\t5\t6\t7\t8\nGid:\t9\t9\t9\t9\nGroups:\t1 2 \nNoNewPrivs:\t1\nCapInh:\t0\nCapPrm:\tff\nCapEff:\tf\nCapBnd:\t1ff\nCapAmb:\t3\n")
	got := fmt.Sprintf("%+v", l)
	want := "&{UID:5 GID:9 Groups:[1 2] Umask:63 Bounding:511 Permitted:255 Effective:15 Inherit:0 Ambient:3 NoNewPrivs:true Rlimits:[] OOM:0}"
	if err != nil || got != want {
		t.Errorf("%s %v, want %s", got, err, want)
	}
	if _, err := parseStatus("CapBnd:\txyz\n"); err == nil {
		t.Error("capabilities that are none were taken")
	}
}

func TestInner(t *testing.T) {
	ranges := parseMap("         0     100000      65536\n     70000          5          1\nnonsense\n")
	for _, c := range []struct {
		id, want uint32
		ok       bool
	}{{100000, 0, true}, {165535, 65535, true}, {165536, 0, false}, {5, 70000, true}, {0, 0, false}} {
		if got, ok := inner(ranges, c.id); got != c.want || ok != c.ok {
			t.Errorf("%d is %d %v inside, want %d %v", c.id, got, ok, c.want, c.ok)
		}
	}
}

func TestCgroupPaths(t *testing.T) {
	got := cgroupPaths("5:cpu,cpuacct:/a\n1:name=systemd:/b c (deleted)\n0::/\n9:x:/../out\nnonsense\n")
	if fmt.Sprint(got) != "map[cpu,cpuacct:/a name=systemd:/b c unified:/]" {
		t.Error(got)
	}
}

func TestShellOf(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\na:x:7:7::/:\n"
	for uid, want := range map[uint32]string{0: "/bin/bash", 7: "", 8: ""} {
		if got := shellOf(passwd, uid); got != want {
			t.Errorf("shell of %d is %q, want %q", uid, got, want)
		}
	}
}

func TestLimits(t *testing.T) {
	own, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		t.Fatal(err)
	}
	all, err := parseLimits(string(own))
	if err != nil || len(all) != unix.RLIMIT_RTTIME+1 {
		t.Fatalf("%d limits, %v", len(all), err)
	}
	for nr, got := range all {
		var r unix.Rlimit
		if err := unix.Prlimit(0, nr, nil, &r); err != nil || r.Cur != got.Soft || r.Max != got.Hard {
			t.Errorf("limit %d: %+v, want %+v %v", nr, got, r, err)
		}
	}
	for _, bad := range []string{"x\n", strings.Repeat("x", 26) + "1\n", strings.Repeat("x", 26) + "1 y\n"} {
		if _, err := parseLimits(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// FuzzTarget: whatever a target has in its files, it is read or left out.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{
		"root:x:0:0:root:/root:/bin/bash\n", "A=b\x00C\x00=d\x00", "1 2 0:3 / /a\\040b rw - tmpfs none rw\n", "0 100000 65536\n",
		"0::/a/b (deleted)\n1:name=systemd:/../x\n", "Uid:\t1\t1\t1\t1\nCapEff:\tff\n", "Limit\nMax cpu time              unlimited            unlimited            seconds\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if shell := shellOf(s, 0); strings.ContainsAny(shell, ":\n") {
			t.Errorf("shell %q", shell)
		}
		for _, e := range environment(s) {
			if strings.IndexByte(e, '=') < 1 || strings.ContainsRune(e, 0) {
				t.Errorf("variable %q", e)
			}
		}
		for name, path := range cgroupPaths(s) {
			if name == "" || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "/..") {
				t.Errorf("cgroup %q at %q", name, path)
			}
		}
		mountpoints(s)
		_, _ = inner(parseMap(s), 0)
		_, _ = parseStatus(s)
		_, _ = parseLimits(s)
		if p := printable(s); strings.ContainsAny(p, "\x1b\n\x7f\u009b") {
			t.Errorf("printed %q", p)
		}
	})
}

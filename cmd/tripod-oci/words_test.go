package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestGlobals(t *testing.T) {
	for _, c := range []struct {
		words string
		want  globals
		rest  string
		err   string
	}{
		{"list", globals{root: "/run/tripod-oci", cgroups: "cgroupfs", rootless: "auto"}, "list", ""},
		// As containerd's shim, podman's conmon and Docker write them.
		{
			"--root /r --log /l --log-format json --systemd-cgroup create --bundle /b x",
			globals{root: "/r", cgroups: "systemd", rootless: "auto", logger: logger{file: "/l", format: "json"}},
			"create --bundle /b x", "",
		},
		{
			"--debug --rootless=true --log-format=text --root=/r --log=/l state x",
			globals{root: "/r", cgroups: "cgroupfs", rootless: "true", logger: logger{file: "/l", format: "text", verbose: true}},
			"state x", "",
		},
		{"--cgroup-manager=disabled run x", globals{root: "/run/tripod-oci", cgroups: "disabled", rootless: "auto"}, "run x", ""},
		{"--systemd-cgroup=false run x", globals{root: "/run/tripod-oci", cgroups: "cgroupfs", rootless: "auto"}, "run x", ""},
		{"--version", globals{root: "/run/tripod-oci", cgroups: "cgroupfs", rootless: "auto"}, "version", ""},
		{"-v", globals{root: "/run/tripod-oci", cgroups: "cgroupfs", rootless: "auto"}, "version", ""},
		{"--log-format xml list", globals{}, "", `--log-format: "xml" is none of`},
		{"--systemd-cgroup=maybe list", globals{}, "", `"maybe" is neither true nor false`},
		{"--root", globals{}, "", "requires an argument"},
	} {
		g, rest, err := parseGlobals(strings.Fields(c.words))
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", c.words, err, c.err)
			}
		case err != nil || !reflect.DeepEqual(*g, c.want) || strings.Join(rest, " ") != c.rest:
			t.Errorf("%s: %+v, %q, %v; want %+v, %q", c.words, *g, rest, err, c.want, c.rest)
		}
	}
}

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		words     string
		d, tty    bool
		name      string
		list      []string
		n         int
		operands  string
		wantError string
	}{
		{"-dt x y", true, true, "", nil, 0, "x y", ""},
		{"--detach=false -t x", false, true, "", nil, 0, "x", ""},
		{"-nNAME -e a -e b --env=c x -d", false, false, "NAME", []string{"a", "b", "c"}, 0, "x -d", ""},
		{"--num 3 -- -x", false, false, "", nil, 3, "-x", ""},
		{"--num -3", false, false, "", nil, 0, "", `--num: "-3" is no count`},
		{"--no", false, false, "", nil, 0, "", "unrecognized option"},
		{"-d", true, false, "", nil, 0, "", "too few arguments"},
	} {
		var d, tty bool
		var name string
		var list []string
		var n int
		operands, err := words("", []option{
			flag(&d, 'd', "detach"), flag(&tty, 't', "tty"), text(&name, 'n', "name"), texts(&list, 'e', "env"), number(&n, 0, "num"),
		}, strings.Fields(c.words), 1, -1)
		if c.wantError != "" {
			if err == nil || !strings.Contains(err.Error(), c.wantError) {
				t.Errorf("%s: %v, want %q", c.words, err, c.wantError)
			}
			continue
		}
		if err != nil || d != c.d || tty != c.tty || name != c.name || !reflect.DeepEqual(list, c.list) || n != c.n || strings.Join(operands, " ") != c.operands {
			t.Errorf("%s: %v %v %q %q %d %q, %v", c.words, d, tty, name, list, n, operands, err)
		}
	}
}

// Every command has its name, an example and all of its options in its help.
func TestHelp(t *testing.T) {
	for _, v := range verbs() {
		if v.name == "keep" {
			continue
		}
		out := printed(t, func() int { return command([]string{v.name, "--help"}) })
		if !strings.HasPrefix(out, "Usage: tripod-oci "+v.name) || !strings.Contains(out, "Example") {
			t.Errorf("the help of %s is\n%s", v.name, out)
		}
	}
	if out := printed(t, func() int { return command([]string{"--help"}) }); !strings.Contains(out, "--cgroup-manager") || !strings.Contains(out, "  create ") {
		t.Errorf("the help is\n%s", out)
	}
}

// printed is what a function printed, which returned 0.
func printed(t *testing.T, do func() int) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stdout := os.Stdout
	os.Stdout = f
	code := do()
	os.Stdout = stdout
	data, err := os.ReadFile(f.Name())
	if err != nil || code != 0 {
		t.Errorf("exit code %d, %v", code, err)
	}
	return string(data)
}

// The lines that Docker, containerd and podman read.
func TestVersion(t *testing.T) {
	lines := strings.Split(printed(t, func() int { return command([]string{"--version"}) }), "\n")
	for i, prefix := range []string{"tripod-oci version ", "commit: ", "spec: " + specs.Version, "go: "} {
		if len(lines) <= i || !strings.HasPrefix(lines[i], prefix) {
			t.Fatalf("line %d of %q does not begin with %q", i, lines, prefix)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for word, want := range map[string]unix.Signal{"9": 9, "KILL": 9, "SIGKILL": 9, "sigterm": 15, "0": 0, "64": 64, "SIGRTMIN+3": -1, "65": -1, "NOSUCH": -1, "-1": -1, "": -1} {
		got, err := parseSignal(word)
		if want < 0 && err == nil || want >= 0 && (err != nil || got != want) {
			t.Errorf("%q: %v, %v, want %v", word, got, err, want)
		}
	}
}

func TestProcessOf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "process.json")
	if err := os.WriteFile(file, []byte(`{"args":["of","file"],"cwd":"/f","user":{"uid":7},"terminal":true}`), 0o644); err != nil {
		t.Fatal(err)
	}
	own := &specs.Process{
		Args: []string{"own"}, Cwd: "/own", Env: []string{"A=1"}, Terminal: true, User: specs.User{UID: 1, GID: 2, AdditionalGids: []uint32{3}},
		Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}, Inheritable: []string{"CAP_KILL"}},
	}
	for _, c := range []struct {
		name string
		o    execOptions
		args []string
		want specs.Process
		err  string
	}{
		{"as it is", execOptions{}, []string{"x"}, specs.Process{Args: []string{"x"}, Cwd: "/own", Env: own.Env, User: own.User, Capabilities: own.Capabilities}, ""},
		{
			"changed",
			execOptions{tty: true, cwd: "/c", env: []string{"B=2"}, user: "5:6", gids: []string{"8"}, caps: []string{"CAP_CHOWN"}, noNewPrivs: true},
			[]string{"x"},
			specs.Process{
				Args: []string{"x"}, Cwd: "/c", Env: []string{"A=1", "B=2"}, Terminal: true, NoNewPrivileges: true,
				User: specs.User{UID: 5, GID: 6, AdditionalGids: []uint32{8}},
				Capabilities: &specs.LinuxCapabilities{
					Bounding: []string{"CAP_KILL", "CAP_CHOWN"}, Effective: []string{"CAP_CHOWN"}, Permitted: []string{"CAP_CHOWN"},
					Inheritable: []string{"CAP_KILL"},
				},
			},
			"",
		},
		{
			"a capability that is inheritable already",
			execOptions{caps: []string{"CAP_KILL"}},
			[]string{"x"},
			specs.Process{
				Args: []string{"x"}, Cwd: "/own", Env: own.Env, User: own.User,
				Capabilities: &specs.LinuxCapabilities{
					Bounding: []string{"CAP_KILL", "CAP_KILL"}, Effective: []string{"CAP_KILL"}, Permitted: []string{"CAP_KILL"},
					Ambient: []string{"CAP_KILL"}, Inheritable: []string{"CAP_KILL"},
				},
			},
			"",
		},
		{"a file", execOptions{process: file, env: []string{"C=3"}}, nil, specs.Process{Args: []string{"of", "file"}, Cwd: "/f", Env: []string{"C=3"}, Terminal: true, User: specs.User{UID: 7}}, ""},
		{"a file and a command", execOptions{process: file}, []string{"x"}, specs.Process{}, "names the command already"},
		{"no file", execOptions{process: "/nosuch"}, nil, specs.Process{}, "no such file"},
		{"no command", execOptions{}, nil, specs.Process{}, "no command to execute"},
		{"a name", execOptions{user: "root"}, []string{"x"}, specs.Process{}, `"root" is no numeric id`},
		{"no id at all", execOptions{user: "4294967295"}, []string{"x"}, specs.Process{}, "is no numeric id"},
		{"beyond 32 bits", execOptions{gids: []string{"4294967296"}}, []string{"x"}, specs.Process{}, "is no numeric id"},
		{"a terminal left alone", execOptions{tty: true, detach: true}, []string{"x"}, specs.Process{}, "needs --console-socket"},
		{"a socket without a terminal", execOptions{console: "/s"}, []string{"x"}, specs.Process{}, "has no terminal"},
	} {
		got, err := c.o.processOf(own, c.args)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", c.name, err, c.err)
			}
		case err != nil || !reflect.DeepEqual(*got, c.want):
			t.Errorf("%s:\n%+v, %v; want\n%+v", c.name, got, err, c.want)
		}
	}
	if len(own.Env) != 1 || len(own.Capabilities.Bounding) != 1 || len(own.User.AdditionalGids) != 1 {
		t.Errorf("the container's own process was changed: %+v", own)
	}
}

func TestLimits(t *testing.T) {
	var r specs.LinuxResources
	_, err := parse(limits(&r), strings.Fields("--memory 256m --memory-swap=-1 --memory-reservation 1GB --cpu-quota -1 --cpu-period 100000 "+
		"--cpu-share 512 --cpuset-cpus 0-1 --pids-limit 9 --blkio-weight 500 --cpu-idle 1 --cpu-burst 5"), false)
	data, jerr := json.Marshal(r)
	const want = `{"memory":{"limit":268435456,"reservation":1073741824,"swap":-1},` +
		`"cpu":{"shares":512,"quota":-1,"burst":5,"period":100000,"cpus":"0-1","idle":1},"pids":{"limit":9},"blockIO":{"weight":500}}`
	if err != nil || jerr != nil || string(data) != want {
		t.Errorf("%s, %v, %v\nwant %s", data, err, jerr, want)
	}
	for _, bad := range []string{"--memory x", "--memory", "--memory 1x", "--memory -2", "--memory 9999999999g", "--cpu-share -1", "--blkio-weight 1001", "--pids-limit 1.5"} {
		if _, err := parse(limits(&r), strings.Fields(bad), false); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestChoose(t *testing.T) {
	const table = "UID        PID  PPID CMD\nroot         1     0 init\nroot        22     1 a 1\nroot         3     1 b 22\n"
	got, err := choose(table, []int{22, 7})
	if err != nil || got != "UID        PID  PPID CMD\nroot        22     1 a 1\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := choose("CMD\nx\n", nil); err == nil {
		t.Error("a table without PIDs was taken")
	}
}

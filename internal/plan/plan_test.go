package plan

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/golden"
)

// facts are those of a host with cgroup v1, fixed so that goldens are the same everywhere.
func facts(spec *specs.Spec) Facts {
	f := Facts{
		LastCap: 40,
		Ignored: 1 << (unix.SIGHUP - 1),
		NoFile:  Rlimit{1024, 524288},
		Kinds: map[string]Kind{
			"/proc/kcore": Regular, "/proc/keys": Regular, "/proc/acpi": Dir, "/sys/firmware": Dir, "/proc/sys": Dir, "/proc/bus": Dir,
			"/srv/data": Dir, "/srv/file": Regular,
		},
		Cgroup: Cgroup{
			Unified: "/sys/fs/cgroup/unified", Path: "tripod/pod/web", Tasks: 2, Into: true,
			V1: []Hierarchy{
				{Name: "cpu,cpuacct", Data: "cpu,cpuacct", Mountpoint: "/sys/fs/cgroup/cpu,cpuacct", Links: []string{"cpu", "cpuacct"}},
				{Name: "systemd", Data: "none,name=systemd", Mountpoint: "/sys/fs/cgroup/systemd"},
			},
		},
	}
	f.Labels = Labels{AppArmor: spec.Hostname == "labelled", SELinux: spec.Hostname == "labelled"}
	if strings.HasPrefix(spec.Hostname, "v2") {
		f.Cgroup = Cgroup{Unified: "/sys/fs/cgroup", Path: "tripod/pod/web", Into: true}
	}
	return f
}

var given = []string{Stdin, Stdout, Stderr, Status, Gate, "cgroup:0", "cgroup:1", "cgroup:into", "ns:user", InitFile, PauseFile}

// TestGolden compiles testdata/NAME.json, a config.json, and compares with testdata/NAME.plan and NAME.sh.
func TestGolden(t *testing.T) {
	names, err := filepath.Glob("testdata/*.json")
	if err != nil || len(names) == 0 {
		t.Fatal("no specs in testdata", err)
	}
	for _, name := range names {
		base := strings.TrimSuffix(name, ".json")
		t.Run(filepath.Base(base), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var spec specs.Spec
			if err := json.Unmarshal(data, &spec); err != nil {
				t.Fatal(err)
			}
			p, err := Compile(&spec, Input{Root: rootOf(&spec), Facts: facts(&spec), Gated: true, Unprivileged: filepath.Base(base) == "rootless"})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Verify(given...); err != nil {
				t.Error(err)
			}
			golden.Check(t, base+".plan", p.String())
			golden.Check(t, base+".sh", p.Script())
		})
	}
}

func rootOf(spec *specs.Spec) Rootfs {
	if spec.Root.Path != "" {
		return Rootfs{Path: spec.Root.Path, Mountpoint: "/run/root"}
	}
	return Rootfs{
		Lower: []string{"/var/lib/layers/two", "/var/lib/layers/one"}, Upper: "/var/lib/rw/0/upper", Work: "/var/lib/rw/0/work",
		Mountpoint: "/run/root",
	}
}

func TestPause(t *testing.T) {
	private := []specs.LinuxNamespace{{Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}}
	for name, namespaces := range map[string][]specs.LinuxNamespace{
		"pause":      private,
		"pause-user": append([]specs.LinuxNamespace{{Type: specs.UserNamespace}}, private...),
	} {
		p, err := CompilePause(PauseInput{
			Namespaces: namespaces, Hostname: "shop", Sysctls: map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"},
			Mountpoint: "/run/pause", Facts: Facts{LastCap: 40},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Verify(given...); err != nil {
			t.Error(err)
		}
		golden.Check(t, "testdata/"+name+".plan", p.String())
	}
}

func TestExecPlan(t *testing.T) {
	p, err := CompileExec(ExecInput{
		Process:    &specs.Process{Args: []string{"sh"}, Cwd: "/", Terminal: true, Env: []string{"PATH=/bin:/usr/bin"}},
		Namespaces: unix.CLONE_NEWNS | unix.CLONE_NEWPID, Facts: Facts{LastCap: 40},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(given...); err != nil {
		t.Error(err)
	}
	golden.Check(t, "testdata/exec.plan", p.String())
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		words string
		want  options
	}{
		{"", options{}},
		{"ro,nosuid", options{flags: unix.MS_RDONLY | unix.MS_NOSUID}},
		{"ro,rw", options{cleared: unix.MS_RDONLY}},
		{"rw,ro", options{flags: unix.MS_RDONLY}},
		{"rbind,rslave", options{flags: unix.MS_BIND | unix.MS_REC, propagation: []uintptr{unix.MS_SLAVE | unix.MS_REC}, bind: true}},
		{"size=64k,mode=755,nodev", options{flags: unix.MS_NODEV, data: "size=64k,mode=755"}},
		{"rro,rnosuid", options{rset: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}},
		{"rro,rrw", options{rclr: unix.MOUNT_ATTR_RDONLY}},
		{"ridmap,bind", options{flags: unix.MS_BIND, idmap: "ridmap", bind: true}},
		{"tmpcopyup", options{copyUp: true}},
	} {
		var list []string
		if c.words != "" {
			list = strings.Split(c.words, ",")
		}
		if diff := cmp.Diff(c.want, parseOptions(list), cmp.AllowUnexported(options{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.words, diff)
		}
	}
}

// TestTables: the option tables are searched, so they are sorted.
func TestTables(t *testing.T) {
	for _, table := range [][]word{words, propagations} {
		for i := 1; i < len(table); i++ {
			if table[i-1].name >= table[i].name {
				t.Errorf("%s stands before %s", table[i-1].name, table[i].name)
			}
		}
	}
	for c := Call(1); c < callEnd; c++ {
		if calls[c].name == "" {
			t.Errorf("call %d has no name", c)
		}
	}
}

func TestSysctl(t *testing.T) {
	for key, want := range map[string]uintptr{
		"net.ipv4.ip_forward":                        unix.CLONE_NEWNET,
		"net/ipv4/conf/eth0.1/arp":                   unix.CLONE_NEWNET,
		"kernel.shmmax":                              unix.CLONE_NEWIPC,
		"fs.mqueue.msg_max":                          unix.CLONE_NEWIPC,
		"kernel.domainname":                          unix.CLONE_NEWUTS,
		"kernel.core_pattern":                        0,
		"vm.swappiness":                              0,
		"net/../kernel/x":                            0,
		"net.ipv4..x":                                0,
		"kernel.shm_rmid_forced+kernel.core_pattern": 0,
		"": 0,
	} {
		got, err := sysctlNamespace(key)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q is of namespace %#x, %v; want %#x", key, got, err, want)
		}
	}
}

func TestCommonDir(t *testing.T) {
	for _, c := range []struct {
		paths []string
		want  string
	}{
		{[]string{"/a/b/c"}, "/a/b/"},
		{[]string{"/a/b/c", "/a/b/d"}, "/a/b/"},
		{[]string{"/a/b/c", "/a/bb/d"}, "/a/"},
		{[]string{"/a/b", "/c/d"}, "/"},
		{[]string{"/a", "/b"}, "/"},
		{[]string{"/a/b/c/d", "/a/b"}, "/a/"},
	} {
		if got := commonDir(c.paths); got != c.want {
			t.Errorf("%v have %s in common, want %s", c.paths, got, c.want)
		}
	}
}

func ids(container, host, size uint32) []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: container, HostID: host, Size: size}}
}

// mappings gives a spec a user namespace with these.
func mappings(list []specs.LinuxIDMapping) func(*specs.Spec) {
	return func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		s.Linux.UIDMappings, s.Linux.GIDMappings = list, list
	}
}

func of[T any](v T) *T { return &v }

func TestCPUs(t *testing.T) {
	for list, want := range map[string]string{
		"0": "0100000000000000", "0-3,7": "8f00000000000000", "64": "00000000000000000100000000000000",
		"": "", "-": "", "1-": "", "a": "", "9999": "", "3-1": "", " 1": "",
	} {
		mask, err := cpuMask(list)
		if got := fmt.Sprintf("%x", mask); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %s, %v; want %s", list, got, err, want)
		}
	}
}

// TestCapabilities: what cannot be given is left out with a warning, never an error (config.md, "Linux Process").
func TestCapabilities(t *testing.T) {
	p := &program{}
	all := []string{"CAP_CHOWN", "CAP_FLY", "CAP_SYS_RESOURCE", "CAP_BPF"}
	s := p.capSetsOf(&specs.LinuxCapabilities{
		Bounding: all, Permitted: []string{"CAP_CHOWN", "CAP_KILL"}, Effective: []string{"CAP_KILL", "CAP_FOWNER"},
		Inheritable: []string{"CAP_CHOWN", "CAP_FOWNER"}, Ambient: []string{"CAP_CHOWN", "CAP_KILL"},
	}, Facts{LastCap: 37, Caps: ^uint64(1 << 24)})
	if want := (capSets{bounding: 1, permitted: 1 | 1<<5, effective: 1 << 5, inheritable: 1, ambient: 1}); s != want {
		t.Errorf("sets %+v, want %+v", s, want)
	}
	want := []string{
		`process.capabilities.bounding: no capability "CAP_FLY"`,
		"process.capabilities.bounding: CAP_SYS_RESOURCE, CAP_BPF left out: not the caller's to give",
		"process.capabilities.effective: CAP_FOWNER left out: not permitted",
		"process.capabilities.inheritable: CAP_FOWNER left out: not in the bounding set",
		"process.capabilities.ambient: CAP_KILL left out: not both permitted and inheritable",
	}
	if diff := cmp.Diff(want, p.warned); diff != "" {
		t.Error(diff)
	}
}

func TestRefused(t *testing.T) {
	base := func() *specs.Spec {
		return &specs.Spec{
			Root: &specs.Root{}, Process: &specs.Process{Args: []string{"true"}, Cwd: "/"},
			Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}}},
		}
	}
	for _, c := range []struct {
		want   string
		change func(*specs.Spec)
	}{
		{"NUL byte", func(s *specs.Spec) { s.Process.Args = []string{"a", "b\x00c"} }},
		{"NUL byte", func(s *specs.Spec) { s.Process.Cwd = "/a\x00" }},
		{"deeper than 100", func(s *specs.Spec) { s.Process.Cwd = strings.Repeat("/a", 200) }},
		{"process: missing", func(s *specs.Spec) { s.Process = nil }},
		{"linux: missing", func(s *specs.Spec) { s.Linux = nil }},
		{"named twice", func(s *specs.Spec) { s.Linux.Namespaces = append(s.Linux.Namespaces, s.Linux.Namespaces[0]) }},
		{"no namespace type", func(s *specs.Spec) { s.Linux.Namespaces[0].Type = "x" }},
		{"mounts[0].source: \"x\" is not absolute", func(s *specs.Spec) { s.Mounts = []specs.Mount{{Destination: "/x", Source: "x", Type: "bind"}} }},
		{"mounts[0].destination: missing", func(s *specs.Spec) { s.Mounts = []specs.Mount{{Type: "tmpfs"}} }},
		{"mounts[0].destination: / is", func(s *specs.Spec) { s.Mounts = []specs.Mount{{Destination: "/.", Type: "tmpfs"}} }},
		{"mounts[0].type: missing", func(s *specs.Spec) { s.Mounts = []specs.Mount{{Destination: "/x"}} }},
		{"tmpcopyup is for a tmpfs", func(s *specs.Spec) {
			s.Mounts = []specs.Mount{{Destination: "/x", Type: "proc", Options: []string{"tmpcopyup"}}}
		}},
		{"tmpcopyup needs a plain directory", func(s *specs.Spec) {
			s.Mounts = []specs.Mount{{Destination: "/x", Type: "tmpfs", Options: []string{"tmpcopyup"}}}
		}},
		{"uidMappings and gidMappings go together", func(s *specs.Spec) {
			s.Mounts = []specs.Mount{{Destination: "/x", Type: "bind", Source: "/srv/data", UIDMappings: ids(0, 1, 1)}}
		}},
		{"only a bind mount can map", func(s *specs.Spec) {
			s.Mounts = []specs.Mount{{Destination: "/x", Type: "tmpfs", Options: []string{"ridmap"}}}
		}},
		{"idmap needs mappings", func(s *specs.Spec) {
			s.Mounts = []specs.Mount{{Destination: "/x", Source: "/srv/data", Options: []string{"bind", "idmap"}}}
		}},
		{"mounts[0].gidMappings[0].size: 0", func(s *specs.Spec) {
			s.Mounts = []specs.Mount{{Destination: "/x", Type: "bind", Source: "/srv/data", UIDMappings: ids(0, 1, 1), GIDMappings: ids(0, 1, 0)}}
		}},
		{"and the kernel takes 4095", func(s *specs.Spec) {
			s.Mounts = []specs.Mount{{Destination: "/x", Type: "tmpfs", Options: []string{"size=" + strings.Repeat("1", 70000)}}}
		}},
		{"and the kernel takes 4095", func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: "/" + strings.Repeat("x", 70000)})
		}},
		{`linux.namespaces[1].path: "x" is not`, func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: "x"})
		}},
		{"there is no user namespace to map", func(s *specs.Spec) { s.Linux.UIDMappings = ids(0, 1, 1) }},
		{"linux.uidMappings: 341 ranges", mappings(make([]specs.LinuxIDMapping, 341))},
		{"linux.uidMappings[1]: ids of it are in [0]", mappings(append(ids(0, 100, 10), ids(5, 200, 10)...))},
		{"linux.uidMappings[1]: ids of it are in [0]", mappings(append(ids(0, 100, 10), ids(50, 109, 10)...))},
		{"linux.uidMappings[0]: 4294967295 ids from 0 and 1 go", mappings(ids(0, 1, 1<<32-1))},
		{"id 0 is not mapped", mappings(ids(1, 100, 10))},
		{"process.user.uid: 7 is not in", func(s *specs.Spec) { mappings(ids(0, 100, 5))(s); s.Process.User.UID = 7 }},
		{"process.user.additionalGids[0]: 9 is not in", func(s *specs.Spec) { mappings(ids(0, 100, 5))(s); s.Process.User.AdditionalGids = []uint32{9} }},
		{"linux.timeOffsets.boottime: there is no new time", func(s *specs.Spec) { s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1}} }},
		{`linux.timeOffsets: no clock "realtime"`, func(s *specs.Spec) { s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"realtime": {Secs: 1}} }},
		{"linux.timeOffsets.monotonic.nanosecs: 1000000000", func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Nanosecs: 1e9}}
		}},
		{"linux.memoryPolicy: not implemented", func(s *specs.Spec) { s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{} }},
		{"linux.intelRdt: not implemented", func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{} }},
		{"linux.netDevices: not implemented", func(s *specs.Spec) { s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {}} }},
		{"linux.devices[0].major: -1 is not", func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "c", Major: -1}} }},
		{"linux.devices[0].minor: 1048576 is not", func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "c", Minor: 1 << 20}}
		}},
		{`linux.devices[0].path: "/dev/../x"`, func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/../x", Type: "c"}} }},
		{"linux.devices[0]: its owner", func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "c", GID: of(uint32(1<<32 - 1))}}
		}},
		{"has a ..", func(s *specs.Spec) { s.Mounts = []specs.Mount{{Destination: "/x/../../y", Type: "tmpfs"}} }},
		{"/proc cannot be a tmpfs", func(s *specs.Spec) { s.Mounts = []specs.Mount{{Destination: "/proc", Type: "tmpfs"}} }},
		{"no propagation", func(s *specs.Spec) { s.Linux.RootfsPropagation = "sideways" }},
		{"missing, but there is a user namespace", func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		}},
		{"process.apparmorProfile: this host has no AppArmor", func(s *specs.Spec) { s.Process.ApparmorProfile = "x" }},
		{"hooks.createRuntime[0].path: \"x\" is not", func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "x"}}} }},
		{"hooks.poststop[0].timeout: 0 seconds", func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/x", Timeout: new(int)}}} }},
		{"hooks.poststart[0]: there is a NUL", func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{Poststart: []specs.Hook{{Path: "/x", Env: []string{"\x00"}}}}
		}},
		{"process.selinuxLabel: this host has no SELinux", func(s *specs.Spec) { s.Process.SelinuxLabel = "x" }},
		{"linux.mountLabel: this host has no SELinux", func(s *specs.Spec) { s.Linux.MountLabel = "x" }},
		{"process.user.uid: 4294967295 is no user", func(s *specs.Spec) { s.Process.User.UID = 1<<32 - 1 }},
		{"process.user.gid: 4294967295 is no group", func(s *specs.Spec) { s.Process.User.GID = 1<<32 - 1 }},
		{"process.user.additionalGids[1]: ", func(s *specs.Spec) { s.Process.User.AdditionalGids = []uint32{1, 1<<32 - 1} }},
		{"process.user.additionalGids: 70000 groups", func(s *specs.Spec) { s.Process.User.AdditionalGids = make([]uint32, 70000) }},
		{"process.user.umask: 01000 is more", func(s *specs.Spec) { s.Process.User.Umask = of(uint32(0o1000)) }},
		{"process.oomScoreAdj: 1001 is not", func(s *specs.Spec) { s.Process.OOMScoreAdj = of(1001) }},
		{"process.consoleSize: 70000 lines", func(s *specs.Spec) { s.Process.Terminal = true; s.Process.ConsoleSize = &specs.Box{Height: 70000} }},
		{"process.args[1]: 200000 bytes", func(s *specs.Spec) { s.Process.Args = []string{"a", strings.Repeat("x", 200000)} }},
		{"process.env[0]: there is a NUL", func(s *specs.Spec) { s.Process.Env = []string{"\x00"} }},
		{`process.cwd: "x" is not an absolute`, func(s *specs.Spec) { s.Process.Cwd = "x" }},
		{`process.scheduler.policy: no policy "x"`, func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: "x"} }},
		{"process.scheduler.policy: Linux has no SCHED_ISO", func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedISO} }},
		{"process.scheduler.nice: -21 is not", func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Nice: -21} }},
		{"process.scheduler.priority: 0 is not", func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedRR} }},
		{"process.scheduler.priority: 3, but SCHED_BATCH", func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Priority: 3} }},
		{"process.scheduler: runtime, deadline and period", func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Period: 3} }},
		{`process.scheduler.flags[0]: no flag "x"`, func(s *specs.Spec) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Flags: []specs.LinuxSchedulerFlag{"x"}}
		}},
		{`process.ioPriority.class: no class "x"`, func(s *specs.Spec) { s.Process.IOPriority = &specs.LinuxIOPriority{Class: "x"} }},
		{"process.ioPriority.priority: 8 is not", func(s *specs.Spec) {
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 8}
		}},
		{`process.execCPUAffinity.final: "1-0" is no list`, func(s *specs.Spec) { s.Process.ExecCPUAffinity = &specs.CPUAffinity{Final: "1-0"} }},
		{`linux.personality.domain: no domain "x"`, func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: "x"} }},
		{`linux.personality.flags: no flag "y"`, func(s *specs.Spec) {
			s.Linux.Personality = &specs.LinuxPersonality{Domain: "LINUX", Flags: []specs.LinuxPersonalityFlag{"y"}}
		}},
		{`linux.maskedPaths[0]: "x" is not an absolute`, func(s *specs.Spec) { s.Linux.MaskedPaths = []string{"x"} }},
		{`linux.readonlyPaths[0]: "x" is not an absolute`, func(s *specs.Spec) { s.Linux.ReadonlyPaths = []string{"x"} }},
		{"no device type", func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "z"}} }},
	} {
		spec := base()
		c.change(spec)
		if p, err := Compile(spec, Input{Root: rootOf(base()), Facts: facts(base())}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want …%s…\n%v", err, c.want, p)
		}
	}
}

// TestExecAffinity: the CPUs of the time before the cgroup are set before it is entered.
func TestExecAffinity(t *testing.T) {
	f := Facts{LastCap: 0, Cgroup: Cgroup{Into: true}}
	proc := &specs.Process{Args: []string{"/bin/true"}, Cwd: "/", ExecCPUAffinity: &specs.CPUAffinity{Initial: "0", Final: "1"}}
	p, err := CompileExec(ExecInput{Process: proc, Namespaces: unix.CLONE_NEWNS, Facts: f})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(given...); err != nil {
		t.Error(err)
	}
	golden.Check(t, "testdata/exec-affinity.plan", p.String())
}

// TestListenerPlan: a filter that asks is loaded before the gate, and its listener is handed over at once.
func TestListenerPlan(t *testing.T) {
	spec := &specs.Spec{
		Root: &specs.Root{Path: "/srv/rootfs"}, Process: &specs.Process{Args: []string{"/bin/true"}, Cwd: "/", NoNewPrivileges: true},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}},
			Seccomp: &specs.LinuxSeccomp{
				DefaultAction: specs.ActAllow, ListenerPath: "/run/agent", Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdirat"}, Action: specs.ActNotify}},
			},
		},
	}
	p, err := Compile(spec, Input{Root: rootOf(spec), Facts: Facts{}, Gated: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(given...); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]Halt{Listening, Created}, p.Halts); diff != "" {
		t.Error(diff)
	}
	var tail []string
	for _, s := range p.Steps[len(p.Steps)-9:] {
		tail = append(tail, s.Call.String())
	}
	if got, want := strings.Join(tail, " "), "rt_sigprocmask seccomp write read exit_group write read exit_group execve"; got != want {
		t.Errorf("the plan ends in %s, want %s", got, want)
	}
}

func TestHookPlan(t *testing.T) {
	hook := specs.Hook{Path: "/usr/bin/hook", Args: []string{"hook", "a"}, Env: []string{"A=1"}}
	for name, ns := range map[string]uintptr{"hook": 0, "hook-between": unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUSER} {
		p, err := CompileHook(HookInput{Hook: hook, Origin: "hooks.createRuntime[0]", Dir: "/bundle", Namespaces: ns, Facts: Facts{NoFile: Rlimit{1024, 4096}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Verify(given...); err != nil {
			t.Error(err)
		}
		golden.Check(t, "testdata/"+name+".plan", p.String())
	}
}

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/cgroups/systemd"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/dbus"
)

// needSystemd returns this host with its systemd making cgroups. make test-vm has a machine for that.
func needSystemd(t *testing.T, annotations map[string]string) Host {
	t.Helper()
	h := needHost(t)
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		t.Skip("systemd is not the init of this host")
	}
	if err := h.UseSystemd(Systemd{Hold: hold, Annotations: annotations}); err != nil {
		t.Fatal(err)
	}
	return h
}

// hold is a process of this program that waits for a byte.
func hold() (int, func(), error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperVar+"=sleep")
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	return cmd.Process.Pid, func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}, nil
}

// newScope makes a group in a slice of the test's own, and proves at the end that neither unit nor cgroup is left.
func newScope(t *testing.T, h Host) *Group {
	t.Helper()
	slice := fmt.Sprintf("tripodtest-%d.slice", os.Getpid())
	g, err := Make(h, fmt.Sprintf("%s:tripod:web%d", slice, serial.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Kill(); err != nil {
			t.Error(err)
		}
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
		if state := show(t, g.unit.Name, "LoadState"); state != "LoadState=not-found" {
			t.Errorf("%s: %s", g.unit.Name, state)
		}
		if _, err := os.Stat(g.Dir(h.Hierarchies[0])); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", g.path, err)
		}
		// A slice stays, as one that an administrator made would.
		if out, err := exec.Command("systemctl", "stop", "tripodtest.slice").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		for _, y := range h.Hierarchies {
			if _, err := os.Stat(y.Mountpoint + "/tripodtest.slice"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s/tripodtest.slice is left: %v", y.Mountpoint, err)
			}
		}
	})
	return g
}

// show asks systemctl for properties.
func show(t *testing.T, unit string, properties ...string) string {
	t.Helper()
	out, err := exec.Command("systemctl", "show", unit, "-p", strings.Join(properties, ",")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return sorted(strings.TrimSpace(string(out)))
}

// limits are the properties that resources become.
var limits = []string{
	"MemoryMax", "MemoryLow", "MemoryHigh", "MemorySwapMax", "CPUWeight", "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec", "TasksMax", "AllowedCPUs", "AllowedMemoryNodes",
	"DevicePolicy", "DeviceAllow", "Delegate", "MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting", "DefaultDependencies", "Slice",
}

// A scope of ours is what the library that runc and kubelet use makes of the same: the unit's properties and the files.
func TestSystemdAgainstLibrary(t *testing.T) {
	h := needSystemd(t, nil)
	if h.Mode != V2 {
		t.Skip("on cgroup v1 systemd knows other properties")
	}
	g := newScope(t, h)
	rules := deviceRules("deny a; allow c 10:229 rw; allow b 7:* r")
	err := g.Limit(&specs.LinuxResources{
		CPU:     &specs.LinuxCPU{Shares: ptr(uint64(300)), Quota: ptr(int64(30000)), Period: ptr(uint64(60000)), Cpus: "0", Mems: "0"},
		Memory:  &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(96 << 20)), Reservation: ptr(int64(32 << 20))},
		Pids:    &specs.LinuxPids{Limit: ptr(int64(77))},
		Devices: rules,
		Unified: map[string]string{"memory.high": "50331648"},
	})
	if err != nil {
		t.Fatal(err)
	}
	start(t, g, "sleep")
	if pids, err := g.Procs(); err != nil || len(pids) != 1 {
		t.Errorf("in the scope are %v, %v; want one process, not the one that held it", pids, err)
	}

	q := &cgroups.Resources{
		CpuQuota: 30000, CpuPeriod: 60000, CpusetCpus: "0", CpusetMems: "0", CpuWeight: cgroups.ConvertCPUSharesToCgroupV2Value(300),
		Memory: 64 << 20, MemorySwap: 96 << 20, MemoryReservation: 32 << 20, PidsLimit: ptr(int64(77)), Unified: map[string]string{"memory.high": "50331648"},
	}
	for _, d := range withDefaults(rules) {
		rule := &config.Rule{Allow: d.Allow, Type: config.WildcardDevice, Major: -1, Minor: -1, Permissions: "rwm"}
		if d.Type != "a" {
			rule.Type, rule.Permissions = config.Type(d.Type[0]), config.Permissions(d.Access)
		}
		if d.Major != nil {
			rule.Major = *d.Major
		}
		if d.Minor != nil {
			rule.Minor = *d.Minor
		}
		q.Devices = append(q.Devices, rule)
	}
	pid, end, err := hold()
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	m, err := systemd.NewUnifiedManager(&cgroups.Cgroup{Parent: g.unit.Slice, ScopePrefix: "lib", Name: "web", Resources: q, Systemd: true}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Destroy()
	if err := errors.Join(m.Apply(pid), m.Set(q)); err != nil {
		t.Fatal(err)
	}
	// The list of devices has an order of its own.
	order := func(s string) string {
		words := strings.Fields(s)
		slices.Sort(words)
		return strings.Join(words, " ")
	}
	if ours, theirs := show(t, g.unit.Name, limits...), show(t, "lib-web.scope", limits...); order(ours) != order(theirs) {
		t.Errorf("the unit is\n%s\nthe library's\n%s", ours, theirs)
	}
	theirs := &Group{host: Host{Mode: V2, Hierarchies: h.Hierarchies}, path: strings.TrimPrefix(m.Path(""), h.Hierarchies[0].Mountpoint+"/")}
	if filepath.Dir(theirs.path) != filepath.Dir(g.path) {
		t.Errorf("the library's is %s, ours %s", theirs.path, g.path)
	}
	if names := different(files(t, g), files(t, theirs)); len(names) > 0 {
		t.Errorf("files: %s", strings.Join(names, "; "))
	}
}

// What systemd knows survives its reload, an update that fails changes neither unit nor file, and devices stay denied.
func TestSystemdUpdate(t *testing.T) {
	h := needSystemd(t, map[string]string{annotation + "TimeoutStopSec": "7", annotation + "Description": "'a test'"})
	g := newScope(t, h)
	err := g.Limit(&specs.LinuxResources{
		CPU: &specs.LinuxCPU{Shares: ptr(uint64(512)), Quota: ptr(int64(50000)), Period: ptr(uint64(100000))}, Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20))},
		Pids: &specs.LinuxPids{Limit: ptr(int64(50))}, Devices: deviceRules("deny a"),
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := unix.Mknod(dir+"/c10-229", unix.S_IFCHR|0o600, int(unix.Mkdev(10, 229))); err != nil {
		t.Fatal(err)
	}
	p := start(t, g, "mknod", "TRIPOD_CGROUP_DIR="+dir)
	denied := func() bool {
		if _, err := fmt.Fprintln(p.in, "c 10 229 rw"); err != nil {
			t.Fatal(err)
		}
		line, err := p.out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(line) == fmt.Sprint(int(unix.EPERM))
	}
	reload := func() {
		if out, err := exec.Command("systemctl", "daemon-reload").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if got := show(t, g.unit.Name, "TimeoutStopUSec", "Description"); got != "Description=a test\nTimeoutStopUSec=7s" {
		t.Errorf("annotations became %s", got)
	}
	before, unit := files(t, g), show(t, g.unit.Name, limits...)
	reload()
	if names := different(before, files(t, g)); len(names) > 0 {
		t.Errorf("after a reload: %s", strings.Join(names, "; "))
	}
	if !denied() {
		t.Error("after a reload a device is no longer denied")
	}
	bad := specs.LinuxResources{
		CPU: &specs.LinuxCPU{Shares: ptr(uint64(2048)), Quota: ptr(int64(-1))}, Memory: &specs.LinuxMemory{Limit: ptr(int64(256 << 20))}, Pids: &specs.LinuxPids{Limit: ptr(int64(9))},
		BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{throttle(250, 250, 1<<20)}},
	}
	if err := g.Update(&bad); !errors.Is(err, unix.ENODEV) {
		t.Errorf("%v", err)
	}
	if names := different(before, files(t, g)); len(names) > 0 {
		t.Errorf("not put back: %s", strings.Join(names, "; "))
	}
	if now := show(t, g.unit.Name, limits...); now != unit {
		t.Errorf("the unit's were\n%s\nnow\n%s", unit, now)
	}
	bad.BlockIO, bad.Devices = nil, deviceRules("deny a; allow c 10:229 rwm")
	if err := g.Update(&bad); err != nil {
		t.Fatal(err)
	}
	if denied() {
		t.Error("a device that is allowed now is denied")
	}
	before = files(t, g)
	reload()
	if names := different(before, files(t, g)); len(names) > 0 {
		t.Errorf("after an update and a reload: %s", strings.Join(names, "; "))
	}
	memory := "MemoryMax"
	if h.Mode != V2 {
		memory = "MemoryLimit"
	}
	if got := show(t, g.unit.Name, "TasksMax", memory); got != memory+"=268435456\nTasksMax=9" {
		t.Errorf("the unit has %s", got)
	}
}

// A scope ends with its last process, its name can be taken again, and not twice at once.
func TestSystemdEnds(t *testing.T) {
	h := needSystemd(t, nil)
	g := newScope(t, h)
	p := start(t, g, "sleep")
	name := fmt.Sprintf("%s:tripod:%s", g.unit.Slice, strings.TrimSuffix(strings.TrimPrefix(g.unit.Name, "tripod-"), ".scope"))
	if _, err := Make(h, name); err == nil || !strings.Contains(err.Error(), g.unit.Name) {
		t.Errorf("a unit that is there is made again: %v", err)
	}
	if _, err := os.FindProcess(p.Process.Pid); err != nil || p.Process.Signal(syscall.Signal(0)) != nil {
		t.Error("the refused Make ended the first one's process")
	}
	_ = p.Process.Kill()
	_ = p.Wait()
	until(t, "the unit gone", func() (bool, error) {
		return show(t, g.unit.Name, "LoadState") == "LoadState=not-found", nil
	})
	if err := g.Remove(); err != nil {
		t.Errorf("Remove of one that is gone: %v", err)
	}
	again, err := Make(h, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Remove(); err != nil {
		t.Error(err)
	}
}

// What cannot be made leaves nothing: no unit, no cgroup, no process.
func TestSystemdRefuses(t *testing.T) {
	h := needSystemd(t, map[string]string{annotation + "SuccessAction": "'reboot'"})
	if g, err := Make(h, "tripodtest.slice:tripod:bad"); err == nil || !strings.Contains(err.Error(), "SuccessAction") {
		t.Errorf("%+v, %v", g, err)
	}
	h = needSystemd(t, map[string]string{annotation + "KillSignal": "999"})
	if g, err := Make(h, "tripodtest.slice:tripod:bad"); err == nil || !strings.Contains(err.Error(), "tripod-bad.scope") {
		t.Errorf("%+v, %v", g, err)
	}
	if state := show(t, "tripod-bad.scope", "LoadState"); state != "LoadState=not-found" {
		t.Error(state)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
	if _, err := Make(needSystemd(t, nil), "tripodtest.slice:tripod:bad"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a bus: %v", err)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", unix.Gettid()))
	if err == nil && len(children) > 0 {
		t.Errorf("children are left: %s", children)
	}
}

// A user without privileges has a scope of the user's own systemd, with limits that hold.
func TestSystemdUser(t *testing.T) {
	if h := needSystemd(t, nil); h.Mode != V2 {
		if err := h.UseSystemd(Systemd{User: true}); err == nil || !strings.Contains(err.Error(), "needs cgroup v2") {
			t.Errorf("on %s: %v", h.Mode, err)
		}
		t.Skip("only on cgroup v2 users have cgroups of their own")
	}
	if _, err := os.Stat("/run/user/1000/bus"); err != nil {
		t.Skip("user 1000 has no systemd running")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperVar+"=user", "XDG_RUNTIME_DIR=/run/user/1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	cmd.Stdin = strings.NewReader("x")
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "well" {
		t.Errorf("%v: %s", err, out)
	}
}

// asUser is what TestSystemdUser has the user do.
func asUser() {
	err := func() error {
		h, err := Detect()
		if err != nil {
			return err
		}
		if err := h.UseSystemd(Systemd{User: true, Hold: hold}); err != nil {
			return err
		}
		g, err := Make(h, ":tripod:user")
		if err != nil {
			return err
		}
		defer g.Remove()
		if g.path != "user.slice/user-1000.slice/user@1000.service/user.slice/tripod-user.scope" {
			return fmt.Errorf("it is at %s", g.path)
		}
		r := specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20))}, Pids: &specs.LinuxPids{Limit: ptr(int64(30))}, Devices: deviceRules("deny a")}
		if err := g.Limit(&r); err != nil {
			return err
		}
		j, err := g.Join()
		if err != nil {
			return err
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), helperVar+"=sleep")
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(j.Unified.Fd())}
		in, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		j.Close()
		if err != nil {
			return err
		}
		defer in.Close()
		defer func() { _ = cmd.Wait() }()
		s, err := g.Stats()
		if err != nil || s.Memory.Usage.Limit != 64<<20 || s.Pids.Limit != 30 || s.Pids.Current == 0 {
			return fmt.Errorf("%+v, %w", s, err)
		}
		r.Memory.Limit = ptr(int64(128 << 20))
		if err := g.Update(&r); err != nil {
			return err
		}
		if s, err = g.Stats(); err != nil || s.Memory.Usage.Limit != 128<<20 {
			return fmt.Errorf("updated: %+v, %w", s, err)
		}
		if err := g.Kill(); err != nil {
			return err
		}
		if err := g.Remove(); err != nil {
			return err
		}
		address, err := dbus.Session()
		if err != nil {
			return err
		}
		c, err := dbus.Dial(address, patient)
		if err != nil {
			return err
		}
		defer c.Close()
		var e *dbus.Error
		if _, err := c.Call(systemdName, systemdPath, systemdManager, "GetUnit", "s", "tripod-user.scope"); !errors.As(err, &e) || e.Name != "org.freedesktop.systemd1.NoSuchUnit" {
			return fmt.Errorf("the unit after Remove: %w", err)
		}
		return nil
	}()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("well")
}

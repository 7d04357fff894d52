package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// told is what a hook of these tests writes about itself.
type told struct {
	Kind  string
	Dir   string
	Env   string
	Caps  string
	Args  string
	NS    map[string]string
	Root  bool // it sees the host's root
	State specs.State
}

// spy is a hook that writes what it is and gets to FILE, as one told a line.
func spy(host, kind, file string) specs.Hook {
	script := `
ns=""; for n in mnt net pid uts user; do ns="$ns,\"$n\":\"$(readlink /proc/self/ns/$n)\""; done
caps=$(grep CapEff /proc/self/status | cut -f2)
host=false; [ -d ` + host + ` ] && host=true
printf '{"Kind":"%s","Dir":"%s","Env":"%s","Caps":"%s","Args":"%s","NS":{%s},"Root":%s,"State":%s}\n' \
	` + kind + ` "$(pwd)" "$(env | grep -vE '^(PWD|OLDPWD|SHLVL|_)=' | tr '\n' ' ')" "$caps" "$0 $*" "${ns#,}" $host "$(cat)" >>$FILE`
	return specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", script, "zero", "one"}, Env: []string{"FILE=" + file, "PATH=/bin:/usr/bin"}}
}

func read(t *testing.T, file string) (list []told) {
	t.Helper()
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var one told
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		list = append(list, one)
	}
	return list
}

// hooked is a container whose six kinds of hook write to log, startContainer's to /log of its own.
func hooked(t *testing.T, spec *specs.Spec) (cfg Config, log string) {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o777); err != nil { // a user namespace's root writes there
			t.Fatal(err)
		}
	}
	log = filepath.Join(dir, "log")
	spec.Annotations = map[string]string{"org.example": "yes"}
	spec.Process.Env = append(spec.Process.Env, "LD_PRELOAD=/evil.so")
	if err := os.WriteFile(log, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(log, 0o666); err != nil {
		t.Fatal(err)
	}
	spec.Hooks = &specs.Hooks{
		//lint:ignore SA1019 prestart is deprecated, and still to be run
		Prestart:        []specs.Hook{spy(dir, "prestart", log)},
		CreateRuntime:   []specs.Hook{spy(dir, "createRuntime", log)},
		CreateContainer: []specs.Hook{spy(dir, "createContainer", log)},
		StartContainer:  []specs.Hook{spy(dir, "startContainer", "/log")},
		Poststart:       []specs.Hook{spy(dir, "poststart", log)},
		Poststop:        []specs.Hook{spy(dir, "poststop", log)},
	}
	root := layers(t)
	for _, applet := range []string{"tr", "cut", "env"} {
		if err := os.Symlink("busybox", filepath.Join(root.Lower[1], "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	return Config{ID: "x", Spec: spec, Host: look(t), Root: root, CgroupPath: cgroupName(t), Bundle: t.TempDir()}, log
}

// TestHooks: each kind once, in the lifecycle's order, in its namespaces, with the state and nothing of the runtime's
// or the image's environment (CVE-2025-23266).
func TestHooks(t *testing.T) {
	t.Setenv("LD_PRELOAD", "/none.so")
	for _, spec := range []*specs.Spec{sample("sleep", "1000"), userNamespace("sleep", "1000")} {
		cfg, log := hooked(t, spec)
		c, err := Create(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, log); len(got) != 3 {
			t.Errorf("%d hooks ran before the gate, want 3", len(got))
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		inner, err := os.ReadFile(filepath.Join(cfg.Root.Upper, "log"))
		if err != nil {
			t.Fatal(err)
		}
		pid := c.Pid
		theirs := map[string]string{}
		for _, n := range []string{"mnt", "net", "pid", "uts", "user"} {
			theirs[n], _ = os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, n))
		}
		if err := c.Kill(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Wait(); err != nil {
			t.Fatal(err)
		}
		for range 2 { // Delete may be called again, and runs no hook again
			if err := c.Delete(); err != nil {
				t.Fatal(err)
			}
		}
		gone(t, cfg)
		if err := os.WriteFile(log+".in", inner, 0o644); err != nil {
			t.Fatal(err)
		}
		all := slices.Insert(read(t, log), 3, read(t, log+".in")...)
		want := []struct {
			kind   string
			status specs.ContainerState
			pid    int
			inside bool
		}{
			{"prestart", specs.StateCreating, pid, false},
			{"createRuntime", specs.StateCreating, pid, false},
			{"createContainer", specs.StateCreating, 1, true},
			{"startContainer", specs.StateCreated, 1, true},
			{"poststart", specs.StateRunning, pid, false},
			{"poststop", specs.StateStopped, 0, false},
		}
		if len(all) != len(want) {
			t.Fatalf("%d hooks ran: %+v", len(all), all)
		}
		for i, w := range want {
			got := all[i]
			st := got.State
			if got.Kind != w.kind || st.Status != w.status || st.Pid != w.pid || st.ID != "x" || st.Bundle != cfg.Bundle || st.Annotations["org.example"] != "yes" || st.Version != specs.Version {
				t.Errorf("hook %d is %s with %+v, want %+v", i, got.Kind, st, w)
			}
			if got.Args != "zero one" || strings.Contains(got.Env, "LD_PRELOAD") || !strings.Contains(got.Env, "FILE=") || strings.Count(got.Env, "=") != 2 {
				t.Errorf("%s: arguments %q, environment %q", w.kind, got.Args, got.Env)
			}
			if host := w.kind != "startContainer"; got.Root != host {
				t.Errorf("%s sees the host's root: %v", w.kind, got.Root)
			}
			if w.inside != (got.Dir == "/") || !w.inside && got.Dir != cfg.Bundle {
				t.Errorf("%s runs in %s", w.kind, got.Dir)
			}
			for n, ns := range got.NS {
				ours, _ := os.Readlink("/proc/self/ns/" + n)
				if w.inside && ns != theirs[n] || !w.inside && ns != ours {
					t.Errorf("%s: %s namespace is %s, the container's %s, ours %s", w.kind, n, ns, theirs[n], ours)
				}
			}
			if w.kind == "startContainer" && got.Caps != "0000000000000021" {
				t.Errorf("a program of the image runs with capabilities %s", got.Caps)
			}
		}
	}
}

// TestHookFails: up to poststart, a failure ends the container, is named, and the hooks of the end run.
func TestHookFails(t *testing.T) {
	for i, kind := range []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"} {
		t.Run(kind, func(t *testing.T) {
			spec := sample("sh", "-c", "echo ran >/ran; sleep 1000")
			cfg, log := hooked(t, spec)
			bad := specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "echo oh; echo no '\033[31m' >&2; exit 4"}}
			h := spec.Hooks
			//lint:ignore SA1019 prestart is deprecated, and still to be run
			list := []*[]specs.Hook{&h.Prestart, &h.CreateRuntime, &h.CreateContainer, &h.StartContainer, &h.Poststart, &h.Poststop}[i]
			*list = append([]specs.Hook{bad}, *list...)
			var warned []error
			cfg.Warn = func(err error) { warned = append(warned, err) }
			c, err := Run(cfg)
			if kind == "poststop" {
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Kill(); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Wait(); err != nil {
					t.Fatal(err)
				}
				if err := c.Delete(); err != nil {
					t.Fatal(err)
				}
				if len(warned) != 1 {
					t.Fatalf("warnings %v", warned)
				}
				err = warned[0]
			}
			if want := "hooks." + kind + `[0]: cannot run /bin/sh: exit code 4: it said "no \x1b[31m"`; err == nil || err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
			if _, err := os.Stat(filepath.Join(cfg.Root.Upper, "ran")); err == nil && i < 4 {
				t.Error("the container's program ran")
			}
			all := read(t, log)
			if last := all[len(all)-1].Kind; last != "poststop" {
				t.Errorf("the last hook is %s, want poststop", last)
			}
			gone(t, cfg)
		})
	}
}

// TestHookTimeout: a hook that does not end is killed with what it started; one that leaves a daemon which holds its
// output open is not waited for longer than it lives.
func TestHookTimeout(t *testing.T) {
	spec := sample("true")
	one := 1
	dir := t.TempDir()
	spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{
		{Path: "/bin/sh", Args: []string{"sh", "-c", "sleep 1000 & echo $! >" + dir + "/daemon"}, Env: []string{"PATH=/bin"}},
		{Path: "/bin/sh", Args: []string{"sh", "-c", "sleep 1000 & echo $! >" + dir + "/child; wait"}, Env: []string{"PATH=/bin"}, Timeout: &one},
	}}
	_, _, err := runs(t, Config{Spec: spec})
	if !errors.Is(err, ErrTimeout) || !strings.HasPrefix(err.Error(), "hooks.createRuntime[1]: ") {
		t.Errorf("error %v, want %v", err, ErrTimeout)
	}
	number := func(name string) (pid int) {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Sscan(string(data), &pid)
		return pid
	}
	if err := unix.Kill(number("daemon"), unix.SIGKILL); err != nil {
		t.Errorf("the daemon of a hook that ended well: %v", err)
	}
	child := number("child")
	for i := 0; ; i++ {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		if err != nil || strings.Contains(string(data), ") Z ") {
			break
		}
		if i > 500 {
			t.Fatal("the child of a hook that was killed is left")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestHookInput: hooks that are not there, that ignore their input, that say very much, or that die by a signal.
func TestHookInput(t *testing.T) {
	spec := sample("true")
	spec.Annotations = map[string]string{"long": strings.Repeat("x", 1<<20)}
	for _, c := range []struct{ script, want string }{
		{"exit 0", ""},
		{"head -c 3000000 /dev/zero; exit 0", ""},
		{"test $(wc -c) -gt 1000000", ""},
		{"for f in $(seq 3 300); do [ ! -e /proc/$$/fd/$f ] || exit 1; done", ""},
		{"kill -TERM $$", "ended by signal SIGTERM"},
	} {
		spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", c.script}, Env: []string{"PATH=/bin:/usr/bin"}}}}
		_, _, err := runs(t, Config{Spec: spec})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want %q", c.script, err, c.want)
		}
	}
	spec.Hooks.CreateRuntime[0].Path = "/no/such/hook"
	if _, _, err := runs(t, Config{Spec: spec}); !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "hooks.createRuntime[0]: cannot run /no/such/hook") {
		t.Errorf("error %v", err)
	}
}

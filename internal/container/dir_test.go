package container

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/birth"
	"tripod/internal/ns"
	"tripod/internal/plan"
)

// stored is a container of a state directory, at its latch.
func stored(t *testing.T, spec *specs.Spec) (d *Dir, root string) {
	t.Helper()
	root = t.TempDir()
	d, err := Claim(root, "test")
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Spec: spec, Host: look(t), Root: layers(t), CgroupPath: cgroupName(t)}
	c, err := d.Create(cfg, config)
	if err != nil {
		t.Fatal(err)
	}
	// As when the command that created it has ended: it is nobody's child that waits for it.
	if err := c.Leave(); err != nil {
		t.Fatal(err)
	}
	d.Unlock()
	t.Cleanup(func() {
		if d, err := OpenDir(root, "test"); err == nil {
			if err := errors.Join(d.Lock(), d.Delete(cfg.Host, nil, nil)); err != nil {
				t.Error(err)
			}
		}
		_, _ = unix.Wait4(c.Pid, nil, 0, nil)
		gone(t, cfg)
	})
	return d, root
}

func load(t *testing.T, root string) (*Dir, *Record, *Container) {
	t.Helper()
	d, err := OpenDir(root, "test")
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Record()
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Load(&r, look(t))
	if err != nil {
		t.Fatal(err)
	}
	return d, &r, c
}

func TestLatch(t *testing.T) {
	_, root := stored(t, sample("sleep", "1000"))
	d, r, c := load(t, root)
	if s := d.Status(r); s != specs.StateCreated {
		t.Errorf("status %s, want created", s)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if s := d.Status(r); s != specs.StateRunning {
		t.Errorf("status %s, want running", s)
	}
	if err := c.Start(); !errors.Is(err, ErrStarted) {
		t.Errorf("a second start: %v, want %v", err, ErrStarted)
	}
	for _, name := range []string{"latch", "told", "steps"} {
		if _, err := os.Lstat(filepath.Join(root, "test", name)); err == nil {
			t.Errorf("%s is left of the latch", name)
		}
	}
}

// A process that is killed at its latch is stopped, and is not started any more.
func TestKilledAtLatch(t *testing.T) {
	_, root := stored(t, sample("true"))
	d, r, c := load(t, root)
	if err := errors.Join(c.end()); err != nil {
		t.Fatal(err)
	}
	if s := d.Status(r); s != specs.StateStopped {
		t.Errorf("status %s, want stopped", s)
	}
	if err := c.Start(); !errors.Is(err, ErrStarted) {
		t.Errorf("start: %v", err)
	}
}

// A step that fails behind the latch is told with its name, and by what steps file there is.
func TestLatchTells(t *testing.T) {
	spec := sample("/etc/hidden") // a file that is there, and is no program
	for name, spoil := range map[string]func(file string) error{
		"whole": func(string) error { return nil },
		"gone":  os.Remove,
		"cut":   func(f string) error { return os.Truncate(f, 100) },
		"wild":  func(f string) error { return os.WriteFile(f, []byte(`{"first":-9,"list":[{}]}`), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			spec.Mounts = nil
			spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = nil, nil
			root := t.TempDir()
			d, err := Claim(root, "test")
			if err != nil {
				t.Fatal(err)
			}
			cfg := Config{Spec: spec, Host: look(t), Root: layers(t), CgroupPath: cgroupName(t)}
			if err := os.Chmod(filepath.Join(cfg.Root.Lower[1], "etc/hidden"), 0o755); err != nil {
				t.Fatal(err)
			}
			defer gone(t, cfg)
			config, err := json.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			c, err := d.Create(cfg, config)
			if err != nil {
				t.Fatal(err)
			}
			pid := c.Pid
			if err := errors.Join(c.Leave(), spoil(filepath.Join(root, "test", "steps"))); err != nil {
				t.Fatal(err)
			}
			_, _, c = load(t, root)
			err = c.Start()
			var step *birth.StepError
			if !errors.As(err, &step) || step.Errno != unix.ENOEXEC {
				t.Errorf("start: %v, want %v", err, unix.ENOEXEC)
			} else if whole := name == "whole"; whole != (step.Call == plan.Execve) || whole != strings.Contains(err.Error(), "execute /etc/hidden (process.args)") {
				t.Errorf("start: %v, call %v", err, step.Call)
			}
			if err := d.Delete(cfg.Host, nil, nil); err != nil {
				t.Error(err)
			}
			_, _ = unix.Wait4(pid, nil, 0, nil)
		})
	}
}

// A PID that is another process's by now is not the container's.
func TestRecycledPID(t *testing.T) {
	self := ns.Process{PID: os.Getpid()}
	if err := self.ReadStat("/proc"); err != nil {
		t.Fatal(err)
	}
	r := Record{ID: "test", Pid: self.PID, Start: self.Start}
	if p, err := r.Process(); err != nil {
		t.Error(err)
	} else {
		p.PidFD.Close()
	}
	r.Start--
	if _, err := r.Process(); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("%v, want %v", err, os.ErrProcessDone)
	}
}

func TestClaim(t *testing.T) {
	root := filepath.Join(t.TempDir(), "not/there/yet")
	d, err := Claim(root, "a")
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(root, "a")); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if _, err := Claim(root, "a"); err == nil || !strings.Contains(err.Error(), "a container of that name exists") {
		t.Errorf("a second claim: %v", err)
	}
	other, err := OpenDir(root, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Record(); !errors.Is(err, ErrUnfinished) {
		t.Errorf("%v, want %v", err, ErrUnfinished)
	}
	if s := other.Status(&Record{}); s != specs.StateCreating {
		t.Errorf("status %s while it is created, want creating", s)
	}
	if ids, err := List(root); err != nil || len(ids) != 1 || ids[0] != "a" {
		t.Errorf("%v, %v", ids, err)
	}
	if err := d.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := other.Lock(); !errors.Is(err, ErrNotExist) {
		t.Errorf("lock of what is gone: %v, want %v", err, ErrNotExist)
	}
	if _, err := OpenDir(root, "a"); !errors.Is(err, ErrNotExist) {
		t.Errorf("%v, want %v", err, ErrNotExist)
	}
	// A link in the place of a state directory leads nowhere.
	if err := os.Symlink("/etc", filepath.Join(root, "b")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(root, "b"); !errors.Is(err, ErrNotExist) {
		t.Errorf("a link: %v, want %v", err, ErrNotExist)
	}
}

// Whatever a record says, it is read or refused, and no process of the host is taken for the container's.
func FuzzRecord(f *testing.F) {
	whole, err := json.Marshal(Record{ID: "test", Pid: 1, Start: 5, Cgroup: "a/b", Freezer: "/proc/self/stat"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:20])
	f.Add([]byte(`{"id":"test","pid":-1}`))
	f.Add([]byte(`{"id":"test","pid":99999999999}`))
	f.Add([]byte(`{"id":"../test"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d := &Dir{ID: "test", path: t.TempDir()}
		if err := os.WriteFile(filepath.Join(d.path, stateFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := d.Record()
		if err != nil {
			return
		}
		if r.ID != "test" {
			t.Errorf("a record of %q was taken", r.ID)
		}
		d.Status(&r)
		if p, err := r.Process(); err == nil {
			self := ns.Process{PID: r.Pid}
			if serr := self.ReadStat("/proc"); serr != nil || self.Start != r.Start {
				t.Errorf("process %d was taken for the container's", r.Pid)
			}
			p.PidFD.Close()
		}
	})
}

package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/birth"
	"tripod/internal/cgroup"
	"tripod/internal/ns"
	"tripod/internal/quickjson"
	"tripod/internal/seccomp"
)

// Create makes the container and leaves its first process at a latch, where it waits for Start of whatever process. Config
// is the text of cfg.Spec. The caller calls Leave when it has taken the terminal; a caller that dies before takes the
// process along. On error nothing is left but d.
func (d *Dir) Create(cfg Config, config []byte) (*Container, error) {
	r, err := d.begin(&cfg, config)
	if err != nil {
		return nil, err
	}
	if cfg.latch, err = birth.MakeLatch(d.path); err != nil {
		return nil, err
	}
	c, err := Create(cfg)
	if err != nil {
		cfg.latch.Close()
		return nil, err
	}
	c.latch = cfg.latch
	return c, d.born(c, r)
}

// Run makes the container and starts it. On error nothing is left but d.
func (d *Dir) Run(cfg Config, config []byte) (*Container, error) {
	r, err := d.begin(&cfg, config)
	if err != nil {
		return nil, err
	}
	if cfg.CgroupPath != "" {
		c, err := Run(cfg)
		if err != nil {
			return nil, err
		}
		return c, d.born(c, r)
	}
	// A process that is in no cgroup of its own is found by its PID alone: that is written down while it is at the gate.
	c, err := Create(cfg)
	if err != nil {
		return nil, err
	}
	if err := d.born(c, r); err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		c.undo()
		return nil, err
	}
	return c, nil
}

// begin writes down all that is needed to undo what comes, before anything of it is made.
func (d *Dir) begin(cfg *Config, config []byte) (*Record, error) {
	cfg.ID = d.ID
	r := &Record{
		Version: specs.Version, ID: d.ID, Bundle: cfg.Bundle, Rootfs: cfg.Root.Path, Created: time.Now().UTC(),
		Annotations: cfg.Spec.Annotations, Owner: uint32(os.Getuid()), Cgroup: cfg.CgroupPath, Systemd: cfg.Host.Cgroup.Systemd != nil, Hooks: cfg.Spec.Hooks != nil,
	}
	if cfg.CgroupPath != "" {
		if g := cgroup.Open(cfg.Host.Cgroup, cfg.CgroupPath); g.Exists() {
			pids, err := g.Procs()
			if err != nil {
				return nil, err
			}
			if len(pids) > 0 {
				return nil, fmt.Errorf("linux.cgroupsPath: processes live in cgroup %s already: they would be limited and killed with the container", cfg.CgroupPath)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(d.path, configFile), config, 0o600); err != nil {
		return nil, fmt.Errorf("cannot keep the configuration of container %s: %w", d.ID, err)
	}
	return r, d.put(r)
}

// born writes down the container's first process. On error the container is gone.
func (d *Dir) born(c *Container, r *Record) error {
	p := ns.Process{PID: c.Pid}
	// One that has ended already has no start time any more; it needs none.
	if err := p.ReadStat("/proc"); err == nil {
		r.Start = p.Start
	}
	r.Pid = c.Pid
	if c.Group != nil {
		r.Freezer = c.Group.FreezerFile()
	} else {
		r.Cgroup = "" // without rights on the host there may be none
	}
	if c.filter != nil {
		r.Filter = c.filter.Bytes()
	}
	if err := d.put(r); err != nil {
		_ = c.Kill()
		if c.child == nil {
			_, _ = c.Wait()
		}
		c.undo()
		return err
	}
	return nil
}

// Leave lets a created container wait for its start without this process.
func (c *Container) Leave() error {
	child, latch := c.child, c.latch
	c.child, c.latch = nil, nil
	defer latch.Close()
	return child.Leave(latch)
}

// Load is the container as another process made it. PidFD is nil when its first process has ended.
func (d *Dir) Load(r *Record, host Host) (*Container, error) {
	c := &Container{ID: d.ID, Bundle: r.Bundle, host: host, dir: d, hooked: r.Hooks, filter: seccomp.Parse(r.Filter)}
	c.Pid = r.Pid
	if r.Systemd {
		var err error
		if c.host, err = host.WithSystemd(r.Annotations); err != nil {
			return nil, err
		}
	}
	if r.Cgroup != "" {
		c.Group = cgroup.Open(c.host.Cgroup, r.Cgroup)
	}
	p, err := r.Process()
	switch {
	case err == nil:
		c.PidFD = p.PidFD
	case !errors.Is(err, os.ErrProcessDone):
		return nil, err
	}
	return c, nil
}

// Config reads the spec that the container was created from. The methods that need it are Start, Exec, and Delete of a
// container with hooks.
func (c *Container) Config() (*specs.Spec, error) {
	if c.spec != nil {
		return c.spec, nil
	}
	f, err := os.Open(filepath.Join(c.dir.path, configFile))
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration of container %s: %w", c.ID, err)
	}
	defer f.Close()
	spec, _, err := ReadSpec(f)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration of container %s: %w", c.ID, err)
	}
	c.spec = spec
	return spec, nil
}

// Brief reads what Exec needs of the configuration. That is little when the compiled seccomp filter was kept: the profile
// is four fifths of most configurations.
func (c *Container) Brief() (*specs.Spec, error) {
	if c.filter == nil {
		return c.Config()
	}
	text, err := os.ReadFile(filepath.Join(c.dir.path, configFile))
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration of container %s: %w", c.ID, err)
	}
	var brief struct {
		Process *specs.Process `json:"process"`
		Linux   struct {
			Personality *specs.LinuxPersonality `json:"personality"`
		} `json:"linux"`
	}
	if err := quickjson.Unmarshal(text, &brief); err != nil {
		return nil, fmt.Errorf("cannot read the configuration of container %s: %w", c.ID, misfit(err))
	}
	c.spec = &specs.Spec{Process: brief.Process, Linux: &specs.Linux{Personality: brief.Linux.Personality}}
	return c.spec, nil
}

// MaxConfig bounds a config.json, in bytes.
const MaxConfig = 16 << 20

// ReadSpec reads a config.json, and returns its text too.
func ReadSpec(from io.Reader) (*specs.Spec, []byte, error) {
	data, err := io.ReadAll(io.LimitReader(from, MaxConfig+1))
	if err != nil {
		return nil, nil, err
	}
	if len(data) > MaxConfig {
		return nil, nil, fmt.Errorf("larger than %d bytes", MaxConfig)
	}
	var spec specs.Spec
	if err := quickjson.Unmarshal(data, &spec); err != nil {
		return nil, nil, misfit(err)
	}
	if !supported(spec.Version) {
		return nil, nil, fmt.Errorf("ociVersion: %.40q is not a version from 1.0.0 to %d.%d.x", spec.Version, specs.VersionMajor, specs.VersionMinor)
	}
	return &spec, data, nil
}

// misfit says which field has a value of the wrong type.
func misfit(err error) error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) || wrong.Field == "" {
		return err
	}
	return fmt.Errorf("%s: %.60s does not fit, it must be %s", wrong.Field, wrong.Value, wrong.Type)
}

// supported says that a version is one of the runtime specification's from 1.0.0 on that this was made for.
func supported(version string) bool {
	var major, minor, patch int
	base, _, _ := strings.Cut(version, "-")
	n, err := fmt.Sscanf(base+"\n", "%d.%d.%d\n", &major, &minor, &patch)
	return err == nil && n == 3 && major == specs.VersionMajor && minor >= 0 && minor <= specs.VersionMinor && patch >= 0
}

// lift is Start of a container that waits at its latch.
func (c *Container) lift() error {
	if !birth.Latched(c.dir.path) {
		return ErrStarted
	}
	if c.hooked {
		// Else nothing of it is needed: the process that waits has all of it.
		if _, err := c.Config(); err != nil {
			return err
		}
	}
	err := c.startHooks()
	if err == nil {
		err = birth.Lift(c.dir.path)
	}
	if err != nil {
		return errors.Join(err, c.end())
	}
	if err := c.poststart(); err != nil {
		return errors.Join(err, c.Kill())
	}
	return nil
}

// endTime bounds how long the end of a killed process is waited for.
const endTime = 10 * time.Second

// end kills the first process of a container, which is not this process's child, and waits for its end.
func (c *Container) end() error {
	if c.PidFD == nil {
		return nil
	}
	if err := c.Signal(unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if c.Group != nil {
		if frozen, err := c.Group.Frozen(); err == nil && frozen {
			_ = c.Group.Freeze(false)
		}
	}
	poll := []unix.PollFd{{Fd: int32(c.PidFD.Fd()), Events: unix.POLLIN}}
	for until := time.Now().Add(endTime); ; {
		n, err := unix.Poll(poll, int(time.Until(until)/time.Millisecond))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("cannot wait for process %d: %w", c.Pid, err)
		case n == 0:
			return fmt.Errorf("cannot kill process %d: it has not ended for %v", c.Pid, endTime)
		default:
			return nil
		}
	}
}

// Delete kills what is left of the container and removes all of it. d must be locked. A container whose record cannot be
// read is found by its configuration: otherwise then says which cgroup that means. Warn is told of hooks that failed.
func (d *Dir) Delete(host Host, otherwise func(*specs.Spec) (path string, systemd bool), warn func(error)) error {
	r, err := d.Record()
	if err != nil {
		r = Record{ID: d.ID}
		c := Container{ID: d.ID, dir: d}
		spec, serr := c.Config()
		if serr != nil {
			spec = &specs.Spec{}
		}
		r.Cgroup, r.Systemd = otherwise(spec)
		r.Hooks, r.Annotations = spec.Hooks != nil, spec.Annotations
	}
	c, err := d.Load(&r, host)
	if err != nil {
		return err
	}
	if err := c.end(); err != nil {
		return err
	}
	c.Warn = warn
	if c.hooked {
		// A configuration that cannot be read names no hooks.
		_, _ = c.Config()
	}
	if err := c.Delete(); err != nil {
		return err
	}
	return d.Remove()
}

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/container"
	"tripod/internal/plan"
)

// birthOptions are what create and run have in common.
type birthOptions struct {
	bundle, config string
	pidFile        string
	console        string
	preserve       int
	noKeyring      bool
	noPivot        bool
	noSubreaper    bool
}

func (b *birthOptions) options() []option {
	b.bundle = "."
	return []option{
		text(&b.bundle, 'b', "bundle"),
		text(&b.config, 'f', "config"),
		text(&b.pidFile, 0, "pid-file"),
		text(&b.console, 0, "console-socket"),
		number(&b.preserve, 0, "preserve-fds"),
		flag(&b.noKeyring, 0, "no-new-keyring"),
		flag(&b.noPivot, 0, "no-pivot"),
		flag(&b.noSubreaper, 0, "no-subreaper"), // it never is one
	}
}

const birthHelp = `  -b, --bundle DIR          directory of config.json and root file system (default .)
  -f, --config FILE         instead of the bundle's config.json
      --pid-file FILE       write the process's PID there
      --console-socket PATH send the terminal's master to this socket
      --preserve-fds N      hand N descriptors from 3 on to the process, after those of $LISTEN_FDS
      --no-new-keyring      keep the caller's session keyring
      --no-subreaper        accepted: tripod-oci never is one
`

// number is a count that is not negative.
func number(to *int, short byte, long string) option {
	o := option{set: func(value string) error {
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is no count", value)
		}
		*to = n
		return nil
	}}
	o.Option = text(nil, short, long).Option
	return o
}

// bundle is a container to be.
type bundle struct {
	dir    string
	spec   *specs.Spec
	config []byte // the text of spec
	extra  []*os.File
}

// read reads the bundle and refuses what cannot be before anything is made.
func (b *birthOptions) read(detached bool) (*bundle, error) {
	if b.noPivot {
		return nil, errors.New("--no-pivot: not supported: without pivot_root(2) the host's root stays within reach of the container")
	}
	extra, err := preserved(b.preserve)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(b.bundle)
	if err != nil {
		return nil, fmt.Errorf("cannot find bundle %s: %w", b.bundle, err)
	}
	name := b.config
	if name == "" {
		name = filepath.Join(dir, "config.json")
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot read bundle: %w", err)
	}
	defer f.Close()
	spec, config, err := container.ReadSpec(f)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	terminal := spec.Process != nil && spec.Process.Terminal
	switch {
	case terminal && detached && b.console == "":
		return nil, errors.New("process.terminal: a container that is left alone needs --console-socket for its terminal")
	case !terminal && b.console != "":
		return nil, errors.New("--console-socket: process.terminal is not true")
	}
	return &bundle{dir: dir, spec: spec, config: config, extra: extra}, nil
}

// configuration is what the container is created from.
func (g *globals) configuration(o *birthOptions, b *bundle, id string) (container.Config, error) {
	host, err := container.Look()
	if err != nil {
		return container.Config{}, err
	}
	if g.cgroups == "systemd" {
		if host, err = host.WithSystemd(b.spec.Annotations); err != nil {
			return container.Config{}, err
		}
	}
	path, err := g.cgroupPath(b.spec, id)
	if err != nil {
		return container.Config{}, err
	}
	cfg := container.Config{
		Spec: b.spec, Host: host, Bundle: b.dir, Warn: g.warn, Rootless: g.rootless,
		Root:       plan.Rootfs{Path: rootPath(b.spec, b.dir), Owned: true},
		CgroupPath: path,
		Stdio:      [3]*os.File{os.Stdin, os.Stdout, os.Stderr},
		Extra:      b.extra, KeepKeyring: o.noKeyring,
	}
	cfg.OwnStdio = pipes(cfg.Stdio)
	if len(b.extra) > 0 && b.spec.Process != nil {
		b.spec.Process.Env = listening(b.spec.Process.Env)
	}
	return cfg, nil
}

// pipes says which of the standard streams may be given to the container's user, so that it can open /dev/stdout anew:
// pipes, which were made for it. Never a terminal of ours, a file, or a device such as /dev/null (CVE-2026-88265).
func pipes(stdio [3]*os.File) (own [3]bool) {
	for i, f := range stdio {
		var st unix.Stat_t
		own[i] = unix.Fstat(int(f.Fd()), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO
	}
	return own
}

// preserved are the descriptors from 3 on that the container inherits: those of socket activation (sd_listen_fds(3)),
// then n more. It is called before this process opens anything: what is open is the caller's.
func preserved(n int) ([]*os.File, error) {
	if fds, err := strconv.Atoi(os.Getenv("LISTEN_FDS")); err == nil && fds > 0 {
		n += fds
	}
	if n > container.MaxExtra {
		return nil, fmt.Errorf("--preserve-fds: %d descriptors are more than %d", n, container.MaxExtra)
	}
	var files []*os.File
	for fd := 3; fd < 3+n; fd++ {
		// One that is close-on-exec is not the caller's: Go's runtime opened it.
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
			return nil, fmt.Errorf("--preserve-fds: descriptor %d is not open", fd)
		}
		unix.CloseOnExec(fd)
		files = append(files, os.NewFile(uintptr(fd), "fd"))
	}
	return files, nil
}

// listening is an environment with what socket activation says, for the container's first process.
func listening(env []string) []string {
	if n := os.Getenv("LISTEN_FDS"); n != "" {
		return append(env, "LISTEN_FDS="+n, "LISTEN_PID=1")
	}
	return env
}

func rootPath(spec *specs.Spec, bundle string) string {
	switch {
	case spec.Root == nil:
		return bundle
	case filepath.IsAbs(spec.Root.Path):
		return spec.Root.Path
	}
	return filepath.Join(bundle, spec.Root.Path)
}

// cgroupPath is the container's cgroup below each hierarchy's mount point, or SLICE:PREFIX:NAME for systemd; "" is the
// caller's.
func (g *globals) cgroupPath(spec *specs.Spec, id string) (string, error) {
	path := ""
	if spec.Linux != nil {
		path = spec.Linux.CgroupsPath
	}
	switch {
	case g.cgroups == "disabled":
		return "", nil
	case g.cgroups == "systemd" && path == "":
		return ":tripod:" + id, nil
	case g.cgroups == "systemd":
		return path, nil
	case path == "":
		return id, nil
	}
	clean := strings.Trim(filepath.Clean("/"+path), "/")
	if clean == "" {
		return "", fmt.Errorf("linux.cgroupsPath: %q is the root of all cgroups", path)
	}
	return clean, nil
}

// writePID writes a PID file as its readers want it: whole or not at all.
func writePID(file string, pid int) error {
	if file == "" {
		return nil
	}
	temp := filepath.Join(filepath.Dir(file), fmt.Sprintf(".%s.%d", filepath.Base(file), os.Getpid()))
	err := os.WriteFile(temp, []byte(strconv.Itoa(pid)), 0o644)
	if err == nil {
		err = os.Rename(temp, file)
	}
	if err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("cannot write PID file: %w", err)
	}
	return nil
}

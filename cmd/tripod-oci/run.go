package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/container"
	"tripod/internal/plan"
	"tripod/internal/record"
)

// run makes a container of a bundle, waits for its end and removes it.
func run(root string, args []string) (int, error) {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	bundle := flags.String("bundle", ".", "")
	pidFile := flags.String("pid-file", "", "")
	trace := flags.Bool("trace", false, "")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 {
		return 0, errors.New("usage: tripod-oci run [--bundle DIR] [--pid-file FILE] ID")
	}
	id := flags.Arg(0)
	if err := container.CheckID(id); err != nil {
		return 0, err
	}
	spec, path, err := readBundle(*bundle)
	if err != nil {
		return 0, err
	}
	if spec.Process != nil && spec.Process.Terminal {
		return 0, errors.New("cannot run a container with a terminal in the foreground; set process.terminal to false")
	}
	host, err := container.Look()
	if err != nil {
		return 0, err
	}
	state := filepath.Join(root, id)
	if err := claim(state); err != nil {
		return 0, err
	}
	defer os.RemoveAll(state)
	cfg := container.Config{
		ID: id, Spec: spec, Host: host,
		Root:       plan.Rootfs{Path: rootPath(spec, path)},
		CgroupPath: cgroupPath(spec, id),
		Stdio:      [3]*os.File{os.Stdin, os.Stdout, os.Stderr},
	}
	if *trace {
		cfg.Trace = func(step int, name string, took time.Duration) {
			fmt.Fprintf(os.Stderr, "%4d %9.1fus  %s\n", step, float64(took.Nanoseconds())/1e3, name)
		}
	}
	c, err := container.Run(cfg)
	if err != nil {
		return 0, fmt.Errorf("cannot start container %s: %w", id, err)
	}
	st := specs.State{Version: specs.Version, ID: id, Status: specs.StateRunning, Pid: c.Pid, Bundle: path, Annotations: spec.Annotations}
	if err := record.PutFast(filepath.Join(state, "state.json"), st); err != nil {
		return 0, errors.Join(err, end(c))
	}
	if *pidFile != "" {
		if err := os.WriteFile(*pidFile, []byte(strconv.Itoa(c.Pid)), 0o644); err != nil {
			return 0, errors.Join(fmt.Errorf("cannot write PID file: %w", err), end(c))
		}
	}
	stop := forward(c)
	exit, err := c.Wait()
	stop()
	if err := errors.Join(err, c.Delete()); err != nil {
		return 0, err
	}
	return exit.Code, nil
}

// end kills a container that runs already, and removes it.
func end(c *container.Container) error {
	err := c.Kill()
	_, werr := c.Wait()
	return errors.Join(err, werr, c.Delete())
}

// claim makes the directory of a container's state. Its being there is what makes the ID taken.
func claim(state string) error {
	if err := os.MkdirAll(filepath.Dir(state), 0o700); err != nil {
		return fmt.Errorf("cannot make state directory: %w", err)
	}
	err := os.Mkdir(state, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot create container %s: the name is in use", filepath.Base(state))
	}
	if err != nil {
		return fmt.Errorf("cannot make state directory: %w", err)
	}
	return nil
}

// forward sends this process's signals on to the container, until the returned function is called.
func forward(c *container.Container) func() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				_ = c.Signal(s.(unix.Signal))
			case <-done:
				return
			}
		}
	}()
	return func() { signal.Stop(signals); close(done) }
}

// maxConfig bounds config.json, in bytes.
const maxConfig = 16 << 20

// readBundle reads DIR/config.json and returns DIR made absolute.
func readBundle(dir string) (*specs.Spec, string, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, "", fmt.Errorf("cannot find bundle %s: %w", dir, err)
	}
	f, err := os.Open(filepath.Join(path, "config.json"))
	if err != nil {
		return nil, "", fmt.Errorf("cannot read bundle: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, "", fmt.Errorf("cannot read bundle: %w", err)
	}
	if len(data) > maxConfig {
		return nil, "", fmt.Errorf("cannot read %s: larger than %d bytes", f.Name(), maxConfig)
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return nil, "", fmt.Errorf("cannot read %s: %w", f.Name(), err)
	}
	if !strings.HasPrefix(spec.Version, "1.") {
		return nil, "", fmt.Errorf("cannot read %s: ociVersion: %q is not a version from 1.0.0 to %s", f.Name(), spec.Version, specs.Version)
	}
	return &spec, path, nil
}

func rootPath(spec *specs.Spec, bundle string) string {
	if spec.Root == nil || filepath.IsAbs(spec.Root.Path) {
		if spec.Root == nil {
			return bundle
		}
		return spec.Root.Path
	}
	return filepath.Join(bundle, spec.Root.Path)
}

func cgroupPath(spec *specs.Spec, id string) string {
	if spec.Linux == nil || spec.Linux.CgroupsPath == "" {
		return id
	}
	return strings.Trim(filepath.Clean("/"+spec.Linux.CgroupsPath), "/")
}

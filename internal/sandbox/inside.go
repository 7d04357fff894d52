package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/bundle"
	"tripod/internal/keeper"
	"tripod/internal/life"
	"tripod/internal/record"
)

// Inside is the root of a running container, as the container sees it.
func (s *Sandbox) Inside(container string) (*Tree, error) {
	p, err := s.Init(container)
	if err != nil {
		return nil, err
	}
	t, err := rootOf(p.Pid, p.Start)
	if err != nil {
		return nil, fmt.Errorf("cannot look into container %s of Pod %s: %w", container, s, err)
	}
	return t, nil
}

// Init is the first process of a running container.
func (s *Sandbox) Init(container string) (keeper.Process, error) {
	status, err := keeper.Read(s.Dir())
	if err != nil {
		return keeper.Process{}, fmt.Errorf("cannot look into container %s of Pod %s: %w", container, s, err)
	}
	r := status.Container(container)
	if r == nil || r.State != life.Running {
		return keeper.Process{}, &StoppedError{Pod: s.String(), Container: container}
	}
	return keeper.Process{Pid: r.Pid, Start: r.PidStart}, nil
}

// Spec is what a container was made from.
func (s *Sandbox) Spec(container string) (*specs.Spec, error) {
	var spec specs.Spec
	path := filepath.Join(s.Bundle(container), "config.json")
	if err := record.Get(path, &spec); err != nil {
		return nil, err
	}
	if spec.Process == nil {
		return nil, fmt.Errorf("cannot read %s: it has no process", path)
	}
	return &spec, nil
}

// StoppedError says that a container does not run: there is nothing to look into.
type StoppedError struct{ Pod, Container string }

func (e *StoppedError) Error() string {
	return fmt.Sprintf("cannot look into container %s of Pod %s: it does not run", e.Container, e.Pod)
}

// Hint says what is left of it.
func (e *StoppedError) Hint() string {
	return "a container that has ended keeps its log alone: tripod logs " + e.Pod + " -c " + e.Container
}

// rootOf opens the root of a process, if it is the one that began at start (field 22 of /proc/PID/stat).
func rootOf(pid int, start uint64) (*Tree, error) {
	proc, err := os.Open("/proc/" + strconv.Itoa(pid))
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	stat, err := readAt(proc, "stat")
	if err != nil {
		return nil, err
	}
	// The name, in parentheses, may have spaces and parentheses in it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 || fields[19] != strconv.FormatUint(start, 10) {
		return nil, errors.New("it has ended")
	}
	ids, err := readAt(proc, "uid_map")
	if err != nil {
		return nil, err
	}
	groups, err := readAt(proc, "gid_map")
	if err != nil {
		return nil, err
	}
	fd, err := unix.Openat(int(proc.Fd()), "root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &Tree{root: os.NewFile(uintptr(fd), "root"), uid: hostRoot(ids), gid: hostRoot(groups)}, nil
}

func readAt(dir *os.File, name string) ([]byte, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 64<<10))
}

// hostRoot is the host's id of a user namespace's 0, by its map.
func hostRoot(ids []byte) int {
	for line := range bytes.Lines(ids) {
		if f := strings.Fields(string(line)); len(f) == 3 && f[0] == "0" {
			if n, err := strconv.Atoi(f[1]); err == nil {
				return n
			}
		}
	}
	return 0
}

// Has says whether a running container has a file at a path.
func (s *Sandbox) Has(container, path string) bool {
	t, err := s.Inside(container)
	if err != nil {
		return false
	}
	defer t.Close()
	fd, err := t.open(path, unix.O_PATH, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// maxAccounts bounds a container's /etc/passwd and /etc/group, in bytes.
const maxAccounts = 4 << 20

// User finds who USER[:GROUP] is in a running container, by its own passwd and group.
func (s *Sandbox) User(container, word string) (*specs.User, error) {
	t, err := s.Inside(container)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	passwd, err := t.read("/etc/passwd", maxAccounts)
	if err != nil {
		return nil, fmt.Errorf("cannot find user %s in container %s of Pod %s: %w", word, container, s, err)
	}
	group, err := t.read("/etc/group", maxAccounts)
	if err != nil {
		return nil, fmt.Errorf("cannot find user %s in container %s of Pod %s: %w", word, container, s, err)
	}
	user, err := bundle.User(word, passwd, group)
	if err != nil {
		return nil, fmt.Errorf("cannot run as %s in container %s of Pod %s: %w", word, container, s, err)
	}
	return &user, nil
}

// read reads a regular file; one that is not there is nil.
func (t *Tree) read(path string, limit int64) ([]byte, error) {
	fd, err := t.open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, naming(path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, naming(path, errors.New("not a regular file"))
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("larger than %d bytes", limit)
	}
	if err != nil {
		return nil, naming(path, err)
	}
	return data, nil
}

// Signal sends a signal to the first process of a container, or of each that runs when container is "".
func (s *Sandbox) Signal(ctx context.Context, container string, n int) error {
	client, err := s.Keeper()
	if err != nil {
		return fmt.Errorf("cannot signal Pod %s: %w", s, err)
	}
	names := []string{container}
	if container == "" {
		status, err := client.Status(ctx)
		if err != nil {
			return fmt.Errorf("cannot signal Pod %s: %w", s, err)
		}
		names = nil
		for _, r := range status.Containers {
			if r.State == life.Running {
				names = append(names, r.Name)
			}
		}
	} else if _, err := s.Container(container); err != nil {
		return err
	}
	for _, name := range names {
		if err := client.Signal(ctx, name, n); err != nil {
			return fmt.Errorf("cannot signal container %s of Pod %s: %w", name, s, err)
		}
	}
	return nil
}

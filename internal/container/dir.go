package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/birth"
	"tripod/internal/ns"
	"tripod/internal/quickjson"
	"tripod/internal/record"
)

// Dir is the state directory of a container whose commands are processes of their own, ROOT/ID, mode 0700. That it is
// there is what makes the ID taken, and it is itself the lock that the command holds which changes the container. It holds
//
//	state.json   the Record
//	config.json  the spec as it was when the container was created
//	latch, told  where the first process waits until it is started (birth.Latch)
type Dir struct {
	ID   string
	path string
	lock *record.Lock
}

const (
	stateFile  = "state.json"
	configFile = "config.json"
)

// ErrNotExist is a container that there is not. Its text is what callers of runc look for.
var ErrNotExist = errors.New("does not exist")

// ErrUnfinished is a container whose creation was cut short.
var ErrUnfinished = errors.New("its creation was cut short, or is under way")

// Record is what is kept of a container between commands.
type Record struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Pid         int               `json:"pid"`   // of its first process; 0 until that is there
	Start       uint64            `json:"start"` // when that began, in clock ticks since boot: a PID alone is not believed
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       uint32            `json:"owner"`             // the user who created it
	Cgroup      string            `json:"cgroup,omitempty"`  // Config.CgroupPath; "" has none of its own
	Systemd     bool              `json:"systemd,omitempty"` // which made the cgroup
	Freezer     string            `json:"freezer,omitempty"` // the file that holds 1 while it is paused
	Hooks       bool              `json:"hooks,omitempty"`   // it has hooks, those of the end among them
	Filter      []byte            `json:"filter,omitempty"`  // what its seccomp profile was compiled to, for exec
}

// Claim makes a container's state directory and holds its lock. Of two that claim one ID, one fails.
func Claim(root, id string) (_ *Dir, err error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	d := &Dir{ID: id, path: filepath.Join(root, id)}
	err = os.Mkdir(d.path, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(root, 0o700); err == nil {
			err = os.Mkdir(d.path, 0o700)
		}
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("cannot create container %s: a container of that name exists; choose another, or remove it with: delete %s", id, id)
	case err != nil:
		return nil, fmt.Errorf("cannot make state directory: %w", err)
	}
	if err := d.Lock(); err != nil {
		return nil, err
	}
	return d, nil
}

// OpenDir finds a container's state directory. errors.Is(err, ErrNotExist) when there is none.
func OpenDir(root, id string) (*Dir, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	d := &Dir{ID: id, path: filepath.Join(root, id)}
	st, err := os.Lstat(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir():
		return nil, fmt.Errorf("container %s %w", id, ErrNotExist)
	case err != nil:
		return nil, fmt.Errorf("cannot find container %s: %w", id, err)
	}
	return d, nil
}

// List returns the IDs that have a state directory in root, sorted. A root that is not there has none.
func List(root string) ([]string, error) {
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list containers: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && CheckID(e.Name()) == nil {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// lockTime bounds how long a command waits for another that changes the same container.
const lockTime = 10 * time.Second

// Lock holds the container against other commands that change it, until Unlock or the end of this process.
func (d *Dir) Lock() error {
	for end := time.Now().Add(lockTime); ; time.Sleep(10 * time.Millisecond) {
		l, err := record.TryDir(d.path)
		switch {
		case err == nil:
			d.lock = l
			return nil
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("container %s %w", d.ID, ErrNotExist)
		case !errors.Is(err, record.ErrLocked):
			return err
		case time.Now().After(end):
			return fmt.Errorf("cannot change container %s: another command has been at it for %v", d.ID, lockTime)
		}
	}
}

// Unlock lets other commands at the container.
func (d *Dir) Unlock() { _ = d.lock.Release() }

// busy says that another command holds the lock.
func (d *Dir) busy() bool {
	if d.lock != nil {
		return false
	}
	l, err := record.TryDir(d.path)
	_ = l.Release()
	return errors.Is(err, record.ErrLocked)
}

// Record reads what is kept of the container. errors.Is(err, ErrUnfinished) when that is not there yet.
func (d *Dir) Record() (Record, error) {
	var r Record
	err := record.GetWith(quickjson.Unmarshal, filepath.Join(d.path, stateFile), &r)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, fmt.Errorf("cannot use container %s: %w; remove it with: delete -f %s", d.ID, ErrUnfinished, d.ID)
	case err != nil:
		return r, fmt.Errorf("%w; remove the container with: delete -f %s", err, d.ID)
	}
	return r, r.check(d.ID)
}

// check refuses a record that no command of ours wrote.
func (r *Record) check(id string) error {
	if r.ID != id || r.Pid < 0 || r.Pid > 1<<22 {
		return fmt.Errorf("cannot use container %s: its state is damaged; remove it with: delete -f %s", id, id)
	}
	return nil
}

func (d *Dir) put(r *Record) error { return record.PutFast(filepath.Join(d.path, stateFile), r) }

// Process is the container's first process. It is os.ErrProcessDone when that has ended.
func (r *Record) Process() (*Process, error) {
	if r.Pid == 0 {
		return nil, os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(r.Pid, 0)
	// A number that belongs to a thread of another process by now is none of a process (EINVAL, ENOENT from Linux 6.15 on).
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil, os.ErrProcessDone
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open process %d: %w", r.Pid, err)
	}
	if !r.alive() {
		unix.Close(fd)
		return nil, os.ErrProcessDone
	}
	return &Process{Pid: r.Pid, PidFD: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// alive says that the process of that PID is still the container's, and not a dead one that nobody has waited for.
func (r *Record) alive() bool {
	p := ns.Process{PID: r.Pid}
	return r.Pid > 0 && p.ReadStat("/proc") == nil && p.Start == r.Start && p.State != 'Z' && p.State != 'X'
}

// StatePaused is the status of a container whose cgroup is frozen. The runtime specification leaves room for such
// states (runtime.md, "State").
const StatePaused specs.ContainerState = "paused"

// Status is what the container is doing now.
func (d *Dir) Status(r *Record) specs.ContainerState {
	switch {
	case r.Pid == 0 && d.busy():
		return specs.StateCreating
	case !r.alive():
		return specs.StateStopped
	case r.paused():
		return StatePaused
	case birth.Latched(d.path):
		return specs.StateCreated
	}
	return specs.StateRunning
}

func (r *Record) paused() bool {
	if r.Freezer == "" {
		return false
	}
	fd, err := unix.Open(r.Freezer, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var b [1]byte
	n, err := unix.Read(fd, b[:])
	return err == nil && n == 1 && b[0] == '1'
}

// Remove removes the state directory: the ID is free then.
func (d *Dir) Remove() error {
	// Most hold these two files and nothing else, which a walk takes four times the calls for.
	for _, name := range []string{configFile, stateFile} {
		_ = unix.Unlink(filepath.Join(d.path, name))
	}
	if unix.Rmdir(d.path) == nil {
		d.Unlock()
		return nil
	}
	if err := os.RemoveAll(d.path); err != nil {
		return fmt.Errorf("cannot remove the state of container %s: %w", d.ID, err)
	}
	d.Unlock()
	return nil
}

package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// spawnTime bounds how long a new keeper may take until it is ready.
const spawnTime = 60 * time.Second

// Spawn starts the keeper of the Pod whose folder is dir (WriteSandbox was called) from the program at binary,
// tripod-oci, and returns when it is ready to be asked. A keeper that could not begin has left nothing; its reason is
// the error.
func Spawn(binary, dir string) (*Client, error) {
	if err := spawn(binary, dir); err != nil {
		return nil, fmt.Errorf("cannot start keeper in %s: %w", dir, err)
	}
	return Dial(dir)
}

func spawn(binary, dir string) error {
	program, err := readOnlyProgram(binary)
	if err != nil {
		return fmt.Errorf("cannot use program %s: %w", binary, err)
	}
	defer program.Close()
	const how = unix.O_WRONLY | unix.O_APPEND | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_CLOEXEC
	log, err := os.OpenFile(filepath.Join(dir, logName), how, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	// The runtime's own settings. Two threads of Go code are enough. A collection costs more memory than it gives back
	// to a program so small, which molts instead: only one that cannot, for a long time, collects.
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "GOMAXPROCS=2", "GOGC=off", "GOMEMLIMIT=12MiB"}
	p, err := os.StartProcess("/proc/self/fd/"+strconv.Itoa(int(program.Fd())), []string{binary, "keep", dir}, &os.ProcAttr{
		Dir: "/", Env: env, Files: []*os.File{null, log, log, out},
		Sys: &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWNS},
	})
	out.Close()
	if err != nil {
		return err
	}
	// A keeper that ends while its starter lives on is to be no zombie.
	go func() { _, _ = p.Wait() }()
	return heed(in, p, log.Name())
}

// heed waits for a new keeper's one line.
func heed(in *os.File, p *os.Process, log string) error {
	_ = in.SetReadDeadline(time.Now().Add(spawnTime))
	line, err := io.ReadAll(io.LimitReader(in, maxRequest))
	var told ready
	switch {
	case err != nil:
		_ = p.Kill()
		return err
	case len(line) == 0:
		text, _ := readEnd(unix.AT_FDCWD, log, 4<<10)
		first, _, _ := strings.Cut(text, "\n")
		return fmt.Errorf("it died before it was ready: %s", first)
	}
	if err := json.Unmarshal(line, &told); err != nil {
		return err
	}
	if told.Error != "" {
		return errors.New(told.Error)
	}
	return nil
}

// readOnlyProgram opens a program so that nobody can write to it by way of /proc/PID/exe of a process that runs it
// (CVE-2019-5736): on a clone of its own mount, read-only, which is in no mount namespace and so cannot be made writable
// again. The page cache stays shared with the original.
func readOnlyProgram(path string) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err == nil {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
		if err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
			unix.Close(fd)
		}
	}
	switch {
	case err == nil:
		return lifted(fd, path)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOSYS):
		// The mount cannot be cloned (unbindable, or locked in a user namespace).
		return memoryProgram(path)
	}
	return nil, err
}

// lifted moves a descriptor above those that a new process gets, which are put in place before its execve.
func lifted(fd int, path string) (*os.File, error) {
	defer unix.Close(fd)
	up, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 16)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(up), path), nil
}

// memoryProgram copies a program into a sealed file in memory: each copy costs its whole size.
func memoryProgram(path string) (*os.File, error) {
	from, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	const execute = 0x10 // MFD_EXEC, asked for where vm.memfd_noexec knows it (Linux 6.3)
	fd, err := unix.MemfdCreate("tripod-oci", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|execute)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("tripod-oci", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	to, err := lifted(fd, path)
	if err != nil {
		return nil, err
	}
	if _, err = io.Copy(to, from); err == nil {
		_, err = unix.FcntlInt(to.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		to.Close()
		return nil, err
	}
	return to, nil
}

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
	"time"

	"golang.org/x/sys/unix"

	"tripod/internal/birth"
	"tripod/internal/cgroup"
	"tripod/internal/plan"
	"tripod/internal/record"
)

// spawnTime bounds how long a new keeper may take until it is ready.
const spawnTime = 60 * time.Second

// searchPath is the PATH of a keeper and of what it runs on the host.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

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
	exe, err := readOnlyProgram(binary)
	if err != nil {
		return fmt.Errorf("cannot use program %s: %w", binary, err)
	}
	defer exe.Close()
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
	defer out.Close()
	child, err := bear(binary, dir, map[string]*os.File{
		plan.Stdin: null, plan.Stdout: log, plan.Stderr: log, "ready": out, "program": exe,
	})
	if err != nil {
		return err
	}
	out.Close()
	// A keeper that ends while its starter lives on is to be no zombie.
	go func() {
		_ = again(func() error { return unix.Waitid(unix.P_PIDFD, child.PidFD, nil, unix.WEXITED, nil) })
		unix.Close(child.PidFD)
	}()
	return heed(in, child.PidFD, log.Name())
}

// bear clones the keeper's process. It enters its cgroups while it has one thread: a process with several is moved only
// after all of the host's threads have stopped for it, which takes tens of milliseconds for each hierarchy.
func bear(binary, dir string, files map[string]*os.File) (_ *birth.Child, err error) {
	var box Sandbox
	if err := record.Get(filepath.Join(dir, sandboxFile), &box); err != nil {
		return nil, err
	}
	if err := box.check(dir); err != nil {
		return nil, err
	}
	p := &plan.Plan{}
	given := map[string]int{}
	for name, f := range files {
		given[name] = int(f.Fd())
	}
	if box.KeeperCgroup != "" {
		host, err := cgroup.Detect()
		if err != nil {
			return nil, err
		}
		group, err := cgroup.Make(host, box.KeeperCgroup)
		if err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				_ = group.Remove()
				prune(host, box.KeeperCgroup, box.CgroupPath)
			}
		}()
		join, err := group.Join()
		if err != nil {
			return nil, err
		}
		defer join.Close()
		if join.Unified != nil {
			p.IntoCgroup = "cgroup:into"
			given[p.IntoCgroup] = int(join.Unified.Fd())
		}
		for i, t := range join.V1 {
			name := "cgroup:" + strconv.Itoa(i)
			given[name] = int(t.Fd())
			p.Steps = append(p.Steps, plan.Step{Name: "join " + t.Name(), Call: plan.Write, Args: []plan.Arg{plan.File(name), plan.Text("0"), plan.Int(1)}})
		}
	}
	p.Steps = append(p.Steps, program([]string{binary, "keep", dir})...)
	child, err := birth.Start(p, given)
	if err != nil {
		return nil, err
	}
	return child, child.Run()
}

// program is how the clone becomes a keeper: in a session and a mount namespace of its own, with nothing but its log and
// the pipe to tell on.
func program(argv []string) []plan.Step {
	// The runtime's own settings. Two threads of Go code are enough. A collection costs more memory than it gives back
	// to a program so small, which molts instead: only one that cannot, for a long time, collects. On a host that gives
	// huge pages unasked one of them would be the greater part of it.
	env := []string{"PATH=" + searchPath, "GOMAXPROCS=2", "GOGC=off", "GOMEMLIMIT=12MiB", "GODEBUG=disablethp=1"}
	step := func(name string, call plan.Call, args ...plan.Arg) plan.Step {
		return plan.Step{Name: name, Call: call, Args: args}
	}
	take := func(name string, fd int) plan.Step {
		return step("take "+name, plan.Dup3, plan.File(name), plan.Int(fd), plan.Int(0))
	}
	null := plan.Int(0)
	return []plan.Step{
		step("new session", plan.Setsid),
		step("new mount namespace", plan.Unshare, plan.Int(unix.CLONE_NEWNS)),
		step("make mounts slaves of the host's", plan.Mount, null, plan.Text("/"), null, plan.Int(unix.MS_REC|unix.MS_SLAVE), null),
		step("enter /", plan.Chdir, plan.Text("/")),
		take(plan.Stdin, 0), take(plan.Stdout, 1), take(plan.Stderr, 2), take("ready", readyFD),
		step("unblock signals", plan.RtSigprocmask, plan.Int(unix.SIG_SETMASK), plan.Bytes(make([]byte, 8)), null, plan.Int(8)),
		step("execute the keeper", plan.Execveat, plan.File("program"), plan.Text(""), plan.Strings(argv), plan.Strings(env), plan.Int(unix.AT_EMPTY_PATH)),
	}
}

// heed waits for a new keeper's one line.
func heed(in *os.File, pidfd int, log string) error {
	_ = in.SetReadDeadline(time.Now().Add(spawnTime))
	line, err := io.ReadAll(io.LimitReader(in, maxRequest))
	var told ready
	switch {
	case err != nil:
		_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
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
	if errors.Is(err, unix.EINVAL) {
		err = unix.EMFILE // RLIMIT_NOFILE is not even 16 (fcntl(2))
	}
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

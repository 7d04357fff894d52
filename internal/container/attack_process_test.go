package container

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/seccomp/profile"
)

// Attacks on the process that comes into a container, and by the container's own.

// started is a container that runs until the test ends.
func started(t *testing.T, cfg Config) *Container {
	t.Helper()
	cfg.ID, cfg.Host = "attacked", look(t)
	if cfg.Root.Lower == nil {
		cfg.Root = layers(t)
	}
	cfg.CgroupPath = cgroupName(t) + "-started"
	c, err := Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Kill(); err != nil {
			t.Error(err)
		}
		if _, err := c.Wait(); err != nil {
			t.Error(err)
		}
		if err := c.Delete(); err != nil {
			t.Error(err)
		}
		gone(t, cfg)
	})
	return c
}

// execs runs a process in c and returns what it printed with its exit code, or the error.
func execs(t *testing.T, c *Container, p *specs.Process) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	x, err := c.Exec(ExecConfig{Process: p, Stdio: [3]*os.File{nil, w, w}})
	w.Close()
	if err != nil {
		return err.Error()
	}
	defer x.PidFD.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	exit, err := x.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%sexit %d", out, exit.Code)
}

// A process that joins a container can be looked into before it has become the container's program. Seen to fail when
// the child stays dumpable.
func TestCVE_2016_9962(t *testing.T) {
	for name, spec := range map[string]*specs.Spec{"own users": userNamespace("attack", "watch"), "host's users": sample("attack", "watch")} {
		t.Run(name, func(t *testing.T) {
			all := []string{"CAP_KILL", "CAP_SYS_PTRACE", "CAP_SETUID", "CAP_SETGID"}
			spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			c := started(t, Config{Spec: armed(t, spec), Stdio: [3]*os.File{nil, w, w}})
			w.Close()
			ready := make([]byte, 6)
			if _, err := io.ReadFull(r, ready); err != nil {
				t.Fatal(err)
			}
			proc := *spec.Process
			proc.Args = []string{"true"}
			for range 300 {
				if out := execs(t, c, &proc); out != "exit 0" {
					t.Fatal(out)
				}
			}
			if err := c.Signal(unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			seen, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			// With the host's users CAP_SYS_PTRACE sees every process of its PID namespace. What comes into that has the
			// container's capabilities by then, and nothing of the host's open.
			if name == "own users" && len(seen) > 0 || strings.Contains(string(seen), "leak") {
				t.Errorf("the container saw:\n%.2000s", seen)
			}
		})
	}
}

// watch looks at each new process, and prints what of it is not the container's.
func watch() {
	fmt.Println("ready")
	own := effective("self")
	for next := 1; ; {
		for pid := next; pid < next+8; pid++ {
			exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
			if err != nil {
				continue // not there, or not to be looked into
			}
			caps := effective(strconv.Itoa(pid))
			if exe == "/bin/busybox" || exe == "/bin/attack" {
				next = max(next, pid)
				continue
			}
			fmt.Printf("process %d runs %s\n", pid, exe)
			if caps&^own != 0 {
				fmt.Printf("leak: process %d has capabilities %#x\n", pid, caps)
			}
			names, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
			for _, n := range names {
				to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, n.Name()))
				if to != "" && to != "/dev/null" && !strings.HasPrefix(to, "pipe:") {
					fmt.Printf("leak: process %d has %s open: %s\n", pid, n.Name(), to)
				}
			}
		}
	}
}

// effective are the capabilities of a process, by its number or "self".
func effective(pid string) (set uint64) {
	status, _ := os.ReadFile("/proc/" + pid + "/status")
	_, line, _ := strings.Cut(string(status), "CapEff:\t")
	_, _ = fmt.Sscanf(line, "%x", &set)
	return set
}

// Inheritable capabilities came back by an execve of a file that has some. Seen to fail when the permitted set is made
// inheritable.
func TestCVE_2022_29162(t *testing.T) { noInheritable(t) }

// The same of a further process (CVE-2022-27650 is crun's).
func TestCVE_2025_27612(t *testing.T) { noInheritable(t) }

func noInheritable(t *testing.T) {
	want := []string{"CapInh:\t0000000000000000", "CapAmb:\t0000000000000000"}
	check := func(who, out string) {
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %s in\n%s", who, w, out)
			}
		}
	}
	for _, uid := range []uint32{0, 1000} {
		spec := sample("grep", "Cap", "/proc/self/status")
		spec.Process.User.UID = uid
		check(fmt.Sprint("init of user ", uid), exits(t, Config{Spec: spec}))
		c := started(t, Config{Spec: sample("sleep", "1000")})
		proc := *spec.Process
		check(fmt.Sprint("exec of user ", uid), execs(t, c, &proc))
		more := []string{"CAP_SYS_PTRACE", "CAP_NET_ADMIN"}
		proc.Capabilities = &specs.LinuxCapabilities{Bounding: more, Effective: more, Permitted: more}
		check(fmt.Sprint("exec of user with more ", uid), execs(t, c, &proc))
	}
}

// A working directory that is a descriptor of the host's, in a start or an exec, by name or by a link of the image.
// Seen to fail when the plan's descriptors are not closed before the change of directory.
func TestCVE_2024_21626(t *testing.T) {
	c := newCanary(t)
	open, err := os.Open(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	// The parent has the directory open under many numbers, and not close-on-exec.
	for range 20 {
		fd, err := unix.Dup(int(open.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	root := layers(t)
	for n := range 65 {
		put(t, root, fmt.Sprintf("links/%d", n), fmt.Sprintf("/proc/self/fd/%d", n))
	}
	outside := func(dir, out string) {
		if strings.HasSuffix(out, "exit 0") {
			t.Errorf("with the working directory %s it printed %q", dir, out)
		}
	}
	script := []string{"sh", "-c", "/bin/ls /proc/self/fd/; /bin/readlink /proc/self/cwd; cat ../canary/file"}
	running := started(t, Config{Spec: sample("sleep", "1000"), Root: root})
	for n := range 65 {
		for _, dir := range []string{fmt.Sprintf("/proc/self/fd/%d", n), fmt.Sprintf("/proc/self/fd/%d/sub/..", n), fmt.Sprintf("/links/%d", n), fmt.Sprintf("/links/%d/sub", n)} {
			spec := sample(script...)
			spec.Process.Cwd = dir
			proc := *spec.Process
			outside("exec "+dir, execs(t, running, &proc))
			if n%4 == 0 {
				outside(dir, exits(t, Config{Spec: spec, Root: fresh(t, root)}))
			}
		}
	}
	proc := *sample("sh", "-c", "ls /proc/1/fd").Process
	if out := execs(t, running, &proc); out != "0\n1\n2\nexit 0" {
		t.Errorf("descriptors %q", out)
	}
	c.sings(t)
}

// Without a filter a container's root unshares and mounts a cgroup hierarchy, whose release_agent the host runs.
func TestCVE_2022_0492(t *testing.T) {
	denied(t, "unshare user", "unshare cgroup", "unshare user, cgroup", "mount cgroup", "mount tmpfs")
}

// fsconfig(2) in a user namespace of the container's own.
func TestCVE_2022_0185(t *testing.T) {
	denied(t, "unshare user", "clone3 user", "fsopen", "fsconfig", "open_tree", "move_mount")
}

// Sockets of the kernel's cryptography.
func TestCVE_2026_31431(t *testing.T) { denied(t, "socket AF_ALG", "socket AF_VSOCK") }

// denied runs the calls in a container with the default profile and sees that these are refused.
func denied(t *testing.T, names ...string) {
	t.Helper()
	spec := armed(t, sample("attack", "calls"))
	filter, err := profile.Default(spec.Process.Capabilities.Bounding)
	if err != nil {
		t.Fatal(err)
	}
	spec.Linux.Seccomp = filter
	out := exits(t, Config{Spec: spec})
	for _, name := range names {
		if !strings.Contains(out, name+": denied\n") {
			t.Errorf("%s is not denied:\n%s", name, out)
		}
	}
	// The same calls are told apart from ones that the kernel has not got: without a filter they get further.
	spec.Linux.Seccomp = nil
	out = exits(t, Config{Spec: spec})
	if !strings.Contains(out, names[0]+": ") || strings.Contains(out, "unshare user: denied") {
		t.Errorf("without a filter:\n%s", out)
	}
}

// calls makes calls that a container has no business with, and says which the filter refused.
func calls() {
	raw := func(nr uintptr, args ...uintptr) error {
		var a [6]uintptr
		copy(a[:], args)
		if _, _, errno := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
			return errno
		}
		return nil
	}
	bad := ^uintptr(0)
	family := func(f int) error {
		fd, err := unix.Socket(f, unix.SOCK_SEQPACKET, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	for _, c := range []struct {
		name string
		err  func() error
	}{
		// A process with threads may make no user namespace: EINVAL is the kernel's own answer.
		{"unshare user", func() error { return unix.Unshare(unix.CLONE_NEWUSER) }},
		{"unshare user, cgroup", func() error { return unix.Unshare(unix.CLONE_NEWUSER | unix.CLONE_NEWCGROUP) }},
		{"unshare cgroup", func() error { return unix.Unshare(unix.CLONE_NEWCGROUP) }},
		{"clone3 user", func() error { return raw(unix.SYS_CLONE3, 0, 0) }},
		{"mount cgroup", func() error { return unix.Mount("cgroup", "/tmp", "cgroup", 0, "memory") }},
		{"mount tmpfs", func() error { return unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "") }},
		{"fsopen", func() error { return raw(unix.SYS_FSOPEN, 0, 0) }},
		{"fsconfig", func() error { return raw(unix.SYS_FSCONFIG, bad, 0) }},
		{"open_tree", func() error { return raw(unix.SYS_OPEN_TREE, bad, 0, bad) }},
		{"move_mount", func() error { return raw(unix.SYS_MOVE_MOUNT, bad, 0, bad, 0, bad) }},
		{"socket AF_ALG", func() error { return family(unix.AF_ALG) }},
		{"socket AF_VSOCK", func() error { return family(unix.AF_VSOCK) }},
	} {
		err := c.err()
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EACCES) {
			fmt.Printf("%s: denied\n", c.name)
		} else {
			fmt.Printf("%s: %v\n", c.name, err)
		}
	}
}

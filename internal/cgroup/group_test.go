package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Programs that the tests put into groups: this binary again, told by an environment variable what to be.
const helperVar = "TRIPOD_CGROUP_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperVar) != "" {
		helper(os.Getenv(helperVar))
		return
	}
	os.Exit(m.Run())
}

func helper(what string) {
	// The group is entered by the time a byte arrives.
	_, _ = io.ReadFull(os.Stdin, make([]byte, 1))
	switch what {
	case "cpus", "hugepages", "direct":
		probe(what, os.Getenv("TRIPOD_CGROUP_ARGUMENT"))
	case "user":
		asUser()
	case "sleep":
		time.Sleep(time.Hour)
	case "spin":
		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		}
	case "hog":
		fmt.Println(len(take(1 << 10)))
	case "hold":
		all := take(24)
		fmt.Println(len(all))
		time.Sleep(time.Hour)
		runtime.KeepAlive(all)
	case "devnull":
		done := make(chan struct{})
		go func() { _, _ = io.Copy(io.Discard, os.Stdin); close(done) }()
		for {
			if err := openClose("/dev/null", unix.O_RDWR); err != nil {
				os.Exit(1)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	case "bomb":
		for {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), helperVar+"=bomb")
			in, _ := cmd.StdinPipe()
			if cmd.Start() == nil {
				_, _ = in.Write([]byte{1})
			} else {
				time.Sleep(time.Millisecond)
			}
		}
	case "mknod":
		dir := os.Getenv("TRIPOD_CGROUP_DIR")
		for line := bufio.NewScanner(os.Stdin); line.Scan(); {
			var kind rune
			var major, minor uint32
			var access string
			_, _ = fmt.Sscanf(line.Text(), "%c %d %d %s", &kind, &major, &minor, &access)
			fmt.Println(errno(tryDevice(filepath.Join(dir, fmt.Sprintf("%c%d-%d", kind, major, minor)), kind, major, minor, access)))
		}
	}
}

// take uses so many MiB.
func take(mib int) [][]byte {
	var all [][]byte
	for range mib {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = 1
		}
		all = append(all, b)
	}
	return all
}

func errno(err error) int {
	var e syscall.Errno
	if errors.As(err, &e) {
		return int(e)
	}
	return 0
}

// tryDevice makes the node ("m") or opens one that the parent made, which fails otherwise than with EPERM when the
// policy lets it through and no driver answers.
func tryDevice(name string, kind rune, major, minor uint32, access string) error {
	mode := uint32(unix.S_IFCHR)
	if kind == 'b' {
		mode = unix.S_IFBLK
	}
	switch access {
	case "m":
		return unix.Mknod(name+".made", mode|0o600, int(unix.Mkdev(major, minor)))
	case "r":
		return openClose(name, unix.O_RDONLY)
	case "w":
		return openClose(name, unix.O_WRONLY)
	}
	return openClose(name, unix.O_RDWR)
}

func openClose(name string, flags int) error {
	fd, err := unix.Open(name, flags|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

var serial atomic.Int32

// hosts returns this host, and the parts of it that stand for others: its v1 hierarchies alone, its unified one.
func hosts(t *testing.T) map[string]Host {
	t.Helper()
	h := needHost(t)
	all := map[string]Host{h.Mode.String(): h}
	if h.Mode == Hybrid {
		n := len(h.Hierarchies) - 1
		all["v1 part"] = Host{Mode: V1, Hierarchies: h.Hierarchies[:n]}
		all["unified part"] = Host{Mode: Hybrid, Hierarchies: h.Hierarchies[n:]}
	}
	return all
}

func needHost(t *testing.T) Host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make cgroups")
	}
	h, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// newGroup makes a group below one of the test's own, and proves at the end that nothing of it is left.
func newGroup(t *testing.T, h Host) *Group {
	t.Helper()
	top := fmt.Sprintf("tripod-test-%d-%d", os.Getpid(), serial.Add(1))
	t.Cleanup(func() {
		g := Open(h, top)
		if err := g.Kill(); err != nil {
			t.Error(err)
		}
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
		for _, y := range h.Hierarchies {
			if _, err := os.Stat(g.Dir(y)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is left behind: %v", g.Dir(y), err)
			}
		}
	})
	g, err := Make(h, top+"/web")
	if err != nil {
		t.Fatal(err)
	}
	return g
}

type process struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// start runs a helper in the group.
func start(t *testing.T, g *Group, what string, env ...string) *process {
	t.Helper()
	j, err := g.Join()
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(append(os.Environ(), helperVar+"="+what, "GOMAXPROCS=1"), env...)
	if j.Unified != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(j.Unified.Fd())}
	}
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	cmd.Stderr = os.Stderr
	if what == "bomb" {
		cmd.Stderr = nil
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd, in, bufio.NewReader(out)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	// "tasks" moves one thread, and this child has several by now: a real one writes before it has any.
	tids, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range j.V1 {
		for _, tid := range tids {
			if _, err := f.WriteString(tid.Name()); err != nil && !errors.Is(err, unix.ESRCH) {
				t.Fatalf("%s: %v", f.Name(), err)
			}
		}
		// Threads that came in between.
		if err := os.WriteFile(filepath.Join(filepath.Dir(f.Name()), "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := in.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	return p
}

func until(t *testing.T, what string, done func() (bool, error)) {
	t.Helper()
	ok, err := eventually(done)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		t.Fatalf("not seen in %v: %s", patience, what)
	}
}

func TestMakeRemove(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, h)
			if _, err := Make(h, g.Path()); err != nil {
				t.Errorf("a second Make: %v", err)
			}
			if _, err := Make(h, g.Path()+"/a/b/c"); err != nil {
				t.Fatal(err)
			}
			if y, ok := h.v1("cpuset"); ok {
				for _, file := range []string{"/cpuset.cpus", "/a/b/c/cpuset.cpus", "/a/b/c/cpuset.mems"} {
					if text, err := os.ReadFile(g.Dir(y) + file); err != nil || strings.TrimSpace(string(text)) == "" {
						t.Errorf("%s is %q, %v", file, text, err)
					}
				}
			}
			if gone, err := Open(h, g.Path()).Prune(); gone || err != nil {
				t.Errorf("Prune of one with children: %v, %v", gone, err)
			}
			if _, err := os.Stat(g.Dir(h.Hierarchies[0]) + "/a/b/c"); err != nil {
				t.Errorf("Prune took a child: %v", err)
			}
			if err := g.Remove(); err != nil {
				t.Fatal(err)
			}
			if err := g.Remove(); err != nil {
				t.Errorf("a second Remove: %v", err)
			}
			if _, err := g.Stats(); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Stats of a removed group: %v", err)
			}
			if gone, err := g.Prune(); !gone || err != nil {
				t.Errorf("Prune of a removed group: %v, %v", gone, err)
			}
		})
	}
}

// A Make that fails leaves nothing of what it made.
func TestMakeUndone(t *testing.T) {
	h := needHost(t)
	g := newGroup(t, h)
	bad := Host{Mode: h.Mode, Hierarchies: append(append([]Hierarchy{}, h.Hierarchies...), Hierarchy{Name: "none", Mountpoint: "/proc/self/fd"})}
	if _, err := Make(bad, g.Path()+"/x/y"); err == nil {
		t.Fatal("no error")
	}
	for _, y := range h.Hierarchies {
		if _, err := os.Stat(g.Dir(y) + "/x"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s/x is left: %v", g.Dir(y), err)
		}
	}
}

// Groups come and go beside each other while their parent is pruned.
func TestMakeRace(t *testing.T) {
	h := needHost(t)
	top := newGroup(t, h)
	errs := make(chan error)
	const workers = 6
	for i := range workers {
		go func() {
			for range 20 {
				g, err := Make(h, fmt.Sprintf("%s/pods/%d", top.Path(), i))
				if err == nil {
					err = g.Remove()
				}
				if err == nil {
					_, err = Open(h, top.Path()+"/pods").Prune()
				}
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range workers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestRemoveDeep(t *testing.T) {
	h := needHost(t)
	g := newGroup(t, h)
	y := h.Hierarchies[len(h.Hierarchies)-1]
	// Below what a path can name: 40 times 200 bytes are more than PATH_MAX.
	fd, err := unix.Open(g.Dir(y), unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("d", 200)
	for range 40 {
		if err := unix.Mkdirat(fd, name, 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		unix.Close(fd)
		if err != nil {
			t.Fatal(err)
		}
		fd = next
	}
	unix.Close(fd)
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
}

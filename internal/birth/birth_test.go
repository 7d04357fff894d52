package birth

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// call is a step of a test's own plan.
func call(name string, c plan.Call, args ...plan.Arg) plan.Step {
	return plan.Step{Name: name, Call: c, Args: args}
}

// program ends in the execution of /bin/busybox with these words.
func program(steps []plan.Step, words ...string) *plan.Plan {
	exec := call("execute busybox", plan.Execve, plan.Text("/bin/busybox"), plan.Strings(words), plan.Strings(nil))
	return &plan.Plan{Steps: append(steps, exec)}
}

// ended waits for a child and returns its exit status.
func ended(t *testing.T, c *Child) unix.WaitStatus {
	t.Helper()
	var ws unix.WaitStatus
	if _, err := unix.Wait4(c.Pid, &ws, 0, nil); err != nil {
		t.Fatal(err)
	}
	unix.Close(c.PidFD)
	return ws
}

func TestRun(t *testing.T) {
	c, err := Start(program(nil, "sh", "-c", "exit 3"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	if ws := ended(t, c); ws.ExitStatus() != 3 {
		t.Errorf("exit %d, want 3", ws.ExitStatus())
	}
}

// TestInstructions has each thing that a step can say: save and use a result, branch on an errno, skip, go on anyway.
func TestInstructions(t *testing.T) {
	exit := func(n int) plan.Step { return call("end", plan.ExitGroup, plan.Int(n)) }
	cwd := plan.Int(unix.AT_FDCWD)
	open := func(path string) plan.Step {
		return call("open "+path, plan.Openat, cwd, plan.Text(path), plan.Int(unix.O_RDONLY|unix.O_CLOEXEC))
	}
	branch := func(s plan.Step, on ...plan.Branch) plan.Step { s.On = on; return s }
	skip := func(s plan.Step, n uint8, w plan.When) plan.Step { s.Skip, s.When = n, w; return s }
	saved := open("/dev/null")
	saved.Save = 1
	read := func(r plan.Reg) plan.Step {
		return call("read", plan.Read, plan.Result(r), plan.Arg{Kind: plan.ZeroedArg, N: 8}, plan.Int(8))
	}
	anyway := open("/no/such")
	anyway.Any = true
	for _, c := range []struct {
		name  string
		steps []plan.Step
		want  int
	}{
		{"save", []plan.Step{saved, read(1), exit(5)}, 5},
		{"skip", []plan.Step{skip(open("/dev/null"), 1, plan.Always), exit(1), exit(5)}, 5},
		{"skip if 0", []plan.Step{saved, skip(read(1), 1, plan.Zero), exit(1), exit(5)}, 5},
		{"no skip if 0", []plan.Step{saved, skip(read(1), 1, plan.NotZero), exit(5), exit(1)}, 5},
		{"skip if not 0", []plan.Step{skip(open("/dev/null"), 1, plan.NotZero), exit(1), exit(5)}, 5},
		{"first errno", []plan.Step{branch(open("/no/such"), plan.Branch{Errno: unix.ENOENT, Skip: 1}), exit(1), exit(5)}, 5},
		{"second errno", []plan.Step{branch(open("/no/such"), plan.Branch{Errno: unix.EPERM}, plan.Branch{Errno: unix.ENOENT, Skip: 1}), exit(1), exit(5)}, 5},
		{"any", []plan.Step{anyway, exit(5)}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			child, err := Start(program(c.steps, "true"), nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = child.listen()
			if err != nil {
				t.Fatal(err)
			}
			if ws := ended(t, child); ws.ExitStatus() != c.want {
				t.Errorf("exit %d, want %d", ws.ExitStatus(), c.want)
			}
			child.PidFD = -1
			child.release()
		})
	}
}

func TestStepError(t *testing.T) {
	steps := []plan.Step{
		call("enter /", plan.Chdir, plan.Text("/")),
		{Name: "enter /no/such", Origin: "process.cwd", Call: plan.Chdir, Args: []plan.Arg{plan.Text("/no/such")}},
	}
	c, err := Start(program(steps, "true"), nil)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Run()
	var step *StepError
	if !errors.As(err, &step) || step.Step != 1 || !errors.Is(err, unix.ENOENT) {
		t.Fatalf("error %#v", err)
	}
	if want := "step 1, enter /no/such (process.cwd): no such file or directory"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", c.Pid)); err == nil {
		t.Error("the failed child is left")
	}
}

// TestDied has a child that is killed before it becomes a program: that is not success, though the pipe just closes.
func TestDied(t *testing.T) {
	read := call("wait", plan.Read, plan.File(plan.Gate), plan.Arg{Kind: plan.ZeroedArg, N: 8}, plan.Int(1))
	c, err := Start(program([]plan.Step{read}, "true"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(c.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := c.Run(); !errors.Is(err, ErrDied) {
		t.Errorf("%v, want ErrDied", err)
	}
}

// TestParentDies: the child's end of the gate is its only one, so that a parent's death is an end of file.
func TestGateCloses(t *testing.T) {
	p := program([]plan.Step{
		call("tell", plan.Write, plan.File(plan.Status), plan.Bytes(plan.Ready[:]), plan.Int(16)),
		{Name: "wait", Call: plan.Read, Args: []plan.Arg{plan.File(plan.Gate), {Kind: plan.ZeroedArg, N: 8}, plan.Int(1)}, Skip: 1, When: plan.NotZero},
		call("end", plan.ExitGroup, plan.Int(125)),
	}, "true")
	c, err := Start(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(); err != nil {
		t.Fatal(err)
	}
	unix.Close(c.gate)
	c.gate = -1
	if ws := ended(t, c); ws.ExitStatus() != 125 {
		t.Errorf("exit %d, want 125", ws.ExitStatus())
	}
	c.PidFD = -1
	c.Abort()
}

// TestDescriptors: the program has the standard descriptors, and nothing of what its parent has open without
// close-on-exec.
func TestDescriptors(t *testing.T) {
	var leaks [3]int
	for i := range leaks {
		fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		leaks[i] = fd
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	take := call("take stdout", plan.Dup3, plan.File("out"), plan.Int(1), plan.Int(0))
	c, err := Start(program([]plan.Step{take}, "sh", "-c", "ls /proc/$$/fd; true"), map[string]int{"out": int(w.Fd())})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	ended(t, c)
	if got := strings.Fields(b.String()); len(got) > 3 {
		t.Errorf("descriptors %v, leaked were %v", got, leaks)
	}
}

// TestSecondClone: the process is the parent's own child, although another made it.
func TestSecondClone(t *testing.T) {
	steps := []plan.Step{
		call("new PID namespace", plan.Unshare, plan.Int(unix.CLONE_NEWPID)),
		{
			Name: "second clone", Call: plan.Clone, Skip: 1, When: plan.Zero,
			Args: []plan.Arg{plan.Int(unix.CLONE_PARENT | unix.CLONE_PARENT_SETTID | int(unix.SIGCHLD)), plan.Int(0), {Kind: plan.InnerArg}, plan.Int(0), plan.Int(0)},
		},
		call("leave", plan.ExitGroup, plan.Int(0)),
	}
	c, err := Start(program(steps, "sh", "-c", "exit $((40 + $$))"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	if ws := ended(t, c); ws.ExitStatus() != 41 {
		t.Errorf("exit %d, want 41: PID 1 of its namespace", ws.ExitStatus())
	}
}

func TestVerified(t *testing.T) {
	for _, p := range []*plan.Plan{
		{},
		{Steps: []plan.Step{call("end", plan.ExitGroup, plan.Int(0))}},
		program([]plan.Step{call("use", plan.Close, plan.Result(3))}, "true"),
		program([]plan.Step{call("use", plan.Close, plan.File("nothing"))}, "true"),
		program([]plan.Step{{Name: "far", Call: plan.Setsid, Skip: 9}}, "true"),
	} {
		if c, err := Start(p, nil); err == nil {
			c.Abort()
			t.Errorf("a plan that cannot be spent was: %s", p)
		}
	}
}

func TestUserNamespace(t *testing.T) {
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 300000, Size: 10}}
	fd, err := UserNamespace(ids, ids)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var st, own unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat("/proc/self/ns/user", &own); err != nil || st.Ino == own.Ino {
		t.Errorf("namespace %d, own %d, %v", st.Ino, own.Ino, err)
	}
}

// pauses starts pause in a PID namespace of its own.
func pauses(t *testing.T) *Child {
	t.Helper()
	p, err := plan.CompilePause(plan.PauseInput{
		Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}},
		Hostname:   "held", Mountpoint: t.TempDir(), Facts: plan.Facts{LastCap: 40},
	})
	if err != nil {
		t.Fatal(err)
	}
	prog, err := Pause()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(prog)
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	c, err := Start(p, map[string]int{plan.PauseFile: prog, plan.Stdin: null, plan.Stdout: null, plan.Stderr: null})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(); err != nil {
		t.Fatal(err)
	}
	if err := c.Go(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPause(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT} {
		c := pauses(t)
		proc := fmt.Sprintf("/proc/%d/", c.Pid)
		eventually(t, func() bool { comm, _ := os.ReadFile(proc + "comm"); return string(comm) == "pause\n" })
		if root, err := os.ReadDir(proc + "root"); err != nil || len(root) > 0 {
			t.Errorf("pause's root holds %v, %v; want nothing", root, err)
		}
		status, err := os.ReadFile(proc + "status")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"Uid:\t65535\t65535\t65535\t65535", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Threads:\t1"} {
			if !bytes.Contains(status, []byte(want)) {
				t.Errorf("pause's status has no %q:\n%s", want, status)
			}
		}
		if err := unix.Kill(c.Pid, sig); err != nil {
			t.Fatal(err)
		}
		if ws := ended(t, c); !ws.Exited() || ws.ExitStatus() != 0 {
			t.Errorf("on %v pause ended with %v", sig, ws)
		}
	}
}

// TestPauseReaps gives pause, the init of a PID namespace, an orphan to reap.
func TestPauseReaps(t *testing.T) {
	c := pauses(t)
	defer func() {
		_ = unix.Kill(c.Pid, unix.SIGKILL)
		ended(t, c)
	}()
	proc := func() int {
		n := 0
		list, _ := os.ReadDir("/proc")
		for _, e := range list {
			stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
			if err == nil && bytes.Contains(stat, []byte(fmt.Sprintf(" %d ", c.Pid))) && bytes.Contains(stat, []byte(") Z ")) {
				n++
			}
		}
		return n
	}
	p, err := plan.CompileExec(plan.ExecInput{
		Process:    &specs.Process{Args: []string{"/bin/busybox", "sh", "-c", "/bin/busybox sleep 0.01 & "}, Cwd: "/"},
		Namespaces: unix.CLONE_NEWPID, Facts: plan.Facts{LastCap: 40},
	})
	if err != nil {
		t.Fatal(err)
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	e, err := Start(p, map[string]int{plan.InitFile: c.PidFD, plan.Stdin: null, plan.Stdout: null, plan.Stderr: null})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(); err != nil {
		t.Fatal(err)
	}
	ended(t, e)
	children := func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", c.Pid, c.Pid))
		return err == nil && len(b) == 0
	}
	eventually(t, children)
	if n := proc(); n > 0 {
		t.Errorf("%d zombies of pause", n)
	}
}

// eventually waits for what must come; it fails only when it never does.
func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for range 2000 {
		if done() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("it never came")
}

func TestPauseELF(t *testing.T) {
	f, err := elf.NewFile(bytes.NewReader(pauseELF()))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
	if f.Machine != want || len(f.Progs) != 2 || len(pauseELF()) > 512 {
		t.Errorf("machine %v, %d headers, %d bytes", f.Machine, len(f.Progs), len(pauseELF()))
	}
}

// TestStress gives births to a busy runtime: collections, signals and allocation all the time.
func TestStress(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		var keep [][]byte
		for {
			select {
			case <-stop:
				return
			default:
				if keep = append(keep, make([]byte, 1<<12)); len(keep) > 100 {
					keep = nil
					runtime.GC()
				}
			}
		}
	}()
	done := make(chan error)
	for range 4 {
		go func() {
			for range 50 {
				c, err := Start(program(nil, "true"), nil)
				if err == nil {
					err = c.Run()
				}
				if err != nil {
					done <- err
					return
				}
				var ws unix.WaitStatus
				if _, err := unix.Wait4(c.Pid, &ws, 0, nil); err != nil || ws != 0 {
					done <- fmt.Errorf("ended with %v, %w", ws, err)
					return
				}
				unix.Close(c.PidFD)
			}
			done <- nil
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

package birth

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// becoming is set in a copy of this test program that is to call Become.
const becoming = "TRIPOD_TEST_BECOME"

// TestBecome has the process itself turn into another program, and tell of a step that fails.
func TestBecome(t *testing.T) {
	if how := os.Getenv(becoming); how != "" {
		become(how)
		return
	}
	outer, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	self := func(how string) *exec.Cmd {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestBecome$")
		cmd.Env = append(os.Environ(), becoming+"="+how)
		return cmd
	}
	for _, c := range []struct {
		how, want string
		code      int
	}{
		{"program", "", 0},
		{"fails", "nsenter: cannot enter: No such file or directory\n", 42},
	} {
		t.Run(c.how, func(t *testing.T) {
			cmd := self(c.how)
			out, _ := cmd.CombinedOutput()
			if c.how == "program" {
				lines := strings.Fields(string(out))
				if len(lines) != 2 || lines[0] != fmt.Sprint(cmd.Process.Pid) || lines[1] == outer {
					t.Fatalf("%q, want PID %d and a user namespace", out, cmd.Process.Pid)
				}
			} else if string(out) != c.want {
				t.Errorf("%q, want %q", out, c.want)
			}
			if got := cmd.ProcessState.ExitCode(); got != c.code {
				t.Errorf("exit %d, want %d", got, c.code)
			}
		})
	}
}

func become(how string) {
	var p *plan.Plan
	given := map[string]int{}
	switch how {
	case "program":
		// A process of many threads may not join a user namespace; this one does.
		fd, err := UserNamespace(oneID, oneID)
		if err != nil {
			fmt.Println(err)
			return
		}
		given["ns:user"] = fd
		p = program([]plan.Step{call("join", plan.Setns, plan.File("ns:user"), plan.Int(unix.CLONE_NEWUSER))},
			"sh", "-c", "echo $$; readlink /proc/self/ns/user; ! ls -l /proc/self/fd 2>/dev/null | grep -q user:")
	case "fails":
		p = program([]plan.Step{{Name: "enter", Call: plan.Chdir, Args: []plan.Arg{plan.Text("/no/such")}, Fails: "nsenter: cannot enter: ", Exit: 42}}, "true")
	}
	fmt.Println(Become(p, given))
	syscall.Exit(99)
}

// oneID maps root alone.
var oneID = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 1}}

// TestLend has children in the parent's own memory: one that becomes its program, and one that fails before.
func TestLend(t *testing.T) {
	p := program(nil, "sh", "-c", "exit 3")
	p.Inherit, p.Lend = true, true
	c, err := Start(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	if ws := ended(t, c); ws.ExitStatus() != 3 {
		t.Errorf("exit %d, want 3", ws.ExitStatus())
	}
	p = program([]plan.Step{call("enter /no/such", plan.Chdir, plan.Text("/no/such"))}, "true")
	p.Inherit, p.Lend = true, true
	if c, err = Start(p, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Run(); !errors.Is(err, unix.ENOENT) {
		t.Errorf("%v, want ENOENT", err)
	}
}

// TestBirthplace has a child born into the PID namespace of another process, and the next one again into its parent's.
func TestBirthplace(t *testing.T) {
	init := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", "echo; read line")
	in, err := init.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := init.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := init.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); _ = init.Wait() }()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", init.Process.Pid, init.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open("/proc/"+strings.TrimSpace(string(children))+"/ns/pid", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, born := range []string{"ns:pid", ""} {
		p := program(nil, "sh", "-c", "test $$ -lt 50")
		p.Birthplace = born
		c, err := Start(p, map[string]int{"ns:pid": fd})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Run(); err != nil {
			t.Fatal(err)
		}
		if ws := ended(t, c); (ws.ExitStatus() == 0) != (born != "") {
			t.Errorf("born into %q: exit %d", born, ws.ExitStatus())
		}
	}
}

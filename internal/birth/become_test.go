package birth

import (
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

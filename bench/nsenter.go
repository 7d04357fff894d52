package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// nsenter compares entering all namespaces of a process and running true there, by the name that people type.
func nsenter(f *Field) ([]Benchmark, error) {
	theirs, err := exec.LookPath("nsenter")
	if err != nil {
		return nil, err
	}
	ours := filepath.Join(f.dir, "nsenter")
	if err := os.Symlink(f.oci, ours); err != nil {
		return nil, err
	}
	var target *exec.Cmd
	var hold io.Closer
	var pid string
	b := Benchmark{
		Name: "nsenter -t PID -a true", Unit: "ms", Rounds: 100,
		Targets: []Target{{"util-linux", atMost, 1.5}},
		Before: func() (err error) {
			// The namespaces that a container has of its own; the target lives as long as somebody holds its input.
			target = exec.Command("unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--net", "--uts", "--ipc", "--cgroup", "cat")
			target.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if hold, err = target.StdinPipe(); err != nil {
				return err
			}
			if err := target.Start(); err != nil {
				return err
			}
			pid, err = firstChild(target.Process.Pid)
			return err
		},
		After: func() error {
			_ = hold.Close()
			return target.Wait()
		},
	}
	for _, c := range []struct{ name, binary string }{{"tripod", ours}, {"util-linux", theirs}} {
		b.Contenders = append(b.Contenders, Contender{Name: c.name, Measure: timed(func() error {
			out, err := exec.Command(c.binary, "-t", pid, "-a", "true").CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})})
	}
	return []Benchmark{b}, nil
}

// firstChild waits until a process has a child that has become another program, and returns its PID.
func firstChild(pid int) (string, error) {
	for {
		list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			return "", err
		}
		for _, child := range strings.Fields(string(list)) {
			if _, err := strconv.Atoi(child); err != nil {
				return "", err
			}
			if name, err := os.ReadFile("/proc/" + child + "/comm"); err == nil && string(name) == "cat\n" {
				return child, nil
			}
		}
	}
}

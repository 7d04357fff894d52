package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// crowd is a host full of processes: namespaces of each kind, and in each of them so many processes.
type crowd struct {
	namespaces, each int
	first            []*exec.Cmd // process 1 of each
}

// crowdPort is a port that one of the crowd listens on, in a network namespace of its own.
const crowdPort = 4242

// gather makes the crowd. Its end is that of each process 1.
func (c *crowd) gather() error {
	for n := range c.namespaces {
		script := fmt.Sprintf("i=1; while [ $i -lt %d ]; do sleep 3600 & i=$((i+1)); done; echo; wait", c.each)
		if n == c.namespaces/2 {
			script = fmt.Sprintf("ip link set lo up; ip addr add 192.0.2.42/32 dev lo; busybox nc -l -p %d & %s", crowdPort, script)
		}
		cmd := exec.Command("sh", "-c", script)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("cannot make a crowd of %d: %w", c.namespaces, err)
		}
		c.first = append(c.first, cmd)
		if _, err := out.Read(make([]byte, 1)); err != nil {
			return fmt.Errorf("cannot make a crowd: %w", err)
		}
	}
	return nil
}

// leave ends it.
func (c *crowd) leave() error {
	for _, cmd := range c.first {
		_ = cmd.Process.Kill()
	}
	for _, cmd := range c.first {
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			return err
		}
	}
	c.first = nil
	return nil
}

// whois asks for the owner of things on a host with 2,000 processes in 200 namespaces. Nothing else answers such questions.
func whois(f *Field) ([]Benchmark, error) {
	host := &crowd{namespaces: 200, each: 10}
	var list []Benchmark
	for _, ask := range []struct {
		what string
		word func() (string, error)
	}{
		{"a process", func() (string, error) { return strconv.Itoa(host.first[7].Process.Pid), nil }},
		{"a port", func() (string, error) { return fmt.Sprintf("tcp/%d", crowdPort), nil }},
		{"an address", func() (string, error) { return "192.0.2.42", nil }},
		{"a namespace", func() (string, error) {
			link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", host.first[7].Process.Pid))
			return strings.TrimSuffix(strings.TrimPrefix(link, "net:["), "]"), err
		}},
	} {
		b := Benchmark{
			Name: "whois of " + ask.what + " among 2000 processes in 200 namespaces", Unit: "ms", Rounds: 15, Targets: []Target{{Form: below, Factor: 50}},
			Contenders: []Contender{{Name: "tripod", Measure: func() (float64, error) {
				word, err := ask.word()
				if err != nil {
					return 0, err
				}
				began := time.Now()
				out, err := f.ours("whois", word)
				took := float64(time.Since(began).Microseconds()) / 1000
				if err == nil && !strings.Contains(out, "sh -c") && !strings.Contains(out, "busybox nc") {
					err = fmt.Errorf("whois %s answers %q", word, out)
				}
				return took, err
			}}},
		}
		// The crowd comes once and stays for all questions; whoever asks for one of them alone waits for it too.
		b.Before = func() error {
			if host.first != nil {
				return nil
			}
			f.later(host.leave)
			return host.gather()
		}
		list = append(list, b)
	}
	return list, nil
}

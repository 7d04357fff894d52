package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// crowd is a PID namespace with many processes and a /proc of its own. Its process 1 is a shell that runs what it is told to.
type crowd struct {
	processes, namespaces int

	init *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

// crowdScript makes $1 groups of $2 sleeping processes, each in a new namespace of the next of five types, and then runs each line
// that it reads.
const crowdScript = `
mount -t proc proc /proc
set -- "$1" "$2" uts ipc net mount cgroup
groups=$1 each=$2 i=0
shift 2
while [ $i -lt $groups ]; do
	unshare --$1 sh -c 'i=1; while [ $i -lt '$each' ]; do sleep 100000 & i=$((i+1)); done; exec sleep 100000' </dev/null >/dev/null &
	set -- "$2" "$3" "$4" "$5" "$1"
	i=$((i+1))
done
want=$((groups*each))
while set -- /proc/[0-9]*; [ $# -le $want ]; do sleep 0.2; done
echo ready
while read -r line; do $line >/dev/null; echo done; done
`

// start makes the processes.
func (c *crowd) start() error {
	c.init = exec.Command("sh", "-c", crowdScript, "sh", strconv.Itoa(c.namespaces), strconv.Itoa(c.processes/c.namespaces))
	c.init.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	c.init.Stderr = os.Stderr
	var err error
	if c.in, err = c.init.StdinPipe(); err != nil {
		return err
	}
	out, err := c.init.StdoutPipe()
	if err != nil {
		return err
	}
	c.out = bufio.NewReader(out)
	if err := c.init.Start(); err != nil {
		return err
	}
	return c.wait("ready")
}

// wait reads the word that the shell says next.
func (c *crowd) wait(word string) error {
	line, err := c.out.ReadString('\n')
	if err == nil && line != word+"\n" {
		err = fmt.Errorf("the shell of the processes says %q, not %s", line, word)
	}
	return err
}

// stop ends all processes: with process 1 they are gone.
func (c *crowd) stop() error {
	if c.init == nil || c.init.Process == nil {
		return nil
	}
	err := c.init.Process.Kill()
	c.init.Wait()
	return err
}

// run measures a command among the processes, in milliseconds.
func (c *crowd) run(line string) func() (float64, error) {
	return timed(func() error {
		if _, err := io.WriteString(c.in, line+"\n"); err != nil {
			return err
		}
		return c.wait("done")
	})
}

// namespaces compares lists of namespaces, and how the time grows with the number of processes.
func namespaces(f *Field) ([]Benchmark, error) {
	ours := filepath.Join(f.dir, "lsns")
	if err := os.Symlink(f.oci, ours); err != nil {
		return nil, err
	}
	theirs, err := exec.LookPath("lsns")
	if err != nil {
		return nil, err
	}
	some, many := &crowd{processes: 2000, namespaces: 200}, &crowd{processes: 20000, namespaces: 2000}
	perProcess := func(c *crowd) func() (float64, error) {
		measure := c.run(ours)
		return func() (float64, error) {
			ms, err := measure()
			return 1000 * ms / float64(c.processes), err
		}
	}
	return []Benchmark{
		{
			Name: "lsns of 2,000 processes in 200 namespaces", Unit: "ms", Rounds: 15,
			Contenders: []Contender{{Name: "tripod", Measure: some.run(ours)}, {Name: "util-linux", Measure: some.run(theirs)}},
			Targets:    []Target{{"util-linux", atMost, 0.2}},
			Before:     some.start, After: some.stop,
		},
		{
			Name: "lsns of 20,000 processes, a process", Unit: "us", Rounds: 5,
			Contenders: []Contender{{Name: "tripod", Measure: perProcess(many)}, {Name: "tripod of 2,000", Measure: perProcess(some)}},
			Targets:    []Target{{"tripod of 2,000", atMost, 1.2}},
			Before:     func() error { return errors.Join(some.start(), many.start()) },
			After:      func() error { return errors.Join(some.stop(), many.stop(), settle()) },
		},
	}, nil
}

// settle waits until the kernel has taken away what ended, so that the next benchmark does not pay for it.
func settle() error {
	time.Sleep(2 * time.Second)
	return nil
}

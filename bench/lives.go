package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lives compares the parts of a container's life, each a command of its own, as an engine asks for them.
func lives(f *Field) ([]Benchmark, error) {
	// What a runtime leaves behind becomes our child, and is waited for as an engine's shim does.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	brief, err := f.bundle("brief", "/tripod-bench/brief", "/bin/true")
	if err != nil {
		return nil, err
	}
	life := Benchmark{
		Name: "create, start and delete a container of true, " + cgroupMode(), Unit: "ms", Rounds: 30,
		Targets: []Target{{"crun", atMost, 0.4}}, After: removeCgroups,
	}
	for _, r := range f.runtimes() {
		life.Contenders = append(life.Contenders, Contender{Name: r.name, Measure: timed(func() error { return r.life(f.dir, brief) })})
	}
	inside, err := f.within()
	if err != nil {
		return nil, err
	}
	live, err := f.live()
	if err != nil {
		return nil, err
	}
	return append(append([]Benchmark{life}, inside...), live...), nil
}

// life creates a container, starts it, waits for its end and deletes it.
func (r runtime) life(dir, bundle string) error {
	id, pidFile := newID(), filepath.Join(dir, "pid-"+r.name)
	if err := r.do("create", "--bundle", bundle, "--pid-file", pidFile, id); err != nil {
		return err
	}
	pid, err := readPID(pidFile)
	if err == nil {
		err = r.do("start", id)
	}
	if err == nil {
		err = reap(pid)
	}
	return errors.Join(err, r.do("delete", id))
}

func readPID(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func reap(pid int) error {
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// end kills and deletes a container.
func (r runtime) end(id string, pid int) error {
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return err
	}
	return errors.Join(reap(pid), r.do("delete", id))
}

// within compares commands on a container that runs.
func (f *Field) within() ([]Benchmark, error) {
	ids, pids := map[string]string{}, map[string]int{}
	before := func() error {
		for _, r := range f.runtimes() {
			bundle, err := f.bundle("inside-"+r.name, "/tripod-bench/inside-"+r.name, "/bin/sleep", "36000")
			if err != nil {
				return err
			}
			id, file := newID(), filepath.Join(f.dir, "pid-inside-"+r.name)
			if err := r.do("create", "--bundle", bundle, "--pid-file", file, id); err != nil {
				return err
			}
			if ids[r.name] = id; err == nil {
				pids[r.name], err = readPID(file)
			}
			if err == nil {
				err = r.do("start", id)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	after := func() error {
		var err error
		for _, r := range f.runtimes() {
			if pids[r.name] != 0 {
				err = errors.Join(err, r.end(ids[r.name], pids[r.name]))
			}
		}
		return errors.Join(err, removeCgroups())
	}
	enter := Benchmark{
		Name: "exec true in a container, " + cgroupMode(), Unit: "ms", Rounds: 30, Before: before, After: after, Targets: []Target{{"crun", atMost, 0.5}},
	}
	state := Benchmark{
		Name: "state of a container", Unit: "ms", Rounds: 60, Before: before, After: after, Targets: []Target{{"crun", atMost, 0.7}},
	}
	for _, r := range f.runtimes() {
		enter.Contenders = append(enter.Contenders, Contender{Name: r.name, Measure: timed(func() error { return r.do("exec", ids[r.name], "/bin/true") })})
		state.Contenders = append(state.Contenders, Contender{Name: r.name, Measure: timed(func() error { return r.do("state", ids[r.name]) })})
	}
	return []Benchmark{enter, state}, nil
}

// live compares containers that stay: how many are created and started in a second, and what one that waits for its start
// takes.
func (f *Field) live() ([]Benchmark, error) {
	const containers, workers, created = 200, 8, 10
	var dirs []string
	for n := range containers {
		dir, err := f.bundle("live-"+strconv.Itoa(n), "/tripod-bench/live-"+strconv.Itoa(n), "/bin/sleep", "36000")
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	rate := Benchmark{
		Name: "200 live containers, 8 at a time, " + cgroupMode(), Unit: "starts/s", More: true, Rounds: 3,
		Targets: []Target{{"crun", timesMore, 4}}, After: removeCgroups,
	}
	size := Benchmark{
		Name: "memory of a created container, of 10", Unit: "kB PSS", Rounds: 1,
		Targets: []Target{{"crun", atMost, 1}}, After: removeCgroups,
	}
	for _, r := range f.runtimes() {
		var ids [containers]string
		file := func(n int) string { return filepath.Join(f.dir, fmt.Sprintf("pid-live-%s-%d", r.name, n)) }
		create := func(n int) error {
			ids[n] = newID()
			return r.do("create", "--bundle", dirs[n], "--pid-file", file(n), ids[n])
		}
		reset := func() error {
			var err error
			for n, id := range ids {
				if pid, perr := readPID(file(n)); id != "" && perr == nil {
					err = errors.Join(err, r.end(id, pid))
				}
				ids[n] = ""
			}
			return err
		}
		rate.Contenders = append(rate.Contenders, Contender{Name: r.name, Reset: reset, Measure: func() (float64, error) {
			took, err := together(containers, workers, func(_, n int) error {
				if err := create(n); err != nil {
					return err
				}
				return r.do("start", ids[n])
			})
			return containers / took.Seconds(), err
		}})
		size.Contenders = append(size.Contenders, Contender{Name: r.name, Reset: reset, Measure: func() (float64, error) {
			for n := range created {
				if err := create(n); err != nil {
					return 0, err
				}
			}
			time.Sleep(time.Second) // what the runtime does last, it does not count
			// All that a runtime left is our child: see lives.
			lists, err := filepath.Glob("/proc/self/task/*/children")
			var kilobytes float64
			for _, list := range lists {
				children, _ := os.ReadFile(list) // a thread may have ended
				for field := range strings.FieldsSeq(string(children)) {
					pid, perr := strconv.Atoi(field)
					err = errors.Join(err, perr)
					kilobytes += rollup(pid, "Pss:")
				}
			}
			return kilobytes / created, err
		}})
	}
	return []Benchmark{rate, size}, nil
}

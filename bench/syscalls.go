package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// syscalls compares how many system calls the run of a bundle of true takes, of all processes and threads, as strace counts
// them. It is the measure where time means nothing: in an emulated machine. For the same reason some are left out, of all: how
// often threads wait for each other or are made to change depends on how slow strace and the machine are, and a clock is read
// without a system call where there is a real one.
func syscalls(f *Field) ([]Benchmark, error) {
	dir, err := f.bundle("counted", "/tripod-bench/counted", "/bin/true")
	if err != nil {
		return nil, err
	}
	without, err := f.bundle("counted-bare", "", "/bin/true")
	if err != nil {
		return nil, err
	}
	list := []Benchmark{
		{Name: "system calls of the run of a bundle of true, " + cgroupMode(), Unit: "calls", Rounds: 3, Targets: []Target{{"crun", atMost, 1}}, After: removeCgroups},
		{Name: "system calls of the same without a cgroup, " + cgroupMode(), Unit: "calls", Rounds: 3, Targets: []Target{{"crun", atMost, 1}}},
	}
	for _, r := range f.runtimes() {
		list[0].Contenders = append(list[0].Contenders, Contender{Name: r.name, Measure: func() (float64, error) { return r.count(f.dir, dir) }})
	}
	for _, r := range f.withoutCgroups() {
		list[1].Contenders = append(list[1].Contenders, Contender{Name: r.name, Measure: func() (float64, error) { return r.count(f.dir, without) }})
	}
	return list, nil
}

// count runs a bundle under strace.
func (r runtime) count(dir, bundle string) (float64, error) {
	table := filepath.Join(dir, "strace")
	args := append([]string{"-f", "-c", "-e", "trace=!futex,nanosleep,sched_yield,clock_gettime,tgkill,rt_sigreturn,getpid", "-o", table, r.binary}, r.flags...)
	if err := command("strace", append(args, "run", "--bundle", bundle, newID())...); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(table)
	if err != nil {
		return 0, err
	}
	return total(string(text))
}

// total reads the last line of strace's table: "100.00 0.012345 12 1042 96 total", where a column may be missing.
func total(table string) (float64, error) {
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) >= 5 && f[len(f)-1] == "total" {
			return strconv.ParseFloat(f[3], 64)
		}
	}
	return 0, fmt.Errorf("strace has no line of totals: %.200q", table)
}

// machineMark stands before the results that a run in the machine tells its host.
const machineMark = "@results "

// inMachine has system calls counted in the emulated machine, which has cgroup v2 alone, and returns a file with the report.
func inMachine(self, bins string) (string, error) {
	// The machine gets every program of ours that lies there.
	program := filepath.Join(bins, "tripod-bench")
	if err := command("cp", self, program); err != nil {
		return "", err
	}
	defer os.Remove(program)
	fmt.Println("counting system calls in the emulated machine")
	said, err := output(nil, "go", "run", "./tools/vm", "-timeout", "10m", "-do", "/opt/tripod/tripod-bench -machine -bin /opt/tripod")
	if err != nil {
		return "", errors.Join(err, errors.New(said))
	}
	_, text, ok := strings.Cut(said, machineMark)
	if !ok {
		return "", fmt.Errorf("the emulated machine told no results: %s", said)
	}
	text, _, _ = strings.Cut(text, "\n")
	file, err := os.CreateTemp("", "counted")
	if err != nil {
		return "", err
	}
	_, err = file.WriteString(text)
	return file.Name(), errors.Join(err, file.Close())
}

// countHere is what the emulated machine does.
func countHere(bins string) (err error) {
	f, err := bareField(bins)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.undo()) }()
	list, err := syscalls(f)
	if err != nil {
		return err
	}
	r := Report{Machine: machine(), Versions: f.versions()}
	for _, b := range list {
		result, err := b.Run()
		if err != nil {
			return fmt.Errorf("%s: %w", b.Name, err)
		}
		r.Results = append(r.Results, result)
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("%s%s\n", machineMark, text)
	return err
}

// take adds what the emulated machine counted, if it has.
func (r *Report) take(file string) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var there Report
	if err := json.Unmarshal(text, &there); err != nil {
		return fmt.Errorf("cannot read what the emulated machine counted: %w", err)
	}
	if len(there.Machine) > 0 {
		r.Machine = append(r.Machine, "emulated: "+there.Machine[len(there.Machine)-1]+", "+strings.Join(there.Versions, ", "))
	}
	for _, result := range there.Results {
		result.Name += ", emulated machine"
		r.Results = append(r.Results, result)
	}
	return nil
}

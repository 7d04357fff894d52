// Command bench compares tripod with the peers that Debian has: crun, runc and podman. Each benchmark runs its contenders in
// turn, round by round, so that noise of the machine meets all alike; minimum and median are told, and the ratio of medians.
//
// Everything happens in folders and in a network namespace of its own. What a peer needs to run on this host is done before
// and undone afterwards (peers.go). The same is asked of all: one bundle, seccomp profile, cgroup layout and log form; nobody
// has a pool or a cache that the other lacks.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	// What the caller has left open is not to be that of thousands of processes.
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	out := flag.String("out", "bench/out", "`folder` for report.txt, results.json and bench.svg")
	only := flag.String("run", "", "only benchmarks whose name matches this `regexp`")
	rounds := flag.Int("rounds", 0, "rounds of each benchmark (0: as many as each one says)")
	inside := flag.Bool("inside", false, "this is the process inside the network namespace")
	bins := flag.String("bin", "bin", "`folder` of tripod and tripod-oci")
	machine := flag.Bool("machine", false, "only count system calls, and tell it to inMachine: this is the emulated machine")
	counted := flag.String("counted", "", "`file` with what the emulated machine counted")
	flag.Parse()
	match, err := regexp.Compile(*only)
	switch {
	case err != nil:
	case *machine:
		err = countHere(*bins)
	case *inside:
		err = bench(*out, *bins, *counted, match, *rounds)
	default:
		err = enter(*bins, match)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// enter runs this program again in a network namespace of its own: networks of Pods are made there, not on the host. Before, it
// has the emulated machine count, for whose kernel the network may be needed.
func enter(bins string, match *regexp.Regexp) error {
	if os.Geteuid() != 0 {
		return errors.New("containers are made by root")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"-inside"}
	if match.MatchString("system calls, cgroup v2") {
		file, err := inMachine(self, bins)
		if err != nil {
			return err
		}
		defer os.Remove(file)
		args = append(args, "-counted", file)
	}
	signal.Ignore(os.Interrupt) // the process inside undoes what it did, then both end
	again := exec.Command(self, append(args, os.Args[1:]...)...)
	again.Stdout, again.Stderr = os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	return again.Run()
}

func bench(out, bins, counted string, match *regexp.Regexp, rounds int) (err error) {
	bin, err := filepath.Abs(bins)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	if err := command("ip", "link", "set", "lo", "up"); err != nil {
		return err
	}
	field, err := newField(bin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, field.undo()) }()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)

	report := Report{Machine: machine(), Versions: field.versions()}
	if err := report.take(counted); err != nil {
		return err
	}
	report.Head(os.Stdout)
	for _, result := range report.Results {
		result.Print(os.Stdout)
	}
	for _, make := range []func(*Field) ([]Benchmark, error){bundles, lives, parallel, syscalls, pods, memory, daemons, pull, namespaces, nsenter, whois, captures} {
		list, err := make(field)
		if err != nil {
			return err
		}
		for _, b := range list {
			if !match.MatchString(b.Name) {
				continue
			}
			select {
			case s := <-stop:
				return fmt.Errorf("ended by %s", s)
			default:
			}
			if rounds > 0 && b.Rounds > 1 {
				b.Rounds = rounds
			}
			result, err := b.Run()
			if err != nil {
				return fmt.Errorf("%s: %w", b.Name, err)
			}
			result.Print(os.Stdout)
			report.Results = append(report.Results, result)
		}
	}
	return report.Write(out)
}

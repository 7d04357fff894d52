// Command conformance runs the validation programs of the Open Container Initiative's runtime-tools against OCI runtimes and prints
// what each says, side by side.
//
//	go run ./tools/conformance [-run RE] [-v] [-least N] RUNTIME...
//
// The programs come by version from the Go module proxy (suite/go.mod) and are built in a temporary folder. Each makes containers of its own with the
// runtime named in $RUNTIME, from a root file system that the module carries, and prints TAP. A program passes when it exits with 0,
// says "ok" at least once and "not ok" never; one that asserts nothing is told apart.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

const (
	suite   = "github.com/opencontainers/runtime-tools"
	modules = "tools/conformance/suite" // the module that pins it, from the top of the repository
)

// patience is how long one program may take. The slowest waits ten seconds for a hook.
const patience = 90 * time.Second

func main() {
	run := flag.String("run", ".", "run the programs whose name matches")
	verbose := flag.Bool("v", false, "print what the programs say")
	least := flag.Int("least", 0, "fail when the first runtime passes fewer")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: conformance [-run RE] [-v] [-least N] RUNTIME...")
		os.Exit(2)
	}
	passed, err := compare(flag.Args(), regexp.MustCompile(*run), *verbose)
	if err == nil && passed < *least {
		err = fmt.Errorf("%s passes %d programs, want %d", flag.Arg(0), passed, *least)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// compare prints the table and returns how many programs the first runtime passes.
func compare(runtimes []string, which *regexp.Regexp, verbose bool) (int, error) {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	programs, err := build(dir)
	if err != nil {
		return 0, err
	}
	programs = slices.DeleteFunc(programs, func(p string) bool { return !which.MatchString(p) })
	for i, r := range runtimes {
		if runtimes[i], err = exec.LookPath(r); err == nil {
			runtimes[i], err = filepath.Abs(runtimes[i])
		}
		if err != nil {
			return 0, err
		}
	}
	undo, err := hugetlb(runtimes)
	if err != nil {
		return 0, err
	}
	defer undo()
	scores := make([]int, len(runtimes))
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "program")
	for _, r := range runtimes {
		fmt.Fprint(w, "\t", filepath.Base(r))
	}
	fmt.Fprintln(w)
	for _, p := range programs {
		fmt.Fprint(w, p)
		for i, r := range runtimes {
			got, said := judge(dir, p, r)
			if got == pass {
				scores[i]++
			}
			if verbose {
				fmt.Printf("--- %s with %s: %s\n%s", p, filepath.Base(r), got, said)
			}
			fmt.Fprint(w, "\t", got)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "passed of %d", len(programs))
	for _, n := range scores {
		fmt.Fprint(w, "\t", n)
	}
	fmt.Fprintln(w)
	return scores[0], w.Flush()
}

// hugetlb mounts a hierarchy of cgroup v1 with huge pages, where crun is to run on a host that has v1 and keeps these on v2: crun
// refuses such a host.
func hugetlb(runtimes []string) (undo func(), err error) {
	const at = "/sys/fs/cgroup/hugetlb"
	_, v1 := os.Stat("/sys/fs/cgroup/memory")
	_, here := os.Stat(at)
	if v1 != nil || here == nil || !slices.ContainsFunc(runtimes, func(r string) bool { return filepath.Base(r) == "crun" }) {
		return func() {}, nil
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		return nil, err
	}
	if err := syscall.Mount("cgroup", at, "cgroup", 0, "hugetlb"); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot mount %s: %w", at, err), os.Remove(at))
	}
	return func() {
		for _, err := range []error{syscall.Unmount(at, 0), os.Remove(at)} {
			if err != nil {
				fmt.Fprintln(os.Stderr, "conformance:", err)
			}
		}
	}, nil
}

// build puts the programs, what they run inside and the root file system into dir.
func build(dir string) ([]string, error) {
	all := exec.Command("go", "-C", modules, "build", "-o", dir+"/", "tool")
	all.Env = append(os.Environ(), "CGO_ENABLED=0") // runtimetest runs where there is no loader
	if out, err := all.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot build the programs: %w: %s", err, out)
	}
	programs, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, err
	}
	for i, p := range programs {
		programs[i] = filepath.Base(p)
	}
	programs = slices.DeleteFunc(programs, func(p string) bool { return p == "runtimetest" })
	module, err := exec.Command("go", "-C", modules, "list", "-m", "-f", "{{.Dir}}", suite).Output()
	if err != nil {
		return nil, fmt.Errorf("cannot find %s: %w", suite, err)
	}
	rootfs := fmt.Sprintf("rootfs-%s.tar.gz", runtime.GOARCH)
	return programs, copyFile(filepath.Join(dir, rootfs), filepath.Join(strings.TrimSpace(string(module)), rootfs))
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// verdict is what came of one program.
type verdict string

const (
	pass    verdict = "ok"
	fail    verdict = "not ok"
	nothing verdict = "asserts nothing"
	skipped verdict = "skipped"
	hangs   verdict = "hangs"
)

// judge runs a program as a process group of its own, in a mount namespace of its own, and ends all of it.
func judge(dir, program, with string) (verdict, string) {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	cmd := exec.CommandContext(ctx, "./"+program)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "RUNTIME="+with)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Unshareflags: syscall.CLONE_NEWNS}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	said := string(out)
	if ctx.Err() != nil {
		return hangs, said
	}
	if err == nil && program == "process_rlimits_fail" {
		return pass, said // it says by its exit code alone that the container was refused
	}
	return read(said, err == nil), said
}

// read is the verdict of TAP (testanything.org), and of the exit code.
func read(tap string, fine bool) verdict {
	ok, skips := 0, 0
	for line := range strings.Lines(tap) {
		switch {
		case strings.HasPrefix(line, "not ok"):
			return fail
		case strings.HasPrefix(line, "ok") && strings.Contains(line, "# SKIP"):
			skips++
		case strings.HasPrefix(line, "ok"):
			ok++
		}
	}
	switch {
	case !fine:
		return fail
	case ok > 0:
		return pass
	case skips > 0:
		return skipped
	}
	return nothing
}

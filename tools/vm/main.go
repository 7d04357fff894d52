// Command vm runs the tests that touch the kernel in an emulated machine: Debian's cloud kernel, which is another kernel than
// the host's, with cgroup v2 alone. It needs no KVM and changes nothing on the host. With -systemd the machine's init is
// Debian's systemd instead of a script, for the tests of what systemd does.
//
//	host: go test -c ... -> a root tree of Debian packages' files -> ext4 image, kernel, initramfs
//	guest: /init -> modules, file systems -> each test binary in turn -> serial console
//	host: console -> passed and failed, by package and by test
//
// It fails when a test fails, when a package does not report an end, and when the machine does not come to its last line.
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
	"time"
)

// packages are the ones whose tests ask the kernel for something. Those that hold no test yet are passed over.
var packages = []string{
	"internal/cgroup", "internal/volume", "internal/image", "internal/network",
	"internal/birth", "internal/container", "internal/keeper", "internal/sandbox", "internal/engine", "cmd/tripod-oci", "e2e",
}

// withSystemd are the packages with tests of what systemd does, TestSystemd...
var withSystemd = []string{"internal/cgroup", "e2e"}

func main() {
	cache := flag.String("cache", "bin/vm", "`folder` for the kernel and the machine's disk")
	memory := flag.String("m", "3G", "memory of the machine, as qemu takes it")
	limit := flag.Duration("timeout", 40*time.Minute, "how long the machine may run")
	run := flag.String("run", "", "only tests whose name matches this `regexp`, as go test has it")
	systemd := flag.Bool("systemd", false, "boot systemd, and run the tests as a unit of it")
	v1 := flag.Bool("v1", false, "with -systemd: have the controllers on cgroup v1, beside a unified hierarchy without any")
	script := flag.String("do", "", "run this shell `script` in the machine instead of tests")
	verbose := flag.Bool("v", false, "show the console")
	flag.Parse()
	chosen := packages
	if flag.NArg() > 0 || *script != "" {
		chosen = flag.Args()
	} else if *systemd {
		chosen = withSystemd
		*run = "Systemd"
		if *v1 { // which is another host for all tests of cgroups
			chosen, *run = withSystemd[:1], ""
		}
	}
	if err := test(*cache, *memory, *limit, Work{chosen, *run, *script, *systemd, *v1}, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

// Work is what the machine is to do: the tests of packages, those that match Run if it is not empty, or a shell script that
// finds the packages' test binaries below /tests and their folders below /src.
type Work struct {
	Packages []string
	Run      string
	Script   string
	Systemd  bool // is the machine's init
	V1       bool // and has the controllers on cgroup v1
}

func test(cache, memory string, limit time.Duration, work Work, verbose bool) error {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return fmt.Errorf("cannot emulate a machine: %w (Debian: qemu-system-x86)", err)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	kernel, err := findKernel(filepath.Join(cache, "kernel"))
	if err != nil {
		return err
	}
	root, err := os.MkdirTemp(cache, "root-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	built, err := stage(root, kernel, work)
	if err != nil {
		return err
	}
	if len(built) == 0 {
		return errors.New("none of the packages has a test")
	}
	disk, initramfs := root+".img", filepath.Join(cache, "initramfs") // two runs side by side have a disk each
	if err := makeDisk(disk, root); err != nil {
		return err
	}
	defer os.Remove(disk)
	if err := makeInitramfs(initramfs, kernel); err != nil {
		return err
	}
	init, cgroups := "/sbin/tests", "cgroup_no_v1=all"
	if work.Systemd {
		init = "/usr/lib/systemd/systemd"
	}
	if work.V1 {
		cgroups = "systemd.unified_cgroup_hierarchy=0"
	}
	fmt.Printf("%s, %s: %d packages, at most %s\n", kernel.Release, init, len(built), limit)

	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	machine := exec.CommandContext(ctx, qemu,
		"-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max", "-smp", "2", "-m", memory,
		"-kernel", kernel.Image, "-initrd", initramfs,
		"-append", "console=ttyS0 quiet panic=-1 systemd.unit=tests.target "+cgroups+" second="+init,
		"-drive", "file="+disk+",format=raw,if=virtio,cache=unsafe",
		"-display", "none", "-nodefaults", "-serial", "stdio", "-no-reboot", "-nic", "none")
	log := filepath.Join(cache, "console.log")
	console, err := os.Create(log)
	if err != nil {
		return err
	}
	defer console.Close()
	machine.Stdout = console
	if verbose {
		machine.Stdout = io.MultiWriter(console, os.Stdout)
	}
	machine.Stderr = os.Stderr
	began := time.Now()
	err = machine.Run()
	if _, serr := console.Seek(0, io.SeekStart); serr != nil {
		return serr
	}
	result := Read(console, built)
	result.Print(os.Stdout)
	fmt.Printf("%d passed, %d failed, %d skipped in %s\n", result.Passed, result.Failed, result.Skipped, time.Since(began).Round(time.Second))
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the machine was still running after %s; its console is in %s", limit, log)
	case err != nil:
		return fmt.Errorf("cannot run the machine: %w", err)
	case !result.Ended:
		return fmt.Errorf("the machine did not come to its last line; its console is in %s", log)
	case result.Failed > 0 || len(result.Missing) > 0:
		return fmt.Errorf("%d tests failed, %d packages told no end; the console is in %s", result.Failed, len(result.Missing), log)
	}
	return nil
}

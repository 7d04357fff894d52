package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// inventory is everything on the host that a Pod could leave behind, each thing as one line.
type inventory map[string]bool

type inventoryKey struct{}

// noLeaks compares the host with what it was when the script began. The kernel takes some things away a moment after their
// last user has gone, so it looks until nothing is left, for ten seconds at most.
func noLeaks(ts *testscript.TestScript, neg bool, args []string) {
	before := ts.Value(inventoryKey{}).(inventory)
	deadline := time.Now().Add(time.Duration(10*patience()) * time.Second)
	for {
		now, err := look(ts.Getenv("WORK"))
		ts.Check(err)
		var left []string
		for _, thing := range slices.Sorted(maps.Keys(now)) {
			if !before[thing] {
				left = append(left, thing)
			}
		}
		if (len(left) == 0) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("left behind:\n\t%s", strings.Join(left, "\n\t"))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// look takes stock: mounts, cgroups named tripod and processes below them, processes that name the script's folder, network
// namespaces with names, interfaces, firewall rules, and records and data of Pods. Images may stay.
func look(work string) (inventory, error) {
	seen := inventory{}
	err := errors.Join(
		seen.mounts(), seen.cgroups(), seen.processes(work), seen.network(),
		seen.files("file", filepath.Join(work, "run", "pods")), seen.files("file", filepath.Join(work, "root", "volumes")),
		seen.files("file", filepath.Join(work, "root", "logs")), seen.files("file", filepath.Join(work, "root", "network", "pods")),
		seen.files("lease", filepath.Join(work, "root", "images", "leases")))
	return seen, err
}

func (seen inventory) mounts() error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 5 {
			seen["mount "+f[4]] = true
		}
	}
	return err
}

// hierarchies are the mount points of cgroup hierarchies.
func hierarchies() ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	var at []string
	for line := range strings.Lines(string(table)) {
		if before, after, ok := strings.Cut(line, " - "); ok && strings.HasPrefix(after, "cgroup") {
			at = append(at, strings.Fields(before)[4])
		}
	}
	return at, err
}

func (seen inventory) cgroups() error {
	at, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range at {
		err = errors.Join(err, filepath.WalkDir(h, func(path string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil:
				return err
			case d.IsDir() && (strings.HasSuffix(path, "/tripod") || strings.Contains(path, "/tripod/")):
				seen["cgroup "+path] = true
			}
			return nil
		}))
	}
	return err
}

func (seen inventory) processes(work string) error {
	return eachProcess(func(pid int, cmdline, cgroup string) {
		if pid != os.Getpid() && (strings.Contains(cmdline, work+"/r") || strings.Contains(cgroup, "/tripod/")) {
			seen[fmt.Sprintf("process %d %s", pid, cmdline)] = true
		}
	})
}

func eachProcess(f func(pid int, cmdline, cgroup string)) error {
	entries, err := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		cgroup, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		f(pid, string(bytes.ReplaceAll(cmdline, []byte{0}, []byte(" "))), string(cgroup))
	}
	return err
}

// network takes stock of the thread's network namespace, and of the host's named ones.
func (seen inventory) network() error {
	links, err := net.Interfaces()
	for _, l := range links {
		seen["interface "+l.Name] = true
	}
	names, nerr := os.ReadDir("/run/netns")
	if errors.Is(nerr, fs.ErrNotExist) {
		nerr = nil
	}
	for _, n := range names {
		seen["netns "+n.Name()] = true
	}
	rules, rerr := exec.Command("nft", "list", "ruleset").Output()
	for line := range strings.Lines(string(rules)) {
		seen["nft "+strings.TrimSpace(line)] = true
	}
	return errors.Join(err, nerr, rerr)
}

func (seen inventory) files(kind, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if path != dir {
			seen[kind+" "+path] = true
		}
		return err
	})
}

// sweep ends what a failed script has left: processes and cgroups of its Pods, mounts below its folder.
func sweep(work string) {
	pods, _ := filepath.Glob(filepath.Join(work, "run", "pods", "*"))
	at, _ := hierarchies()
	for range 20 {
		busy := false
		_ = eachProcess(func(pid int, cmdline, cgroup string) {
			ours := strings.Contains(cmdline, work+"/r")
			for _, pod := range pods {
				ours = ours || strings.Contains(cgroup, filepath.Base(pod))
			}
			if ours && pid != os.Getpid() {
				busy = unix.Kill(pid, unix.SIGKILL) == nil
			}
		})
		if !busy {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, pod := range pods {
		for _, h := range at {
			for _, dir := range []string{"tripod/keepers", "tripod"} {
				removeCgroup(filepath.Join(h, dir, filepath.Base(pod)))
			}
		}
	}
	for _, h := range at { // ours only when nobody else is below
		_ = unix.Rmdir(filepath.Join(h, "tripod/keepers"))
		_ = unix.Rmdir(filepath.Join(h, "tripod"))
	}
	table, _ := os.ReadFile("/proc/self/mountinfo")
	lines := slices.Collect(strings.Lines(string(table)))
	slices.Reverse(lines)
	for _, line := range lines {
		if f := strings.Fields(line); len(f) > 5 && strings.HasPrefix(f[4], work+"/") {
			_ = unix.Unmount(f[4], unix.MNT_DETACH)
		}
	}
}

func removeCgroup(dir string) {
	children, _ := os.ReadDir(dir)
	for _, c := range children {
		if c.IsDir() {
			removeCgroup(filepath.Join(dir, c.Name()))
		}
	}
	_ = unix.Rmdir(dir)
}

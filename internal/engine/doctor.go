package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/cgroup"
	"tripod/internal/keeper"
	"tripod/internal/network"
	"tripod/internal/sandbox"
)

// Finding is one thing that Examine looked at.
type Finding struct {
	Area string `json:"area"`
	Good bool   `json:"good"`
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

// Examine says what of this host Pods need, and what is left over of Pods that are gone. It changes nothing.
func (e *Engine) Examine(ctx context.Context) []Finding {
	var all []Finding
	for _, look := range []func() []Finding{
		examinePrivileges, examineKernel, examineCgroups, e.examineOverlay, e.examineKeeper, e.examineNetwork,
		e.leakedPods, e.leakedCgroups, e.leakedNetwork, e.leakedFiles,
	} {
		if ctx.Err() != nil {
			break
		}
		all = append(all, look()...)
	}
	return all
}

func good(area, format string, args ...any) Finding {
	return Finding{Area: area, Good: true, Text: fmt.Sprintf(format, args...)}
}

func bad(area, hint, format string, args ...any) Finding {
	return Finding{Area: area, Text: fmt.Sprintf(format, args...), Hint: hint}
}

func examinePrivileges() []Finding {
	err := sandbox.Privileged()
	if err == nil {
		return []Finding{good("privileges", "root, with all that a Pod needs")}
	}
	var p *sandbox.PrivilegeError
	if errors.As(err, &p) {
		return []Finding{bad("privileges", p.Fix, "%s", p.What)}
	}
	return []Finding{bad("privileges", "", "%v", err)}
}

// Oldest kernel that has all that is used with no way around it: cgroup.kill, 5.14.
const kernelMajor, kernelMinor = 5, 14

func examineKernel() []Finding {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return []Finding{bad("kernel", "", "cannot ask for its version: %v", err)}
	}
	release := unix.ByteSliceToString(name.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return []Finding{bad("kernel", "", "cannot read its version %q", release)}
	}
	if major < kernelMajor || major == kernelMajor && minor < kernelMinor {
		return []Finding{bad("kernel", fmt.Sprintf("Linux %d.%d or newer is needed", kernelMajor, kernelMinor), "Linux %s", release)}
	}
	return []Finding{good("kernel", "Linux %s", release)}
}

func examineCgroups() []Finding {
	host, err := cgroup.Detect()
	if err != nil {
		return []Finding{bad("cgroups", "mount the cgroup file systems below /sys/fs/cgroup", "%v", err)}
	}
	var have []string
	for _, y := range host.Hierarchies {
		have = append(have, y.Controllers...)
	}
	all := []Finding{good("cgroups", "%s, %d hierarchies", host.Mode, len(host.Hierarchies))}
	for _, c := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(have, c) {
			all = append(all, bad("cgroups", "limits of it are refused", "no controller %s", c))
		}
	}
	return all
}

func (e *Engine) examineOverlay() []Finding {
	list, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return []Finding{bad("overlay", "", "%v", err)}
	}
	if !strings.Contains(string(list), "\toverlay\n") {
		return []Finding{bad("overlay", "load it: modprobe overlay", "the kernel has no overlay file system")}
	}
	scratch, err := needsScratch(e.Host.Root)
	switch {
	case err != nil:
		return []Finding{bad("overlay", "", "%v", err)}
	case scratch:
		return []Finding{good("overlay", "there; %s cannot hold what containers write, so that is kept in memory", e.Host.Root)}
	}
	return []Finding{good("overlay", "there")}
}

func (e *Engine) examineKeeper() []Finding {
	if err := unix.Access(e.Host.Keeper, unix.X_OK); err != nil {
		return []Finding{bad("programs", "install tripod-oci beside tripod", "%s: %v", e.Host.Keeper, err)}
	}
	return []Finding{good("programs", "%s", e.Host.Keeper)}
}

func (e *Engine) examineNetwork() []Finding {
	if err := network.Ready(e.network()); err != nil {
		return []Finding{bad("network", "Pods with hostNetwork, or tripod run --network none, need none of it", "%v", err)}
	}
	all := []Finding{good("network", "bridge, addresses and host ports can be made")}
	for _, changed := range network.Changed(e.network()) {
		all = append(all, good("network", "%s", changed))
	}
	return all
}

func (e *Engine) network() network.Config {
	return network.Config{Root: e.Host.Root, RunRoot: e.Host.RunRoot}
}

// pods are the UIDs of all folders of Pods, whole or not.
func (e *Engine) pods() ([]string, error) {
	entries, err := os.ReadDir(e.Host.Pods())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var uids []string
	for _, entry := range entries {
		uids = append(uids, entry.Name())
	}
	return uids, nil
}

// leakedPods finds Pods whose keeper died, or that were half made.
func (e *Engine) leakedPods() []Finding {
	uids, err := e.pods()
	if err != nil {
		return []Finding{bad("pods", "", "%v", err)}
	}
	boxes, err := e.Host.List()
	if err != nil {
		return []Finding{bad("pods", "", "%v", err)}
	}
	known := map[string]*sandbox.Sandbox{}
	for _, box := range boxes {
		known[string(box.Pod.UID)] = box
	}
	var all []Finding
	for _, uid := range uids {
		box, whole := known[uid]
		switch {
		case !whole:
			all = append(all, bad("pods", "tripod ps sweeps it", "folder %s is no Pod", uid))
		case !box.Ended() && !keeper.Alive(box.Dir()):
			all = append(all, bad("pods", "tripod ps brings it back", "Pod %s: its keeper died", box))
		}
	}
	return append(all, good("pods", "%d here", len(boxes)))
}

// leakedCgroups finds groups of Pods that have no folder. Those in which something runs another tripod of this host may
// have; they are ours when Root has their files.
func (e *Engine) leakedCgroups() []Finding {
	host, err := cgroup.Detect()
	if err != nil {
		return nil
	}
	known, err := e.pods()
	if err != nil {
		return []Finding{bad("cgroups", "", "%v", err)}
	}
	seen := map[string]bool{}
	for _, y := range host.Hierarchies {
		for _, dir := range []string{"tripod", "tripod/keepers"} {
			entries, _ := os.ReadDir(filepath.Join(y.Mountpoint, dir))
			for _, entry := range entries {
				if entry.IsDir() && entry.Name() != "keepers" && !slices.Contains(known, entry.Name()) {
					seen[dir+"/"+entry.Name()] = true
				}
			}
		}
	}
	var all []Finding
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		procs, err := cgroup.Open(host, name).Procs()
		dir, uid := path.Split(name)
		_, files := os.Lstat(filepath.Join(e.Host.Root, "containers", uid))
		switch {
		case err != nil || len(procs) == 0:
			all = append(all, bad("cgroups", "rmdir it in every hierarchy", "group %s is empty and of no Pod here", name))
		case files == nil && dir == "tripod/":
			all = append(all, bad("cgroups", "tripod ps ends it", "Pod %s runs, and its folder is gone", uid))
		}
	}
	return all
}

func (e *Engine) leakedNetwork() []Finding {
	var all []Finding
	for _, leak := range network.Leaks(e.network()) {
		all = append(all, bad("network", "tripod ps sweeps it", "%s", leak))
	}
	return all
}

// leakedFiles finds what Pods without a folder have left below Root: after a reboot that is what their volumes were.
func (e *Engine) leakedFiles() []Finding {
	known, err := e.pods()
	if err != nil {
		return []Finding{bad("files", "", "%v", err)}
	}
	var all []Finding
	for _, dir := range []string{"containers", "volumes", "logs"} {
		entries, _ := os.ReadDir(filepath.Join(e.Host.Root, dir))
		for _, entry := range entries {
			uid := entry.Name()[strings.LastIndexByte(entry.Name(), '_')+1:]
			if !slices.Contains(known, uid) {
				all = append(all, bad("files", "remove it when it is not needed", "%s is of no Pod here", filepath.Join(e.Host.Root, dir, entry.Name())))
			}
		}
	}
	return all
}

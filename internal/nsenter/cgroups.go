package nsenter

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/cgroup"
)

// cgroupPaths reads /proc/PID/cgroup: the path in each hierarchy, by its name in package cgroup (cgroups(7)). A path
// that lies outside of what the reader may see is left out.
func cgroupPaths(text string) map[string]string {
	paths := map[string]string{}
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3)
		if len(f) != 3 || !strings.HasPrefix(f[2], "/") || strings.HasPrefix(f[2], "/..") {
			continue
		}
		name := f[1]
		if name == "" {
			name = cgroup.Unified
		}
		paths[name] = strings.TrimSuffix(f[2], " (deleted)")
	}
	return paths
}

// cgroups opens what puts a process into the target's cgroup of each hierarchy. On cgroup v2 a group that hands
// controllers down takes no processes (EBUSY): the program gets one below it then, which is removed behind it.
func (v *view) cgroups() error {
	text, err := v.target.read("cgroup", 1<<20)
	if err != nil {
		return err
	}
	host, err := cgroup.Detect()
	if err != nil {
		return err
	}
	paths := cgroupPaths(text)
	for _, y := range host.Hierarchies {
		where, ok := paths[y.Name]
		if !ok {
			continue
		}
		dir, file := path.Join(y.Mountpoint, where), "tasks"
		if y.Unified {
			file = "cgroup.procs"
			if where != "/" {
				if dir, err = v.leaf(dir); err != nil {
					return err
				}
			}
		}
		fd, err := unix.Open(dir+"/"+file, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != nil {
			return cannotOpen(dir+"/"+file, err)
		}
		v.given[fmt.Sprint("cgroup:", v.Cgroups)] = fd
		v.Cgroups++
	}
	return nil
}

// leaf is a group that takes processes: dir, or a new one below it.
func (v *view) leaf(dir string) (string, error) {
	control, err := os.ReadFile(dir + "/cgroup.subtree_control")
	if err != nil || len(strings.TrimSpace(string(control))) == 0 {
		return dir, nil
	}
	dir += "/nsenter-" + strconv.Itoa(os.Getpid())
	if err := unix.Mkdir(dir, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return "", fmt.Errorf("cannot make cgroup %s: %s", dir, text(err))
	}
	v.groups, v.Leaf = append(v.groups, dir), true
	return dir, nil
}

package birth

import (
	"fmt"
	"os"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// UserNamespace makes a user namespace with these mappings and returns a descriptor of it, the caller's. It takes a
// process that lives in it for a moment: joining is then the same for new namespaces and for old ones.
func UserNamespace(uids, gids []specs.LinuxIDMapping) (int, error) {
	p := &plan.Plan{Clone: unix.CLONE_NEWUSER, Steps: []plan.Step{
		{Name: "hold user namespace", Call: plan.Read, Args: []plan.Arg{plan.File(plan.Gate), {Kind: plan.ZeroedArg, N: 8}, plan.Int(1)}, Again: true},
		{Name: "end", Call: plan.ExitGroup, Args: []plan.Arg{plan.Int(0)}},
	}}
	var own []int
	c, err := start(p, map[string]int{}, nil, &own, false)
	for _, fd := range own {
		unix.Close(fd)
	}
	if err != nil {
		return -1, fmt.Errorf("cannot make user namespace: %w", err)
	}
	defer c.Abort()
	for _, m := range []struct {
		file string
		list []specs.LinuxIDMapping
	}{{"uid_map", uids}, {"gid_map", gids}} {
		var b strings.Builder
		for _, l := range m.list {
			fmt.Fprintf(&b, "%d %d %d\n", l.ContainerID, l.HostID, l.Size)
		}
		path := fmt.Sprintf("/proc/%d/%s", c.Pid, m.file)
		if err := os.WriteFile(path, []byte(b.String()), 0); err != nil {
			return -1, fmt.Errorf("cannot map ids of user namespace: %w", err)
		}
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/user", c.Pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open user namespace: %w", err)
	}
	return fd, nil
}

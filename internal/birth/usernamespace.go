package birth

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
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
	if err := mapIDs(c.Pid, uids, gids); err != nil {
		return -1, fmt.Errorf("cannot map ids of user namespace: %w", err)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/user", c.Pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open user namespace: %w", err)
	}
	return fd, nil
}

// Mappings are those of a user namespace by path, as this process's own sees them. It takes a process that is in it for a
// moment: no file tells them.
func Mappings(path string) (uids, gids []specs.LinuxIDMapping, err error) {
	fd, err := namespace(plan.Open{Name: plan.NamespaceFile(specs.UserNamespace), Path: path})
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(fd)
	const file = "ns"
	p := &plan.Plan{Steps: []plan.Step{
		{Name: "join user namespace", Call: plan.Setns, Args: []plan.Arg{plan.File(file), plan.Int(unix.CLONE_NEWUSER)}},
		{Name: "tell that it is there", Call: plan.Write, Args: []plan.Arg{plan.File(plan.Status), plan.Bytes(plan.Ready[:]), plan.Int(len(plan.Ready))}},
		{Name: "hold user namespace", Call: plan.Read, Args: []plan.Arg{plan.File(plan.Gate), {Kind: plan.ZeroedArg, N: 8}, plan.Int(1)}, Again: true},
		{Name: "end", Call: plan.ExitGroup, Args: []plan.Arg{plan.Int(0)}},
	}}
	var own []int
	c, err := start(p, map[string]int{file: fd}, nil, &own, false)
	for _, fd := range own {
		unix.Close(fd)
	}
	if err != nil {
		return nil, nil, err
	}
	defer c.Abort()
	if err := c.Ready(); err != nil {
		return nil, nil, err
	}
	if uids, err = readMap(c.Pid, "uid_map"); err == nil {
		gids, err = readMap(c.Pid, "gid_map")
	}
	return uids, gids, err
}

func readMap(pid int, name string) (list []specs.LinuxIDMapping, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(data)) {
		var m specs.LinuxIDMapping
		if _, err := fmt.Sscan(line, &m.ContainerID, &m.HostID, &m.Size); err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", name, err)
		}
		list = append(list, m)
	}
	return list, nil
}

// mapIDs gives a user namespace its ids. Who has no rights on the host maps its own ids, or asks newuidmap(1) and newgidmap(1)
// for those that /etc/subuid and /etc/subgid leave to it.
func mapIDs(pid int, uids, gids []specs.LinuxIDMapping) error {
	for _, m := range []struct {
		file, program string
		list          []specs.LinuxIDMapping
		own           int
	}{{"uid_map", "newuidmap", uids, os.Geteuid()}, {"gid_map", "newgidmap", gids, os.Getegid()}} {
		var text strings.Builder
		words := []string{m.program, strconv.Itoa(pid)}
		for _, l := range m.list {
			fmt.Fprintf(&text, "%d %d %d\n", l.ContainerID, l.HostID, l.Size)
			words = append(words, strconv.Itoa(int(l.ContainerID)), strconv.Itoa(int(l.HostID)), strconv.Itoa(int(l.Size)))
		}
		if own := len(m.list) == 1 && m.list[0].Size == 1 && int(m.list[0].HostID) == m.own; own && m.own != 0 && m.file == "gid_map" {
			// Groups that deny their members something could be left otherwise (user_namespaces(7)).
			if err := os.WriteFile(fmt.Sprintf("/proc/%d/setgroups", pid), []byte("deny"), 0); err != nil {
				return err
			}
		}
		err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, m.file), []byte(text.String()), 0)
		if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
			err = ask(words)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ask runs newuidmap or newgidmap, which have the rights for what they allow.
func ask(words []string) error {
	var path string
	for _, dir := range []string{"/usr/bin", "/bin", "/usr/local/bin"} {
		if _, err := os.Stat(dir + "/" + words[0]); err == nil {
			path = dir + "/" + words[0]
			break
		}
	}
	if path == "" {
		return fmt.Errorf("there is no %s (package uidmap): without it only the caller's own id can be mapped, and one of it", words[0])
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	defer w.Close()
	call := func(name string, c plan.Call, args ...plan.Arg) plan.Step {
		return plan.Step{Name: name, Call: c, Args: args}
	}
	p := &plan.Plan{Steps: []plan.Step{
		call("take stdout", plan.Dup3, plan.File(plan.Stdout), plan.Int(1), plan.Int(0)),
		call("take stderr", plan.Dup3, plan.File(plan.Stdout), plan.Int(2), plan.Int(0)),
		call("unblock signals", plan.RtSigprocmask, plan.Int(unix.SIG_SETMASK), plan.Bytes(make([]byte, 8)), plan.Int(0), plan.Int(8)),
		call("execute "+path, plan.Execve, plan.Text(path), plan.Strings(words), plan.Strings(nil)),
	}}
	c, err := Start(p, map[string]int{plan.Stdout: int(w.Fd())})
	if err != nil {
		return err
	}
	if err := c.Run(); err != nil {
		return err
	}
	defer unix.Close(c.PidFD)
	w.Close()
	said, _ := io.ReadAll(io.LimitReader(r, 4096))
	var ws unix.WaitStatus
	if _, err := retry(func() (int, error) { return unix.Wait4(c.Pid, &ws, 0, nil) }); err != nil {
		return err
	}
	if ws.ExitStatus() != 0 {
		return fmt.Errorf("%s: %s (see /etc/subuid and /etc/subgid)", strings.Join(words, " "), strings.TrimSpace(string(said)))
	}
	return nil
}

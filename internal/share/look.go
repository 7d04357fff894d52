package share

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/ns"
	"tripod/internal/owner"
	"tripod/internal/socket"
)

// maxFile bounds what is read of one file of /proc, in bytes.
const maxFile = 16 << 20

// Look reads the facts of containers. Each is looked at by its first process, and left out when that has ended. Partial says that
// something of one might not be read.
func Look(h *owner.Host, containers []owner.Container) (all []Facts, partial bool, err error) {
	members := map[string][]int{}
	wanted := func(c owner.Container) bool {
		return !c.Monitor && slices.ContainsFunc(containers, func(w owner.Container) bool { return w.Cgroup == c.Cgroup && w.Runtime == c.Runtime })
	}
	processes, hidden, err := h.Members(func(_ int, c owner.Container) bool { return wanted(c) })
	if err != nil {
		return nil, hidden, err
	}
	for _, m := range processes {
		members[m.Container.Cgroup] = append(members[m.Container.Cgroup], m.PID)
	}
	for _, c := range containers {
		t, err := h.Pin(c.Init, c.InitStart)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, hidden, err
		}
		f, some := factsOf(t.PID, members[c.Cgroup])
		if _, err := h.Pin(t.PID, t.Start); err != nil {
			continue // what was read may be of another
		}
		f.Name, f.Container = c.String(), c
		hidden = hidden || some
		all = append(all, f)
	}
	return all, hidden, nil
}

// Host are the facts of the host as the caller has it: a Pod "on the host's network" is in the namespace that tripod was run in.
func Host() Facts {
	f, _ := factsOf(os.Getpid(), nil)
	f.Name = IsHost
	return f
}

func factsOf(pid int, members []int) (f Facts, partial bool) {
	f.PID = pid
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	var err error
	if f.NS, err = ns.Of("", pid); err != nil {
		partial = true
	}
	f.Hostname, _ = hostname(dir + "ns/uts")
	for _, name := range []string{"uid_map", "gid_map"} {
		text, err := read(dir + name)
		partial = partial || err != nil
		f.IDMap += name[:3] + " " + strings.Join(strings.Fields(text), " ") + "; "
	}
	f.IDMap = strings.TrimSuffix(f.IDMap, "; ")
	text, err := read(dir + "mountinfo")
	partial = partial || err != nil
	f.Mounts = parseMounts(text)
	held, some := socket.Holders("", members, nil)
	partial = partial || some
	f.Sockets = map[uint64]bool{}
	for inode := range held {
		f.Sockets[inode] = true
	}
	return f, partial
}

func read(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	return string(text), err
}

// hostname is the name in a UTS namespace, asked by a thread that enters it.
func hostname(path string) (name string, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here, in the namespace where it is
		var u unix.Utsname
		err := unix.Setns(fd, unix.CLONE_NEWUTS)
		if err == nil {
			err = unix.Uname(&u)
		}
		name = unix.ByteSliceToString(u.Nodename[:])
		done <- err
	}()
	if err = <-done; err != nil {
		return "", fmt.Errorf("cannot read host name of %s: %w", path, err)
	}
	return name, nil
}

// parseMounts reads /proc/PID/mountinfo (proc_pid_mountinfo(5)), but for what is the kernel's and not data: everybody has that.
func parseMounts(text string) []Mount {
	var all []Mount
	for l := range strings.SplitSeq(text, "\n") {
		before, after, ok := strings.Cut(l, " - ")
		words, rest := strings.Fields(before), strings.Fields(after)
		if !ok || len(words) < 6 || len(rest) < 1 || kernels(rest[0]) {
			continue
		}
		m := Mount{Device: words[2], Root: unescape(words[3]), Target: unescape(words[4]), FSType: rest[0]}
		if hidden(m.Target) {
			continue
		}
		all = append(all, m)
	}
	return all
}

// kernels says whether a file system shows the kernel's own things.
func kernels(fsType string) bool {
	switch fsType {
	case "proc", "sysfs", "cgroup", "cgroup2", "devpts", "securityfs", "debugfs", "tracefs", "bpf", "nsfs", "configfs", "fusectl", "binfmt_misc", "pstore", "mqueue", "efivarfs", "autofs", "rpc_pipefs":
		return true
	}
	return false
}

// hidden says whether a mount only masks something of the kernel, or is a device that every container has.
func hidden(target string) bool {
	for _, dir := range []string{"/proc/", "/sys/"} {
		if strings.HasPrefix(target, dir) {
			return true
		}
	}
	switch target {
	case "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/console":
		return true
	}
	return false
}

// unescape undoes what mountinfo does to blanks and backslashes: \040.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

package nsenter

import (
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/birth"
	"tripod/internal/ns"
	"tripod/internal/plan"
)

// rights says what the caller may do in its own user namespace: join others' namespaces, set groups, which matters where
// another user namespace is joined.
func rights(user bool) (admin, groups bool) {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&head, &data[0]) != nil {
		return false, false
	}
	has := func(n uint) bool { return data[n/32].Effective&(1<<(n%32)) != 0 }
	return has(unix.CAP_SYS_ADMIN), user && has(unix.CAP_SETGID) && strings.TrimSpace(line("/proc/self/setgroups")) == "allow"
}

// keepsRights says that an execve of a file without capabilities takes none away (capabilities(7)): so it is for root,
// and for those who have none beyond their ambient ones. Only then may a process be taken over.
func keepsRights() bool {
	if secure, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0); err != nil || secure != 0 {
		return false
	}
	if unix.Getuid() != unix.Geteuid() {
		return false
	}
	if unix.Geteuid() == 0 {
		return true
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&head, &data[0]) != nil {
		return false
	}
	for i, d := range data {
		for p := d.Permitted; p != 0; p &= p - 1 {
			n := 32*i + bits.TrailingZeros32(p)
			if on, err := unix.PrctlRetInt(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, uintptr(n), 0, 0); err != nil || on != 1 {
				return false
			}
		}
	}
	return true
}

// lastCap is the kernel's highest capability.
func lastCap() int {
	n, err := strconv.Atoi(strings.TrimSpace(line("/proc/sys/kernel/cap_last_cap")))
	if err != nil || n < 0 || n > 63 {
		return unix.CAP_LAST_CAP
	}
	return n
}

// line reads a short file of the kernel's, "" if it cannot. Package os would start its poller for it.
func line(file string) string {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var b [64]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return ""
	}
	return string(b[:n])
}

// limitOfFiles is the limit of open files that this process was started with. The Go runtime raised the soft one to just
// below the hard one; whoever started us still has what we had.
func limitOfFiles() plan.Rlimit {
	var own, parent unix.Rlimit
	if unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &own) != nil {
		return plan.Rlimit{}
	}
	soft := own.Cur
	if own.Max > 0 && soft == own.Max-1 {
		soft = min(1024, own.Max)
		if unix.Prlimit(unix.Getppid(), unix.RLIMIT_NOFILE, nil, &parent) == nil && parent.Max == own.Max {
			soft = parent.Cur
		}
	}
	return plan.Rlimit{Soft: soft, Hard: own.Max}
}

// mask is the calling thread's signal mask, as the program is to have it.
func mask() (set [8]byte) {
	copy(set[:], birth.Mask())
	return set
}

// process reads what the options want to know of the target itself.
func (v *view) process(o Options) error {
	v.Env = os.Environ()
	v.UID, v.GID = o.UID, o.GID
	if v.target == nil {
		v.shell(o)
		return nil
	}
	if o.Env {
		env, err := v.target.environ()
		if err != nil {
			return err
		}
		v.Env = env
	}
	if o.LikeContainer {
		if err := v.like(o); err != nil {
			return err
		}
	}
	if err := v.follow(o); err != nil {
		return err
	}
	if o.JoinCgroup {
		if err := v.cgroups(); err != nil {
			return err
		}
	}
	if err := v.label(o); err != nil {
		return err
	}
	if o.Explain {
		var p ns.Process
		p.PID = v.PID
		if p.ReadStat("") == nil {
			v.Comm = p.Comm
		}
	}
	v.shell(o)
	return nil
}

// environ is the environment that the process was started with, unless it wrote over it. The kernel bounds it by the stack
// limit (execve(2)).
func (p *process) environ() ([]string, error) {
	text, err := p.read("environ", 64<<20)
	if err != nil {
		return nil, err
	}
	return environment(text), nil
}

// environment splits /proc/PID/environ. A process may have written anything there: what is no variable is left out.
func environment(text string) []string {
	env := []string{}
	for e := range strings.SplitSeq(text, "\x00") {
		if strings.IndexByte(e, '=') > 0 {
			env = append(env, e)
		}
	}
	return env
}

// follow finds the target's owner for -S follow and -G follow, as it is called inside.
func (v *view) follow(o Options) error {
	if !o.UID.Follow && !o.GID.Follow && v.Like == nil {
		return nil
	}
	uid, gid := uint32(0), uint32(0)
	if v.Like != nil {
		uid, gid = v.Like.UID, v.Like.GID
	} else {
		var st unix.Stat_t
		if v.target.dir < 0 {
			return cannotOpen(v.target.path(""), v.target.err)
		}
		if err := unix.Fstat(v.target.dir, &st); err != nil {
			return fmt.Errorf("stat of %s failed: %s", v.target.path(""), text(err))
		}
		uid, gid = st.Uid, st.Gid
	}
	for _, id := range []struct {
		kind string
		id   *ID
		n    uint32
	}{{"uid", &v.UID, uid}, {"gid", &v.GID, gid}} {
		if v.Like != nil && !id.id.Set {
			*id.id = ID{Set: true, Follow: true}
		}
		if !id.id.Follow {
			continue
		}
		n, err := v.inside(id.kind+"_map", id.n)
		if err != nil {
			return err
		}
		id.id.N = n
	}
	return nil
}

// inside is what an id of the caller's user namespace is called in the target's, if that one is joined.
func (v *view) inside(file string, id uint32) (uint32, error) {
	if len(v.Users) == 0 {
		return id, nil
	}
	ranges, err := v.target.read(file, 64<<10)
	if err != nil {
		return 0, err
	}
	n, ok := inner(parseMap(ranges), id)
	if !ok {
		return 0, fmt.Errorf("cannot follow %s %d: the user namespace of process %d has no such id", strings.TrimSuffix(file, "_map"), id, v.PID)
	}
	return n, nil
}

// like reads the target's limits, groups and capabilities.
func (v *view) like(o Options) error {
	status, err := v.target.read("status", 64<<10)
	if err != nil {
		return err
	}
	l, err := parseStatus(status)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", v.target.path("status"), err)
	}
	groups := l.Groups[:0]
	for _, g := range l.Groups {
		// A group that has no name inside cannot be had there; it is one of whoever made the container.
		if n, err := v.inside("gid_map", g); err == nil {
			groups = append(groups, n)
		}
	}
	l.Groups = groups
	limits, err := v.target.read("limits", 64<<10)
	if err != nil {
		return err
	}
	if l.Rlimits, err = parseLimits(limits); err != nil {
		return fmt.Errorf("cannot read %s: %w", v.target.path("limits"), err)
	}
	score, err := v.target.read("oom_score_adj", 64)
	if err == nil {
		l.OOM, err = strconv.Atoi(strings.TrimSpace(score))
	}
	if err != nil {
		return err
	}
	v.Like = l
	return nil
}

// label finds the target's SELinux context, or its AppArmor profile for --like-container.
func (v *view) label(o Options) error {
	selinux, apparmor := exists("/sys/fs/selinux/enforce"), exists("/sys/kernel/security/apparmor/profiles")
	switch {
	case selinux && (o.FollowLabel || o.LikeContainer):
		// Without SELinux there is no context to follow, and util-linux says nothing either.
		word, err := v.target.read("attr/current", 4096)
		if err != nil {
			return fmt.Errorf("failed to get %d SELinux context: %w", v.PID, err)
		}
		v.Label, v.LabelTo = strings.TrimRight(word, "\x00\n"), "/proc/self/attr/exec"
	case o.LikeContainer && apparmor:
		word, err := v.target.read("attr/apparmor/current", 4096)
		if err != nil {
			return err
		}
		// "profile (enforce)" (apparmor(7))
		profile, _, _ := strings.Cut(strings.TrimRight(word, "\x00\n"), " (")
		if profile != "" && profile != "unconfined" {
			v.Label, v.LabelTo = "exec "+profile, "/proc/self/attr/apparmor/exec"
		}
	}
	return nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// maxPasswd bounds a passwd file, in bytes.
const maxPasswd = 4 << 20

// shell finds the login shell of whom the program is to be, where it is needed: in the passwd of the new root, which is
// the target's and not to be trusted. A file that is no regular one is as good as none.
func (v *view) shell(o Options) {
	if len(o.Args) > 0 || lookup(v.Env, "SHELL") != "" {
		return
	}
	root := unix.AT_FDCWD
	switch {
	case v.Root:
		root = v.given["root"]
	case o.Spaces[ns.Mnt].Given:
		return
	case o.Spaces[ns.Mnt].Wanted || o.All:
		fd, err := v.target.open("root", unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return
		}
		defer unix.Close(fd)
		root = fd
	}
	data, err := readInside(root, "etc/passwd", maxPasswd)
	if err != nil {
		return
	}
	uid := uint32(unix.Getuid())
	if v.UID.Set || len(v.Users) > 0 && !o.Preserve {
		uid = v.UID.N
	}
	v.Shell = shellOf(string(data), uid)
}

// shellOf is the shell of a user in passwd(5), or "".
func shellOf(passwd string, uid uint32) string {
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(f) == 7 && f[2] == strconv.FormatUint(uint64(uid), 10) {
			return f[6]
		}
	}
	return ""
}

// readInside reads a regular file below a directory that is taken as /.
func readInside(root int, file string, limit int64) ([]byte, error) {
	if root == unix.AT_FDCWD {
		fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		defer unix.Close(fd)
		root = fd
	}
	fd, err := unix.Openat2(root, file, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), file)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fs.ErrInvalid
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

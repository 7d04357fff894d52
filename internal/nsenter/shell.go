package nsenter

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/owner"
)

// shells are looked for in this order.
var shells = [...]string{"bash", "sh", "ash"}

// Shell is the first of bash, sh and ash that a process would find in its root by the PATH of env, or "" when it has none.
func Shell(t owner.Target, env []string) (string, error) {
	p, err := hold(t)
	if err != nil {
		return "", err
	}
	defer p.close()
	root, err := p.open("root", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return "", err
	}
	defer unix.Close(root)
	dirs := lookup(env, "PATH")
	if dirs == "" {
		dirs = "/usr/bin:/bin"
	}
	for _, name := range shells {
		for _, dir := range strings.Split(dirs, ":") {
			if file := path.Join("/", dir, name); executable(root, file) {
				return file, nil
			}
		}
	}
	return "", nil
}

// executable says whether there is a program at a path below a root, which may be anybody's.
func executable(root int, file string) bool {
	fd, err := unix.Openat2(root, strings.TrimPrefix(file, "/"), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0
}

// Environ is the environment that a process was started with.
func Environ(t owner.Target) ([]string, error) {
	p, err := hold(t)
	if err != nil {
		return nil, err
	}
	defer p.close()
	return p.environ()
}

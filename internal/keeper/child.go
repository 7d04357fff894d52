package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/container"
	"tripod/internal/life"
	"tripod/internal/plan"
	"tripod/internal/record"
)

// child is one attempt at a container: from the moment it is to be made until its end is on record. Its make method
// runs on a goroutine of its own, everything else on the loop.
type child struct {
	k       *keep
	def     life.Container
	attempt int
	ground  ground // what it joins

	box    *container.Container
	own    bool // it has a PID namespace of its own, which dies with its first process
	log    *logFile
	fds    [3]int // the keeper's ends of its stdio, -1 where there is none; a terminal is all of them
	layers string // directory of the attempts' upper layers, "" without

	in    *input
	out   []*output
	alive bool // from its start to the end of its first process
	dying bool // from then to the end of its output
	exit  Exit
	late  *timer // bounds how long it is dying
	grace *timer // of a stop of this container alone
}

// ground is what all containers of the Pod stand on.
type ground struct {
	host       container.Host
	dir        string
	cgroup     string
	uid        string
	namespaces Namespaces
	user       string
	held       map[specs.LinuxNamespaceType]*os.File
}

// make creates and starts the container. On error nothing of it is left.
func (c *child) make() (err error) {
	c.fds = [3]int{-1, -1, -1}
	defer func() {
		if err != nil {
			c.undo()
		}
	}()
	spec, err := readSpec(c.def.Bundle)
	if err != nil {
		return err
	}
	root, err := c.root(spec)
	if err != nil {
		return err
	}
	if c.def.Log != "" {
		if c.log, err = openLog(c.def.Log, c.attempt, c.def.LogMaxBytes, c.def.LogMaxFiles); err != nil {
			return err
		}
	}
	cfg := container.Config{
		ID: c.id(), Spec: spec, Root: root, Host: c.ground.host,
		CgroupPath: c.group(), Namespaces: c.ground.join(spec),
	}
	c.own = hasOwnPID(spec)
	spec.Process.Terminal = c.def.TTY
	theirs, err := c.pipes()
	for i, fd := range theirs {
		if fd >= 0 {
			cfg.Stdio[i], cfg.OwnStdio[i] = os.NewFile(uintptr(fd), "pipe"), true
			defer cfg.Stdio[i].Close()
		}
	}
	if err != nil {
		return err
	}
	if !c.def.TTY {
		c.box, err = container.Run(cfg)
		return err
	}
	// A terminal is taken at the gate, so that nothing of what the program prints is missed.
	if c.box, err = container.Create(cfg); err != nil {
		return err
	}
	if err := c.takeConsole(); err != nil {
		return err
	}
	return c.box.Start()
}

// readSpec reads a container's config.json. It is not kept: what is read once in an hour costs less to read again.
func readSpec(bundle string) (*specs.Spec, error) {
	var spec specs.Spec
	path := filepath.Join(bundle, "config.json")
	if err := record.Get(path, &spec); err != nil {
		return nil, err
	}
	if spec.Process == nil || spec.Linux == nil {
		return nil, fmt.Errorf("%s has no process or no linux part", path)
	}
	return &spec, nil
}

func (c *child) id() string { return c.ground.uid + "_" + c.def.Name + "_" + strconv.Itoa(c.attempt) }

// group is the path of its cgroup.
func (c *child) group() string { return c.ground.cgroup + "/" + c.def.Name }

// root reads how the container's / is made and gives this attempt an upper layer of its own.
func (c *child) root(spec *specs.Spec) (plan.Rootfs, error) {
	var root plan.Rootfs
	err := record.Get(filepath.Join(c.def.Bundle, "rootfs.json"), &root)
	if errors.Is(err, fs.ErrNotExist) && spec.Root != nil && filepath.IsAbs(spec.Root.Path) {
		return plan.Rootfs{Path: spec.Root.Path}, nil
	}
	if err != nil {
		return root, err
	}
	if root.Mountpoint == "" && root.Path == "" {
		root.Mountpoint = filepath.Join(c.def.Bundle, "rootfs")
		if err := os.MkdirAll(root.Mountpoint, 0o700); err != nil {
			return root, fmt.Errorf("cannot make mount point of container %s: %w", c.def.Name, err)
		}
	}
	if root.Upper == "" || root.Work == "" {
		return root, nil
	}
	c.layers = root.Upper
	number := strconv.Itoa(c.attempt)
	for _, dir := range []*string{&root.Upper, &root.Work} {
		*dir = filepath.Join(*dir, number)
		// What an attempt of this number left, before its keeper died, is none of this one's.
		if err := os.RemoveAll(*dir); err != nil {
			return root, fmt.Errorf("cannot clear layer of container %s: %w", c.def.Name, err)
		}
		if err := os.MkdirAll(*dir, 0o755); err != nil {
			return root, fmt.Errorf("cannot make layer of container %s: %w", c.def.Name, err)
		}
	}
	return root, nil
}

// forgetLayers removes the upper layers of earlier attempts. It is called when the container runs, off the loop.
func forgetLayers(upper string, attempt int) {
	for _, dir := range []string{upper, filepath.Join(filepath.Dir(upper), "work")} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if n, err := strconv.Atoi(e.Name()); err == nil && n < attempt {
				_ = os.RemoveAll(filepath.Join(dir, e.Name()))
			}
		}
	}
}

// pipes makes the stdio that the container needs, without a terminal; it returns the container's ends.
func (c *child) pipes() (theirs [3]int, err error) {
	theirs = [3]int{-1, -1, -1}
	if c.def.TTY {
		return theirs, nil
	}
	for i := range theirs {
		if i == 0 && !c.def.Stdin {
			continue
		}
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return theirs, os.NewSyscallError("pipe2", err)
		}
		if i == 0 {
			theirs[i], c.fds[i] = p[0], p[1]
		} else {
			c.fds[i], theirs[i] = p[0], p[1]
		}
		if err := unix.SetNonblock(c.fds[i], true); err != nil {
			return theirs, os.NewSyscallError("fcntl", err)
		}
	}
	return theirs, nil
}

// takeConsole takes the master of the container's terminal away from the Go runtime's poller into the loop's.
func (c *child) takeConsole() error {
	if c.box.Console == nil {
		return nil
	}
	fd, err := detached(c.box.Console)
	c.box.Console = nil
	c.fds[1] = fd
	return err
}

// detached is f's descriptor, non-blocking, without f.
func detached(f *os.File) (int, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}
	return fd, unix.SetNonblock(fd, true)
}

// undo leaves nothing of a container that could not be made.
func (c *child) undo() {
	if c.box != nil {
		_ = c.box.Delete()
		c.box = nil
	}
	closeAll(c.fds[:])
	if c.log != nil {
		c.log.close()
		c.log = nil
	}
}

// join puts the Pod's namespaces into a container's spec, in the place of what it says of them, and returns the held
// descriptors.
func (g *ground) join(spec *specs.Spec) map[specs.LinuxNamespaceType]*os.File {
	list := spec.Linux.Namespaces[:0:0]
	for _, n := range spec.Linux.Namespaces {
		if g.whose(n.Type) == "" {
			list = append(list, n)
		}
	}
	given := map[specs.LinuxNamespaceType]*os.File{}
	for _, t := range []specs.LinuxNamespaceType{
		specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.PIDNamespace, specs.UserNamespace,
	} {
		switch g.whose(t) {
		case OfPod:
			if f := g.held[t]; f != nil {
				given[t] = f
				list = append(list, specs.LinuxNamespace{Type: t, Path: "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))})
			}
		case OfContainer:
			// A guest may join another container's, whose path its spec has.
			list = append(list, specs.LinuxNamespace{Type: t, Path: pathOf(spec, t)})
		}
	}
	spec.Linux.Namespaces = list
	return given
}

// pathOf is the namespace that a spec names of a type; "" is a new one.
func pathOf(spec *specs.Spec, t specs.LinuxNamespaceType) string {
	for _, n := range spec.Linux.Namespaces {
		if n.Type == t {
			return n.Path
		}
	}
	return ""
}

// whose says whose a namespace of this type is, "" if the Pod does not say.
func (g *ground) whose(t specs.LinuxNamespaceType) string {
	or := func(w, standard string) string {
		if w == "" {
			return standard
		}
		return w
	}
	switch t {
	case specs.NetworkNamespace:
		return or(g.namespaces.Net, OfPod)
	case specs.IPCNamespace:
		return or(g.namespaces.IPC, OfPod)
	case specs.UTSNamespace:
		return or(g.namespaces.UTS, OfPod)
	case specs.PIDNamespace:
		return or(g.namespaces.PID, OfContainer)
	case specs.UserNamespace:
		return or(g.user, OfHost)
	}
	return ""
}

func hasOwnPID(spec *specs.Spec) bool {
	for _, n := range spec.Linux.Namespaces {
		if n.Type == specs.PIDNamespace && n.Path == "" {
			return true
		}
	}
	return false
}

package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/container"
	"tripod/internal/life"
	"tripod/internal/record"
)

// A keeper spends most of its life waiting, and what it used to start a container, it needs no more. Go's heap does not
// shrink to what it was: after a start it is three times as large. So a keeper that has been quiet executes its own
// program anew, as the same process: its children stay its children, its descriptors stay open, and what it knew is
// handed over in a file in memory.

const (
	moltEnv   = "TRIPOD_KEEPER_STATE" // number of the descriptor with what is handed over
	moltAfter = time.Second           // without a request, a start or an end
	moltAbove = 1200 << 10            // bytes of memory of its own; less is not worth it
	moltBusy  = 4 << 20               // bytes that are worth it for a keeper that is asked again and again
)

// shell is what a keeper hands over to itself. Numbers are descriptors.
type shell struct {
	Socket   int            `json:"socket"`
	Lock     int            `json:"lock"`
	Want     life.Want      `json:"want"`
	Records  []life.Record  `json:"records"`
	Pause    Process        `json:"pause"`
	PauseFD  int            `json:"pauseFD"`
	Held     map[string]int `json:"held"`
	Conns    []shellConn    `json:"conns,omitempty"`
	Children []shellChild   `json:"children,omitempty"`
}

type shellConn struct {
	FD       int  `json:"fd"`
	Owner    bool `json:"owner,omitempty"`
	Watching bool `json:"watching,omitempty"`
}

type shellChild struct {
	Name    string      `json:"name"`
	Attempt int         `json:"attempt"`
	Pid     int         `json:"pid"`
	PidFD   int         `json:"pidFD"`
	Own     bool        `json:"own"`
	Stdin   int         `json:"stdin"`
	Out     []shellPipe `json:"out"`
}

type shellPipe struct {
	FD     int    `json:"fd"`
	Stream stream `json:"stream"`
	Tail   []byte `json:"tail,omitempty"`
}

// tidy has the keeper molt when it has been quiet for a while; one that is seldom quiet, in a quiet moment.
func (k *keep) tidy() {
	k.worked = time.Now()
	if k.tidying == nil {
		k.tidying = k.loop.after(moltAfter, k.moltIfDue)
	}
}

func (k *keep) moltIfDue() {
	k.tidying = nil
	size := anonymous()
	if size < moltAbove || k.stiff {
		return
	}
	rested := time.Since(k.worked) >= moltAfter
	if !k.quiet() || !rested && size < moltBusy {
		k.tidying = k.loop.after(moltAfter, k.moltIfDue)
		return
	}
	err := k.molt()
	k.stiff = true
	k.note(fmt.Errorf("cannot execute the keeper anew: %w", err))
}

// anonymous is how much memory this process has for itself, in bytes.
func anonymous() int {
	text, _ := readSmall("/proc/self/statm")
	var size, resident, shared int
	if _, err := fmt.Sscan(text, &size, &resident, &shared); err != nil {
		return 0
	}
	return (resident - shared) * os.Getpagesize()
}

// quiet says whether nothing is under way that could not be handed over.
func (k *keep) quiet() bool {
	if k.life == nil || k.finished || k.making > 0 || k.pause == nil || len(k.attached) > 0 || k.sinks > 0 {
		return false
	}
	for c := range k.conns {
		if c.busy || !c.owner && !c.watching || len(c.in)+len(c.out)+len(c.fds) > 0 {
			return false
		}
	}
	for _, c := range k.children {
		if !c.alive || c.grace != nil || len(c.in.pending) > 0 {
			return false
		}
	}
	return true
}

// molt executes this program anew. It returns only when that cannot be done.
func (k *keep) molt() error {
	s, fds := k.shed()
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	state, err := unix.MemfdCreate("keeper", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	defer unix.Close(state)
	if _, err := unix.Pwrite(state, data, 0); err != nil {
		return os.NewSyscallError("write", err)
	}
	fds = append(fds, state)
	defer cloexec(fds, true)
	if err := cloexec(fds, false); err != nil {
		return err
	}
	env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "GOMAXPROCS=") })
	env = append(env, "GOMAXPROCS=1", moltEnv+"="+strconv.Itoa(state))
	// A SIGTERM in the two milliseconds until the new program listens ends the keeper as SIGKILL would: the Go runtime
	// takes it off every mask at its start. Bury is for that.
	return syscall.Exec("/proc/self/exe", os.Args, env)
}

// rise makes room for a second thread of Go code, which a molted keeper does without: a birth is not to wait for the
// loop, nor the loop for a birth.
func rise() {
	if runtime.GOMAXPROCS(0) < 2 {
		runtime.GOMAXPROCS(2)
	}
}

// cloexec says whether descriptors close at execve.
func cloexec(fds []int, on bool) error {
	flags := 0
	if on {
		flags = unix.FD_CLOEXEC
	}
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, flags); err != nil {
			return os.NewSyscallError("fcntl", err)
		}
	}
	return nil
}

// shed is what is handed over, and all of its descriptors.
func (k *keep) shed() (*shell, []int) {
	s := &shell{
		Socket: k.socket, Lock: int(k.lock.Fd()), Want: k.want, Records: k.records,
		Pause: k.pause.process, PauseFD: k.pause.pidfd, Held: map[string]int{},
	}
	fds := []int{s.Socket, s.Lock, s.PauseFD}
	for t, f := range k.pause.held {
		s.Held[string(t)] = int(f.Fd())
		fds = append(fds, int(f.Fd()))
	}
	for c := range k.conns {
		s.Conns = append(s.Conns, shellConn{c.fd, c.owner, c.watching})
		fds = append(fds, c.fd)
	}
	for _, c := range k.children {
		x := shellChild{
			Name: c.def.Name, Attempt: c.attempt, Pid: c.box.Pid, PidFD: int(c.box.PidFD.Fd()), Own: c.own, Stdin: c.in.fd,
		}
		fds = append(fds, x.PidFD)
		if x.Stdin >= 0 {
			fds = append(fds, x.Stdin)
		}
		for _, o := range c.out {
			x.Out = append(x.Out, shellPipe{o.fd, o.lines.stream, o.lines.tail})
			if o.fd >= 0 {
				fds = append(fds, o.fd)
			}
		}
		s.Children = append(s.Children, x)
	}
	return s, fds
}

// resume goes on as the keeper that handed over by descriptor number.
func (k *keep) resume(number string) error {
	_ = os.Unsetenv(moltEnv)
	fd, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "state")
	defer f.Close()
	var s shell
	if err := json.NewDecoder(f).Decode(&s); err != nil {
		return err
	}
	var box Sandbox
	if err := record.Get(filepath.Join(k.dir, sandboxFile), &box); err != nil {
		return err
	}
	var l life.Life
	if err := record.Get(filepath.Join(k.dir, lifeFile), &l); err != nil {
		return err
	}
	k.sandbox, k.life, k.records, k.want, k.socket = &box, &l, s.Records, s.Want, s.Socket
	k.id = identity()
	k.lock = os.NewFile(uintptr(s.Lock), lockFile)
	if k.ground, err = look(k.dir, k.sandbox); err != nil {
		return err
	}
	if k.loop, err = newLoop(); err != nil {
		return err
	}
	if err := k.dress(&s); err != nil {
		return err
	}
	if err := k.loop.on(k.socket, unix.EPOLLIN, k.accept); err != nil {
		return err
	}
	k.signals()
	k.strays()
	k.step()
	return nil
}

// dress takes up what was handed over.
func (k *keep) dress(s *shell) error {
	fds := []int{s.Socket, s.Lock, s.PauseFD}
	k.pause = &pause{process: s.Pause, pidfd: s.PauseFD, held: map[specs.LinuxNamespaceType]*os.File{}}
	for t, fd := range s.Held {
		k.pause.held[specs.LinuxNamespaceType(t)] = os.NewFile(uintptr(fd), t)
		fds = append(fds, fd)
	}
	if err := k.watchPause(); err != nil {
		return err
	}
	for _, x := range s.Conns {
		c := &conn{k: k, fd: x.FD, owner: x.Owner, watching: x.Watching}
		k.conns[c] = true
		c.interest()
		fds = append(fds, x.FD)
	}
	var failed []string
	for _, x := range s.Children {
		fds = append(fds, x.PidFD)
		if x.Stdin >= 0 {
			fds = append(fds, x.Stdin)
		}
		for _, o := range x.Out {
			if o.FD >= 0 {
				fds = append(fds, o.FD)
			}
		}
		if err := k.take(&x); err != nil {
			failed = append(failed, err.Error())
		}
	}
	if len(failed) > 0 {
		return errors.New(strings.Join(failed, "; "))
	}
	return cloexec(fds, true)
}

// take takes up one container.
func (k *keep) take(x *shellChild) error {
	i := find(k.life, x.Name)
	if i < 0 {
		return fmt.Errorf("container %s is not in the life", x.Name)
	}
	c := &child{k: k, def: k.life.Containers[i], attempt: x.Attempt, ground: *k.ground, own: x.Own, fds: [3]int{x.Stdin, -1, -1}}
	c.ground.held = k.pause.held
	c.box = container.Adopt(c.id(), x.Pid, os.NewFile(uintptr(x.PidFD), "pidfd"), c.group(), k.ground.host, nil)
	k.children = append(k.children, c)
	if c.def.Log != "" {
		var err error
		if c.log, err = openLog(c.def.Log, c.attempt, c.def.LogMaxBytes, c.def.LogMaxFiles); err != nil {
			k.note(err) // it runs on without a log
		}
	}
	for _, o := range x.Out {
		c.out = append(c.out, &output{k: k, fd: o.FD, lines: lines{stream: o.Stream, tail: o.Tail}})
	}
	return c.begin()
}

package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"tripod/internal/cgroup"
	"tripod/internal/life"
	"tripod/internal/record"
)

// readyFD is where a new keeper tells that it is ready, or why it is not.
const readyFD = 3

// idleTime is how long a keeper waits for a Life that never comes, with no owner there, before it leaves.
const idleTime = 10 * time.Minute

// bufferSize is how much of a container's output is read at once.
const bufferSize = 32 << 10

// keep is a keeper. All of it belongs to its loop.
type keep struct {
	dir     string
	id      Identity
	sandbox *Sandbox
	ground  *ground
	loop    *loop
	socket  int
	conns   map[*conn]bool
	known   map[int]func() // adopted children, by number
	making  int            // goroutines that make or unmake children
	buf     []byte
	scratch []byte

	life      *life.Life
	want      life.Want
	wait      *timer
	records   []life.Record
	children  []*child
	attached  []*attachment
	pause     *pause
	lostPause *pause // killed, and not replaced yet
	finished  bool
	sinks     int      // that are attached to outputs
	lock      *os.File // flock'ed until the process ends
	stiff     bool     // could not molt
	idle      *timer
	worked    time.Time // when something was last asked or happened
	tidying   *timer
}

// ready is the one line that a new keeper writes.
type ready struct {
	Error string `json:"error,omitempty"`
}

// Keep is the whole life of a keeper for the Pod whose folder is dir: `tripod-oci keep DIR`. Spawn has given it a mount
// namespace and a session of its own, its log as standard output, and descriptor 3 to tell on. It returns when the Pod
// has finished.
func Keep(dir string) error {
	k := &keep{dir: dir, socket: -1, conns: map[*conn]bool{}, known: map[int]func(){}, buf: make([]byte, bufferSize)}
	// Before the host is looked at: what a keeper ignores, its containers shall not.
	signal.Ignore(unix.SIGINT, unix.SIGHUP, unix.SIGPIPE)
	if number, molted := os.LookupEnv(moltEnv); molted {
		if err := k.resume(number); err != nil {
			return fmt.Errorf("cannot go on as the keeper in %s: %w", dir, err)
		}
		return k.loop.run()
	}
	// Nothing of whoever started it stays open.
	_ = unix.CloseRange(readyFD+1, ^uint(0), 0)
	unix.CloseOnExec(readyFD)
	err := k.begin()
	var told ready
	if err != nil {
		told.Error = err.Error()
	}
	line, _ := json.Marshal(told)
	_, _ = unix.Write(readyFD, append(line, '\n'))
	unix.Close(readyFD)
	if err != nil {
		return err
	}
	return k.loop.run()
}

// begin makes the Pod's ground. On error nothing of it is left.
func (k *keep) begin() (err error) {
	if err := k.identify(); err != nil {
		return err
	}
	lock, err := record.Try(filepath.Join(k.dir, lockFile))
	if err != nil {
		return fmt.Errorf("cannot keep Pod %s: it has a keeper: %w", k.sandbox.UID, err)
	}
	k.lock = lock.File()
	defer func() {
		if err != nil {
			k.clear()
		}
	}()
	if err := k.settle(); err != nil {
		return err
	}
	if k.loop, err = newLoop(); err != nil {
		return err
	}
	if err := k.prepare(); err != nil {
		return err
	}
	if k.pause, err = startPause(k.sandbox, k.ground, nil); err != nil {
		return err
	}
	if err := k.watchPause(); err != nil {
		return err
	}
	if err := record.PutFast(filepath.Join(k.dir, identityFile), k.id); err != nil {
		return err
	}
	if k.socket, err = listen(k.dir); err != nil {
		return err
	}
	if err := k.loop.on(k.socket, unix.EPOLLIN, k.accept); err != nil {
		return err
	}
	k.signals()
	k.changed(false)
	k.idle = k.loop.after(idleTime, k.lonely)
	return nil
}

// identify reads what the keeper is to hold, and what an earlier keeper recorded.
func (k *keep) identify() error {
	if !filepath.IsAbs(k.dir) || filepath.Clean(k.dir) != k.dir {
		return fmt.Errorf("cannot keep %q: not an absolute path", k.dir)
	}
	var s Sandbox
	if err := record.Get(filepath.Join(k.dir, sandboxFile), &s); err != nil {
		return err
	}
	if err := s.check(k.dir); err != nil {
		return fmt.Errorf("cannot keep %s: %w", k.dir, err)
	}
	k.sandbox = &s
	k.id = identity()
	if old, err := Read(k.dir); err == nil && !old.Finished && old.UID == s.UID {
		k.records = lost(old.Containers)
	}
	return nil
}

func identity() Identity {
	return Identity{Version: Version, Binary: os.Args[0], BootID: bootID(), Process: processOf(os.Getpid())}
}

// settle makes this process one that outlives others. Spawn has given it a session, a mount namespace, and a cgroup that
// is not killed, frozen or short of memory with its Pod.
func (k *keep) settle() error {
	unix.Umask(0o022)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	// Not permitted without CAP_SYS_RESOURCE; the keeper is small and away from its Pod in any case.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-999"), 0)
	if err := ownMounts(); err != nil {
		return err
	}
	var err error
	k.ground, err = look(k.dir, k.sandbox)
	return err
}

// ownMounts refuses to run in the mount namespace of whoever started this process: what comes would change its mounts.
func ownMounts() error {
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return err
	}
	theirs, err := os.Readlink("/proc/" + strconv.Itoa(os.Getppid()) + "/ns/mnt")
	if err == nil && ours == theirs {
		err = errors.New("not in a mount namespace of its own")
	}
	return err
}

// prepare makes the Pod's cgroup, and the mounts that its containers bind.
func (k *keep) prepare() error {
	group, err := cgroup.Make(k.ground.host.Cgroup, k.sandbox.CgroupPath)
	if err != nil {
		return err
	}
	if err := group.Limit(k.sandbox.Resources); err != nil {
		return err
	}
	owner := ""
	if len(k.sandbox.UIDMap) > 0 && len(k.sandbox.GIDMap) > 0 && k.sandbox.UserNS == OfPod {
		owner = fmt.Sprintf(",uid=%d,gid=%d", k.sandbox.UIDMap[0].HostID, k.sandbox.GIDMap[0].HostID)
	}
	if k.sandbox.Shm > 0 {
		if err := os.MkdirAll(shmDir(k.dir), 0o700); err != nil {
			return err
		}
		data := fmt.Sprintf("mode=1777,size=%d", k.sandbox.Shm) + owner
		if err := unix.Mount("shm", shmDir(k.dir), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, data); err != nil {
			return fmt.Errorf("cannot mount /dev/shm of Pod %s: %w", k.sandbox.UID, err)
		}
	}
	for _, v := range k.sandbox.MemoryVolumes {
		data := "mode=" + strconv.FormatUint(uint64(v.bits()), 8) + owner
		if v.GID != 0 {
			data += ",gid=" + strconv.Itoa(v.GID) // the later word counts
		}
		if v.Size > 0 {
			data += ",size=" + strconv.FormatInt(v.Size, 10)
		}
		if err := unix.Mount("tmpfs", v.Path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
			return fmt.Errorf("cannot mount memory volume %s at %s: %w", v.Name, v.Path, err)
		}
	}
	return nil
}

// signals has children's ends and SIGTERM, which stops the Pod, told to the loop.
func (k *keep) signals() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGCHLD)
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	go func() {
		for {
			select {
			case <-c:
				k.loop.post(k.strays)
			case <-term:
				k.loop.post(func() { k.stop(k.graceOf(&request{})) })
			}
		}
	}()
}

// lonely ends a keeper whose maker died before it gave it a Life.
func (k *keep) lonely() {
	for c := range k.conns {
		if c.owner {
			k.idle = k.loop.after(idleTime, k.lonely)
			return
		}
	}
	if k.life == nil {
		k.stop(0)
	}
}

// maxLog bounds the keeper's own log, in bytes; when it is longer, it begins anew.
const maxLog = 256 << 10

// note writes an error that nobody waits for into the keeper's log.
func (k *keep) note(err error) {
	if err == nil {
		return
	}
	var st unix.Stat_t
	if unix.Fstat(2, &st) == nil && st.Size > maxLog {
		_ = unix.Ftruncate(2, 0)
	}
	line := time.Now().UTC().Format(time.RFC3339) + " " + err.Error() + "\n"
	_, _ = unix.Write(2, []byte(line))
}

// lost is what the records of a keeper that died are worth: what ran has ended with it, and nobody saw how.
func lost(records []life.Record) []life.Record {
	out := append([]life.Record(nil), records...)
	for i := range out {
		r := &out[i]
		if r.State == life.Creating || r.State == life.Running {
			r.State, r.FinishedAt, r.ExitCode, r.Reason = life.Exited, time.Now(), exitUnknown, life.ReasonStatusUnknown
			r.Message = "the keeper of the Pod died"
		}
	}
	return out
}

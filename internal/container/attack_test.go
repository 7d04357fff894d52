package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// The attacks of attack_*_test.go bear the names of published escapes, of this runtime or of others. Each is to end in
// an error or inside the container, and never to touch a canary outside of its root.

// TestMain makes this program the attacker too: a container that has it at /bin/attack runs what the first word names.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "attack" {
		do, ok := attacks[os.Args[1]]
		if !ok {
			fmt.Println("no attack", os.Args[1])
			os.Exit(1)
		}
		do()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// attacks are what runs inside.
var attacks = map[string]func(){
	"watch": watch,
	"calls": calls,
}

// armed gives a spec this program at /bin/attack.
func armed(t *testing.T, s *specs.Spec) *specs.Spec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/bin/attack", Type: "bind", Source: self, Options: []string{"bind", "ro"}})
	return s
}

// canary is a directory of the host that no container is given.
type canary struct {
	dir    string
	before map[string]string
}

// secret is what its files hold.
const secret = "canary"

func newCanary(t *testing.T) *canary {
	t.Helper()
	c := &canary{dir: filepath.Join(t.TempDir(), "canary")}
	for _, d := range []string{"", "sub", "null", "pts"} {
		if err := os.Mkdir(filepath.Join(c.dir, d), 0o751); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"file", "ptmx", "console", "sub/file", "pts/0"} {
		if err := os.WriteFile(filepath.Join(c.dir, f), []byte(secret), 0o604); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(c.dir, f), 4711, 4712); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Unix(1e9, 0)
	for _, f := range []string{"file", "ptmx", "console", "sub/file", "pts/0", "pts", "null", "sub", ""} {
		if err := os.Chtimes(filepath.Join(c.dir, f), old, old); err != nil {
			t.Fatal(err)
		}
	}
	c.before = c.look(t)
	return c
}

// look describes all of it: inode, type, mode, owner, links, time and content.
func (c *canary) look(t *testing.T) map[string]string {
	t.Helper()
	seen := map[string]string{}
	err := filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		text := ""
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = string(data)
		}
		seen[path] = fmt.Sprint(st.Dev, st.Ino, info.Mode(), st.Uid, st.Gid, st.Nlink, info.ModTime(), text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// sings fails the test if anything of the canary has changed, or if something is mounted on it.
func (c *canary) sings(t *testing.T) {
	t.Helper()
	now := c.look(t)
	for path, was := range c.before {
		if now[path] != was {
			t.Errorf("%s was %s, is %s", path, was, now[path])
		}
	}
	for path := range now {
		if _, ok := c.before[path]; !ok {
			t.Errorf("%s is new on the host", path)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), c.dir) {
		t.Errorf("something is mounted on %s", c.dir)
	}
}

// ways are the contents of symbolic links that would lead from an image, or a volume in it, to a host's path.
func ways(path string) []string {
	return []string{
		path,
		"../../../../../../../../../../../.." + path,
		"/proc/self/root" + path,
		"/proc/1/root" + path,
		"/proc/self/cwd/../../../../../.." + path,
	}
}

// put writes a path of an image's upper layer: a symbolic link to where.
func put(t *testing.T, root plan.Rootfs, name, where string) {
	t.Helper()
	at := filepath.Join(root.Lower[0], name)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(where, at); err != nil {
		t.Fatal(err)
	}
}

// fresh is the same image with nothing written to it yet.
func fresh(t *testing.T, r plan.Rootfs) plan.Rootfs {
	t.Helper()
	dir := t.TempDir()
	r.Upper, r.Work, r.Mountpoint = filepath.Join(dir, "upper"), filepath.Join(dir, "work"), filepath.Join(dir, "root")
	for _, d := range []string{r.Upper, r.Work, r.Mountpoint} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// without leaves out the mount at a destination, and those below it.
func without(s *specs.Spec, dest string) *specs.Spec {
	var kept []specs.Mount
	for _, m := range s.Mounts {
		if m.Destination != dest && !strings.HasPrefix(m.Destination, dest+"/") {
			kept = append(kept, m)
		}
	}
	s.Mounts = kept
	return s
}

// swapper exchanges two names of a directory as fast as it can, as a second container that shares a volume would, until
// the returned function is called. It returns how often it did.
func swapper(t *testing.T, dir, a, b string) (stop func() int) {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	end, n := make(chan struct{}), 0
	var done sync.WaitGroup
	done.Go(func() {
		defer unix.Close(fd)
		for {
			select {
			case <-end:
				return
			default:
			}
			if err := unix.Renameat2(fd, a, fd, b, unix.RENAME_EXCHANGE); err != nil {
				t.Error(err)
				return
			}
			n++
			// Without a pause the one who looks up the path waits for the lock of renames most of the time.
			time.Sleep(20 * time.Microsecond)
		}
	})
	return func() int { close(end); done.Wait(); return n }
}

// cheap is a spec with little in it: a race needs thousands of births.
func cheap(args ...string) *specs.Spec {
	return &specs.Spec{
		Version: "1.3.0",
		Root:    &specs.Root{},
		Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}},
		Linux:   &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}}},
	}
}

// births makes n containers, one after another. Those that cannot be made must say so; each that runs must end with 0.
// It returns how many ran.
func births(t *testing.T, host Host, root plan.Rootfs, n int, spec func(i int) *specs.Spec) (ran int) {
	t.Helper()
	for i := range n {
		c, err := Run(Config{ID: "race", Spec: spec(i), Host: host, Root: root})
		if err != nil {
			continue
		}
		exit, err := c.Wait()
		if err := errors.Join(err, c.Delete()); err != nil {
			t.Fatal(err)
		}
		if exit.Code != 0 {
			t.Fatalf("container %d ended with %d: it saw what it must not", i, exit.Code)
		}
		ran++
	}
	return ran
}

// exits runs a container and returns what it printed with its exit code, or the error.
func exits(t *testing.T, cfg Config) string {
	t.Helper()
	out, exit, err := runs(t, cfg)
	if err != nil {
		return err.Error()
	}
	return out + "exit " + strconv.Itoa(exit.Code)
}

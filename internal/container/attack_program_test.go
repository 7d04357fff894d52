package container

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// The runtime's binary is written by way of /proc/PID/exe of a process that is to become a container's, or that became the
// runtime itself: an image may say #!/proc/self/exe. Seen to fail with children that stay in the runtime's program
// (birth.start without leave): the file behind the gate is then this test's binary, and the script runs it.
func TestCVE_2019_5736(t *testing.T) {
	program, err := os.Stat("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("created", func(t *testing.T) {
		cfg := Config{ID: "test", Host: look(t), Root: layers(t), CgroupPath: cgroupName(t), Spec: sample("true")}
		defer gone(t, cfg)
		c, err := Create(cfg)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/exe", c.Pid), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err := errors.Join(err, c.Delete()); err != nil {
			t.Fatal(err)
		}
		seen := os.NewFile(uintptr(fd), "seen")
		defer seen.Close()
		if at, err := seen.Stat(); err != nil || os.SameFile(at, program) {
			t.Fatalf("a created container's process runs the runtime's own binary (%v)", err)
		}
		f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDWR, 0)
		if err == nil {
			_, err = f.Write([]byte("#!"))
			f.Close()
		}
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EROFS) {
			t.Errorf("writing to its program: %v, want that to be refused", err)
		}
	})
	// What runs in place of the entry point finds no plan and ends.
	const barren = "exit 127"
	t.Run("init", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		cfg := Config{ID: "test", Host: look(t), Root: layers(t), CgroupPath: cgroupName(t), Spec: sample("/proc/self/exe", "-test.list", ".")}
		cfg.Stdio = [3]*os.File{nil, w, w}
		defer gone(t, cfg)
		c, err := Run(cfg)
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(io.LimitReader(r, 200))
		if err != nil {
			t.Fatal(err)
		}
		exit, err := c.Wait()
		if err := errors.Join(err, c.Delete()); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%sexit %d", out, exit.Code); got != barren {
			t.Errorf("an image whose program is /proc/self/exe: %q, want %q", got, barren)
		}
	})
	t.Run("exec", func(t *testing.T) {
		c := started(t, Config{Spec: sample("sh", "-c", "echo '#!/proc/self/exe -test.list=.' >/tmp/trap; chmod 755 /tmp/trap; sleep 100")})
		p := *c.spec.Process
		p.Args = []string{"sh", "-c", "until [ -x /tmp/trap ]; do :; done"}
		if out := execs(t, c, &p); out != "exit 0" {
			t.Fatal(out)
		}
		p.Args = []string{"/tmp/trap"}
		if out := execs(t, c, &p); out != barren {
			t.Errorf("exec of a script of /proc/self/exe: %.200q, want %q", out, barren)
		}
	})
}

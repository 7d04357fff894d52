package capture

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"tripod/internal/socket"
)

// place is a network namespace of a test. It goes with the test, as nothing else holds it.
type place struct {
	t    testing.TB
	path string
	pid  int
}

// lan makes two network namespaces with a cable between: eth0 in both, 10.9.0.1 and 10.9.0.2, fd09::1 and fd09::2.
func lan(t testing.TB) (a, b place) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces are made by root")
	}
	a, b = newPlace(t), newPlace(t)
	a.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(b.pid))
	for i, p := range []place{a, b} {
		p.run("ip", "addr", "add", fmt.Sprintf("10.9.0.%d/24", i+1), "dev", "eth0")
		p.run("ip", "addr", "add", fmt.Sprintf("fd09::%d/64", i+1), "dev", "eth0", "nodad")
		p.run("ip", "link", "set", "eth0", "up")
	}
	return a, b
}

// newPlace makes a namespace. A sleeping process holds it, so that it has a path for other programs too.
func newPlace(t testing.TB) place {
	t.Helper()
	holder := exec.Command("sleep", "600")
	holder.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
	})
	p := place{t, fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid), holder.Process.Pid}
	p.run("ip", "link", "set", "lo", "up")
	return p
}

// in runs f on a thread in the namespace.
func (p place) in(f func() error) {
	p.t.Helper()
	if err := socket.Inside(p.path, f); err != nil {
		p.t.Fatal(err)
	}
}

func (p place) run(program string, args ...string) string {
	p.t.Helper()
	var out []byte
	p.in(func() (err error) {
		if out, err = exec.Command(program, args...).CombinedOutput(); err != nil {
			err = fmt.Errorf("%s %v: %w: %s", program, args, err, out)
		}
		return err
	})
	return string(out)
}

// send sends UDP packets.
func (p place) send(to string, texts ...string) {
	p.t.Helper()
	p.in(func() error {
		c, err := net.Dial("udp", to)
		if err != nil {
			return err
		}
		defer c.Close()
		for _, text := range texts {
			if _, err := c.Write([]byte(text)); err != nil { // the refusal of the one before
				_, _ = c.Write([]byte(text))
			}
		}
		return nil
	})
}

// raw sends a frame as it is.
func (p place) raw(frame []byte) {
	p.t.Helper()
	p.in(func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Index})
	})
}

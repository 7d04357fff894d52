package container

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// agent is a seccomp agent that answers the call nr with ENOMEDIUM and lets all others go on. It tells the state that
// comes with each listener.
func agent(t *testing.T, path string, nr ...uint32) <-chan specs.ContainerProcessState {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	states := make(chan specs.ContainerProcessState, 8)
	go func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			oob := make([]byte, 64)
			first := make([]byte, 1)
			_, n, _, _, err := conn.ReadMsgUnix(first, oob)
			rest, rerr := io.ReadAll(conn)
			if err := errors.Join(err, rerr, conn.Close()); err != nil {
				t.Error(err)
				return
			}
			msgs, err := unix.ParseSocketControlMessage(oob[:n])
			if err != nil || len(msgs) != 1 {
				t.Errorf("%d messages, %v", len(msgs), err)
				return
			}
			fds, err := unix.ParseUnixRights(&msgs[0])
			var st specs.ContainerProcessState
			if err := errors.Join(err, json.Unmarshal(append(first, rest...), &st)); err != nil || len(fds) != 1 {
				t.Errorf("descriptors %v, %v", fds, err)
				return
			}
			states <- st
			go answer(fds[0], nr)
		}
	}()
	return states
}

// answer is the agent's loop for one listener (seccomp_unotify(2)).
func answer(fd int, nr []uint32) {
	defer unix.Close(fd)
	mem, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return
	}
	defer func() { _ = unix.Munmap(mem) }()
	addr := int(reflect.ValueOf(mem).Pointer())
	for {
		clear(mem)
		err := unix.IoctlSetInt(fd, unix.SECCOMP_IOCTL_NOTIF_RECV, addr)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) && listening(fd) {
			continue
		}
		if err != nil {
			return
		}
		id, call := binary.NativeEndian.Uint64(mem), binary.NativeEndian.Uint32(mem[16:])
		clear(mem)
		binary.NativeEndian.PutUint64(mem, id)
		if slices.Contains(nr, call) {
			refusal := -int32(unix.ENOMEDIUM)
			binary.NativeEndian.PutUint32(mem[16:], uint32(refusal))
		} else {
			binary.NativeEndian.PutUint32(mem[20:], unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE)
		}
		_ = unix.IoctlSetInt(fd, unix.SECCOMP_IOCTL_NOTIF_SEND, addr)
	}
}

// listening says that the filter of a listener has processes yet.
func listening(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	_, err := unix.Poll(p, 0)
	return err == nil && p[0].Revents&unix.POLLHUP == 0
}

// TestSeccompListener: the agent gets the listener of an init and of an exec, with their states, and answers for them.
// The calls that the birth itself makes after the filter are loaded are answered too.
func TestSeccompListener(t *testing.T) {
	for name, change := range map[string]func(*specs.Spec){
		"plain":          func(*specs.Spec) {},
		"old privileges": func(s *specs.Spec) { s.Process.NoNewPrivileges = false },
		"terminal":       func(s *specs.Spec) { s.Process.Terminal = true },
		"the birth's calls": func(s *specs.Spec) {
			s.Linux.Seccomp.Syscalls[0].Names = append(s.Linux.Seccomp.Syscalls[0].Names, "read", "execve", "prctl", "setresuid", "capset")
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "agent")
			states := agent(t, path, unix.SYS_MKDIRAT, 83) // and mkdir, where there is one
			spec := sample("sleep", "1000")
			spec.Annotations = map[string]string{"a": "b"}
			spec.Linux.Seccomp = &specs.LinuxSeccomp{
				DefaultAction: specs.ActAllow, ListenerPath: path, ListenerMetadata: "meta",
				Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActNotify}},
			}
			change(spec)
			cfg := Config{ID: "x", Spec: spec, Host: look(t), Root: layers(t), CgroupPath: cgroupName(t), Bundle: "/srv/bundle"}
			c, err := Create(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if c.Console != nil {
				defer c.Console.Close()
			}
			st := <-states
			if st.Pid != c.Pid || st.State.Pid != c.Pid || st.State.Status != specs.StateCreating || st.State.ID != "x" || st.State.Bundle != "/srv/bundle" ||
				st.State.Annotations["a"] != "b" || st.Metadata != "meta" || len(st.Fds) != 1 || st.Fds[0] != "seccompFd" {
				t.Errorf("init: %+v", st)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			proc := *spec.Process
			proc.Terminal = false
			proc.Args = []string{"/bin/busybox", "mkdir", "/tmp/y"}
			p, err := c.Exec(ExecConfig{Process: &proc, Stdio: [3]*os.File{nil, w, w}})
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			st = <-states
			if proc.NoNewPrivileges && st.Pid != p.Pid || st.State.Pid != c.Pid || st.State.Status != specs.StateRunning {
				t.Errorf("exec: %+v", st)
			}
			out, _ := io.ReadAll(r)
			r.Close()
			_, werr := p.Wait()
			if werr != nil || p.PidFD.Close() != nil {
				t.Error(werr)
			}
			if !strings.Contains(string(out), "No medium found") {
				t.Errorf("exec printed %q", out)
			}
			if err := errors.Join(c.Kill(), waited(c), c.Delete()); err != nil {
				t.Error(err)
			}
			gone(t, cfg)
		})
	}
}

// TestNoSeccompAgent: nobody at the socket, or nobody who takes anything, is an error that names the field.
func TestNoSeccompAgent(t *testing.T) {
	spec := sample("true")
	spec.Linux.Seccomp = &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, ListenerPath: filepath.Join(t.TempDir(), "none"),
		Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActNotify}},
	}
	if _, _, err := runs(t, Config{Spec: spec}); !errors.Is(err, unix.ENOENT) || !strings.HasPrefix(err.Error(), "linux.seccomp.listenerPath: cannot hand the listener to ") {
		t.Errorf("error %v", err)
	}
	spec.Linux.Seccomp.ListenerPath = "relative"
	if _, _, err := runs(t, Config{Spec: spec}); err == nil || !strings.HasPrefix(err.Error(), `linux.seccomp.listenerPath: "relative" is not an absolute`) {
		t.Errorf("error %v", err)
	}
}

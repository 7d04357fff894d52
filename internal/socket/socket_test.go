package socket

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOwnSockets opens sockets of every kind, finds them and us as their holder.
func TestOwnSockets(t *testing.T) {
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	there, err := net.Dial("tcp4", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	udp, err := net.ListenPacket("udp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	path := filepath.Join(t.TempDir(), "s")
	un, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer un.Close()
	abstract, err := net.Listen("unix", "@tripod-test-"+filepath.Base(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer abstract.Close()
	all, err := List(Options{})
	if err != nil {
		t.Fatal(err)
	}
	held, _ := Holders("", []int{os.Getpid()}, nil)
	find := func(what string, match func(Socket) bool) Socket {
		t.Helper()
		i := slices.IndexFunc(all, match)
		if i < 0 {
			t.Errorf("no %s", what)
			return Socket{}
		}
		if h := held[all[i].Inode]; len(h) == 0 || h[0].PID != os.Getpid() {
			t.Errorf("%s: held by %v", what, h)
		}
		return all[i]
	}
	want := netip.MustParseAddrPort(tcp.Addr().String())
	if s := find("listener", func(s Socket) bool { return s.Proto == "tcp" && s.Local == want && s.State == "LISTEN" }); !s.Listening() || s.V6 || s.SendQ == 0 {
		t.Errorf("%+v", s)
	}
	find("connection", func(s Socket) bool { return s.Remote == want && s.State == "ESTAB" })
	v6 := netip.MustParseAddrPort(udp.LocalAddr().String())
	if s := find("udp", func(s Socket) bool { return s.Proto == "udp" && s.Local == v6 }); s.State != "UNCONN" || !s.V6 || !s.Listening() {
		t.Errorf("%+v", s)
	}
	find("unix", func(s Socket) bool { return s.Path == path && s.State == "LISTEN" })
	find("abstract", func(s Socket) bool { return s.Path == abstract.Addr().String() })
	few, err := List(Options{Kinds: TCP, Listening: true})
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(few, func(s Socket) bool { return s.State != "LISTEN" || s.Proto != "tcp" }); i >= 0 || len(few) == 0 {
		t.Errorf("%d listeners, %d", len(few), i)
	}
}

// TestRaw opens a raw socket, whether the kernel has raw_diag or not.
func TestRaw(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 253)
	if err != nil {
		t.Skip(err)
	}
	defer unix.Close(fd)
	all, err := List(Options{Kinds: Raw})
	if err != nil {
		t.Fatal(err)
	}
	held, _ := Holders("", []int{os.Getpid()}, nil)
	for _, s := range all {
		if s.Proto == "raw" && s.Local.Port() == 253 && len(held[s.Inode]) > 0 {
			return
		}
	}
	t.Errorf("%+v", all)
}

func TestParseRaw(t *testing.T) {
	const line = "  255: 0100007F:00FF 00000000:0000 07 00000000:00000010 00:00000000 00000000  1000        0 4321 2 0000000000000000 0"
	s, ok := parseRaw(line, false)
	want := Socket{Proto: "raw", State: "UNCONN", RecvQ: 16, UID: 1000, Inode: 4321, Local: netip.MustParseAddrPort("127.0.0.1:255"), Remote: netip.MustParseAddrPort("0.0.0.0:0")}
	if !ok || s != want {
		t.Errorf("%v %+v", ok, s)
	}
	for _, bad := range []string{"", "sl local_address rem_address", strings.Replace(line, "0100007F", "0100007", 1), line[:60]} {
		if _, ok := parseRaw(bad, false); ok {
			t.Errorf("%q is a socket", bad)
		}
	}
}

// TestOtherNamespace lists a network namespace that is not there, and one that is no namespace.
func TestOtherNamespace(t *testing.T) {
	for _, path := range []string{"/proc/4194305/ns/net", "/proc/self/status", "/nosuch"} {
		if _, err := List(Options{NetNS: path}); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
	if os.Geteuid() == 0 {
		if _, err := List(Options{NetNS: "/proc/self/ns/net"}); err != nil {
			t.Error(err)
		}
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(append([]byte{32, 0, 0, 0, 20, 0, 2, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 10, 0, 1, 0, 0, 0}, make([]byte, 8)...))
	f.Add([]byte{20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff})
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = messages(data, func(msg []byte) {
			parseInet(msg, "tcp")
			parseUnix(msg)
		})
		parseInet(data, "tcp")
		parseUnix(data)
		parseRaw(string(data), len(data)%2 == 0)
	})
}

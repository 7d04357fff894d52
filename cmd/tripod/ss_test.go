package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"tripod/internal/owner"
	"tripod/internal/socket"
)

// TestSocketTable has a row a socket and container; ports have names, unix sockets the path of their other end.
func TestSocketTable(t *testing.T) {
	services := filepath.Join(t.TempDir(), "services")
	if err := os.WriteFile(services, []byte("# comment\nhttp 80/tcp www # web\nwww2 80/tcp\n\nbad\nbad2 x\nevil\x1b 81/tcp\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := readServices(services); s["tcp/80"] != "http" || s["tcp/81"] != `evil\x1b` || len(s) != 2 {
		t.Errorf("%q", s)
	}
	a := owner.Container{Runtime: owner.Tripod, Pod: "web", Name: "a", Cgroup: "/a"}
	b := owner.Container{Runtime: owner.Tripod, Pod: "web", Name: "b", Cgroup: "/b"}
	addr := netip.MustParseAddrPort
	all := []heldSocket{
		{socket.Socket{Proto: "tcp", State: "LISTEN", SendQ: 9, V6: true, Local: addr("[::]:8081"), Remote: addr("[::]:0"), Inode: 5, UID: 33}, []socketUser{{a, 10, 1, 3, "sh"}, {a, 11, 2, 3, "sh\n"}, {b, 12, 1, 4, "x"}}},
		{socket.Socket{Proto: "tcp", State: "TIME-WAIT", Local: addr("10.0.0.1:80"), Remote: addr("10.0.0.2:4000")}, nil},
		{socket.Socket{Unix: true, Proto: "stream", State: "LISTEN", Path: "/run/\x1b[2J", Inode: 6}, []socketUser{{b, 12, 1, 5, "x"}}},
		{socket.Socket{Unix: true, Proto: "dgram", State: "ESTAB", Inode: 7, Peer: 6}, []socketUser{{b, 12, 0, 6, "x"}}},
		{socket.Socket{Proto: "raw", State: "UNCONN", Local: addr("0.0.0.0:1"), Remote: addr("0.0.0.0:0"), Inode: 8}, []socketUser{{a, 10, 1, 7, "ping"}}},
	}
	var out bytes.Buffer
	if err := socketTable(all, ssFlags{numeric: true}, true).print(&out, true); err != nil {
		t.Fatal(err)
	}
	const want = `NETID   STATE       RECV-Q   SEND-Q   LOCAL             PEER             CONTAINER   PID       PROCESS   INNER   FD   UID   INODE
tcp     LISTEN      0        9        [::]:8081         [::]:*           web/a       10 (+1)   sh        1       3    33    5
tcp     LISTEN      0        9        [::]:8081         [::]:*           web/b       12        x         1       4    33    5
tcp     TIME-WAIT   0        0        10.0.0.1:80       10.0.0.2:4000    -           -         -         -       -    0     0
u_str   LISTEN      0        0        /run/\x1b[2J 6    *                web/b       12        x         1       5    0     6
u_dgr   ESTAB       0        0        * 7               /run/\x1b[2J 6   web/b       12        x         -       6    0     7
raw     UNCONN      0        0        0.0.0.0:proto 1   0.0.0.0:*        web/a       10        ping      1       7    0     8
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	if f := (ssFlags{listening: true, v4: true}); f.wants(all[0].Socket) || f.wants(all[1].Socket) || !f.wants(all[2].Socket) || f.kinds()&socket.Unix != 0 {
		t.Error("flags")
	}
}

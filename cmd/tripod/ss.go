package main

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tripod/internal/ns"
	"tripod/internal/owner"
	"tripod/internal/socket"
)

// ssFlags are the words of ss.
type ssFlags struct {
	listening, all       bool
	tcp, udp, raw, local bool
	v4, v6               bool
	numeric, bare        bool
}

// kinds are the kinds of sockets that were asked for, all of them when none was.
func (f ssFlags) kinds() socket.Kinds {
	var k socket.Kinds
	for _, c := range []struct {
		on   bool
		kind socket.Kinds
	}{{f.tcp, socket.TCP}, {f.udp, socket.UDP}, {f.raw, socket.Raw}, {f.local, socket.Unix}} {
		if c.on {
			k |= c.kind
		}
	}
	if k == 0 && (f.v4 || f.v6) {
		k = socket.TCP | socket.UDP | socket.Raw
	}
	return k
}

func (f ssFlags) wants(s socket.Socket) bool {
	if f.listening && !f.all && !s.Listening() {
		return false
	}
	return f.v4 == f.v6 || s.Unix || s.V6 == f.v6
}

func newSs(a *app) *cobra.Command {
	var f ssFlags
	var o output
	cmd := &cobra.Command{
		Use:   "ss POD|POD/CONTAINER|RUNTIME://NAME|PID",
		Short: "List a Pod's sockets and which container has them",
		Long: `List the sockets in the network namespace of a Pod, with the container and the process that
has each, by their PIDs on the host. With POD/CONTAINER, only those that it has.

The flags are those of ss(8). Without -l all are listed, connected and listening. Ports have the names of
/etc/services, unless -n is given.`,
		Example: `  tripod ss web
  tripod ss web -ltn
  tripod ss web/nginx -x
  tripod ss docker://shop -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completePods,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := o.check(tableOutputs); err != nil {
				return err
			}
			return a.ss(args[0], f, o)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&f.listening, "listening", "l", false, "those that wait for connections, or for anybody's packets")
	flags.BoolVarP(&f.all, "all", "a", false, "listening and connected ones, as without -l")
	flags.BoolVarP(&f.tcp, "tcp", "t", false, "TCP")
	flags.BoolVarP(&f.udp, "udp", "u", false, "UDP")
	flags.BoolVarP(&f.raw, "raw", "w", false, "raw IP")
	flags.BoolVarP(&f.local, "unix", "x", false, "unix")
	flags.BoolVarP(&f.v4, "ipv4", "4", false, "of IPv4")
	flags.BoolVarP(&f.v6, "ipv6", "6", false, "of IPv6")
	flags.BoolVarP(&f.numeric, "numeric", "n", false, "ports as numbers")
	flags.BoolP("processes", "p", true, "which processes have them, as always")
	flags.BoolVarP(&f.bare, "no-header", "H", false, "no header line")
	bindOutput(cmd, &o, tableOutputs...)
	return cmd
}

// socketUser is a process that holds a socket.
type socketUser struct {
	Container owner.Container `json:"container"`
	PID       int             `json:"pid"`
	Inner     int             `json:"innerPID,omitempty"`
	FD        int             `json:"fd"`
	Comm      string          `json:"comm"`
}

// heldSocket is a socket and who holds it.
type heldSocket struct {
	socket.Socket
	Users []socketUser `json:"users"`
}

func (a *app) ss(word string, f ssFlags, o output) error {
	h := a.owners()
	t, err := h.Find(word)
	if err != nil {
		return err
	}
	all, partial, err := a.sockets(h, t, f)
	if err != nil {
		return err
	}
	if strings.Count(word, "/") > 0 && !strings.HasSuffix(word, "://") && oneContainer(h, word) {
		all = slices.DeleteFunc(all, func(s heldSocket) bool {
			return !slices.ContainsFunc(s.Users, func(u socketUser) bool { return u.Container.Cgroup == t.Container.Cgroup })
		})
	}
	if partial {
		a.hidden()
	}
	switch o {
	case "", "wide":
		return socketTable(all, f, o == "wide").print(a.out, !f.bare)
	case "name":
		for _, s := range all {
			if _, err := fmt.Fprintf(a.out, "socket:[%d]\n", s.Inode); err != nil {
				return err
			}
		}
		return nil
	}
	return o.object(a.out, listOf(all))
}

// oneContainer says whether a word means a container and not a Pod.
func oneContainer(h *owner.Host, word string) bool {
	found, err := h.Containers(word)
	return err == nil && len(found) == 1 && found[0].Pod != "" && strings.HasSuffix(word, "/"+found[0].Name)
}

// sockets are those of a process's network namespace. In one that is the caller's own, as of a Pod with the host's network, only
// those that the Pod has.
func (a *app) sockets(h *owner.Host, t owner.Target, f ssFlags) ([]heldSocket, bool, error) {
	path := "/proc/" + strconv.Itoa(t.PID) + "/ns/net"
	ids, err := ns.Of("", t.PID)
	if err != nil {
		return nil, false, err
	}
	mine, err := ns.Of("", os.Getpid())
	if err != nil {
		return nil, false, err
	}
	shared := ids[ns.Net] == mine[ns.Net]
	if shared {
		path = ""
	}
	list, err := socket.List(socket.Options{NetNS: path, Kinds: f.kinds()})
	if err != nil {
		return nil, false, err
	}
	// The process that was entered is the one that was meant only if it is still there.
	if _, err := h.Pin(t.PID, t.Start); err != nil {
		return nil, false, err
	}
	pids, err := h.PIDs()
	if err != nil {
		return nil, false, err
	}
	wanted := map[uint64]bool{}
	for _, s := range list {
		wanted[s.Inode] = s.Inode != 0
	}
	held, partial := socket.Holders("", pids, func(inode uint64) bool { return wanted[inode] })
	users := map[int]socketUser{}
	var all []heldSocket
	for _, s := range list {
		if !f.wants(s) {
			continue
		}
		one := heldSocket{Socket: s, Users: []socketUser{}}
		for _, who := range held[s.Inode] {
			u, ok := users[who.PID]
			if !ok {
				if m, there := h.Member(who.PID); there {
					c, _, _ := h.OfProcess(who.PID)
					u = socketUser{Container: c, PID: m.PID, Inner: m.Inmost(), Comm: m.Comm}
				}
				users[who.PID] = u
			}
			if u.PID != 0 {
				u.FD = who.FD
				one.Users = append(one.Users, u)
			}
		}
		if shared && !slices.ContainsFunc(one.Users, func(u socketUser) bool { return samePod(u.Container, t.Container) }) {
			continue
		}
		all = append(all, one)
	}
	return all, partial && slices.ContainsFunc(all, func(s heldSocket) bool { return len(s.Users) == 0 && s.Inode != 0 }), nil
}

func samePod(c, d owner.Container) bool {
	if c.PodUID != "" || d.PodUID != "" {
		return c.Runtime == d.Runtime && c.PodUID == d.PodUID
	}
	return c.Runtime == d.Runtime && c.Cgroup == d.Cgroup
}

// socketTable has a row a socket and container that has it.
func socketTable(all []heldSocket, f ssFlags, wide bool) table {
	t := table{header: []string{"NETID", "STATE", "RECV-Q", "SEND-Q", "LOCAL", "PEER", "CONTAINER", "PID", "PROCESS"}}
	if wide {
		t.header = append(t.header, "INNER", "FD", "UID", "INODE")
	}
	var services map[string]string
	if !f.numeric {
		services = readServices("/etc/services")
	}
	paths := map[uint64]string{}
	for _, s := range all {
		paths[s.Inode] = s.Path
	}
	for _, s := range all {
		row := []string{netID(s.Socket), s.State, fmt.Sprint(s.RecvQ), fmt.Sprint(s.SendQ), local(s.Socket, services), peer(s.Socket, services, paths)}
		done := map[string]bool{}
		for _, u := range s.Users {
			where := orDash(u.Container.String())
			if done[where] {
				continue
			}
			done[where] = true
			others := -1
			for _, v := range s.Users {
				if orDash(v.Container.String()) == where {
					others++
				}
			}
			pid := strconv.Itoa(u.PID)
			if others > 0 {
				pid += fmt.Sprintf(" (+%d)", others)
			}
			full := append(slices.Clone(row), where, pid, owner.Sanitise(u.Comm))
			if wide {
				full = append(full, orDash(strings.TrimLeft(strconv.Itoa(u.Inner), "0")), strconv.Itoa(u.FD), fmt.Sprint(s.UID), fmt.Sprint(s.Inode))
			}
			t.rows = append(t.rows, full)
		}
		if len(s.Users) == 0 {
			full := append(row, "-", "-", "-")
			if wide {
				full = append(full, "-", "-", fmt.Sprint(s.UID), fmt.Sprint(s.Inode))
			}
			t.rows = append(t.rows, full)
		}
	}
	return t
}

// netID is the kind as ss(8) spells it.
func netID(s socket.Socket) string {
	if !s.Unix {
		return s.Proto
	}
	switch s.Proto {
	case "stream":
		return "u_str"
	case "dgram":
		return "u_dgr"
	case "seqpacket":
		return "u_seq"
	}
	return "u_" + s.Proto
}

func local(s socket.Socket, services map[string]string) string {
	if s.Unix {
		return orDefault(owner.Sanitise(s.Path), "*") + " " + fmt.Sprint(s.Inode)
	}
	return address(s.Local, s, services)
}

func peer(s socket.Socket, services map[string]string, paths map[uint64]string) string {
	switch {
	case s.Unix && s.Peer == 0:
		return "*"
	case s.Unix:
		return orDefault(owner.Sanitise(paths[s.Peer]), "*") + " " + fmt.Sprint(s.Peer)
	}
	return address(s.Remote, s, services)
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// address is ADDRESS:PORT; * stands for any.
func address(a netip.AddrPort, s socket.Socket, services map[string]string) string {
	host, port := a.Addr().String(), strconv.Itoa(int(a.Port()))
	switch {
	case a.Addr().Is6() && a.Addr().IsUnspecified():
		host = "[::]"
	case a.Addr().Is6():
		host = "[" + host + "]"
	}
	switch {
	case a.Port() == 0:
		port = "*"
	case s.Proto == "raw":
		port = "proto " + port
	default:
		port = orDefault(services[s.Proto+"/"+port], port)
	}
	return host + ":" + port
}

// maxServices bounds what is read of /etc/services, in bytes.
const maxServices = 1 << 20

// readServices reads names of ports, "tcp/80" -> "http" (services(5)); none when there is no such file.
func readServices(path string) map[string]string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	names := map[string]string{}
	for lines := bufio.NewScanner(io.LimitReader(f, maxServices)); lines.Scan(); {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) < 2 {
			continue
		}
		port, proto, ok := strings.Cut(words[1], "/")
		if _, twice := names[proto+"/"+port]; ok && !twice {
			names[proto+"/"+port] = owner.Sanitise(words[0])
		}
	}
	return names
}

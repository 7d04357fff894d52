package whois

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"

	"tripod/internal/owner"
	"tripod/internal/socket"
)

// link finds who has the other end of an interface of ours: the kernel tells the number that it has for the namespace where that
// is (IFLA_LINK_NETNSID), and which number it has for the namespace of a process (rtnetlink(7), RTM_GETNSID).
func (a *asker) link(q Question) ([]Answer, error) {
	l, err := netlink.LinkByName(q.Name)
	if err != nil {
		var none netlink.LinkNotFoundError
		if errors.As(err, &none) {
			return nil, nil
		}
		return nil, fmt.Errorf("cannot look at interface %s: %w", owner.Sanitise(q.Name), err)
	}
	what := fmt.Sprintf("%s %s", l.Type(), l.Attrs().Name)
	if l.Attrs().NetNsID < 0 {
		return []Answer{{What: what + " of the host"}}, nil
	}
	if err := a.byNetwork(); err != nil {
		return nil, err
	}
	for _, n := range a.nets {
		if len(n.pids) == 0 {
			continue
		}
		if id, err := netlink.GetNetNsIdByPid(n.pids[0]); err == nil && id == l.Attrs().NetNsID {
			return a.answer(what, n.pids), nil
		}
	}
	return []Answer{{What: what + ", its other end in a network namespace without a process"}}, nil
}

// portRecord is the part that is read of what tripod keeps of a Pod's network.
type portRecord struct {
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Inode     uint64 `json:"inode"`
	Ports     []struct {
		HostIP        netip.Addr `json:"hostIP"`
		HostPort      uint16     `json:"hostPort"`
		ContainerPort uint16     `json:"containerPort"`
		Protocol      string     `json:"protocol"`
	} `json:"ports"`
}

// maxRecord bounds a Pod's network record, in bytes.
const maxRecord = 1 << 20

// hostPorts finds the Pods of ours whose host port it is. No socket has it: the firewall sends what comes on to the Pod.
func (a *asker) hostPorts(q Question) []Answer {
	paths, _ := filepath.Glob(a.h.PodNetworks() + "/*.json")
	var all []Answer
	for _, path := range paths {
		var r portRecord
		if !load(path, &r) || r.UID+".json" != filepath.Base(path) {
			continue
		}
		for _, p := range r.Ports {
			proto, kind := "tcp", socket.TCP
			if strings.EqualFold(p.Protocol, "udp") {
				proto, kind = "udp", socket.UDP
			}
			if uint64(p.HostPort) != q.Number || q.Proto&kind == 0 || strings.EqualFold(p.Protocol, "sctp") {
				continue
			}
			what := fmt.Sprintf("host port %s/%d to port %d", proto, p.HostPort, p.ContainerPort)
			pod := Answer{What: what, Container: owner.Container{Runtime: owner.Tripod, Pod: r.Name, PodNamespace: r.Namespace, PodUID: r.UID}}
			for i, n := range a.nets {
				if n.id != r.Inode {
					continue
				}
				sockets, _ := a.socketsIn(Question{Number: uint64(p.ContainerPort), Proto: kind}, i, n)
				if inside := a.holding(sockets, n); len(inside) > 0 && inside[0].PID != 0 {
					pod.PID, pod.Command, pod.Container = inside[0].PID, inside[0].Command, inside[0].Container
				}
			}
			all = append(all, pod)
		}
	}
	return all
}

func load(path string, v any) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRecord))
	return err == nil && json.Unmarshal(text, v) == nil
}

// Where says in one word who has it: the container, the unit, or the host.
func (a Answer) Where() string {
	switch {
	case a.Container.Known():
		return a.Container.String()
	case a.Container.Unit != "":
		return owner.Sanitise(a.Container.Unit)
	}
	return "host"
}

// Process is the PID as a table shows it: 12, or 12 (+3) when others have it too.
func (a Answer) Process() string {
	switch {
	case a.PID == 0:
		return "-"
	case a.Others > 0:
		return fmt.Sprintf("%d (+%d)", a.PID, a.Others)
	}
	return strconv.Itoa(a.PID)
}

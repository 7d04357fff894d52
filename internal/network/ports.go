package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// element is one entry of one of the port maps.
type element struct {
	mapName    string
	key, value []byte
	comment    string
}

// elements are the map entries that open the Pod's ports.
func (p *pod) elements() []element {
	var all []element
	for _, port := range p.Ports {
		for _, ip := range p.IPs {
			for _, m := range portMaps {
				sameFamily := m.v6 == ip.Is6() && (!port.HostIP.IsValid() || port.HostIP.Is6() == ip.Is6())
				if sameFamily && m.with == port.HostIP.IsValid() {
					all = append(all, element{m.name, port.key(), word(ip.AsSlice(), port.ContainerPort), p.owner()})
				}
			}
		}
	}
	return all
}

// key is what the maps know the port by: [address] protocol port, each padded to 4 bytes as nftables has it.
func (p Port) key() []byte {
	var b []byte
	if p.HostIP.IsValid() {
		b = p.HostIP.AsSlice()
	}
	return word(append(b, protocolNumber(p.Protocol), 0, 0, 0), p.HostPort)
}

// word adds a port number, padded to 4 bytes.
func word(b []byte, port uint16) []byte {
	return append(binary.BigEndian.AppendUint16(b, port), 0, 0)
}

// owner names the Pod in the comment of an element: the UID, a space, and as much of its name as fits nft's 128 bytes.
func (p *pod) owner() string {
	text := p.UID + " " + podName(p.Namespace, p.Name, p.UID)
	if len(text) > 126 {
		text = text[:126]
	}
	return strings.ToValidUTF8(text, "?")
}

// parseKey reads the port of a map's key back; false for a key that is not ours.
func (m portMap) parseKey(key []byte) (Port, bool) {
	var p Port
	if m.with {
		size := 4
		if m.v6 {
			size = 16
		}
		if len(key) < size {
			return p, false
		}
		p.HostIP, _ = netip.AddrFromSlice(key[:size])
		key = key[size:]
	}
	if len(key) != 8 {
		return p, false
	}
	p.Protocol, p.HostPort = protocolName(key[0]), binary.BigEndian.Uint16(key[4:])
	return p, true
}

func elementsOf(m portMap, all []element) []nftables.SetElement {
	var set []nftables.SetElement
	for _, e := range all {
		if e.mapName == m.name {
			set = append(set, nftables.SetElement{Key: e.key, Val: e.value, Comment: e.comment})
		}
	}
	return set
}

// openPort is a host port as it stands in some tripod's table.
type openPort struct {
	Port
	table   string
	in      portMap
	comment string
	raw     nftables.SetElement
}

// uid is the Pod the port leads to.
func (o openPort) uid() string { uid, _, _ := strings.Cut(o.comment, " "); return uid }

// pod is how a message names the Pod.
func (o openPort) pod() string {
	if _, name, ok := strings.Cut(o.comment, " "); ok {
		return name
	}
	return o.comment
}

// openPorts lists the ports in the given tables.
func (fw *firewall) openPorts(tables ...string) ([]openPort, error) {
	conn, err := fw.write()
	if err != nil {
		return nil, err
	}
	var all []openPort
	for _, name := range tables {
		table := &nftables.Table{Name: name, Family: nftables.TableFamilyINet}
		for _, m := range portMaps {
			there, err := fw.hasMap(name, m.name)
			if err != nil {
				return nil, err
			}
			if !there {
				continue // a tripod of another layout, or one that went just now
			}
			elements, err := conn.GetSetElements(m.set(table))
			if err != nil {
				return nil, fmt.Errorf("cannot list host ports of table %s: %w", name, err)
			}
			for _, e := range elements {
				if p, ok := m.parseKey(e.Key); ok && len(e.Val) >= 4 {
					p.ContainerPort = binary.BigEndian.Uint16(e.Val[len(e.Val)-4:])
					all = append(all, openPort{p, name, m, e.Comment, e})
				}
			}
		}
	}
	return all, nil
}

// tripodTables are the tables of every tripod of this host.
func (fw *firewall) tripodTables() ([]string, error) {
	conn, err := fw.write()
	if err != nil {
		return nil, err
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("cannot list nftables tables: %w", err)
	}
	var names []string
	for _, t := range tables {
		if strings.HasPrefix(t.Name, tablePrefix) {
			names = append(names, t.Name)
		}
	}
	return names, nil
}

// portsFree refuses ports that another Pod of any root, or a process of the host, has. The caller holds the host's lock.
func (s *state) portsFree(pod *pod) error {
	for _, p := range pod.Ports {
		if err := p.possible(); err != nil {
			return err
		}
	}
	fw, err := openFirewall()
	if err != nil {
		return err
	}
	defer fw.Close()
	tables, err := fw.tripodTables()
	if err != nil {
		return err
	}
	open, err := fw.openPorts(tables...)
	if err != nil {
		return err
	}
	viaCNI, err := s.portsOfCNI()
	if err != nil {
		return err
	}
	open = append(open, viaCNI...)
	for _, p := range pod.Ports {
		for _, o := range open {
			if o.meets(p) {
				return fmt.Errorf("%w: %s belongs to pod %s", ErrPortTaken, o.Port, o.pod())
			}
		}
		if err := p.listenedOn(); err != nil {
			return err
		}
	}
	return nil
}

// portsOfCNI are the ports of this root's Pods that a CNI plugin has opened, somewhere we do not look.
func (s *state) portsOfCNI() ([]openPort, error) {
	uids, err := s.uids()
	if err != nil {
		return nil, err
	}
	var all []openPort
	for _, uid := range uids {
		pod, err := s.pod(uid)
		if errors.Is(err, fs.ErrNotExist) || err == nil && pod.CNI == nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, p := range pod.Ports {
			all = append(all, openPort{Port: p, comment: pod.owner()})
		}
	}
	return all, nil
}

// openPorts leads the Pod's ports to it.
func (s *state) openPorts(net *rootNet, pod *pod) error {
	for _, p := range pod.Ports {
		if p.HostIP.Is6() && !net.Subnet6.IsValid() {
			return fmt.Errorf("%w: host port %s: Pods have no IPv6 here", ErrBadRequest, p)
		}
	}
	if err := s.answerOnLoopback(pod.Ports); err != nil {
		return err
	}
	fw, err := openFirewall()
	if err != nil {
		return err
	}
	defer fw.Close()
	conn, err := fw.write()
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: s.table(), Family: nftables.TableFamilyINet}
	all := pod.elements()
	for _, m := range portMaps {
		if values := elementsOf(m, all); len(values) > 0 {
			if err := conn.SetAddElements(m.set(table), values); err != nil {
				return fmt.Errorf("cannot open host ports: %w", err)
			}
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("cannot open host ports: %w", err)
	}
	forgetFlows(pod)
	return nil
}

// answerOnLoopback lets answers to the host's 127.0.0.1 come in by our bridge, from the first port that needs it on. The
// table's guard chain keeps everything else for 127.0.0.0/8 out (CVE-2020-8558).
func (s *state) answerOnLoopback(ports []Port) error {
	for _, p := range ports {
		if p.onLoopback() {
			_, err := setSysctl(confName("ipv4", s.bridge(), "route_localnet"), "1")
			return err
		}
	}
	return nil
}

// closePorts closes the ports of the root's Pods that gone says are gone.
func (s *state) closePorts(gone func(uid string) bool) error {
	fw, err := openFirewall()
	if err != nil {
		return err
	}
	defer fw.Close()
	open, err := fw.openPorts(s.table())
	if err != nil {
		return err
	}
	conn, err := fw.write()
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: s.table(), Family: nftables.TableFamilyINet}
	for _, o := range open {
		if !gone(o.uid()) {
			continue
		}
		if err := conn.SetDeleteElements(o.in.set(table), []nftables.SetElement{{Key: o.raw.Key}}); err != nil {
			return fmt.Errorf("cannot close host port %s: %w", o.Port, err)
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("cannot close host ports: %w", err)
	}
	return nil
}

// forgetFlows ends what conntrack remembers of the Pod's UDP ports. A UDP flow never says that it is over, so its
// packets would go on to the Pod that had the port before. A host where this is not possible forgets by itself, later.
func forgetFlows(pod *pod) {
	var filters []netlink.CustomConntrackFilter
	for _, p := range pod.Ports {
		if p.Protocol != "UDP" {
			continue
		}
		f := &netlink.ConntrackFilter{}
		if f.AddProtocol(unix.IPPROTO_UDP) == nil && f.AddPort(netlink.ConntrackOrigDstPort, p.HostPort) == nil {
			filters = append(filters, f)
		}
	}
	if len(filters) == 0 {
		return
	}
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, _ = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, filters...)
	}
}

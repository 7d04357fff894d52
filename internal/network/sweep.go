package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tearDown ends what the root's Pods shared, when the last is gone. The subnet stays remembered, so that the next Pod
// finds the neighbours' memory right. The caller holds the root's lock.
func (s *state) tearDown(host *route) error {
	if err := host.deleteLinks(s.bridge()); err != nil {
		return err
	}
	fw, err := openFirewall()
	if err != nil {
		return err
	}
	defer fw.Close()
	if err := s.removeForward(fw, iptablesFamilies[:]...); err != nil {
		return err
	}
	there, err := fw.hasTable(s.table())
	if err != nil || !there {
		return err
	}
	conn, err := fw.write()
	if err != nil {
		return err
	}
	conn.DelTable(&nftables.Table{Name: s.table(), Family: nftables.TableFamilyINet})
	if err := conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove nftables table %s: %w", s.table(), err)
	}
	return nil
}

// Sweep takes away everything of Pods that are not live: what a killed process or a Pod that ended unseen has left. It
// brings back what living Pods need and others have removed. It goes on after an error and gives all of them.
func Sweep(ctx context.Context, cfg Config, live func(uid string) bool) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s, err := open(cfg)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	uids, err := s.uids()
	if err != nil {
		return err
	}
	uids = slices.DeleteFunc(uids, live)
	if err := errors.Join(s.detach(ctx, uids...), s.sweepStrays()); err != nil {
		return fmt.Errorf("cannot sweep the network: %w", err)
	}
	return nil
}

// sweepStrays removes what no record explains.
func (s *state) sweepStrays() error {
	lock, err := s.lock()
	if err != nil {
		return err
	}
	defer lock.Release()
	uids, err := s.uids()
	if err != nil {
		return err
	}
	known := func(uid string) bool { return slices.Contains(uids, uid) }
	if err := errors.Join(s.freeTorn(), s.freeStrays(known)); err != nil {
		return err
	}
	host, err := openRoute()
	if err != nil {
		return err
	}
	defer host.Close()
	if len(uids) == 0 {
		// Ports of the bridge outlive it, so they go first.
		if err := s.removeVeths(host, nil); err != nil {
			return err
		}
		return s.tearDown(host)
	}
	if err := s.removeVeths(host, uids); err != nil {
		return err
	}
	if err := s.closePorts(func(uid string) bool { return !known(uid) }); err != nil {
		return err
	}
	return s.repair(host)
}

// repair brings back what the living Pods need and others have removed: the table after `nft flush ruleset`, the accepts
// when Docker came later than we did.
func (s *state) repair(host *route) error {
	pods, err := s.pods()
	if err != nil || len(pods) == 0 {
		return err
	}
	_, _, err = s.ensure(host, false)
	return err
}

// freeStrays frees leases whose Pod has no record.
func (s *state) freeStrays(known func(uid string) bool) error {
	leases, err := s.leases()
	if err != nil {
		return err
	}
	for ip, uid := range leases {
		if known(uid) {
			continue
		}
		if err := os.Remove(s.leasePath(ip)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot free address %s: %w", ip, err)
		}
	}
	return nil
}

// removeVeths removes the ports of our bridge that belong to none of uids.
func (s *state) removeVeths(host *route, uids []string) error {
	names, err := s.strayVeths(host, uids)
	if err != nil {
		return err
	}
	return host.deleteLinks(names...)
}

func (s *state) strayVeths(host *route, uids []string) ([]string, error) {
	bridge, err := host.link(s.bridge())
	if errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ours := map[string]bool{}
	for _, uid := range uids {
		ours[s.veth(uid)] = true
	}
	links, err := listLinks()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, l := range links {
		a := l.Attrs()
		if a.MasterIndex == bridge.index && strings.HasPrefix(a.Name, vethPrefix) && !ours[a.Name] {
			names = append(names, a.Name)
		}
	}
	return names, nil
}

func listLinks() (links []netlink.Link, err error) {
	err = retryDump(func() error {
		links, err = netlink.LinkList()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list interfaces: %w", err)
	}
	return links, nil
}

// Leaks tells what is left over, one line each: of this root what no living Pod explains, and of other roots what
// stayed after their directories were removed. A question that the host does not answer is a line too.
func Leaks(cfg Config) []string {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s, err := open(cfg)
	if err != nil {
		return []string{err.Error()}
	}
	var leaks []string
	tell := func(format string, args ...any) { leaks = append(leaks, fmt.Sprintf(format, args...)) }
	uids, err := s.uids()
	if err != nil {
		tell("%v", err)
	}
	for _, uid := range uids {
		switch pod, err := s.pod(uid); {
		case err != nil:
			tell("%v", err)
		case !pod.there():
			tell("network of pod %s: its namespace %s is gone", podName(pod.Namespace, pod.Name, uid), pod.NetNS)
		}
	}
	leases, err := s.leases()
	if err != nil {
		tell("%v", err)
	}
	for _, ip := range slices.SortedFunc(maps.Keys(leases), netip.Addr.Compare) {
		if !slices.Contains(uids, leases[ip]) {
			tell("address %s: leased to pod %s, which has no record", ip, leases[ip])
		}
	}
	s.linkLeaks(uids, tell)
	s.firewallLeaks(uids, tell)
	return leaks
}

// linkLeaks tells of interfaces. A bridge of another root is a leak when that root's directory is gone.
func (s *state) linkLeaks(uids []string, tell func(string, ...any)) {
	links, err := listLinks()
	if err != nil {
		tell("%v", err)
		return
	}
	var bridge int
	for _, l := range links {
		a := l.Attrs()
		root, ours := strings.CutPrefix(a.Alias, bridgeAlias)
		switch {
		case a.Name == s.bridge():
			bridge = a.Index
			if len(uids) == 0 {
				tell("bridge %s: no pod is on it", a.Name)
			}
		case ours && strings.HasPrefix(a.Name, bridgePrefix):
			if _, err := os.Lstat(root); errors.Is(err, fs.ErrNotExist) {
				tell("bridge %s: its root %s is gone", a.Name, root)
			}
		}
	}
	veths := map[string]bool{}
	for _, uid := range uids {
		veths[s.veth(uid)] = true
	}
	for _, l := range links {
		a := l.Attrs()
		switch {
		case !strings.HasPrefix(a.Name, vethPrefix) || !strings.HasPrefix(a.Alias, podAlias) || veths[a.Name]:
		case a.MasterIndex == 0:
			tell("link %s (%s): on no bridge", a.Name, a.Alias)
		case a.MasterIndex == bridge:
			tell("link %s (%s): its pod has no record", a.Name, a.Alias)
		}
	}
}

// firewallLeaks tells of tables, host ports and rules whose bridge or Pod is gone.
func (s *state) firewallLeaks(uids []string, tell func(string, ...any)) {
	fw, err := openFirewall()
	if err != nil {
		tell("%v", err)
		return
	}
	defer fw.Close()
	orphan := func(table string) bool {
		_, err := netlink.LinkByName(bridgePrefix + strings.TrimPrefix(table, tablePrefix))
		var missing netlink.LinkNotFoundError
		return errors.As(err, &missing)
	}
	tables, err := fw.tripodTables()
	if err != nil {
		tell("%v", err)
	}
	for _, name := range tables {
		if orphan(name) {
			tell("nftables table %s: its bridge is gone", name)
		}
	}
	open, err := fw.openPorts(s.table())
	if err != nil {
		tell("%v", err)
	}
	for _, o := range open {
		if !slices.Contains(uids, o.uid()) {
			tell("host port %s: its pod %s has no record", o.Port, o.pod())
		}
	}
	for _, family := range iptablesFamilies {
		for _, name := range foreignChains {
			chain, err := fw.foreign(family, name)
			if err != nil {
				tell("%v", err)
			}
			if chain == nil {
				continue
			}
			for _, r := range chain.tagged(tablePrefix) {
				if orphan(r.tag) {
					tell("rule in iptables' chain %s: its bridge is gone (%s)", name, r.tag)
				}
			}
		}
	}
}

// Changed tells what tripod has changed on the host for good, one line each, with the value of before.
func Changed(cfg Config) []string {
	s, err := open(cfg)
	if err != nil {
		return nil
	}
	net, err := s.known()
	if err != nil {
		return nil
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(net.Before)) {
		lines = append(lines, fmt.Sprintf("%s was %s before the first pod", name, net.Before[name]))
	}
	return lines
}

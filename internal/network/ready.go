package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Ready says in one line what this host lacks for our bridge; errors.Is ErrMissing. It finds out by doing: in a network
// namespace made for the question it makes what Attach makes. The host is not changed. Where a CNI configuration takes
// over, it is that which is looked at.
func Ready(cfg Config) error {
	s, err := open(cfg)
	if err != nil {
		return err
	}
	if err := permitted(); err != nil {
		return err
	}
	switch plugins, err := loadCNI(s.cfg); {
	case err != nil:
		return err
	case plugins != nil:
		return plugins.ready()
	}
	v6 := !s.cfg.NoIPv6 && hostHasIPv6()
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and the namespace with the thread.
		runtime.LockOSThread()
		done <- s.rehearse(v6)
	}()
	if err := <-done; err != nil {
		return err
	}
	forward := sysctlPath("net.ipv4.ip_forward")
	if v, _ := getSysctl("net.ipv4.ip_forward"); v != "1" && unix.Access(forward, unix.W_OK) != nil {
		return fmt.Errorf("%w: net.ipv4.ip_forward is 0 and %s cannot be written: is /proc/sys read-only?", ErrMissing, forward)
	}
	return nil
}

// permitted says in one line which right this process lacks; errors.Is ErrMissing. It costs one system call, so Attach asks
// it before anything else.
func permitted() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("cannot read own capabilities: %w", err)
	}
	for _, need := range []struct {
		bit        uint
		name, what string
	}{
		{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "change the network"},
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "enter a Pod's network namespace"},
	} {
		if sets[need.bit/32].Effective&(1<<(need.bit%32)) == 0 {
			return fmt.Errorf("%w: the right to %s (%s)", ErrMissing, need.what, need.name)
		}
	}
	return nil
}

// rehearse makes a root's network in a namespace of the calling thread's own.
func (s *state) rehearse(v6 bool) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return lacks("new network namespaces (unshare)", err)
	}
	net := &rootNet{Subnet: netip.MustParsePrefix("10.208.0.0/22"), MTU: 1500}
	if v6 {
		net.Subnet6 = netip.MustParsePrefix("fd00::/64")
	}
	host, err := openRoute()
	if err != nil {
		return lacks("route netlink (CONFIG_INET)", err)
	}
	defer host.Close()
	bridge, err := s.makeBridge(host, net, nil)
	if err != nil {
		return lacks("bridges (CONFIG_BRIDGE)", err)
	}
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("cannot rehearse the network: %w", err)
	}
	defer own.Close()
	pod := &pod{UID: "rehearsal", Veth: "tv0", IPs: []netip.Addr{at(net.Subnet, 2)}}
	if err := host.do(vethPair(pod, bridge.index, net.MTU, &netNS{File: own})); err != nil {
		return lacks("virtual links (CONFIG_VETH)", err)
	}
	fw, err := openFirewall()
	if err != nil {
		return lacks("nftables (CONFIG_NF_TABLES)", err)
	}
	defer fw.Close()
	if _, err := fw.hasTable(s.table()); err != nil {
		return lacks("nftables (CONFIG_NF_TABLES)", err)
	}
	if err := s.makeTable(fw, net, nil); err != nil {
		return lacks("address translation by nftables (CONFIG_NF_TABLES_INET, NFT_NAT, NFT_MASQ, NFT_FIB_INET, NFT_CT)", err)
	}
	return nil
}

func lacks(what string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		// The capabilities are there, so it is a filter or a namespace that forbids.
		what = "the permission for " + what
	case errors.Is(err, unix.EROFS):
		what = "a /proc/sys that can be written"
	}
	return fmt.Errorf("%w: %s: %w", ErrMissing, what, err)
}

package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// aliasPrefix begins the alias of each interface of ours, so that a person, and doctor, can see whose it is. For a
// bridge the root follows, for a Pod's link its UID.
const (
	bridgeAlias = "tripod root "
	podAlias    = "tripod pod "
)

// alias is text cut to what the kernel keeps (IFALIASZ).
func alias(text string) *nl.RtAttr {
	if len(text) > 255 {
		text = text[:255]
	}
	return nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(text))
}

func (s *state) bridgeAlias() string {
	text := bridgeAlias + s.cfg.Root
	if len(text) > 255 {
		text = text[:255]
	}
	return text
}

// ensure gives the root's network, made if need be. The caller holds the root's lock; hostLocked says that it holds the
// host's too. When all is there this asks a few short questions and changes nothing.
func (s *state) ensure(host *route, hostLocked bool) (*rootNet, link, error) {
	net, err := s.known()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, link{}, err
	}
	bridge, linkErr := host.link(s.bridge())
	switch {
	case linkErr != nil && !errors.Is(linkErr, unix.ENODEV):
		return nil, link{}, linkErr
	case linkErr == nil && bridge.alias != "" && bridge.alias != s.bridgeAlias():
		return nil, link{}, fmt.Errorf("interface %s is not ours: it is %q", s.bridge(), bridge.alias)
	}
	if net == nil || linkErr != nil || !bridge.up || net.Layout != layout {
		if !hostLocked {
			lock, err := s.lockHost()
			if err != nil {
				return nil, link{}, err
			}
			defer lock.Release()
		}
		return s.make(host, net, bridge)
	}
	fw, err := openFirewall()
	if err != nil {
		return nil, link{}, err
	}
	defer fw.Close()
	// `nft flush ruleset`, as services do that load a rule file, takes our table too.
	there, err := fw.hasTable(s.table())
	if err != nil {
		return nil, link{}, err
	}
	if !there {
		pods, err := s.pods()
		if err != nil {
			return nil, link{}, err
		}
		if err := s.makeTable(fw, net, pods); err != nil {
			return nil, link{}, err
		}
	}
	if err := s.acceptForward(fw); err != nil {
		return nil, link{}, err
	}
	return net, bridge, s.forward(net) // somebody may have loaded the distribution's sysctls again
}

// make makes the root's network: subnet, table, accepts, bridge, forwarding. Each part may be there already; the caller
// holds both locks. What fails for want of something is said by Ready, whose rehearsal is too long for every first Pod;
// what is made by then the caller undoes, and the host's own settings are changed last.
func (s *state) make(host *route, was *rootNet, bridge link) (*rootNet, link, error) {
	net, bridge, err := s.makeParts(host, was, bridge)
	if err != nil {
		if lacking := Ready(s.cfg); errors.Is(lacking, ErrMissing) {
			err = lacking
		}
	}
	return net, bridge, err
}

func (s *state) makeParts(host *route, was *rootNet, bridge link) (*rootNet, link, error) {
	net, err := s.choose(was, bridge.index)
	if err != nil {
		return nil, link{}, err
	}
	// Remembered before anything is made, so that a kill leaves nothing unknown.
	if err := s.putKnown(net); err != nil {
		return nil, link{}, err
	}
	fw, err := openFirewall()
	if err != nil {
		return nil, link{}, err
	}
	defer fw.Close()
	pods, err := s.pods()
	if err != nil {
		return nil, link{}, err
	}
	if net.Notes, err = foreignDrops(fw, s.bridge()); err != nil {
		return nil, link{}, err
	}
	// The kernel takes some milliseconds to commit a table, under another lock than the links'. The connection was opened on
	// this thread, which is in the right namespace.
	committed := make(chan error, 1)
	go func() { committed <- s.makeFirewall(fw, net, pods) }()
	bridge, err = s.makeBridge(host, net, pods)
	if failed := <-committed; failed != nil {
		err = failed
	}
	if err != nil {
		return nil, link{}, err
	}
	for _, pod := range pods {
		// After the table: route_localnet is never without its guard.
		if err := s.answerOnLoopback(pod.Ports); err != nil {
			return nil, link{}, err
		}
	}
	if err := s.forward(net); err != nil {
		return nil, link{}, err
	}
	net.Layout = layout // only now: a kill before leads the next Pod here again
	return net, bridge, s.putKnown(net)
}

// forward turns forwarding on, and remembers what it was.
func (s *state) forward(net *rootNet) error {
	return forwarding(net.Subnet6.IsValid(), func(name, before string) error {
		if _, kept := net.Before[name]; kept {
			return nil // the first value is the host's, a later one may be ours
		}
		if net.Before == nil {
			net.Before = map[string]string{}
		}
		net.Before[name] = before
		return s.putKnown(net)
	})
}

func (s *state) makeFirewall(fw *firewall, net *rootNet, pods []*pod) error {
	if err := s.makeTable(fw, net, pods); err != nil {
		return err
	}
	return s.acceptForward(fw)
}

// choose decides the root's subnets and MTU. What it had is kept while Pods use it or while it is still free.
func (s *state) choose(was *rootNet, own int) (*rootNet, error) {
	boot := bootID()
	if was != nil && was.Boot != boot {
		if err := s.forgetAll(); err != nil {
			return nil, err
		}
		was = nil
	}
	pods, err := s.pods()
	if err != nil {
		return nil, err
	}
	if was != nil && len(pods) > 0 {
		return was, nil
	}
	used, err := taken(own)
	if err != nil {
		return nil, err
	}
	net := &rootNet{Version: recordVersion, Boot: boot, MTU: uplinkMTU()}
	if was != nil {
		net.Before = was.Before
	}
	seed := machine() + s.hash
	switch {
	case s.cfg.Subnet.IsValid() && overlaps(s.cfg.Subnet, used):
		return nil, fmt.Errorf("%w: subnet %s overlaps a route of this host", ErrBadRequest, s.cfg.Subnet)
	case s.cfg.Subnet.IsValid():
		net.Subnet = s.cfg.Subnet
	case was != nil && !overlaps(was.Subnet, used):
		net.Subnet = was.Subnet
	default:
		if net.Subnet, err = pick(pools, subnetBits, seed, used); err != nil {
			return nil, err
		}
	}
	switch {
	case s.cfg.NoIPv6 || !hostHasIPv6():
	case s.cfg.Subnet6.IsValid() && overlaps(s.cfg.Subnet6, used):
		return nil, fmt.Errorf("%w: subnet %s overlaps a route of this host", ErrBadRequest, s.cfg.Subnet6)
	case s.cfg.Subnet6.IsValid():
		net.Subnet6 = s.cfg.Subnet6
	default:
		if net.Subnet6, err = pick6(seed, used); err != nil {
			return nil, err
		}
	}
	return net, nil
}

// forgetAll drops the records and leases of an earlier boot: the kernel has dropped what they speak of. Pods with CNI plugins
// keep theirs, because a plugin's own leases outlive a boot and Sweep still has to end them.
func (s *state) forgetAll() error {
	pods, err := s.pods()
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if err := s.forget(pod); err != nil {
			return err
		}
	}
	return s.freeStrays(func(string) bool { return false })
}

// makeBridge makes the bridge, or completes one that a killed process left, and plugs in again the Pods that a removed
// bridge has left behind.
func (s *state) makeBridge(host *route, net *rootNet, pods []*pod) (link, error) {
	name := s.bridge()
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(net.MTU))))
	// With an address of its own the bridge does not take on a port's, which would change as Pods come and go.
	req.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, hardware(net.gateway())))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, []byte("bridge"))
	req.AddData(info)
	if err := host.do(asking("make bridge "+name, req)); err != nil && !errors.Is(err, unix.EEXIST) {
		return link{}, err
	}
	bridge, err := host.link(name)
	if err != nil {
		return link{}, err
	}
	asks := []ask{
		setLink("name the owner of bridge "+name, name, alias(s.bridgeAlias())),
		setLink("give bridge "+name+" its address", name, nl.NewRtAttr(unix.IFLA_ADDRESS, hardware(net.gateway()))),
	}
	for _, gateway := range net.gateways() {
		asks = append(asks, addAddress(bridge.index, gateway))
	}
	if net.Subnet6.IsValid() {
		// Pods may send router advertisements; nobody is to believe them (CVE-2020-10749).
		for key, value := range map[string]string{"disable_ipv6": "0", "accept_ra": "0"} {
			if _, err := setSysctl(confName("ipv6", name, key), value); err != nil {
				return link{}, err
			}
		}
	}
	if err := host.do(append(asks, setUp(bridge.index, name))...); err != nil {
		return link{}, err
	}
	for _, pod := range pods {
		master := nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(bridge.index)))
		if err := host.do(setLink("plug in pod "+pod.UID, pod.Veth, master)); err != nil && !errors.Is(err, unix.ENODEV) {
			return link{}, err
		}
	}
	bridge.up, bridge.alias = true, s.bridgeAlias()
	return bridge, nil
}

// plug makes the Pod's pair of links and everything inside its namespace. The Pod's end is born there, under its final
// name: the host never sees it.
func plug(host *route, bridge link, net *rootNet, pod *pod, target *netNS) error {
	if err := host.do(vethPair(pod, bridge.index, net.MTU, target), labelVeth(pod)); err != nil {
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
		return fmt.Errorf("%w: does %s have an %s already?", err, pod.NetNS, Interface)
	}
	return target.inside(func() error { return furnish(net, pod) })
}

func vethPair(pod *pod, bridge, mtu int, target *netNS) ask {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Flags, msg.Change = unix.IFF_UP, unix.IFF_UP
	req.AddData(msg)
	size := nl.Uint32Attr(uint32(mtu))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(pod.Veth)))
	req.AddData(nl.NewRtAttr(unix.IFLA_MTU, size))
	req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(bridge))))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, []byte("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(Interface))
	peer.AddRtAttr(unix.IFLA_MTU, size)
	peer.AddRtAttr(unix.IFLA_ADDRESS, hardware(pod.IPs[0]))
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(target.Fd())))
	req.AddData(info)
	return asking("make link "+pod.Veth, req)
}

// labelVeth names the Pod on the host's end, which needs no IPv6 address of its own: it is a port of the bridge.
func labelVeth(pod *pod) ask {
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	const none = 1 // IN6_ADDR_GEN_MODE_NONE
	spec.AddRtAttr(unix.AF_INET6, nil).AddRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, nl.Uint8Attr(none))
	text := podAlias + pod.UID
	if pod.Name != "" {
		text += " " + podName(pod.Namespace, pod.Name, pod.UID)
	}
	attrs := []*nl.RtAttr{alias(strings.ToValidUTF8(text, "?"))}
	if len(pod.IPs) > 1 {
		attrs = append(attrs, spec)
	}
	if len(pod.Ports) > 0 {
		// With net.bridge.bridge-nf-call-iptables the bridge itself leads a Pod's packet for its own host port back to it, and
		// without hairpin mode it would not send a frame out where it came in.
		port := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
		port.AddRtAttr(nl.IFLA_INFO_SLAVE_KIND, []byte("bridge"))
		port.AddRtAttr(nl.IFLA_INFO_SLAVE_DATA, nil).AddRtAttr(nl.IFLA_BRPORT_MODE, nl.Uint8Attr(1))
		attrs = append(attrs, port)
	}
	return setLink("label link "+pod.Veth, pod.Veth, attrs...)
}

// furnish gives the Pod's end its addresses and routes. It runs inside the Pod's namespace.
func furnish(net *rootNet, pod *pod) error {
	inner, err := openRoute()
	if err != nil {
		return err
	}
	defer inner.Close()
	eth0, err := inner.link(Interface)
	if err != nil {
		return err
	}
	if net.Subnet6.IsValid() {
		// Before the link is up. Neighbours are not believed as routers (CVE-2020-10749); nothing to detect, see addAddress.
		for _, set := range [][2]string{{"disable_ipv6", "0"}, {"accept_ra", "0"}, {"accept_dad", "0"}} {
			if _, err := setSysctl(confName("ipv6", Interface, set[0]), set[1]); err != nil {
				return err
			}
		}
	}
	asks := []ask{setUp(1, "lo"), setUp(eth0.index, Interface)} // lo is always the first
	for i, gateway := range net.gateways() {
		if i < len(pod.IPs) {
			asks = append(asks, addAddress(eth0.index, netip.PrefixFrom(pod.IPs[i], gateway.Bits())), addDefault(eth0.index, gateway.Addr()))
		}
	}
	return inner.do(asks...)
}

// checkBridge looks for the Pod's link, bridge, table and ports.
func (s *state) checkBridge(pod *pod) error {
	host, err := openRoute()
	if err != nil {
		return err
	}
	defer host.Close()
	bridge, err := host.link(s.bridge())
	if err != nil {
		return err
	}
	veth, err := host.link(pod.Veth)
	switch {
	case err != nil:
		return err
	case veth.master != bridge.index:
		return fmt.Errorf("link %s is not on bridge %s", pod.Veth, s.bridge())
	case !veth.up || !bridge.up:
		return fmt.Errorf("link %s or bridge %s is down", pod.Veth, s.bridge())
	}
	fw, err := openFirewall()
	if err != nil {
		return err
	}
	defer fw.Close()
	switch there, err := fw.hasTable(s.table()); {
	case err != nil:
		return err
	case !there:
		return fmt.Errorf("nftables table %s is gone", s.table())
	}
	if v, err := getSysctl("net.ipv4.ip_forward"); err != nil || v != "1" {
		return fmt.Errorf("net.ipv4.ip_forward is %q", v)
	}
	for _, family := range iptablesFamilies {
		chain, err := fw.dropper(family)
		if err != nil {
			return err
		}
		if chain != nil && len(chain.tagged(s.table())) != accepts {
			return fmt.Errorf("iptables' chain %s drops its packets", chain.name)
		}
	}
	if len(pod.Ports) == 0 {
		return nil
	}
	open, err := fw.openPorts(s.table())
	if err != nil {
		return err
	}
	for _, p := range pod.Ports {
		if !slices.ContainsFunc(open, func(o openPort) bool { return o.uid() == pod.UID && o.Port == p }) {
			return fmt.Errorf("host port %s is closed", p)
		}
	}
	return nil
}

package network

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// route is a route netlink socket.
type route struct{ *socket }

func openRoute() (*route, error) {
	s, err := openSocket(unix.NETLINK_ROUTE)
	return &route{s}, err
}

const skipStats = 1 << 3 // RTEXT_FILTER_SKIP_STATS in linux/rtnetlink.h

// link is what we need to know of a network interface.
type link struct {
	index  int
	master int
	mtu    int
	name   string
	alias  string
	up     bool
}

// link finds an interface by name; the error is unix.ENODEV when there is none.
func (r *route) link(name string) (link, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	// Counters are most of the answer and nobody reads them.
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats)))
	data, err := r.get(asking("find interface "+name, req))
	if err != nil {
		return link{}, err
	}
	return parseLink(data)
}

func parseLink(data []byte) (link, error) {
	if len(data) < unix.SizeofIfInfomsg {
		return link{}, errors.New("short netlink answer")
	}
	info := nl.DeserializeIfInfomsg(data)
	attrs := attributes(data[unix.SizeofIfInfomsg:])
	number := func(attr uint16) int {
		if v := attrs[attr]; len(v) >= 4 {
			return int(binary.NativeEndian.Uint32(v))
		}
		return 0
	}
	return link{
		index: int(info.Index), master: number(unix.IFLA_MASTER), mtu: number(unix.IFLA_MTU),
		name: cString(attrs[unix.IFLA_IFNAME]), alias: cString(attrs[unix.IFLA_IFALIAS]),
		up: info.Flags&unix.IFF_UP != 0,
	}, nil
}

// doomed is the group that interfaces are put into to be removed together. It is the word "trip" as a number; people who
// use groups count from 1.
const doomed = 0x74726970

// deleteLinks removes interfaces by name; those that are not there are no error. The kernel waits for packets under
// way (synchronize_net, some milliseconds) once a request and not once an interface, so many go by one request.
func (r *route) deleteLinks(names ...string) error {
	const most = 100 // acknowledgements that surely fit into a socket's buffer
	for names := range slices.Chunk(names, most) {
		asks := make([]ask, len(names))
		for i, name := range names {
			if len(names) == 1 {
				req := nl.NewNetlinkRequest(unix.RTM_DELLINK, 0)
				req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
				req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
				asks[i] = asking("remove interface "+name, req)
			} else {
				asks[i] = setLink("remove interface "+name, name, nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(doomed)))
			}
			asks[i].missingIsFine = true
		}
		if len(names) > 1 {
			req := nl.NewNetlinkRequest(unix.RTM_DELLINK, 0)
			req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
			req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(doomed)))
			all := asking("remove interfaces "+strings.Join(names, ", "), req)
			all.missingIsFine = true
			asks = append(asks, all)
		}
		if err := r.do(asks...); err != nil {
			return err
		}
	}
	return nil
}

// setUp is the request that brings an interface up.
func setUp(index int, name string) ask {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	msg.Flags, msg.Change = unix.IFF_UP, unix.IFF_UP
	req.AddData(msg)
	return asking("bring up interface "+name, req)
}

// setLink is the request that changes attributes of an interface found by its name.
func setLink(what, name string, attrs ...*nl.RtAttr) ask {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, 0) // without NLM_F_CREATE it changes what is there
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	for _, a := range attrs {
		req.AddData(a)
	}
	return asking(what, req)
}

// addAddress is the request that gives an interface an address. IPv6 skips duplicate address detection: we are the only
// one who gives addresses here, and an address under detection cannot be bound yet.
func addAddress(index int, p netip.Prefix) ask {
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	msg := nl.NewIfAddrmsg(family(p.Addr()))
	msg.Index = uint32(index)
	msg.Prefixlen = uint8(p.Bits())
	if p.Addr().Is6() {
		msg.IfAddrmsg.Flags = unix.IFA_F_NODAD
	}
	req.AddData(msg)
	ip := p.Addr().AsSlice()
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, ip))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, ip))
	if p.Addr().Is4() {
		last := at(p.Masked(), uint32(1)<<(32-p.Bits())-1)
		req.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, last.AsSlice()))
	}
	return asking("add address "+p.String(), req)
}

// addDefault is the request that sends everything else to gateway.
func addDefault(index int, gateway netip.Addr) ask {
	req := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	msg := nl.NewRtMsg()
	msg.Family = uint8(family(gateway))
	msg.Protocol = unix.RTPROT_STATIC
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, gateway.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
	return asking("add the default route by "+gateway.String(), req)
}

func family(ip netip.Addr) int {
	if ip.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// hardware is the link address that belongs to an IPv4 address. The same address always has the same one, so a
// neighbour's memory of the address's last owner is right for the next.
func hardware(ip netip.Addr) net.HardwareAddr {
	b := ip.As4()
	return net.HardwareAddr{0x02, 0x74, b[0], b[1], b[2], b[3]} // 0x02: locally administered
}

package network

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// layout counts the forms of our table; a root whose table has another form gets it anew.
const layout = 1

// portMap is one of the maps from what a packet is sent to, to the Pod. There are four: each family, with and without
// the host's address in the key. Host ports are their elements, so that a Pod with ports changes no rule.
type portMap struct {
	name    string
	v6      bool
	with    bool // the key begins with the host's address
	id      uint32
	address nftables.SetDatatype
}

// portMaps are looked into in this order: a port of one address is before the same port of all.
var portMaps = [...]portMap{
	{"ports4at", false, true, 1, nftables.TypeIPAddr},
	{"ports6at", true, true, 2, nftables.TypeIP6Addr},
	{"ports4", false, false, 3, nftables.TypeIPAddr},
	{"ports6", true, false, 4, nftables.TypeIP6Addr},
}

func (m portMap) set(table *nftables.Table) *nftables.Set {
	key := []nftables.SetDatatype{nftables.TypeInetProto, nftables.TypeInetService}
	if m.with {
		key = append([]nftables.SetDatatype{m.address}, key...)
	}
	return &nftables.Set{
		Table: table, Name: m.name, ID: m.id, IsMap: true, Concatenation: true,
		KeyType: nftables.MustConcatSetType(key...), DataType: nftables.MustConcatSetType(m.address, nftables.TypeInetService),
		KeyByteOrder: binaryutil.BigEndian,
	}
}

// makeTable makes the root's table, or makes it anew, in one transaction, with the ports of the Pods that are there:
//
//	guard        prerouting, before everything: nothing for 127.0.0.0/8 comes in from outside
//	prerouting   what is sent to an address of the host     -> ports
//	output       the same for the host's own connections    -> ports
//	ports        a port of ours leads to its Pod
//	postrouting  masquerade for what leaves the bridge, and for what comes back to it by a host port
func (s *state) makeTable(fw *firewall, net *rootNet, pods []*pod) error {
	var open []element
	for _, pod := range pods {
		open = append(open, pod.elements()...)
	}
	table := &nftables.Table{Name: s.table(), Family: nftables.TableFamilyINet}
	conn, err := fw.write()
	if err != nil {
		return err
	}
	// Adding first makes deleting succeed on a host that has none.
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	if err := s.fillTable(conn, table, net); err != nil {
		return err
	}
	for _, m := range portMaps {
		if values := elementsOf(m, open); len(values) > 0 {
			if err := conn.SetAddElements(m.set(table), values); err != nil {
				return fmt.Errorf("cannot write host ports: %w", err)
			}
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("cannot make nftables table %s: %w", s.table(), err)
	}
	return nil
}

func (s *state) fillTable(conn *nftables.Conn, table *nftables.Table, net *rootNet) error {
	for _, m := range portMaps {
		if err := conn.AddSet(m.set(table), nil); err != nil {
			return fmt.Errorf("cannot write map %s: %w", m.name, err)
		}
	}
	ports := conn.AddChain(&nftables.Chain{Name: "ports", Table: table})
	base := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
		return conn.AddChain(&nftables.Chain{Name: name, Table: table, Type: kind, Hooknum: hook, Priority: priority})
	}
	rule := func(chain *nftables.Chain, parts ...[]expr.Any) {
		var all []expr.Any
		for _, p := range parts {
			all = append(all, p...)
		}
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: all})
	}

	// CVE-2020-8558: route_localnet on our bridge lets the kernel take packets for 127.0.0.0/8 from there, and a host port on
	// 127.0.0.1 would be led to its Pod before the kernel's martian check whatever interface it came by. An honest answer to a
	// connection from 127.0.0.1 is sent to the gateway at this point: address translation of connections comes later.
	guard := base("guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	rule(guard, iifName("lo", expr.CmpOpNeq), inSubnet(loopback, destination), drop())
	rule(guard, iifName(s.bridge(), expr.CmpOpEq), inSubnet(loopback, source), drop())

	toPorts := []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: "ports"}}
	rule(base("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest), toHost(), toPorts)
	output := base("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	// The kernel sends nothing from ::1 to another interface. Left alone such a connection is refused at once, and a client of
	// "localhost" goes on to 127.0.0.1; translated it would hang.
	rule(output, inSubnet(netip.MustParsePrefix("::1/128"), destination), []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}})
	rule(output, toHost(), toPorts)
	for _, m := range portMaps {
		rule(ports, m.lead())
	}

	post := base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	subnets := []netip.Prefix{net.Subnet}
	if net.Subnet6.IsValid() {
		subnets = append(subnets, net.Subnet6)
	}
	for _, subnet := range subnets {
		rule(post, inSubnet(subnet, source), oifName(s.bridge(), expr.CmpOpNeq), masquerade())
		// A Pod that reaches itself or a neighbour by a host port: the answer has to come back this way.
		rule(post, inSubnet(subnet, source), oifName(s.bridge(), expr.CmpOpEq), wasLed(), masquerade())
	}
	// The host's own connection to 127.0.0.1: no Pod could answer that address.
	rule(post, inSubnet(loopback, source), oifName(s.bridge(), expr.CmpOpEq), wasLed(), masquerade())
	return nil
}

// lead is the rule that looks into a map and translates to what stands there. Values of concatenated types lie in
// registers of 4 bytes, numbered from 8; 1 to 4 are the same places in groups of 16 bytes.
func (m portMap) lead() []expr.Any {
	const reg = 8
	family, proto, size, offset := uint32(unix.NFPROTO_IPV4), uint32(reg), uint32(4), uint32(16)
	if m.v6 {
		family, size, offset = unix.NFPROTO_IPV6, 16, 24
	}
	rule := nfproto(byte(family))
	if m.with {
		rule = append(rule, &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size})
		proto += size / 4
	}
	return append(
		rule,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: proto},
		&expr.Payload{DestRegister: proto + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: reg, DestRegister: reg, IsDestRegSet: true, SetName: m.name, SetID: m.id},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: reg, RegProtoMin: reg + size/4, Specified: true},
	)
}

func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func iifName(name string, op expr.CmpOp) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: ifname(name)}}
}

func oifName(name string, op expr.CmpOp) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: ifname(name)}}
}

func nfproto(family byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}}}
}

// end says which address of a packet is meant.
type end int

const (
	source end = iota
	destination
)

// inSubnet matches packets whose source or destination is in p.
func inSubnet(p netip.Prefix, which end) []expr.Any {
	family, size, offset := byte(unix.NFPROTO_IPV4), uint32(4), uint32(12)
	if p.Addr().Is6() {
		family, size, offset = unix.NFPROTO_IPV6, 16, 8
	}
	if which == destination {
		offset += size
	}
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return append(
		nfproto(family),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()},
	)
}

// toHost matches packets that are sent to an address of this host.
func toHost() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

// wasLed matches connections whose destination was translated, as by a host port.
func wasLed() []expr.Any {
	const dstNAT = 1 << 5 // IPS_DST_NAT in linux/netfilter/nf_conntrack_common.h
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(dstNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// masquerade takes ports at random: two connections that choose one port at the same moment lose a packet (the race is
// in conntrack's insertion).
func masquerade() []expr.Any { return []expr.Any{&expr.Masq{FullyRandom: true}} }

func drop() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }

package filter

// form is how the layer that holds the network header says what it holds.
type form uint8

const (
	ofEthernet form = iota
	ofCookedV1
	ofCookedV2 // and a cooked packet on a socket: the number alone counts
	ofRaw
	ofMPLS
	ofPPP
)

// layer is where the network header and the number of its protocol are. The words vlan, mpls and pppoes move it for what
// follows in the filter.
type layer struct {
	form    form
	proto   uint32 // offset of the number
	payload uint32 // offset of the network header
}

// Numbers of protocols (linux/if_ether.h, IEEE 802.2, PPP).
const (
	protoIP       = 0x0800
	protoARP      = 0x0806
	protoRARP     = 0x8035
	protoIPv6     = 0x86dd
	protoVLAN     = 0x8100
	protoQinQ     = 0x88a8
	protoOldQinQ  = 0x9100
	protoMPLS     = 0x8847
	protoPPPoED   = 0x8863
	protoPPPoES   = 0x8864
	protoATalk    = 0x809b
	protoAARP     = 0x80f3
	protoIPX      = 0x8137
	protoDECnet   = 0x6003
	protoLAT      = 0x6004
	protoMOPDL    = 0x6001
	protoMOPRC    = 0x6002
	protoSCA      = 0x6007
	protoLoopback = 0x9000
	sapIP         = 0x06
	sapSTP        = 0x42
	sapIPX        = 0xe0
	sapNetBEUI    = 0xf0
	sapISO        = 0xfe

	longestLLC = 1500 // a number up to this is the length of an 802.3 frame
	cooked8023 = 1    // ETH_P_802_3: Novell's frames without LLC
	cookedLLC  = 4    // ETH_P_802_2
)

// Ancillary words of the kernel's, read as from these offsets (SKF_AD_OFF and what follows it in linux/filter.h).
const (
	auxiliary    = 0xfffff000
	cookedProto  = auxiliary
	packetType   = auxiliary + 4
	interfaceNum = auxiliary + 8
	tagValue     = auxiliary + 44
	tagPresent   = auxiliary + 48
	outgoing     = 4 // PACKET_OUTGOING of linux/if_packet.h
)

// generator makes the conditions of the primitives.
type generator struct {
	*graph
	o        Options
	layer    layer
	stripped bool // the outer VLAN tag is beside the packet
	vlans    int  // words vlan so far
}

func newGenerator(b *graph, o Options, stripped bool) *generator {
	g := &generator{graph: b, o: o, stripped: stripped}
	switch {
	case o.Link == Raw:
		g.layer = layer{form: ofRaw}
	case o.Link != Ethernet && o.Live:
		g.layer = layer{form: ofCookedV2, proto: cookedProto}
	case o.Link == CookedV1:
		g.layer = layer{form: ofCookedV1, proto: 14, payload: 16}
	case o.Link == CookedV2:
		g.layer = layer{form: ofCookedV2, proto: 0, payload: 20}
	default:
		g.layer = layer{form: ofEthernet, proto: 12, payload: 14}
	}
	return g
}

// in is a load from the network header on.
func (g *generator) in(size uint8, offset uint32) *value {
	return g.absolute(size, g.layer.payload+offset)
}

func (g *generator) number() *value { return g.absolute(2, g.layer.proto) }

// holdsProtocol is true for packets whose network header is of a protocol: a number of Ethernet's, or an LLC address.
func (g *generator) holdsProtocol(number uint32) *cond {
	switch g.layer.form {
	case ofEthernet:
		return g.ethernetHolds(number, not(g.is(greater, g.number(), longestLLC)), g.is(equal, g.in(2, 0), 0xffff), sapIPX)
	case ofCookedV1:
		return g.ethernetHolds(number, g.is(equal, g.number(), cookedLLC), nil, sapIPX)
	case ofRaw:
		return g.version(number)
	case ofMPLS:
		return both(g.is(equal, g.compute('&', g.absolute(1, g.layer.payload-2), g.literal(1)), 1), g.version(number))
	case ofPPP:
		return g.is(equal, g.number(), pppNumber(number))
	default:
		return g.is(equal, g.number(), number)
	}
}

// ethernetHolds knows the protocols that come in several encapsulations. llc is true for packets with an LLC header.
func (g *generator) ethernetHolds(number uint32, llc, novell *cond, ipxAddress uint32) *cond {
	snap := func(organisation, kind uint32) *cond {
		return both(llc, both(g.is(equal, g.in(4, 4), organisation<<16|kind), g.is(equal, g.in(4, 0), 0xaaaa0300|organisation>>16)))
	}
	switch number {
	case sapISO, sapIP, sapNetBEUI:
		return both(llc, g.is(equal, g.in(2, 0), number<<8|number))
	case protoATalk:
		return either(g.is(equal, g.number(), number), snap(0x080007, number))
	case protoAARP:
		return either(g.is(equal, g.number(), number), snap(0, number))
	case sapIPX:
		raw := g.is(equal, g.number(), cooked8023)
		if novell != nil {
			raw = both(llc, novell)
		}
		address := both(llc, g.is(equal, g.in(1, 0), ipxAddress))
		return either(g.is(equal, g.number(), protoIPX), either(raw, either(address, snap(0, protoIPX))))
	}
	if number <= longestLLC {
		return both(llc, g.is(equal, g.in(1, 0), number))
	}
	return g.is(equal, g.number(), number)
}

// version tells IPv4 from IPv6 by the header itself.
func (g *generator) version(number uint32) *cond {
	switch number {
	case protoIP:
		return g.is(equal, g.compute('&', g.in(1, 0), g.literal(0xf0)), 0x40)
	case protoIPv6:
		return g.is(equal, g.compute('&', g.in(1, 0), g.literal(0xf0)), 0x60)
	}
	return truth(false)
}

func pppNumber(number uint32) uint32 {
	switch number {
	case protoIP:
		return 0x21
	case protoIPv6:
		return 0x57
	case protoDECnet:
		return 0x27
	case protoATalk:
		return 0x29
	case sapISO:
		return 0x23
	case sapSTP:
		return 0x31
	case sapIPX:
		return 0x2b
	}
	return number
}

// vlan is true for packets with a VLAN tag, of this id unless it is -1. What follows is looked for behind the tag.
func (g *generator) vlan(w word, id int) (*cond, error) {
	switch {
	case g.layer.form != ofEthernet:
		return nil, w.wrong("there are no VLAN tags on a link of type %s here", g.linkName())
	case id > 0xfff:
		return nil, w.wrong("a VLAN id is at most 4095")
	}
	g.vlans++
	if g.stripped && g.vlans == 1 {
		if id < 0 {
			return truth(true), nil
		}
		return g.is(equal, g.compute('&', g.absolute(2, tagValue), g.literal(0xfff)), uint32(id)), nil
	}
	tagged := either(g.is(equal, g.number(), protoVLAN), either(g.is(equal, g.number(), protoQinQ), g.is(equal, g.number(), protoOldQinQ)))
	if id >= 0 {
		tagged = both(tagged, g.is(equal, g.compute('&', g.in(2, 0), g.literal(0xfff)), uint32(id)))
	}
	g.layer.proto += 4
	g.layer.payload += 4
	return tagged, nil
}

// mpls is true for packets with an MPLS label, this one unless it is -1. What follows is looked for behind the label.
func (g *generator) mpls(w word, label int) (*cond, error) {
	var c *cond
	switch {
	case label > 0xfffff:
		return nil, w.wrong("an MPLS label is at most 1048575")
	case g.layer.form == ofMPLS: // the label before must not be the last
		c = not(g.is(anyBit, g.absolute(1, g.layer.payload-2), 1))
	case g.layer.form == ofEthernet:
		c = g.holdsProtocol(protoMPLS)
	case g.layer.form == ofPPP:
		c = g.is(equal, g.number(), 0x281)
	default:
		return nil, w.wrong("there is no MPLS on a link of type %s here", g.linkName())
	}
	if label >= 0 {
		c = both(c, g.is(equal, g.compute('&', g.in(4, 0), g.literal(0xfffff000)), uint32(label)<<12))
	}
	g.layer = layer{form: ofMPLS, payload: g.layer.payload + 4}
	return c, nil
}

// pppoes is true for packets of a PPPoE session, this one unless it is -1. What follows is looked for inside it.
func (g *generator) pppoes(w word, session int) (*cond, error) {
	if session > 0xffff {
		return nil, w.wrong("a PPPoE session is at most 65535")
	}
	c := g.holdsProtocol(protoPPPoES)
	if session >= 0 {
		c = both(c, g.is(equal, g.compute('&', g.in(4, 0), g.literal(0xffff)), uint32(session)))
	}
	g.layer = layer{form: ofPPP, proto: g.layer.payload + 6, payload: g.layer.payload + 8}
	return c, nil
}

// sent is true for packets that the host of the capture has sent.
func (g *generator) sent(w word) (*cond, error) {
	switch {
	case g.o.Live:
		return g.is(equal, g.absolute(2, packetType), outgoing), nil
	case g.o.Link == CookedV1:
		return g.is(equal, g.absolute(2, 0), outgoing), nil
	case g.o.Link == CookedV2:
		return g.is(equal, g.absolute(1, 10), outgoing), nil
	}
	return nil, w.wrong("packets of a file of link type %s do not tell their direction", g.o.Link.Name())
}

// ifindex is true for packets of the interface with a number.
func (g *generator) ifindex(w word, number uint32) (*cond, error) {
	switch {
	case g.o.Live:
		return g.is(equal, g.absolute(4, interfaceNum), number), nil
	case g.o.Link == CookedV2:
		return g.is(equal, g.absolute(4, 4), number), nil
	}
	return nil, w.wrong("packets of a file of link type %s do not tell their interface's number", g.o.Link.Name())
}

// linkName names the layer that is looked at, for messages.
func (g *generator) linkName() string {
	switch g.layer.form {
	case ofMPLS:
		return "MPLS"
	case ofPPP:
		return "PPP"
	}
	return g.o.Link.Name()
}

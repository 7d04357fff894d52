// Package pcapng writes packets as pcapng files and reads them back, from pcapng and from the older pcap.
//
// A file has sections, a section has interfaces and packets, and a packet belongs to an interface: draft-ietf-opsawg-pcapng.
// Written is one section, in this machine's byte order, with times in nanoseconds. Read is what other tools write: both byte
// orders, any resolution of time, several sections. What is read is not trusted: sizes are bounded.
package pcapng

import "errors"

// Direction is which way a packet went, as seen from the interface's host (epb_flags).
type Direction uint8

// The directions.
const (
	Unknown  Direction = 0
	Inbound  Direction = 1
	Outbound Direction = 2
)

// Interface is where packets were captured.
type Interface struct {
	Name        string
	Description string
	Filter      string // in tcpdump's language
	Link        uint16 // LINKTYPE of tcpdump.org/linktypes.html
	Snap        uint32 // bytes of a packet that are kept at most; 0 is no limit
}

// Packet is one packet, or its beginning.
type Packet struct {
	Interface int   // index among the interfaces of the file, sections counted through
	Time      int64 // nanoseconds since 1970 UTC
	Data      []byte
	Length    int // on the wire, at least len(Data)
	Direction Direction
	Comment   string
}

// Statistics are the counters of an interface.
type Statistics struct {
	Received, Dropped uint64
}

// Bounds of what is read.
const (
	maxBlock      = 16 << 20 // bytes
	maxPacket     = 1 << 20  // bytes, more than any link has
	maxInterfaces = 1 << 16
)

// ErrFormat says that a file is no capture, or that it is damaged.
var ErrFormat = errors.New("no valid capture file")

// Types of blocks, and numbers of options.
const (
	sectionBlock    = 0x0a0d0d0a
	interfaceBlock  = 1
	oldPacketBlock  = 2
	simpleBlock     = 3
	statisticsBlock = 5
	packetBlock     = 6
	byteOrderMagic  = 0x1a2b3c4d

	optionEnd         = 0
	optionComment     = 1
	sectionHardware   = 2
	sectionOS         = 3
	sectionApp        = 4
	interfaceName     = 2
	interfaceAbout    = 3
	interfaceTimeUnit = 9
	interfaceFilter   = 11
	interfaceOffset   = 14
	packetFlags       = 2
	statsReceived     = 4
	statsDropped      = 5
)

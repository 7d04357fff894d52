package capture

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"tripod/internal/capture/filter"
	"tripod/internal/capture/pcapng"
)

// ring is memory that the kernel fills with blocks of packets (TPACKET_V3, Documentation/networking/packet_mmap.rst).
type ring struct {
	memory []byte
	block  int // bytes of one
	count  int
	next   int // the block that is to be read
}

const (
	blockSize    = 256 << 10 // holds the longest packet
	headroom     = 32        // bytes before each packet, for a link header or VLAN tag to be put there
	cookedHeader = 20        // LINUX_SLL2
	tagSize      = 4

	// struct tpacket_block_desc
	blockStatus  = 8
	blockPackets = 12
	blockFirst   = 16
	// struct tpacket3_hdr, and struct sockaddr_ll behind it
	packetNext    = 0
	packetSeconds = 4
	packetNano    = 8
	packetKept    = 12
	packetLength  = 16
	packetStatus  = 20
	packetMAC     = 24
	packetTag     = 32
	packetTagKind = 36
	packetHeader  = 48
	addressProto  = packetHeader + 2
	addressIndex  = packetHeader + 4
	addressKind   = packetHeader + 8
	addressPacket = packetHeader + 10
	addressSize   = packetHeader + 11
	addressEnd    = packetHeader + 20
)

func (r *ring) open(fd, size, wait int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("cannot use a ring of packets: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_RESERVE, headroom); err != nil {
		return fmt.Errorf("cannot use a ring of packets: %w", err)
	}
	r.block, r.count = blockSize, max(size/blockSize, 2)
	request := unix.TpacketReq3{
		Block_size: uint32(r.block), Block_nr: uint32(r.count),
		Frame_size: uint32(r.block), Frame_nr: uint32(r.count), Retire_blk_tov: uint32(wait),
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return fmt.Errorf("cannot get a ring of %d bytes: %w", r.block*r.count, err)
	}
	var err error
	r.memory, err = unix.Mmap(fd, 0, r.block*r.count, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("cannot map a ring of %d bytes: %w", r.block*r.count, err)
	}
	return nil
}

func (r *ring) close() error {
	if r.memory == nil {
		return nil
	}
	err := unix.Munmap(r.memory)
	r.memory = nil
	return err
}

// status is whose a block is. It is shared with the kernel.
func (r *ring) status(block []byte) *uint32 { return (*uint32)(unsafe.Pointer(&block[blockStatus])) }

// Drain gives every packet that is ready to f, and says how many there were. An error of f ends it; then what is left of the block is
// lost, as nobody will come for it.
func (s *Source) Drain(f func(*Packet) error) (int, error) {
	total := 0
	var p Packet
	for range s.ring.count { // a sender that never stops must not keep us here
		block := s.ring.memory[s.ring.next*s.ring.block:][:s.ring.block]
		if atomic.LoadUint32(s.ring.status(block))&unix.TP_STATUS_USER == 0 {
			return total, nil
		}
		packets := binary.NativeEndian.Uint32(block[blockPackets:])
		at := binary.NativeEndian.Uint32(block[blockFirst:])
		var err error
		for range packets {
			frame := block[at:]
			if s.read(frame, &p) {
				if err = f(&p); err != nil {
					break
				}
				total++
			}
			at += binary.NativeEndian.Uint32(frame[packetNext:])
		}
		atomic.StoreUint32(s.ring.status(block), unix.TP_STATUS_KERNEL)
		s.ring.next = (s.ring.next + 1) % s.ring.count
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// read makes a packet of a frame of the ring. It says no to those that are not wanted: the other direction, and what leaves by the
// loopback interface, since it is seen coming in by it again.
func (s *Source) read(frame []byte, p *Packet) bool {
	order := binary.NativeEndian
	kind := frame[addressPacket]
	p.Direction = pcapng.Inbound
	if kind == unix.PACKET_OUTGOING {
		p.Direction = pcapng.Outbound
		if order.Uint16(frame[addressKind:]) == unix.ARPHRD_LOOPBACK {
			return false
		}
	}
	if s.only != 0 && s.only != uint8(p.Direction) {
		return false
	}
	p.Source = s
	p.Interface = int(order.Uint32(frame[addressIndex:]))
	p.Time = int64(order.Uint32(frame[packetSeconds:]))*1e9 + int64(order.Uint32(frame[packetNano:]))
	p.Length = int(order.Uint32(frame[packetLength:]))
	from := uint32(order.Uint16(frame[packetMAC:]))
	to := from + order.Uint32(frame[packetKept:])
	switch status := order.Uint32(frame[packetStatus:]); {
	case s.Link == filter.CookedV2:
		from -= cookedHeader
		p.Length += cookedHeader
		head := frame[from:to:to]
		var address [8]byte
		size := copy(address[:], frame[addressSize+1:addressEnd])
		copy(head, frame[addressProto:addressProto+2])
		head[2], head[3] = 0, 0
		binary.BigEndian.PutUint32(head[4:], uint32(p.Interface))
		binary.BigEndian.PutUint16(head[8:], order.Uint16(frame[addressKind:]))
		head[10], head[11] = kind, min(frame[addressSize], uint8(size))
		copy(head[12:cookedHeader], address[:])
	case s.Link == filter.Ethernet && status&unix.TP_STATUS_VLAN_VALID != 0 && to-from >= 12:
		proto := uint16(0x8100)
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			proto = order.Uint16(frame[packetTagKind:])
		}
		copy(frame[from-tagSize:], frame[from:from+12])
		from -= tagSize
		p.Length += tagSize
		binary.BigEndian.PutUint16(frame[from+12:], proto)
		binary.BigEndian.PutUint16(frame[from+14:], uint16(order.Uint32(frame[packetTag:])))
	}
	p.Data = frame[from:min(to, from+uint32(s.Snap))]
	return true
}

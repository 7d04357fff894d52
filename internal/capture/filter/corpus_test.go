package filter

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
)

// corpus makes packets of many protocols out of few addresses and ports, so that filters find some; the same ones each
// time. With cut, every fifth is cut somewhere; without, none is shorter than what a filter may ask for.
func corpus(link Link, count int, cut bool) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	var packets [][]byte
	if cut {
		packets = [][]byte{{}, {0}}
	}
	for i := range count {
		number, payload := network(r)
		var p []byte
		switch link {
		case Ethernet:
			p = ethernet(r, number, payload)
		case CookedV1:
			p = append(make([]byte, 14), byte(number>>8), byte(number))
			p[1] = byte(r.IntN(5))
			p = append(p, payload...)
		case CookedV2:
			p = append([]byte{byte(number >> 8), byte(number)}, make([]byte, 18)...)
			p[7], p[10] = byte(r.IntN(6)), byte(r.IntN(5))
			p = append(p, payload...)
		case Raw:
			p = payload
		}
		if !cut {
			p = append(p, make([]byte, 100)...)
		} else if i%5 == 0 {
			p = p[:r.IntN(len(p)+1)]
		}
		packets = append(packets, p)
	}
	return packets
}

func randomMAC(r *rand.Rand) []byte {
	return [][]byte{{1, 2, 3, 4, 5, 6}, {2, 0, 0, 0, 0, 1}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x33, 0x33, 0, 0, 0, 1}}[r.IntN(4)]
}

func ethernet(r *rand.Rand, number uint16, payload []byte) []byte {
	p := append(append([]byte{}, randomMAC(r)...), randomMAC(r)...)
	two := func(n uint16) { p = binary.BigEndian.AppendUint16(p, n) }
	for r.IntN(6) == 0 {
		two([]uint16{0x8100, 0x88a8, 0x9100}[r.IntN(3)])
		two([]uint16{5, 7, 0x2005, 100}[r.IntN(4)])
	}
	switch r.IntN(12) {
	case 0: // MPLS
		two(0x8847)
		for n := r.IntN(3); n >= 0; n-- {
			label := []uint32{5, 100, 7}[r.IntN(3)] << 12
			if n == 0 {
				label |= 0x100
			}
			p = binary.BigEndian.AppendUint32(p, label)
		}
	case 1: // PPPoE
		two([]uint16{0x8864, 0x8863}[r.IntN(2)])
		p = append(p, 0x11, 0, 0, byte(5*r.IntN(2)), 0, 99)
		two(map[uint16]uint16{0x800: 0x21, 0x86dd: 0x57}[number])
	case 2: // 802.3 with LLC
		two(uint16(r.IntN(1501)))
		p = append(p, [][]byte{
			{0x42, 0x42, 3},
			{0xfe, 0xfe, 3},
			{0xe0, 0xe0, 3},
			{0xff, 0xff, 0},
			{0xf0, 0xf0},
			{6, 6},
			{0xaa, 0xaa, 3, 0, 0, 0, 0x80, 0xf3},
			{0xaa, 0xaa, 3, 8, 0, 7, 0x80, 0x9b},
			{0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0x37},
		}[r.IntN(9)]...)
	case 3:
		two([]uint16{0x809b, 0x80f3, 0x8137, 0x6003, 0x6004, 0x6001, 0x6002, 0x6007, 0x9000, 1600}[r.IntN(10)])
	default:
		two(number)
	}
	return append(p, payload...)
}

func v4(r *rand.Rand) []byte {
	a := netip.MustParseAddr([]string{"1.2.3.4", "10.0.0.1", "192.168.1.5", "10.1.0.0", "224.0.0.1", "255.255.255.255", "0.0.0.10", "127.0.0.1", "0.0.0.0"}[r.IntN(9)]).As4()
	return a[:]
}

func v6(r *rand.Rand) []byte {
	a := netip.MustParseAddr([]string{"fe80::1", "2001:db8::1", "::1", "ff02::1", "fe80::2"}[r.IntN(5)]).As16()
	return a[:]
}

// network is a network header and what it carries, with the number that Ethernet gives it.
func network(r *rand.Rand) (uint16, []byte) {
	proto := []byte{6, 6, 6, 17, 17, 1, 58, 132, 2, 50, 51, 103, 112, 9, 89}[r.IntN(15)]
	data := transport(r, proto)
	switch r.IntN(10) {
	case 0:
		number := []uint16{0x806, 0x8035}[r.IntN(2)]
		p := []byte{0, 1, 8, 0, 6, 4, 0, byte(1 + r.IntN(4))}
		p = append(append(append(append(p, randomMAC(r)...), v4(r)...), randomMAC(r)...), v4(r)...)
		return number, append(p, make([]byte, 18)...)
	case 1, 2, 3:
		p := []byte{0x60, 0, 0, 0, 0, byte(len(data)), proto, []byte{64, 255}[r.IntN(2)]}
		p = append(append(p, v6(r)...), v6(r)...)
		if r.IntN(4) == 0 {
			p[6] = 44
			p = append(p, proto, 0, 0, byte(8*r.IntN(2)), 0, 0, 0, 1)
		}
		return 0x86dd, append(p, data...)
	}
	options := r.IntN(3)
	p := []byte{byte(0x45 + options), 0, 0, byte(20 + 4*options + len(data)), 0, 1, 0x40, 0, byte(r.IntN(100)), proto, 0, 0}
	if r.IntN(6) == 0 {
		p[6], p[7] = 0x20, byte(r.IntN(2)*100)
	}
	p = append(append(p, v4(r)...), v4(r)...)
	p = append(p, make([]byte, 4*options)...)
	return 0x800, append(p, data...)
}

func transport(r *rand.Rand, proto byte) []byte {
	port := func() []byte {
		return [][]byte{{0, 80}, {1, 187}, {0, 22}, {0, 53}, {0, 21}, {0x9c, 0x40}, {0, 123}}[r.IntN(7)]
	}
	var p []byte
	switch proto {
	case 1:
		p = []byte{[]byte{0, 3, 8}[r.IntN(3)], byte(r.IntN(2)), 0, 0, 0, 1, 0, 1}
	case 58:
		p = []byte{[]byte{128, 129, 135}[r.IntN(3)], 0, 0, 0, 0, 1, 0, 1}
	case 2:
		p = []byte{[]byte{0x11, 0x16}[r.IntN(2)], 0, 0, 0, 0, 1, 0, 1}
	case 6:
		p = append(append(p, port()...), port()...)
		p = append(p, 0, 0, 0, 1, 0, 0, 0, 2, byte(0x50+16*r.IntN(3)), byte(r.IntN(64)), 1, 0, 0, 0, 0, 0)
		p = append(p, make([]byte, 4*int(p[12]>>4-5))...)
		if r.IntN(2) == 0 {
			p = append(p, "GET / HTTP/1.1\r\n"...)
		}
	default:
		p = append(append(p, port()...), port()...)
		p = append(p, 0, byte(8+r.IntN(40)), 0, 0)
	}
	return append(p, make([]byte, r.IntN(60))...)
}

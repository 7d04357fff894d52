package capture

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"tripod/internal/capture/filter"
	"tripod/internal/socket"
)

// Source is a packet socket in a network namespace.
type Source struct {
	Link  filter.Link
	Snap  int
	Any   bool   // of all interfaces
	Name  string // of the interface
	Label string // what the caller calls the namespace

	Present []int // numbers of the interfaces that were there when it was opened

	fd    int
	ring  ring
	only  uint8 // the direction that is wanted, 0 for both
	names map[int]string
	stats Stats
	index int // of the interface
	wait  int // milliseconds that the kernel keeps packets
	file  bool
}

// Stats are the kernel's counters, since the source was opened.
type Stats struct {
	Received uint64 // packets that the filter let pass
	Dropped  uint64 // of these, for which the ring had no room
}

const (
	defaultBuffer = 2 << 20
	defaultWait   = 100 // milliseconds
	maxBuffer     = 1 << 30
)

// FromFile is a source that stands for an interface of a file that is read. It gives no packets of its own.
func FromFile(link filter.Link, name string) *Source {
	return &Source{Link: link, Name: name, fd: -1, Present: []int{0}, file: true}
}

// Open makes a source in the network namespace of a file, /proc/PID/ns/net; "" is our own. No packet is taken that was there
// before the filter: until it is bound to a protocol, which is the last step, a packet socket gets none.
func Open(path string, o Options) (*Source, error) {
	if o.Snap < 0 || o.Snap > filter.MaxSnap {
		return nil, fmt.Errorf("cannot capture %d bytes of each packet: 0 to %d are possible", o.Snap, filter.MaxSnap)
	}
	if o.Buffer < 0 || o.Buffer > maxBuffer {
		return nil, fmt.Errorf("cannot use a buffer of %d bytes: %d are possible", o.Buffer, maxBuffer)
	}
	if o.Snap == 0 {
		o.Snap = filter.MaxSnap
	}
	if o.Buffer == 0 {
		o.Buffer = defaultBuffer
	}
	if o.Wait <= 0 {
		o.Wait = defaultWait
	}
	s := &Source{fd: -1, Snap: o.Snap, Any: o.Interface == "" || o.Interface == Any, only: uint8(o.Direction), wait: o.Wait, names: map[int]string{}}
	if err := socket.Inside(path, s.socket(o.Interface)); err != nil {
		s.Close()
		var missing *InterfaceError
		if errors.As(err, &missing) {
			if have, err := Interfaces(path); err == nil {
				for _, i := range have {
					missing.Have = append(missing.Have, i.Name)
				}
			}
		}
		return nil, err
	}
	if err := s.prepare(o); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// socket opens the socket. It belongs to the namespace in which this runs; everything after can be done from anywhere.
func (s *Source) socket(name string) func() error {
	return func() (err error) {
		kind := unix.SOCK_RAW
		if s.Any {
			kind = unix.SOCK_DGRAM
		}
		if s.fd, err = unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("cannot open a packet socket: %w", needs(err))
		}
		if s.Any {
			s.Link, s.Name = filter.CookedV2, Any
			have, err := net.Interfaces()
			for _, i := range have {
				s.Present = append(s.Present, i.Index)
				s.names[i.Index] = i.Name
			}
			return err
		}
		if s.index, err = s.find(name); err != nil {
			return err
		}
		s.Name, s.Present = s.nameOf(s.index), []int{s.index}
		if s.Link, err = s.linkOf(s.Name); err != nil || s.Link != filter.CookedV2 {
			return err
		}
		unix.Close(s.fd)
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	}
}

// needs says what is missing where the kernel says no.
func needs(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w: CAP_NET_RAW is needed in the Pod's user namespace; run tripod as root", err)
	}
	return err
}

// find is the number of an interface by its name, or by its number.
func (s *Source) find(name string) (int, error) {
	request, err := unix.NewIfreq(name)
	if err == nil {
		if err = unix.IoctlIfreq(s.fd, unix.SIOCGIFINDEX, request); err == nil {
			return int(request.Uint32()), nil
		}
	}
	if n, nerr := strconv.Atoi(name); nerr == nil && n > 0 && s.nameOf(n) != "" {
		return n, nil
	}
	return 0, &InterfaceError{Name: name}
}

// nameOf is the name of the interface with a number; "" when there is none any more.
func (s *Source) nameOf(index int) string {
	if s.file {
		return s.Name
	}
	if name, ok := s.names[index]; ok {
		return name
	}
	request, err := unix.NewIfreq("")
	if err != nil {
		return ""
	}
	request.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(s.fd, unix.SIOCGIFNAME, request); err != nil {
		return ""
	}
	s.names[index] = request.Name()
	return request.Name()
}

// InterfaceName is the name of the interface with a number, or the number itself when it is gone.
func (s *Source) InterfaceName(index int) string {
	if name := s.nameOf(index); name != "" {
		return name
	}
	return strconv.Itoa(index)
}

// linkOf tells how packets of an interface begin: those of a kind that is not known come without their header.
func (s *Source) linkOf(name string) (filter.Link, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(s.fd, unix.SIOCGIFHWADDR, request); err != nil {
		return 0, fmt.Errorf("cannot look at interface %s: %w", name, err)
	}
	switch request.Uint16() {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		return filter.Ethernet, nil
	case unix.ARPHRD_NONE, unix.ARPHRD_RAWIP:
		return filter.Raw, nil
	}
	return filter.CookedV2, nil
}

// netmask is an interface's IPv4 netmask, 0 when it has none.
func (s *Source) netmask() uint32 {
	request, err := unix.NewIfreq(s.Name)
	if err != nil || s.Any || unix.IoctlIfreq(s.fd, unix.SIOCGIFNETMASK, request) != nil {
		return 0
	}
	mask, err := request.Inet4Addr()
	if err != nil {
		return 0
	}
	return uint32(mask[0])<<24 | uint32(mask[1])<<16 | uint32(mask[2])<<8 | uint32(mask[3])
}

// prepare sets filter and ring, then binds.
func (s *Source) prepare(o Options) error {
	program := []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K, K: uint32(o.Snap)}}
	if o.Compile != nil {
		var err error
		program, err = o.Compile(filter.Options{Link: s.Link, Live: true, Snap: uint32(s.payloadSnap()), Netmask: s.netmask()})
		if err != nil {
			return err
		}
	}
	if err := s.attach(program); err != nil {
		return err
	}
	if err := s.ring.open(s.fd, o.Buffer, o.Wait); err != nil {
		return err
	}
	if o.Promiscuous && !s.Any {
		membership := unix.PacketMreq{Ifindex: int32(s.index), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(s.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &membership); err != nil {
			return fmt.Errorf("cannot make interface %s promiscuous: %w", s.Name, err)
		}
	}
	address := unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: s.index}
	if err := unix.Bind(s.fd, &address); err != nil {
		return fmt.Errorf("cannot capture on interface %s: %w", s.Name, err)
	}
	return s.failure()
}

// payloadSnap is how much of a packet without its link header is kept, for it to have Snap bytes with the header that it is given.
func (s *Source) payloadSnap() int {
	if s.Link == filter.CookedV2 {
		return max(s.Snap-cookedHeader, 1)
	}
	return s.Snap
}

func bigEndian(v uint16) uint16 { return v<<8 | v>>8 }

// failure is the error that waits at the socket: its interface is down, or gone.
func (s *Source) failure() error {
	code, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("cannot capture on interface %s: %w", s.Name, ErrDown)
	}
	return err
}

// ErrDown says that an interface is down, or gone.
var ErrDown = errors.New("the interface is down or gone")

// refuse has no more packets come.
func (s *Source) refuse() error {
	return s.attach([]bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K}})
}

func (s *Source) attach(program []bpf.RawInstruction) error {
	code := make([]unix.SockFilter, len(program))
	for i, p := range program {
		code[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	err := unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]})
	if errors.Is(err, unix.ENOMEM) {
		return fmt.Errorf("cannot attach the filter of %d instructions: %w: sysctl net.core.optmem_max bounds it", len(code), err)
	}
	if err != nil {
		return fmt.Errorf("cannot attach the filter of %d instructions: %w", len(code), err)
	}
	return nil
}

// Stats are the counters. The kernel forgets them when it has told them, so they are added up here.
func (s *Source) Stats() Stats {
	if s.fd >= 0 {
		if told, err := unix.GetsockoptTpacketStatsV3(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			s.stats.Received += uint64(told.Packets)
			s.stats.Dropped += uint64(told.Drops)
		}
	}
	return s.stats
}

// Close ends the capture.
func (s *Source) Close() error {
	if s.fd < 0 {
		return nil
	}
	s.Stats()
	err := errors.Join(s.ring.close(), unix.Close(s.fd))
	s.fd = -1
	return err
}

package ns

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// netNSID asks for the number that the caller's network namespace has for another, see ip-netns(8).
func (r *relater) netNSID(fd int) int {
	if r.netlink < 0 {
		s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		if err != nil {
			return NetNSIDUnknown
		}
		r.netlink = s
	}
	if err := unix.Sendto(r.netlink, netNSIDRequest(fd), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return NetNSIDUnknown
	}
	var answer [512]byte
	n, _, err := unix.Recvfrom(r.netlink, answer[:], 0)
	if err != nil {
		return NetNSIDUnknown
	}
	return parseNetNSID(answer[:n])
}

const (
	nlmsgLength = 16 // of struct nlmsghdr
	rtgenLength = 4  // of struct rtgenmsg, padded
)

// netNSIDRequest is an RTM_GETNSID message: nlmsghdr, rtgenmsg, and the descriptor as attribute NETNSA_FD. See rtnetlink(7).
func netNSIDRequest(fd int) []byte {
	m := make([]byte, nlmsgLength+rtgenLength+8)
	binary.NativeEndian.PutUint32(m[0:], uint32(len(m)))
	binary.NativeEndian.PutUint16(m[4:], unix.RTM_GETNSID)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint16(m[20:], 8)
	binary.NativeEndian.PutUint16(m[22:], unix.NETNSA_FD)
	binary.NativeEndian.PutUint32(m[24:], uint32(fd))
	return m
}

// parseNetNSID reads the answer to it.
func parseNetNSID(m []byte) int {
	if len(m) < nlmsgLength+rtgenLength || binary.NativeEndian.Uint16(m[4:]) != unix.RTM_NEWNSID {
		return NetNSIDUnknown
	}
	for a := m[nlmsgLength+rtgenLength:]; len(a) >= 8; {
		length := int(binary.NativeEndian.Uint16(a))
		if binary.NativeEndian.Uint16(a[2:]) == unix.NETNSA_NSID {
			return int(int32(binary.NativeEndian.Uint32(a[4:])))
		}
		if length = (length + 3) &^ 3; length < 4 || length > len(a) {
			break
		}
		a = a[length:]
	}
	return NetNSIDUnknown
}

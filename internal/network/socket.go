package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// socket is a netlink socket. It belongs for good to the network namespace in which its opener's thread was.
//
// The netlink library sends one request, waits, and opens a socket for each; here several requests travel in one
// system call, because a Pod's start waits for them.
type socket struct{ fd int }

// ask is one request and what it is for, in words that follow "cannot".
type ask struct {
	what string
	*nl.NetlinkRequest
	missingIsFine bool // an interface that is not there is no error
}

func asking(what string, req *nl.NetlinkRequest) ask { return ask{what: what, NetlinkRequest: req} }

func openSocket(protocol int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	for _, option := range []int{unix.NETLINK_CAP_ACK, unix.NETLINK_EXT_ACK, unix.NETLINK_GET_STRICT_CHK} {
		// Old kernels lack some; then errors say less.
		_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, option, 1)
	}
	return &socket{fd}, nil
}

func (s *socket) Close() error { return unix.Close(s.fd) }

// do sends all requests at once and waits for every answer. The kernel goes on after one that fails, so after an
// error the caller undoes all of them. The error is the first.
func (s *socket) do(asks ...ask) error {
	var batch []byte
	index := make(map[uint32]int, len(asks))
	for i, a := range asks {
		a.Flags |= unix.NLM_F_ACK
		index[a.Seq] = i
		batch = append(batch, pad(a.Serialize())...)
	}
	if err := unix.Sendto(s.fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("cannot %s: %w", asks[0].what, err)
	}
	var first error
	at := len(asks)
	for left := len(asks); left > 0; {
		msgs, err := s.receive()
		if err != nil {
			return fmt.Errorf("cannot %s: %w", asks[0].what, err)
		}
		for _, m := range msgs {
			i, ours := index[m.Header.Seq]
			if !ours || m.Header.Type != unix.NLMSG_ERROR {
				continue
			}
			left--
			err := ackError(m)
			if asks[i].missingIsFine && errors.Is(err, unix.ENODEV) {
				err = nil
			}
			if err != nil && i < at {
				first, at = fmt.Errorf("cannot %s: %w", asks[i].what, err), i
			}
		}
	}
	return first
}

// get sends one request that is answered by one message, and gives its payload.
func (s *socket) get(a ask) ([]byte, error) {
	if err := unix.Sendto(s.fd, a.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("cannot %s: %w", a.what, err)
	}
	for {
		msgs, err := s.receive()
		if err != nil {
			return nil, fmt.Errorf("cannot %s: %w", a.what, err)
		}
		for _, m := range msgs {
			if m.Header.Seq != a.Seq {
				continue
			}
			if m.Header.Type != unix.NLMSG_ERROR {
				return m.Data, nil
			}
			if err := ackError(m); err != nil {
				return nil, fmt.Errorf("cannot %s: %w", a.what, err)
			}
		}
	}
}

// list sends one request that is answered by many messages, and gives each payload to each. A listing that a change
// has torn is asked for again; each then begins anew.
func (s *socket) list(a ask, begin func(), each func(payload []byte) error) error {
	a.Flags |= unix.NLM_F_DUMP
	for range 10 {
		begin()
		torn, err := s.listOnce(a, each)
		if err != nil {
			return fmt.Errorf("cannot %s: %w", a.what, err)
		}
		if !torn {
			return nil
		}
	}
	return fmt.Errorf("cannot %s: it changes faster than it can be read", a.what)
}

func (s *socket) listOnce(a ask, each func([]byte) error) (torn bool, err error) {
	if err := unix.Sendto(s.fd, a.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, err
	}
	for {
		msgs, receiveErr := s.receive()
		if receiveErr != nil {
			return false, receiveErr
		}
		for _, m := range msgs {
			if m.Header.Seq != a.Seq {
				continue
			}
			torn = torn || m.Header.Flags&unix.NLM_F_DUMP_INTR != 0
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return torn, errors.Join(err, ackError(m)) // it carries an error as an acknowledgement does
			case unix.NLMSG_ERROR:
				return torn, errors.Join(err, ackError(m))
			}
			// The rest is read to its end, so that the socket is clean for the next question.
			if err == nil {
				err = each(m.Data)
			}
		}
	}
}

func (s *socket) receive() ([]syscall.NetlinkMessage, error) {
	buf := make([]byte, 32<<10)
	for {
		n, from, err := unix.Recvfrom(s.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// Anybody may send to a netlink port; only the kernel is port 0.
		if sa, ok := from.(*unix.SockaddrNetlink); !ok || sa.Pid != 0 {
			continue
		}
		return syscall.ParseNetlinkMessage(buf[:n])
	}
}

// ackError is the error in an NLMSG_ERROR message, with the kernel's own words where it sends any; nil is success.
func ackError(m syscall.NetlinkMessage) error {
	if len(m.Data) < 4 {
		return nil // NLMSG_DONE may be empty
	}
	errno := -int32(binary.NativeEndian.Uint32(m.Data))
	if errno == 0 {
		return nil
	}
	const head = 4 + unix.SizeofNlMsghdr // the error and the header of the request; NETLINK_CAP_ACK leaves its body out
	if m.Header.Flags&unix.NLM_F_ACK_TLVS != 0 && m.Header.Flags&unix.NLM_F_CAPPED != 0 && len(m.Data) > head {
		if text := cString(attributes(m.Data[head:])[unix.NLMSGERR_ATTR_MSG]); text != "" {
			return fmt.Errorf("%w (%s)", unix.Errno(errno), text)
		}
	}
	return unix.Errno(errno)
}

func pad(b []byte) []byte {
	for len(b)%unix.NLMSG_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

// attributes are the attributes of a message by their number, up to the first that does not fit. The library's parser
// ends the process when the last one has no padding.
func attributes(data []byte) map[uint16][]byte {
	const flags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
	all := map[uint16][]byte{}
	for len(data) >= unix.SizeofNlAttr {
		size := int(binary.NativeEndian.Uint16(data))
		if size < unix.SizeofNlAttr || size > len(data) {
			break
		}
		all[binary.NativeEndian.Uint16(data[2:])&^flags] = data[unix.SizeofNlAttr:size]
		data = data[min(len(data), (size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
	}
	return all
}

// cString is text up to its zero byte, which the kernel may leave out.
func cString(b []byte) string {
	text, _, _ := strings.Cut(string(b), "\x00")
	return text
}

package socket

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Constants of linux/sock_diag.h, linux/inet_diag.h and linux/unix_diag.h.
const (
	diagByFamily = 20 // SOCK_DIAG_BY_FAMILY

	attrName  = 0 // UNIX_DIAG_NAME
	attrPeer  = 2 // UNIX_DIAG_PEER
	attrQueue = 4 // UNIX_DIAG_RQLEN
	attrUID   = 7 // UNIX_DIAG_UID

	showName, showPeer, showQueue, showUID = 1, 4, 16, 64

	inetMessage = 72 // struct inet_diag_msg
	unixMessage = 16 // struct unix_diag_msg
)

// The states of TCP, which the other kinds borrow (net/tcp_states.h).
const (
	stateListen = 10
	allStates   = 1<<32 - 1
)

// stateName is a state as ss(8) spells it.
func stateName(state uint8) string {
	names := [...]string{
		"", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN",
		"CLOSING", "SYN-RECV", "BOUND-INACTIVE",
	}
	if int(state) < len(names) && state != 0 {
		return names[state]
	}
	return "STATE-" + strconv.Itoa(int(state))
}

// inetRequest is a struct inet_diag_req_v2 that matches every address.
func inetRequest(family, protocol uint8, states uint32) []byte {
	req := make([]byte, 56)
	req[0], req[1] = family, protocol
	binary.NativeEndian.PutUint32(req[4:], states)
	return req
}

// unixRequest is a struct unix_diag_req.
func unixRequest(states uint32) []byte {
	req := make([]byte, 24)
	req[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(req[4:], states)
	binary.NativeEndian.PutUint32(req[12:], showName|showPeer|showQueue|showUID)
	return req
}

// ask sends one request and gives each answer to take, until the kernel says that it is done.
func ask(fd int, request []byte, take func(msg []byte)) error {
	msg := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(request))
	binary.NativeEndian.PutUint32(msg[0:], uint32(cap(msg)))
	binary.NativeEndian.PutUint16(msg[4:], diagByFamily)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	msg = append(msg, request...)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if done, err := messages(buf[:n], take); done || err != nil {
			return err
		}
	}
}

var errAnswer = errors.New("the kernel's answer is cut off")

// messages splits what came in one datagram. It says whether it was the last.
func messages(buf []byte, take func(msg []byte)) (done bool, err error) {
	for len(buf) > 0 {
		if len(buf) < unix.SizeofNlMsghdr {
			return false, errAnswer
		}
		size, kind := int(binary.NativeEndian.Uint32(buf)), binary.NativeEndian.Uint16(buf[4:])
		if size < unix.SizeofNlMsghdr || size > len(buf) {
			return false, errAnswer
		}
		body := buf[unix.SizeofNlMsghdr:size]
		switch kind {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			if len(body) >= 4 {
				if errno := int32(binary.NativeEndian.Uint32(body)); errno < 0 {
					return true, unix.Errno(-errno)
				}
			}
			return true, nil
		case diagByFamily:
			take(body)
		}
		buf = buf[min((size+3)&^3, len(buf)):]
	}
	return false, nil
}

// parseInet reads a struct inet_diag_msg.
func parseInet(msg []byte, proto string) (Socket, bool) {
	if len(msg) < inetMessage {
		return Socket{}, false
	}
	s := Socket{Proto: proto, V6: msg[0] == unix.AF_INET6, State: stateName(msg[1])}
	s.Local = endpoint(msg[4:6], msg[8:24], s.V6)
	s.Remote = endpoint(msg[6:8], msg[24:40], s.V6)
	s.Device = binary.NativeEndian.Uint32(msg[40:])
	s.RecvQ, s.SendQ = binary.NativeEndian.Uint32(msg[56:]), binary.NativeEndian.Uint32(msg[60:])
	s.UID = binary.NativeEndian.Uint32(msg[64:])
	s.Inode = uint64(binary.NativeEndian.Uint32(msg[68:]))
	return s, true
}

func endpoint(port, addr []byte, v6 bool) netip.AddrPort {
	a := netip.AddrFrom4([4]byte(addr[:4]))
	if v6 {
		a = netip.AddrFrom16([16]byte(addr))
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}

// parseUnix reads a struct unix_diag_msg and its attributes.
func parseUnix(msg []byte) (Socket, bool) {
	if len(msg) < unixMessage {
		return Socket{}, false
	}
	s := Socket{Unix: true, Proto: unixType(msg[1]), State: stateName(msg[2]), Inode: uint64(binary.NativeEndian.Uint32(msg[4:]))}
	for rest := msg[unixMessage:]; len(rest) >= 4; {
		size, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if size < 4 || size > len(rest) {
			return s, false
		}
		value := rest[4:size]
		switch {
		case kind == attrName && len(value) > 0:
			s.Path = unixPath(value)
		case kind == attrPeer && len(value) >= 4:
			s.Peer = uint64(binary.NativeEndian.Uint32(value))
		case kind == attrQueue && len(value) >= 8:
			s.RecvQ, s.SendQ = binary.NativeEndian.Uint32(value), binary.NativeEndian.Uint32(value[4:])
		case kind == attrUID && len(value) >= 4:
			s.UID = binary.NativeEndian.Uint32(value)
		}
		rest = rest[min((size+3)&^3, len(rest)):]
	}
	return s, true
}

// unixPath is the name of a unix socket; an abstract one begins with NUL, which is shown as @ (unix(7)).
func unixPath(name []byte) string {
	if name[0] == 0 {
		return "@" + strings.TrimRight(string(name[1:]), "\x00")
	}
	path, _, _ := strings.Cut(string(name), "\x00")
	return path
}

func unixType(t uint8) string {
	switch t {
	case unix.SOCK_STREAM:
		return "stream"
	case unix.SOCK_DGRAM:
		return "dgram"
	case unix.SOCK_SEQPACKET:
		return "seqpacket"
	}
	return "type-" + strconv.Itoa(int(t))
}

// maxLines bounds how many lines of /proc/net/raw are read.
const maxLines = 1 << 20

// procRaw reads the raw sockets of this thread's namespace from /proc.
func procRaw(all []Socket, family uint8) ([]Socket, error) {
	name := "raw"
	if family == unix.AF_INET6 {
		name = "raw6"
	}
	f, err := os.Open("/proc/thread-self/net/" + name)
	if err != nil {
		if os.IsNotExist(err) {
			return all, nil
		}
		return all, err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, 64<<20))
	for n := 0; lines.Scan() && n < maxLines; n++ {
		if s, ok := parseRaw(lines.Text(), family == unix.AF_INET6); ok {
			all = append(all, s)
		}
	}
	if err := lines.Err(); err != nil {
		return all, fmt.Errorf("cannot read %s: %w", f.Name(), err)
	}
	return all, nil
}

// parseRaw reads a line of /proc/net/raw (proc_pid_net(5)): sl local remote st tx:rx tr:when retrnsmt uid timeout inode. The
// port of a raw socket is its protocol.
func parseRaw(text string, v6 bool) (Socket, bool) {
	fields := strings.Fields(text)
	if len(fields) < 10 || !strings.HasSuffix(fields[0], ":") {
		return Socket{}, false
	}
	s := Socket{Proto: "raw", V6: v6}
	var ok [2]bool
	s.Local, ok[0] = hexEndpoint(fields[1], v6)
	s.Remote, ok[1] = hexEndpoint(fields[2], v6)
	state, err := strconv.ParseUint(fields[3], 16, 8)
	send, receive, _ := strings.Cut(fields[4], ":")
	tx, err1 := strconv.ParseUint(send, 16, 32)
	rx, err2 := strconv.ParseUint(receive, 16, 32)
	uid, err3 := strconv.ParseUint(fields[7], 10, 32)
	inode, err4 := strconv.ParseUint(fields[9], 10, 64)
	if !ok[0] || !ok[1] || errors.Join(err, err1, err2, err3, err4) != nil {
		return Socket{}, false
	}
	s.State, s.SendQ, s.RecvQ, s.UID, s.Inode = stateName(uint8(state)), uint32(tx), uint32(rx), uint32(uid), inode
	return s, true
}

// hexEndpoint reads an address of /proc/net: words of 32 bits in the host's order, each in hexadecimal.
func hexEndpoint(text string, v6 bool) (netip.AddrPort, bool) {
	word, port, ok := strings.Cut(text, ":")
	p, err := strconv.ParseUint(port, 16, 16)
	size := 4
	if v6 {
		size = 16
	}
	if !ok || err != nil || len(word) != 2*size {
		return netip.AddrPort{}, false
	}
	var raw [16]byte
	for i := 0; i < size; i += 4 {
		n, err := strconv.ParseUint(word[2*i:2*i+8], 16, 32)
		if err != nil {
			return netip.AddrPort{}, false
		}
		binary.NativeEndian.PutUint32(raw[i:], uint32(n))
	}
	a, _ := netip.AddrFromSlice(raw[:size])
	return netip.AddrPortFrom(a, uint16(p)), true
}

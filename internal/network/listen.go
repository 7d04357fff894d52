package network

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// possible refuses a port that this host cannot lead anywhere.
func (p Port) possible() error {
	if p.Protocol != "SCTP" {
		return nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return fmt.Errorf("%w: host port %s: this kernel has no SCTP: %w", ErrMissing, p, err)
	}
	unix.Close(fd)
	if _, err := os.Stat("/proc/sys/net/netfilter/nf_conntrack_sctp_timeout_established"); err != nil {
		return fmt.Errorf("%w: host port %s: this kernel's connection tracking knows no SCTP", ErrMissing, p)
	}
	return nil
}

// listenedOn refuses a port that a process of the host has: its clients would be led to the Pod without a word. The
// question is asked by taking the port for a moment; only when that fails are the sockets listed.
func (p Port) listenedOn() error {
	addresses := []netip.Addr{p.HostIP}
	if !p.HostIP.IsValid() {
		addresses = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	for _, ip := range addresses {
		err := tryBind(ip, p)
		switch {
		case err == nil:
		case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EADDRNOTAVAIL) && !p.HostIP.IsValid():
			// A host without this family.
		case errors.Is(err, unix.EADDRNOTAVAIL):
			return fmt.Errorf("%w: host port %s: %s is not an address of this host", ErrBadRequest, p, p.HostIP)
		case errors.Is(err, unix.EADDRINUSE):
			inode, found := p.listener()
			if !found {
				continue // a client's own port, which a host port does not disturb
			}
			return fmt.Errorf("%w: %s belongs to %s", ErrPortTaken, p, process(inode))
		default:
			return fmt.Errorf("cannot see whether host port %s is free: %w", p, err)
		}
	}
	return nil
}

func tryBind(ip netip.Addr, p Port) error {
	kind := unix.SOCK_STREAM
	if p.Protocol == "UDP" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family(ip), kind|unix.SOCK_CLOEXEC, int(protocolNumber(p.Protocol)))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if ip.Is4() {
		return unix.Bind(fd, &unix.SockaddrInet4{Port: int(p.HostPort), Addr: ip.As4()})
	}
	// Both families are tried, so this one is only about itself.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
		return err
	}
	return unix.Bind(fd, &unix.SockaddrInet6{Port: int(p.HostPort), Addr: ip.As16()})
}

// listener finds the socket that a client of the port would reach.
func (p Port) listener() (inode uint64, found bool) {
	name := strings.ToLower(p.Protocol)
	for _, file := range []string{name, name + "6"} {
		f, err := os.Open("/proc/thread-self/net/" + file)
		if err != nil {
			continue
		}
		inode, found = findListener(f, p)
		f.Close()
		if found {
			return inode, true
		}
	}
	return 0, false
}

// findListener reads a table such as /proc/net/tcp (proc_pid_net(5)) for a socket in state LISTEN, or for UDP an
// unconnected one, at the port.
func findListener(table io.Reader, p Port) (inode uint64, found bool) {
	const listen, unconnected = "0A", "07"
	state := listen
	if p.Protocol == "UDP" {
		state = unconnected
	}
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[3] != state {
			continue
		}
		local, ok := parseLocal(f[1])
		if !ok || local.Port() != p.HostPort {
			continue
		}
		ip := local.Addr()
		if p.HostIP.IsValid() && !ip.IsUnspecified() && ip != p.HostIP {
			continue
		}
		inode, err := strconv.ParseUint(f[9], 10, 64)
		if err == nil {
			return inode, true
		}
	}
	return 0, false
}

// parseLocal reads an address as /proc/net has it: 4-byte words in the machine's order, a colon, the port in hexadecimal.
func parseLocal(s string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	if !ok || err != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		for i := 0; i < len(b); i += 4 {
			slices.Reverse(b[i : i+4])
		}
	}
	ip, ok := netip.AddrFromSlice(b)
	n, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), true
}

// process names the process that has a socket open.
func process(inode uint64) string {
	want := fmt.Sprintf("socket:[%d]", inode)
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != want {
			continue
		}
		pid := strings.Split(link, "/")[2]
		comm, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			break
		}
		return fmt.Sprintf("process %s (%q)", pid, strings.TrimSpace(string(comm)))
	}
	return "a process of the host"
}

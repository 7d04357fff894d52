package network

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxPorts bounds the host ports of one Pod, so that one batch of netlink holds them.
const maxPorts = 1024

// podName is how errors and owners name a Pod: namespace/name, or the UID where there is no name.
func podName(namespace, name, uid string) string {
	if name == "" {
		return uid
	}
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// validUID refuses what cannot be a file name of its own.
func validUID(uid string) error {
	if uid == "" || len(uid) > 128 || strings.Trim(uid, ".") == "" {
		return fmt.Errorf("%w: pod UID %q is not 1 to 128 letters, digits, '-', '_' or '.'", ErrBadRequest, uid)
	}
	for _, c := range []byte(uid) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return fmt.Errorf("%w: pod UID %q has a character that is no letter, digit, '-', '_' or '.'", ErrBadRequest, uid)
		}
	}
	return nil
}

// validate refuses what can never work, and brings ports into their one form.
func (r *Request) validate() error {
	if err := validUID(r.UID); err != nil {
		return err
	}
	for _, name := range []string{r.Namespace, r.Name} {
		// Names go into comments, aliases and CNI_ARGS, where ';' and '=' separate.
		if len(name) > 253 || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == ';' || c == '=' }) {
			return fmt.Errorf("%w: %q is no name of a pod or namespace", ErrBadRequest, name)
		}
	}
	if !filepath.IsAbs(r.NetNS) {
		return fmt.Errorf("%w: network namespace %q is not an absolute path", ErrBadRequest, r.NetNS)
	}
	if len(r.Ports) > maxPorts {
		return fmt.Errorf("%w: %d host ports are more than %d", ErrBadRequest, len(r.Ports), maxPorts)
	}
	ports := make([]Port, len(r.Ports))
	for i, p := range r.Ports {
		q, err := p.normal()
		if err != nil {
			return err
		}
		for _, earlier := range ports[:i] {
			if earlier.meets(q) {
				return fmt.Errorf("%w: host port %s is asked for twice", ErrBadRequest, q)
			}
		}
		ports[i] = q
	}
	r.Ports = ports
	return nil
}

// normal is the port in its one form: protocol in upper case, every-address as the zero Addr.
func (p Port) normal() (Port, error) {
	p.Protocol = strings.ToUpper(p.Protocol)
	if p.Protocol == "" {
		p.Protocol = "TCP"
	}
	p.HostIP = p.HostIP.Unmap()
	switch {
	case p.HostPort == 0 || p.ContainerPort == 0:
		return p, fmt.Errorf("%w: host port %s leads to port %d: ports are 1 to 65535", ErrBadRequest, p, p.ContainerPort)
	case protocolNumber(p.Protocol) == 0:
		return p, fmt.Errorf("%w: host port %d has protocol %q: use TCP, UDP or SCTP", ErrBadRequest, p.HostPort, p.Protocol)
	case p.HostIP.Zone() != "":
		return p, fmt.Errorf("%w: host port %s: an address with a zone cannot be forwarded", ErrBadRequest, p)
	case p.HostIP.Is6() && p.HostIP.IsLoopback():
		// IPv4 has route_localnet for this; the kernel has nothing like it for IPv6 (Documentation/networking/ip-sysctl).
		return p, fmt.Errorf("%w: host port %s: the kernel cannot lead [::1] to a Pod: use 127.0.0.1", ErrBadRequest, p)
	case p.HostIP.IsMulticast():
		return p, fmt.Errorf("%w: host port %s: a multicast address is not the host's own", ErrBadRequest, p)
	}
	if p.HostIP.IsValid() && p.HostIP.IsUnspecified() {
		p.HostIP = netip.Addr{}
	}
	return p, nil
}

// meets says that two ports would catch the same packets.
func (p Port) meets(q Port) bool {
	if p.Protocol != q.Protocol || p.HostPort != q.HostPort {
		return false
	}
	return !p.HostIP.IsValid() || !q.HostIP.IsValid() || p.HostIP == q.HostIP
}

// onLoopback says that 127.0.0.0/8 of the host leads to the Pod.
func (p Port) onLoopback() bool { return !p.HostIP.IsValid() || p.HostIP.IsLoopback() }

// String is the port as people write it: 80/tcp, 192.0.2.1:80/udp.
func (p Port) String() string {
	proto := strings.ToLower(p.Protocol)
	if !p.HostIP.IsValid() {
		return fmt.Sprintf("%d/%s", p.HostPort, proto)
	}
	return fmt.Sprintf("%s/%s", netip.AddrPortFrom(p.HostIP, p.HostPort), proto)
}

// protocolNumber is the protocol's number in an IP header, 0 when we know none.
func protocolNumber(name string) byte {
	switch name {
	case "TCP":
		return unix.IPPROTO_TCP
	case "UDP":
		return unix.IPPROTO_UDP
	case "SCTP":
		return unix.IPPROTO_SCTP
	}
	return 0
}

func protocolName(number byte) string {
	switch number {
	case unix.IPPROTO_TCP:
		return "TCP"
	case unix.IPPROTO_UDP:
		return "UDP"
	case unix.IPPROTO_SCTP:
		return "SCTP"
	}
	return fmt.Sprintf("protocol %d", number)
}

// Names in the kernel. An interface name has 15 bytes at most (IFNAMSIZ - 1).
const (
	bridgePrefix = "tp"
	vethPrefix   = "tv"
	tablePrefix  = "tripod-"
)

// rootHash tells roots apart in names that the whole host sees. The run root belongs to it: the state lives there.
func rootHash(root, runRoot string) string {
	sum := sha256.Sum256([]byte(root + "\x00" + runRoot))
	return hex.EncodeToString(sum[:5])
}

func vethName(hash, uid string) string {
	sum := sha256.Sum256([]byte(hash + "\x00" + uid))
	return vethPrefix + hex.EncodeToString(sum[:6])
}

package network

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// subnetBits is the size of a root's IPv4 subnet: 1021 Pods.
const subnetBits = 22

// pools are where IPv4 subnets are taken from, in this order: private ranges (RFC 1918, then RFC 6598), beginning where
// nobody's default lies (Docker 172.17/16 and up, podman 10.88/16, k3s 10.42/15, kubeadm 10.96/12, flannel 10.244/16).
var pools = []netip.Prefix{
	netip.MustParsePrefix("10.208.0.0/12"),
	netip.MustParsePrefix("172.24.0.0/14"),
	netip.MustParsePrefix("192.168.128.0/17"),
	netip.MustParsePrefix("100.72.0.0/13"),
}

// pick chooses a free subnet of bits in pools. It starts at a place that follows from seed, so that a root tends to get
// the same one again, and two roots different ones.
func pick(pools []netip.Prefix, bits int, seed string, taken []netip.Prefix) (netip.Prefix, error) {
	sum := sha256.Sum256([]byte(seed))
	start := binary.BigEndian.Uint32(sum[:])
	for _, pool := range pools {
		n := uint32(1) << (bits - pool.Bits())
		for i := range n {
			p := netip.PrefixFrom(at(pool, (start+i)%n<<(32-bits)), bits)
			if !overlaps(p, taken) {
				return p, nil
			}
		}
	}
	return netip.Prefix{}, fmt.Errorf("no free /%d in %v: routes and addresses of this host cover them: choose one yourself", bits, pools)
}

// pick6 is the root's own unique local /64 (RFC 4193): fd, 40 bits nobody else has, subnet 0 or the next that is free.
func pick6(seed string, taken []netip.Prefix) (netip.Prefix, error) {
	var b [16]byte
	sum := sha256.Sum256([]byte(seed))
	b[0] = 0xfd
	copy(b[1:6], sum[:])
	for i := range 256 {
		b[7] = byte(i)
		if p := netip.PrefixFrom(netip.AddrFrom16(b), 64); !overlaps(p, taken) {
			return p, nil
		}
	}
	return netip.Prefix{}, errors.New("no free IPv6 /64: routes of this host cover them: choose one yourself")
}

func overlaps(p netip.Prefix, taken []netip.Prefix) bool {
	for _, t := range taken {
		if p.Overlaps(t) {
			return true
		}
	}
	return false
}

// taken lists what the host reaches: every address, and every route of every table but the default ones. Other roots'
// subnets are among them, on their bridges; own is our bridge, whose routes are no hindrance to us.
func taken(own int) ([]netip.Prefix, error) {
	var all []netip.Prefix
	err := retryDump(func() error {
		all = all[:0]
		addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, a := range addresses {
			if p, ok := prefix(a.IPNet); ok && a.LinkIndex != own {
				all = append(all, p)
			}
			if p, ok := prefix(a.Peer); ok && a.LinkIndex != own {
				all = append(all, p)
			}
		}
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
			if err != nil {
				return err
			}
			for _, r := range routes {
				if p, ok := prefix(r.Dst); ok && r.LinkIndex != own {
					all = append(all, p)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the host's routes: %w", err)
	}
	return all, nil
}

// prefix is n as a prefix; false for none and for a default route (also as 0/1 and 128/1, the way VPNs write it).
func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	ones, bits := n.Mask.Size()
	if bits == 128 && ip.Is4In6() && ones >= 96 {
		ones -= 96
	}
	if ones <= 1 {
		return netip.Prefix{}, false
	}
	p, err := ip.Unmap().Prefix(ones)
	return p, err == nil
}

// retryDump repeats a listing that the kernel says was torn by a change meanwhile.
func retryDump(list func() error) error {
	var err error
	for range 10 {
		if err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
	}
	return err
}

// uplinkMTU is the MTU, in bytes, of the device that the default route leaves by; 1500 when there is none.
func uplinkMTU() int {
	const usual, least = 1500, 1280 // IPv6 needs 1280 (RFC 8200 section 5)
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteList(nil, family)
		if err != nil {
			continue
		}
		best := -1
		for i, r := range routes {
			isDefault := r.Dst == nil
			if !isDefault {
				ones, _ := r.Dst.Mask.Size()
				isDefault = ones == 0
			}
			if isDefault && r.LinkIndex > 0 && (best < 0 || r.Priority < routes[best].Priority) {
				best = i
			}
		}
		if best < 0 {
			continue
		}
		if l, err := netlink.LinkByIndex(routes[best].LinkIndex); err == nil && l.Attrs().MTU >= least && l.Attrs().Flags&net.FlagLoopback == 0 {
			return min(l.Attrs().MTU, 65535)
		}
	}
	return usual
}

// machine is what makes this machine's seeds its own; empty where there is no machine id.
func machine() string {
	b, _ := os.ReadFile("/etc/machine-id")
	return strings.TrimSpace(string(b))
}

func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

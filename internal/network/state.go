package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tripod/internal/record"
)

// recordVersion is the form of the records; a record of another form is an error, not a guess.
const recordVersion = 1

// state is a root and what it remembers, in RUN/network:
//
//	lock            held while bridge, leases and records change
//	network.json    rootNet: what all Pods of the root share
//	last            the last leased IPv4 address
//	pods/UID.json   pod: a record for each Pod, written before anything is made for it
//	addresses/IP    a symbolic link to the UID it is leased to
//	cni/            libcni's own cache
type state struct {
	cfg  Config
	hash string
	dir  string
}

// rootNet is what all Pods of a root share. A reboot ends it (Boot).
type rootNet struct {
	Version int          `json:"version"`
	Boot    string       `json:"boot"`
	Subnet  netip.Prefix `json:"subnet"`
	Subnet6 netip.Prefix `json:"subnet6,omitzero"`
	MTU     int          `json:"mtu"`
	// Layout is the layout of the nftables table that was made; another one is replaced.
	Layout int `json:"layout"`
	// Before are the host's sysctls as they were before the root's first Pod, where they had to be changed.
	Before map[string]string `json:"before,omitempty"`
	Notes  []string          `json:"notes,omitempty"`
}

// pod is the record of one Pod. Result is set when all of it is made.
type pod struct {
	Version   int    `json:"version"`
	UID       string `json:"uid"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	NetNS     string `json:"netns"`
	// Inode and Boot say which namespace it is: its path may come to mean another one.
	Inode  uint64       `json:"inode"`
	Boot   string       `json:"boot"`
	Veth   string       `json:"veth,omitempty"`
	IPs    []netip.Addr `json:"ips,omitempty"`
	Ports  []Port       `json:"ports,omitempty"`
	CNI    *cniRecord   `json:"cni,omitempty"`
	Result *Result      `json:"result,omitempty"`
}

// there says that the Pod's namespace is still the one that it was attached in.
func (p *pod) there() bool { return p.Boot == bootID() && inodeOf(p.NetNS) == p.Inode }

func open(cfg Config) (*state, error) {
	for _, dir := range []string{cfg.Root, cfg.RunRoot} {
		if !filepath.IsAbs(dir) {
			return nil, fmt.Errorf("%w: root %q is not an absolute path", ErrBadRequest, dir)
		}
	}
	cfg.Root, cfg.RunRoot = filepath.Clean(cfg.Root), filepath.Clean(cfg.RunRoot)
	if cfg.HostLock == "" {
		// Not /run/lock: everybody may write there, so anybody could hold it.
		cfg.HostLock = "/run/tripod-network.lock"
	}
	if cfg.CNITimeout <= 0 {
		cfg.CNITimeout = time.Minute
	}
	if len(cfg.CNIBin) == 0 {
		cfg.CNIBin = []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"}
	}
	switch cfg.CNIDir {
	case "":
		cfg.CNIDir = "/etc/cni/net.d"
	case "none":
		cfg.CNIDir = ""
	}
	for _, p := range []netip.Prefix{cfg.Subnet, cfg.Subnet6} {
		if p.IsValid() && p != p.Masked() {
			return nil, fmt.Errorf("%w: subnet %s has host bits set: %s was meant", ErrBadRequest, p, p.Masked())
		}
	}
	if p := cfg.Subnet; p.IsValid() && (!p.Addr().Is4() || p.Bits() < 8 || p.Bits() > 29) {
		return nil, fmt.Errorf("%w: subnet %s is not IPv4 with 8 to 29 bits", ErrBadRequest, p)
	}
	if p := cfg.Subnet6; p.IsValid() && (!p.Addr().Is6() || p.Bits() < 48 || p.Bits() > 96) {
		return nil, fmt.Errorf("%w: subnet %s is not IPv6 with 48 to 96 bits", ErrBadRequest, p)
	}
	return &state{cfg: cfg, hash: rootHash(cfg.Root, cfg.RunRoot), dir: filepath.Join(cfg.RunRoot, "network")}, nil
}

func (s *state) bridge() string         { return bridgePrefix + s.hash }
func (s *state) table() string          { return tablePrefix + s.hash }
func (s *state) veth(uid string) string { return vethName(s.hash, uid) }

func (s *state) podPath(uid string) string { return filepath.Join(s.dir, "pods", uid+".json") }
func (s *state) leasePath(ip netip.Addr) string {
	return filepath.Join(s.dir, "addresses", ip.String())
}

func (s *state) makeDirs() error {
	if _, err := os.Lstat(filepath.Join(s.dir, "addresses")); err == nil {
		return nil
	}
	for _, dir := range []string{"", "pods", "addresses"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o700); err != nil {
			return fmt.Errorf("cannot make network state: %w", err)
		}
	}
	return nil
}

func (s *state) lock() (*record.Lock, error)     { return record.Acquire(filepath.Join(s.dir, "lock")) }
func (s *state) lockHost() (*record.Lock, error) { return record.Acquire(s.cfg.HostLock) }

// known is the root's shared network, fs.ErrNotExist when it has none since the host was booted.
func (s *state) known() (*rootNet, error) {
	var n rootNet
	if err := record.Get(filepath.Join(s.dir, "network.json"), &n); err != nil {
		return nil, err
	}
	if n.Version != recordVersion {
		return nil, fmt.Errorf("network state in %s has version %d, this tripod knows %d", s.dir, n.Version, recordVersion)
	}
	return &n, nil
}

func (s *state) putKnown(n *rootNet) error {
	return record.PutFast(filepath.Join(s.dir, "network.json"), n)
}

func (s *state) pod(uid string) (*pod, error) {
	var p pod
	if err := record.Get(s.podPath(uid), &p); err != nil {
		return nil, err
	}
	if p.Version != recordVersion || p.UID != uid {
		return nil, fmt.Errorf("network record %s is not of this tripod (version %d, uid %q)", s.podPath(uid), p.Version, p.UID)
	}
	return &p, nil
}

// putPod needs no fsync: a power cut ends the Pod too.
func (s *state) putPod(p *pod) error { return record.PutFast(s.podPath(p.UID), p) }

// uids are the Pods that have a record.
func (s *state) uids() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "pods"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list network records: %w", err)
	}
	var uids []string
	for _, e := range entries {
		if uid, ok := strings.CutSuffix(e.Name(), ".json"); ok && validUID(uid) == nil {
			uids = append(uids, uid)
		}
	}
	return uids, nil
}

// pods are the records of the Pods on our bridge.
func (s *state) pods() ([]*pod, error) {
	uids, err := s.uids()
	if err != nil {
		return nil, err
	}
	var all []*pod
	for _, uid := range uids {
		p, err := s.pod(uid)
		if err != nil {
			return nil, err
		}
		if p.CNI == nil {
			all = append(all, p)
		}
	}
	return all, nil
}

// finish writes that the Pod has its network. The lock is for Sweep's sake, which under it removes the temporary files of
// writers that were killed.
func (s *state) finish(p *pod) error {
	lock, err := s.lock()
	if err != nil {
		return err
	}
	defer lock.Release()
	return s.putPod(p)
}

// freeTorn removes the temporary files of killed writers. The caller holds the root's lock.
func (s *state) freeTorn() error {
	for _, dir := range []string{s.dir, filepath.Join(s.dir, "pods")} {
		torn, err := filepath.Glob(filepath.Join(dir, ".*.json.*"))
		if err != nil {
			return err
		}
		for _, path := range torn {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("cannot remove a torn record: %w", err)
			}
		}
	}
	return nil
}

func (s *state) count() (int, error) {
	uids, err := s.uids()
	return len(uids), err
}

// forget ends a Pod's leases and then its record, which is what names them. A Pod without a record has none.
func (s *state) forget(pod *pod) error {
	if pod == nil {
		return nil
	}
	for _, ip := range pod.IPs {
		path := s.leasePath(ip)
		if owner, err := os.Readlink(path); err != nil || owner != pod.UID {
			continue // IPv6 addresses have no lease of their own
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot free address %s: %w", ip, err)
		}
	}
	if err := os.Remove(s.podPath(pod.UID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove network record: %w", err)
	}
	return nil
}

// leases are the addresses in use and the Pods they belong to.
func (s *state) leases() (map[netip.Addr]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "addresses"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list leases: %w", err)
	}
	leases := make(map[netip.Addr]string, len(entries))
	for _, e := range entries {
		ip, err := netip.ParseAddr(e.Name())
		if err != nil {
			continue
		}
		owner, err := os.Readlink(filepath.Join(s.dir, "addresses", e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // freed while we looked
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read lease: %w", err)
		}
		leases[ip] = owner
	}
	return leases, nil
}

// nextFree chooses the next free address after the last one given, so that an address rests before it comes again: peers
// remember neighbours and connections for a while. The caller holds the root's lock until it has claimed them.
func (s *state) nextFree(net *rootNet) ([]netip.Addr, error) {
	var last uint32
	if b, err := os.ReadFile(filepath.Join(s.dir, "last")); err == nil {
		// A torn write is no address or another one of the subnet: both are a place to start from.
		if ip, err := netip.ParseAddr(string(b)); err == nil && net.Subnet.Contains(ip) {
			last = offset(net.Subnet, ip)
		}
	}
	end := uint32(1)<<(32-net.Subnet.Bits()) - 1 // the broadcast address
	const first = 2                              // 0 is the subnet, 1 the gateway
	for range end - first {
		last++
		if last < first || last >= end {
			last = first
		}
		ip := at(net.Subnet, last)
		switch _, err := os.Lstat(s.leasePath(ip)); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("cannot look for lease: %w", err)
		default:
			continue
		}
		ips := []netip.Addr{ip}
		if net.Subnet6.IsValid() {
			ips = append(ips, at(net.Subnet6, last)) // one number for both families: one lease
		}
		return ips, nil
	}
	return nil, fmt.Errorf("%w in %s: all %d are leased", ErrNoAddress, net.Subnet, end-first)
}

// claim leases an address that nextFree chose. The Pod's record names it already: a kill between leaves a record without a
// lease, which Detach takes for what it is, and never a lease that no record explains.
func (s *state) claim(ip netip.Addr, uid string) error {
	if err := os.Symlink(uid, s.leasePath(ip)); err != nil {
		return fmt.Errorf("cannot lease address %s: %w", ip, err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "last"), []byte(ip.String()), 0o600); err != nil {
		return fmt.Errorf("cannot remember the last lease: %w", err)
	}
	return nil
}

// at is the address n places above the subnet's first.
func at(subnet netip.Prefix, n uint32) netip.Addr {
	if subnet.Addr().Is4() {
		b := subnet.Addr().As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+n)
		return netip.AddrFrom4(b)
	}
	b := subnet.Addr().As16()
	binary.BigEndian.PutUint32(b[12:], n)
	return netip.AddrFrom16(b)
}

// offset is how many places an IPv4 address is above the subnet's first.
func offset(subnet netip.Prefix, ip netip.Addr) uint32 {
	a, b := ip.As4(), subnet.Addr().As4()
	return binary.BigEndian.Uint32(a[:]) - binary.BigEndian.Uint32(b[:])
}

func (n *rootNet) gateway() netip.Addr { return at(n.Subnet, 1) }

// gateways are the host's own addresses on the bridge.
func (n *rootNet) gateways() []netip.Prefix {
	g := []netip.Prefix{netip.PrefixFrom(n.gateway(), n.Subnet.Bits())}
	if n.Subnet6.IsValid() {
		g = append(g, netip.PrefixFrom(at(n.Subnet6, 1), n.Subnet6.Bits()))
	}
	return g
}

package owner

import (
	"net/netip"
	"os"
	"strconv"
	"strings"

	"tripod/internal/ns"
)

// maxRoutes bounds what is read of a network namespace's routing trie and addresses, in bytes.
const maxRoutes = 4 << 20

// WithAddress are the network namespaces (inode numbers) other than the caller's that have an address, loopback left out: every
// namespace has that.
func (h *Host) WithAddress(addr netip.Addr) ([]uint64, error) {
	addr = addr.Unmap().WithZone("")
	if addr.IsLoopback() || addr.IsUnspecified() {
		return nil, nil
	}
	mine := h.namespace("self", ns.Net)
	seen := map[uint64]bool{mine: true, 0: true}
	var found []uint64
	err := h.each(func(pid int) {
		net := h.netOf(pid)
		if seen[net] {
			return
		}
		seen[net] = true
		if h.HasAddress(strconv.Itoa(pid), addr) {
			found = append(found, net)
		}
	})
	return found, err
}

// netOf is the network namespace of a process, 0 when that cannot be read.
func (h *Host) netOf(pid int) uint64 {
	return h.namespace(strconv.Itoa(pid), ns.Net)
}

// namespace is a namespace of a process by its folder in /proc, 0 when that cannot be read.
func (h *Host) namespace(folder string, t ns.Type) uint64 {
	link, err := os.Readlink(h.proc() + "/" + folder + "/ns/" + t.String())
	if err != nil {
		return 0
	}
	_, id, _ := ns.ParseLink(link)
	return id
}

// HasAddress says whether the network namespace of a process, by its folder in /proc, has an address.
func (h *Host) HasAddress(folder string, addr netip.Addr) bool {
	dir := h.proc() + "/" + folder + "/net/"
	if addr.Is4() {
		text, err := readFile(dir+"fib_trie", maxRoutes, anyOwner)
		return err == nil && localIn(string(text), addr)
	}
	text, err := readFile(dir+"if_inet6", maxRoutes, anyOwner)
	return err == nil && inet6Has(string(text), addr)
}

// localIn says whether /proc/net/fib_trie has an address as the host's own: a line "|-- 10.0.0.5" with a line "/32 host LOCAL"
// below it.
func localIn(trie string, addr netip.Addr) bool {
	want, here := addr.String(), false
	for l := range strings.SplitSeq(trie, "\n") {
		l = strings.TrimSpace(l)
		switch rest, leaf := strings.CutPrefix(l, "|-- "); {
		case leaf:
			here = rest == want
		case here && l == "/32 host LOCAL":
			return true
		}
	}
	return false
}

// inet6Has says whether /proc/net/if_inet6 has an address: 32 digits at the beginning of a line.
func inet6Has(text string, addr netip.Addr) bool {
	raw := addr.As16()
	var want strings.Builder
	for _, b := range raw {
		want.WriteString(hexByte(b))
	}
	for l := range strings.SplitSeq(text, "\n") {
		if word, _, _ := strings.Cut(l, " "); word == want.String() {
			return true
		}
	}
	return false
}

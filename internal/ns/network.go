package ns

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxNetFile is how much is read of a file of /proc/PID/net, in bytes: a router's table can be large.
const maxNetFile = 16 << 20

// Addresses are the addresses of a network namespace but for loopback and link-local ones, IPv4 first, in their order. A namespace
// without a process is entered for a moment.
func (s *Snapshot) Addresses(n *Namespace) []netip.Addr {
	for i, m := range n.Members {
		if i == maxAsked {
			break
		}
		dir := processPath(s.Proc, s.Processes[m].PID) + "/net"
		if all, err := addressesIn(dir); err == nil {
			return all
		}
	}
	if len(n.Members) > 0 || n.Type != Net {
		return nil
	}
	var process pidfd
	defer process.close()
	fd, err := s.open(n, &process)
	if err != nil {
		s.note(err)
		return nil
	}
	defer unix.Close(fd)
	var all []netip.Addr
	done := make(chan struct{})
	go func() {
		defer close(done)
		all = addressesOf(fd)
	}()
	<-done
	return all
}

// addressesOf enters a network namespace and comes back. If it cannot, its thread is not given back either.
func addressesOf(fd int) []netip.Addr {
	runtime.LockOSThread()
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return nil
	}
	defer unix.Close(own)
	var all []netip.Addr
	if unix.Setns(fd, unix.CLONE_NEWNET) == nil {
		all, _ = addressesIn("/proc/thread-self/net")
	}
	if unix.Setns(own, unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return all
}

// addressesIn reads the addresses of a folder /proc/PID/net.
func addressesIn(dir string) ([]netip.Addr, error) {
	four, err := readSome(dir+"/fib_trie", maxNetFile)
	if err != nil {
		return nil, err
	}
	all := parseFibTrie(four)
	// A kernel without IPv6 has no such file.
	if six, err := readSome(dir+"/if_inet6", maxNetFile); err == nil {
		all = append(all, parseIfInet6(six)...)
	}
	all = slices.DeleteFunc(all, func(a netip.Addr) bool { return a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() })
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), nil
}

// parseFibTrie finds the host's own addresses in the text of fib_trie: leaves "|-- ADDRESS" with a line "/32 host LOCAL" below.
func parseFibTrie(text []byte) []netip.Addr {
	var all []netip.Addr
	var leaf netip.Addr
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if word, ok := bytes.CutPrefix(line, []byte("|-- ")); ok {
			leaf, _ = netip.ParseAddr(string(word))
		} else if leaf.IsValid() && bytes.Equal(line, []byte("/32 host LOCAL")) {
			all = append(all, leaf)
		}
	}
	return all
}

// parseIfInet6 reads the text of if_inet6: lines of 32 hexadecimal digits and other fields.
func parseIfInet6(text []byte) []netip.Addr {
	var all []netip.Addr
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		word, _, _ := bytes.Cut(line, []byte(" "))
		var raw [16]byte
		if len(word) != 32 {
			continue
		}
		if _, err := hex.Decode(raw[:], word); err == nil {
			all = append(all, netip.AddrFrom16(raw))
		}
	}
	return all
}

// IDMap is the map uid_map or gid_map of a process, as inside:outside:count (user_namespaces(7)).
func (s *Snapshot) IDMap(pid int, name string) []string {
	text, err := readSome(processPath(s.Proc, pid)+"/"+name, 64<<10)
	if err != nil {
		s.note(err)
		return nil
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 {
			all = append(all, strings.Join(fields, ":"))
		}
	}
	return all
}

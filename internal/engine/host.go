package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/bundle"
	"tripod/internal/cgroup"
)

// thisNode is what containers may be told of this host. What cannot be found out is left zero.
func thisNode() bundle.Node {
	node := bundle.Node{CPUs: runtime.NumCPU(), LimitsSwap: limitsSwap(), Capabilities: capabilities()}
	node.Name, _ = os.Hostname()
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		node.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	if ip := HostIP(); ip.IsValid() {
		node.IPs = []string{ip.String()}
	}
	return node
}

// capabilities are those that this process can give on, bit n for capability n: an administrator may have taken some
// from the whole host. 0 when they cannot be read.
func capabilities() uint64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	all := uint64(0)
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "CapPrm" && name != "CapBnd" {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil {
			return 0
		}
		if all == 0 {
			all = set
		}
		all &= set
	}
	return all
}

// HostIP is the address from which this host reaches others: the one that the kernel would choose. Nothing is sent.
func HostIP() netip.Addr {
	for _, far := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		if c, err := net.Dial("udp", far); err == nil {
			addr := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
			c.Close()
			return addr.Unmap()
		}
	}
	return netip.Addr{}
}

// limitsSwap says whether this host's kernel counts swap: v1 does with swapaccount=1, v2 always.
func limitsSwap() bool {
	host, err := cgroup.Detect()
	if err != nil {
		return false
	}
	for _, y := range host.Hierarchies {
		if y.Unified && host.Mode == cgroup.V2 {
			return true
		}
		if _, err := os.Stat(filepath.Join(y.Mountpoint, "memory.memsw.limit_in_bytes")); err == nil {
			return true
		}
	}
	return false
}

// hostResolvConf is the host's resolv.conf with servers that a Pod can reach: where systemd-resolved answers on the
// host's loopback alone, its own list is taken, as kubelet's resolvConf is set to.
func hostResolvConf() ([]byte, error) {
	text, err := os.ReadFile("/etc/resolv.conf")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read resolv.conf of the host: %w", err)
	}
	if bytes.Contains(text, []byte("127.0.0.53")) {
		if upstream, err := os.ReadFile("/run/systemd/resolve/resolv.conf"); err == nil {
			return upstream, nil
		}
	}
	return text, nil
}

// seccompFolder is where a kubelet keeps profiles of type Localhost.
const seccompFolder = "/var/lib/kubelet/seccomp"

// maxProfile bounds a seccomp profile, in bytes.
const maxProfile = 4 << 20

// localSeccomp reads a profile of this host. Its name never leads out of the folder.
func localSeccomp(name string) (*specs.LinuxSeccomp, error) {
	root, err := os.OpenRoot(seccompFolder)
	if err != nil {
		return nil, fmt.Errorf("cannot read seccomp profile %s: %w", name, err)
	}
	defer root.Close()
	f, err := root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read seccomp profile %s: %w", name, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxProfile {
		return nil, fmt.Errorf("cannot read seccomp profile %s: not a file of at most %d bytes", name, maxProfile)
	}
	var profile specs.LinuxSeccomp
	if err := json.NewDecoder(f).Decode(&profile); err != nil {
		return nil, fmt.Errorf("cannot read seccomp profile %s: %w", name, err)
	}
	return &profile, nil
}

// notDevices are parts of /dev that every container has of its own.
var notDevices = []string{"/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd", "/dev/console", "/dev/hugepages"}

// hostDevices are the devices of this host, for privileged containers.
func hostDevices() ([]specs.LinuxDevice, error) {
	var devices []specs.LinuxDevice
	err := filepath.WalkDir("/dev", func(path string, d fs.DirEntry, err error) error {
		for _, not := range notDevices {
			if path == not {
				if d != nil && d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
		}
		if err != nil || strings.HasPrefix(d.Name(), ".") {
			return nil // a device that went while we looked
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil {
			return nil
		}
		kind := ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFCHR:
			kind = "c"
		case unix.S_IFBLK:
			kind = "b"
		default:
			return nil
		}
		mode := os.FileMode(st.Mode & 0o777)
		devices = append(devices, specs.LinuxDevice{
			Path: path, Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
			FileMode: &mode, UID: &st.Uid, GID: &st.Gid,
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list devices: %w", err)
	}
	return devices, nil
}

// File systems that overlayfs does not take for an upper layer (statfs(2), linux/magic.h).
const (
	magicOverlay = 0x794c7630
	magicNFS     = 0x6969
	magicFUSE    = 0x65735546
	magicCIFS    = 0xff534d42
	magic9P      = 0x01021997
	magicVFAT    = 0x4d44
)

// needsScratch says whether a folder lies on a file system that cannot be the upper layer of an overlay.
func needsScratch(dir string) (bool, error) {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	for errors.Is(err, unix.ENOENT) && dir != "/" { // not made yet: where it will lie
		dir = filepath.Dir(dir)
		err = unix.Statfs(dir, &st)
	}
	if err != nil {
		return false, fmt.Errorf("cannot look at %s: %w", dir, err)
	}
	switch uint32(st.Type) {
	case magicOverlay, magicNFS, magicFUSE, magicCIFS, magic9P, magicVFAT:
		return true, nil
	}
	return false, nil
}

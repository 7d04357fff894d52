package node

import (
	"bufio"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"tripod/internal/engine"
)

// facts are what does not change of this host while the node runs.
type facts struct {
	ip        netip.Addr
	cpus      int
	memory    int64            // bytes
	hugepages map[string]int64 // bytes by size, as in hugepages-2Mi
	info      corev1.NodeSystemInfo
}

// look finds them out; what cannot be is left empty.
func look() facts {
	f := facts{ip: engine.HostIP(), cpus: runtime.NumCPU(), hugepages: map[string]int64{}}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		f.memory = int64(info.Totalram) * int64(info.Unit)
	}
	dirs, _ := filepath.Glob("/sys/kernel/mm/hugepages/hugepages-*kB") // its only error is a bad pattern
	for _, dir := range dirs {
		size, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "hugepages-"), "kB"), 10, 64)
		if err == nil {
			count, _ := strconv.ParseInt(line(filepath.Join(dir, "nr_hugepages")), 10, 64)
			f.hugepages[resource.NewQuantity(size<<10, resource.BinarySI).String()] = count * size << 10
		}
	}
	f.info = corev1.NodeSystemInfo{
		MachineID:       line("/etc/machine-id"),
		SystemUUID:      line("/sys/class/dmi/id/product_uuid"),
		BootID:          line("/proc/sys/kernel/random/boot_id"),
		OSImage:         prettyName(),
		OperatingSystem: runtime.GOOS,
		Architecture:    runtime.GOARCH,
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		f.info.KernelVersion = unix.ByteSliceToString(name.Release[:])
	}
	if f.info.SystemUUID == "" {
		f.info.SystemUUID = f.info.MachineID
	}
	return f
}

// line is the first line of a small file.
func line(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(first)
}

// prettyName is the host's name for its own system (os-release(5)).
func prettyName() string {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	for row := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(row), "PRETTY_NAME="); ok {
			return strings.Trim(value, `"'`)
		}
	}
	return ""
}

// disk is how many bytes the file system has on which images and volumes lie.
func disk(dir string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return int64(st.Blocks) * st.Bsize
}

// free is how much memory the host has left, in bytes, as the kernel reckons it.
func free() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	rows := bufio.NewScanner(f)
	for rows.Scan() {
		if fields := strings.Fields(rows.Text()); len(fields) > 1 && fields[0] == "MemAvailable:" {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// ticks is how long the host's CPUs have worked since the boot, in nanoseconds (proc_stat(5)).
func ticks() uint64 {
	fields := strings.Fields(line("/proc/stat"))
	total := uint64(0)
	for i, word := range fields {
		if i == 0 || i == 4 || i == 5 || i > 8 { // its name; idle, iowait; guests are in user already
			continue
		}
		n, _ := strconv.ParseUint(word, 10, 64)
		total += n
	}
	return total * (1e9 / 100) // USER_HZ is 100 on every architecture that we run on
}

package cgroup

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// probe is what a helper does in a group to see whether a limit holds.
func probe(what, argument string) {
	switch what {
	case "cpus":
		var set unix.CPUSet
		err := unix.SchedGetaffinity(0, &set)
		fmt.Println(set.Count(), set.IsSet(0), err)
	case "hugepages": // as many as the argument says are reserved at once
		n := 0
		_, _ = fmt.Sscan(argument, &n)
		_, err := unix.Mmap(-1, 0, n<<21, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_HUGETLB)
		fmt.Println(errno(err))
	case "direct": // reads 1 MiB from a disk, past the page cache
		fd, err := unix.Open(argument, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
		if err != nil {
			fmt.Println(err)
			return
		}
		page, err := unix.Mmap(-1, 0, 1<<18, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			fmt.Println(err)
			return
		}
		began := time.Now()
		for range 4 {
			if n, err := unix.Read(fd, page); n != len(page) {
				fmt.Println(n, err)
				return
			}
		}
		fmt.Println(time.Since(began).Milliseconds())
	}
}

// ask runs a probe in the group and returns what it says.
func ask(t *testing.T, g *Group, what, argument string) string {
	t.Helper()
	p := start(t, g, what, "TRIPOD_CGROUP_ARGUMENT="+argument)
	line, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func TestCPUSetHolds(t *testing.T) {
	h := needHost(t)
	if cpus(t) < 2 {
		t.Skip("this host has one CPU")
	}
	g := newGroup(t, h)
	if err := g.Limit(&specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0", Mems: "0"}}); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, g, "cpus", ""); got != "1 true <nil>" {
		t.Errorf("a process may run on %s", got)
	}
	// A live one is moved.
	if err := g.Update(&specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0-1"}}); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, g, "cpus", ""); got != "2 true <nil>" {
		t.Errorf("after an update a process may run on %s", got)
	}
}

func cpus(t *testing.T) int {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	return set.Count()
}

// More huge pages than allowed cannot be reserved, so that no later use of them is a SIGBUS.
func TestHugepagesHold(t *testing.T) {
	h := needHost(t)
	if os.Getenv("TRIPOD_VM") == "" {
		t.Skip("needs huge pages of the host's: make test-vm has a machine for that")
	}
	const pool = "/proc/sys/vm/nr_hugepages"
	if err := os.WriteFile(pool, []byte("4"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(pool, []byte("0"), 0); err != nil {
			t.Error(err)
		}
	})
	g := newGroup(t, h)
	if err := g.Limit(&specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 2 << 20}}}); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, g, "hugepages", "1"); got != "0" {
		t.Errorf("one page: errno %s", got)
	}
	if got := ask(t, g, "hugepages", "3"); got != fmt.Sprint(int(unix.ENOMEM)) {
		t.Errorf("three pages: errno %s", got)
	}
}

// A bound of 512 KiB a second makes reading a MiB last, where it takes a moment without.
func TestThrottledReads(t *testing.T) {
	h := needHost(t)
	disk, dev := "/dev/vda", unix.Stat_t{}
	if err := unix.Stat(disk, &dev); err != nil || dev.Mode&unix.S_IFMT != unix.S_IFBLK {
		t.Skip("needs a disk at /dev/vda")
	}
	if err := openClose(disk, unix.O_RDONLY|unix.O_DIRECT); err != nil {
		t.Skipf("the disk cannot be read here: %v", err)
	}
	if y, ok := h.unified(); !ok || !slices.Contains(y.Controllers, "io") {
		if _, ok := h.v1("blkio"); !ok {
			t.Skip("this host has no blkio or io controller")
		}
	}
	free, bound := newGroup(t, h), newGroup(t, h)
	rate := throttle(int64(unix.Major(dev.Rdev)), int64(unix.Minor(dev.Rdev)), 512<<10)
	if err := bound.Limit(&specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{rate}}}); err != nil {
		t.Fatal(err)
	}
	var took, least int
	if _, err := fmt.Sscan(ask(t, bound, "direct", disk), &took); err != nil || took < 1000 {
		t.Errorf("a MiB at 512 KiB a second took %d ms, %v", took, err)
	}
	if _, err := fmt.Sscan(ask(t, free, "direct", disk), &least); err != nil || least*2 > took {
		t.Errorf("without a bound it took %d ms, %v; with one %d", least, err, took)
	}
	if s, err := bound.Stats(); err != nil {
		t.Error(err)
	} else if read, _ := s.IO.Transferred(); read < 1<<20 {
		t.Errorf("%d bytes are counted as read, %v", read, s.IO)
	}
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tripod/internal/socket"
)

// cable is two network namespaces with a veth pair between. Each is held by a process that sleeps.
type cable struct {
	ends    [2]*exec.Cmd
	offered []string // what was sent, for the report
}

func (c *cable) path(end int) string { return fmt.Sprintf("/proc/%d/ns/net", c.ends[end].Process.Pid) }

func (c *cable) start() error {
	for i := range c.ends {
		c.ends[i] = exec.Command("sleep", "100000")
		c.ends[i].SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		if err := c.ends[i].Start(); err != nil {
			return err
		}
	}
	in := func(end int, args ...string) error {
		return socket.Inside(c.path(end), func() error { return command("ip", args...) })
	}
	return errors.Join(
		in(0, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(c.ends[1].Process.Pid)),
		in(0, "link", "set", "eth0", "up"), in(1, "link", "set", "eth0", "up"))
}

func (c *cable) stop() error {
	for _, end := range c.ends {
		if end != nil && end.Process != nil {
			_ = end.Process.Kill()
			_ = end.Wait()
		}
	}
	return nil
}

// flood sends frames of 64 bytes (60 and their checksum) for a time, as fast as one thread can: of every hundred, matching go to
// UDP port 7777 and the others to 7778. It returns how many a second.
func (c *cable) flood(matching int, during time.Duration) (rate float64, err error) {
	err = socket.Inside(c.path(0), func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		request, err := unix.NewIfreq("eth0")
		if err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
			return err
		}
		address := unix.RawSockaddrLinklayer{Family: unix.AF_PACKET, Ifindex: int32(request.Uint32()), Halen: 6}
		batch := newBatch(&address, matching)
		sent, began := 0, time.Now()
		for time.Since(began) < during {
			n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&batch[0])), uintptr(len(batch)), 0, 0, 0)
			if errno != 0 && errno != unix.ENOBUFS && errno != unix.EINTR {
				return errno
			}
			if errno == 0 {
				sent += int(n)
			}
		}
		rate = float64(sent) / time.Since(began).Seconds()
		return nil
	})
	return rate, err
}

// message is struct mmsghdr.
type message struct {
	unix.Msghdr
	_ uint64
}

func newBatch(address *unix.RawSockaddrLinklayer, matching int) []message {
	batch := make([]message, 100)
	for i := range batch {
		port := byte(0x62) // 7778
		if i < matching {
			port = 0x61
		}
		frame := append([]byte{
			2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0,
			0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2, 0x1e, 0x61, 0x1e, port, 0, 26, 0, 0,
		}, make([]byte, 18)...)
		vector := &unix.Iovec{Base: &frame[0], Len: uint64(len(frame))}
		batch[i] = message{Msghdr: unix.Msghdr{Name: (*byte)(unsafe.Pointer(address)), Namelen: unix.SizeofSockaddrLinklayer, Iov: vector, Iovlen: 1}}
	}
	return batch
}

// counters are what both programs say at their end.
var counters = regexp.MustCompile(`(?m)^(\d+) packets? (received by filter|dropped by kernel)$`)

// drops runs a program that captures, floods it, ends it as Ctrl-C does, and returns how many of a hundred packets that its filter
// let pass were dropped.
func (c *cable) drops(matching int, env []string, program string, args ...string) (float64, error) {
	cmd := exec.Command(program, args...)
	cmd.Env = env
	said, err := cmd.StderrPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = cmd.Process.Kill() }()
	in := bufio.NewReader(said)
	for line := ""; !strings.Contains(line, "listening on"); {
		if line, err = in.ReadString('\n'); err != nil {
			return 0, fmt.Errorf("%s did not begin: %w", program, err)
		}
	}
	rate, err := c.flood(matching, 3*time.Second)
	if err != nil {
		return 0, err
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		return 0, err
	}
	rest, err := io.ReadAll(in)
	if err = errors.Join(err, cmd.Wait()); err != nil {
		return 0, fmt.Errorf("%s: %w: %s", program, err, rest)
	}
	figures := map[string]float64{}
	for _, m := range counters.FindAllStringSubmatch(string(rest), -1) {
		figures[m[2]], _ = strconv.ParseFloat(m[1], 64)
	}
	received := figures["received by filter"]
	if received == 0 {
		return 0, fmt.Errorf("%s received nothing: %s", program, rest)
	}
	c.offered = append(c.offered, fmt.Sprintf("%s %.0f", filepath.Base(args[len(args)-1]), rate/1000))
	return 100 * figures["dropped by kernel"] / received, nil
}

// captures compares how many packets are lost, with the same filter, snapshot length and ring, the packets written to a file.
func captures(f *Field) ([]Benchmark, error) {
	var list []Benchmark
	for _, matching := range []int{1, 100} {
		c := &cable{}
		filter := "udp dst port 7777"
		list = append(list, Benchmark{
			Name: fmt.Sprintf("drops of capture when %d %% of 64-byte packets match", matching), Unit: "% of what matched", Rounds: 5,
			Before: c.start, After: c.stop,
			Notes: func() []string {
				return []string{"offered, thousand packets a second: " + strings.Join(c.offered, ", ")}
			},
			Targets: []Target{{"tcpdump", atMostPlus, 1.1}},
			Contenders: []Contender{
				{Name: "tripod", Measure: func() (float64, error) {
					return c.drops(matching, f.env, f.tripod, "capture", strconv.Itoa(c.ends[1].Process.Pid), "-i", "eth0", "-s", "262144", "-B", "2048", filter, "-w", filepath.Join(f.dir, "tripod"))
				}},
				{Name: "tcpdump", Measure: func() (float64, error) {
					return c.drops(matching, nil, "nsenter", "--net="+c.path(1), "tcpdump", "-Z", "root", "-i", "eth0", "-s", "262144", "-B", "2048", filter, "-w", filepath.Join(f.dir, "tcpdump"))
				}},
			},
		})
	}
	return list, nil
}

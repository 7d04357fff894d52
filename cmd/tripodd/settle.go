package main

import (
	"bufio"
	"context"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A burst is so many changes of the store; it is over when there were fewer than a trickle of them for a while. What goes on
// all the time, as a node's lease, is neither.
const (
	burst   = 50
	trickle = 5
	quiet   = 3 * time.Second
)

// settle gives memory back once the start is over, and after each burst of work.
func settle(ctx context.Context, version func() uint64) {
	tick := time.NewTicker(quiet)
	defer tick.Stop()
	for settled, last, first := version(), version(), true; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := version()
		if over := now-last < trickle; over && (first || now-settled >= burst) {
			giveBack()
			settled, first = now, false
		}
		last = now
	}
}

// giveBack gives back what the heap has free, and the pages of the program's file that are mapped. A third of those are of
// constructors that ran once; who needs one again finds it in the page cache.
func giveBack() {
	debug.FreeOSMemory()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		from, to, ok := unchanging(lines.Text(), self)
		if ok {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED) // it is advice
		}
	}
}

// unchanging reads a line of /proc/PID/maps (proc_pid_maps(5)): is it a mapping of the program's file that nobody can write to?
func unchanging(line, self string) (from, to uintptr, ok bool) {
	words := strings.Fields(line)
	if len(words) != 6 || words[5] != self || words[1] != "r-xp" && words[1] != "r--p" {
		return 0, 0, false
	}
	low, high, _ := strings.Cut(words[0], "-")
	a, aerr := strconv.ParseUint(low, 16, 64)
	b, berr := strconv.ParseUint(high, 16, 64)
	return uintptr(a), uintptr(b), aerr == nil && berr == nil && a < b
}

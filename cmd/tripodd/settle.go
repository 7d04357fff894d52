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

// settleAfter is how long after the start what only the start needed is given back.
const settleAfter = 3 * time.Second

// settle gives memory back once the start is over: what the heap has free, and the pages of the program's file that are mapped.
// A third of those are of constructors that ran once; who needs one again finds it in the page cache.
func settle(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(settleAfter):
	}
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

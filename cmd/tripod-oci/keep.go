package main

import (
	"errors"

	"golang.org/x/sys/unix"

	"tripod/internal/keeper"
)

// keep is the parent of one Pod's containers until the Pod has finished. Others start it; its arguments are theirs.
func keep(_ *globals, args []string) (int, error) {
	if len(args) != 1 {
		return 0, errors.New("usage: tripod-oci keep DIR")
	}
	rename("tripod-oci")
	return 0, keeper.Keep(args[0])
}

// rename gives this process a name for ps and pstree: it was executed as /proc/self/exe, and they call it exe. Package os is not asked,
// since the keeper closes what that would open for itself. Where it cannot be renamed it keeps the name.
func rename(name string) {
	fd, err := unix.Open("/proc/self/comm", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	_, _ = unix.Write(fd, []byte(name))
	_ = unix.Close(fd)
}

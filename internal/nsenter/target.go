package nsenter

import (
	"strconv"
	"strings"

	"tripod/internal/owner"
)

// parsePID reads PID and PID:INODE.
func parsePID(word string) (owner.Target, bool) {
	number, inode, pinned := strings.Cut(word, ":")
	pid, err := strconv.ParseInt(number, 10, 32)
	if err != nil || pid <= 0 {
		return owner.Target{}, false
	}
	t := owner.Target{PID: int(pid)}
	if pinned {
		if t.Inode, err = strconv.ParseUint(inode, 10, 64); err != nil || t.Inode == 0 {
			return owner.Target{}, false
		}
	}
	return t, true
}

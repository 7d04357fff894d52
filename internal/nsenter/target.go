package nsenter

import (
	"strconv"
	"strings"
)

// parsePID reads PID and PID:INODE.
func parsePID(word string) (Target, bool) {
	number, inode, pinned := strings.Cut(word, ":")
	pid, err := strconv.ParseInt(number, 10, 32)
	if err != nil || pid <= 0 {
		return Target{}, false
	}
	t := Target{PID: int(pid)}
	if pinned {
		if t.Inode, err = strconv.ParseUint(inode, 10, 64); err != nil || t.Inode == 0 {
			return Target{}, false
		}
	}
	return t, true
}

package owner

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrNotFound says that no container has this name.
var ErrNotFound = errors.New("no such container")

// AmbiguousError says that a name means several containers.
type AmbiguousError struct {
	Word  string
	Means []string // each of them, so that it can be typed
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("cannot find container %s: it means %d containers", Sanitise(e.Word), len(e.Means))
}

// Hint names the containers.
func (e *AmbiguousError) Hint() string { return "give one of " + strings.Join(e.Means, ", ") }

// Find is the process that a word means:
//
//	PID, PID:INODE                       a process; with its number in pidfs, that one and no other
//	POD, NAMESPACE/POD                   the Pod's first main container
//	POD/CONTAINER, NAMESPACE/POD/CONTAINER
//	NAME, ID                             a container without a Pod; twelve or more characters of an ID
//	RUNTIME://NAME or ID                 docker, cri, podman, containerd, crio, lxc, nspawn, tripod
//	unit://NAME.service                  a systemd unit
//	ip://ADDRESS                         whoever has the address in a network namespace of its own
//
// A word that means several is an AmbiguousError, one that means none is ErrNotFound.
func (h *Host) Find(word string) (Target, error) {
	if pid, inode, ok := parsePID(word); ok {
		t, err := h.Pin(pid, 0)
		if err == nil && inode != 0 && t.Inode != inode {
			return t, fmt.Errorf("cannot find process %s: it has ended, or the number is another's: %w", Sanitise(word), ErrNotFound)
		}
		return t, err
	}
	return Target{}, fmt.Errorf("cannot find container %s: %w", Sanitise(word), ErrNotFound)
}

// parsePID reads PID and PID:INODE.
func parsePID(word string) (pid int, inode uint64, ok bool) {
	number, rest, has := strings.Cut(word, ":")
	pid, err := strconv.Atoi(number)
	if err != nil || pid <= 0 {
		return 0, 0, false
	}
	if has {
		if inode, err = strconv.ParseUint(rest, 10, 64); err != nil {
			return 0, 0, false
		}
	}
	return pid, inode, true
}

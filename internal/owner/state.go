package owner

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// anyOwner stands for the owner of a file that may be anybody's.
const anyOwner = -1

var (
	errKind = errors.New("not a regular file")
	errUser = errors.New("it belongs to another user")
	errSize = errors.New("it is too large")
)

// readFile reads a whole file of a bounded size. It is no link, no device and no pipe; with an owner it is that user's or root's:
// what another user put there is not the runtime's state.
func readFile(path string, limit int64, owner int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular() || !ok:
		return nil, errKind
	case owner != anyOwner && int(st.Uid) != owner && st.Uid != 0:
		return nil, errUser
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, errSize
	}
	return text, nil
}

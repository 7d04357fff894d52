package owner

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxState bounds a runtime's state file, in bytes.
const maxState = 8 << 20

// maxEntries bounds how many entries of a folder of state are looked at.
const maxEntries = 20000

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

// load reads a JSON file of a runtime's state. It is false when that is not there, not to be read, or not of the right form.
func (h *Host) load(path string, owner int, v any) bool {
	text, ok := h.read(path, owner)
	return ok && json.Unmarshal(text, v) == nil
}

func (h *Host) read(path string, owner int) ([]byte, bool) {
	if h.FS != "" {
		path, owner = h.FS+path, anyOwner
	}
	text, err := readFile(path, maxState, owner)
	return text, err == nil
}

// entries are the names in a folder of state.
func (h *Host) entries(path string) []string {
	f, err := os.OpenFile(h.FS+path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(maxEntries)
	return names
}

// safeName says whether a name that came from elsewhere can be one component of a path.
func safeName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 255 && !strings.ContainsAny(name, "/\x00")
}

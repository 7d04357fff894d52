package lsns

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"time"

	"tripod/internal/ns"
	"tripod/internal/owner"
)

// facts are what columns are made of. Each is read when the first column asks for it.
type facts struct {
	snapshot *ns.Snapshot
	host     *owner.Host
	now      time.Duration // since boot
	users    map[uint32]string
	owners   map[int]owner.Container // by PID
	initial  *[ns.NumTypes]uint64
}

func newFacts(s *ns.Snapshot, c *Command) *facts {
	return &facts{snapshot: s, host: &c.Host, now: c.Now}
}

// passwd is where names of users are. Names that only a directory service knows are not asked for.
const passwd = "/etc/passwd"

// maxUsers is how many lines of it are read.
const maxUsers = 100000

// userName is the first name that a user has.
func (f *facts) userName(id uint32) (string, bool) {
	if f.users == nil {
		f.users = map[uint32]string{}
		file, err := os.Open(passwd)
		if err != nil {
			return "", false
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		for n := 0; n < maxUsers && lines.Scan(); n++ {
			name, rest, _ := strings.Cut(lines.Text(), ":")
			_, rest, _ = strings.Cut(rest, ":")
			number, _, _ := strings.Cut(rest, ":")
			uid, err := strconv.ParseUint(number, 10, 32)
			if _, known := f.users[uint32(uid)]; err == nil && !known && name != "" {
				f.users[uint32(uid)] = name
			}
		}
	}
	name, ok := f.users[id]
	return name, ok
}

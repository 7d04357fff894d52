package plan

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// capabilities are in the kernel's order (linux/capability.h): the index is the number.
const capabilities = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE " +
	"NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE " +
	"SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL " +
	"SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"

// Capabilities are the names of all capabilities, CAP_ before each, by number.
func Capabilities() []string {
	names := strings.Fields(capabilities)
	for i, n := range names {
		names[i] = "CAP_" + n
	}
	return names
}

type capSets struct{ bounding, effective, permitted, inheritable, ambient uint64 }

// capSetsOf turns the names of a spec into sets that the kernel takes. What it does not have, what the caller has not
// got to give, and what the sets do not allow each other is left out, and warned of (config.md, "Linux Process").
func (p *program) capSetsOf(c *specs.LinuxCapabilities, f Facts) capSets {
	given := uint64(1)<<(f.LastCap+1) - 1
	if f.Caps != 0 {
		given &= f.Caps
	}
	set := func(field string, names []string, within uint64, why string) (set uint64) {
		var list, out []string
		if len(names) > 0 {
			list = Capabilities()
		}
		for _, n := range names {
			i := slices.Index(list, n)
			switch {
			case i < 0:
				p.warn("process.capabilities.%s: no capability %q", field, clip(n))
			case within&(1<<i) == 0:
				out = append(out, n)
			default:
				set |= 1 << i
			}
		}
		if len(out) > 0 {
			p.warn("process.capabilities.%s: %s left out: %s", field, strings.Join(out, ", "), why)
		}
		return set
	}
	const host, permitted, both = "not the caller's to give", "not permitted", "not both permitted and inheritable"
	var s capSets
	s.bounding = set("bounding", c.Bounding, given, host)
	s.permitted = set("permitted", c.Permitted, given, host)
	s.effective = set("effective", c.Effective, s.permitted, permitted)
	s.inheritable = set("inheritable", c.Inheritable, s.bounding, "not in the bounding set")
	s.ambient = set("ambient", c.Ambient, s.permitted&s.inheritable, both)
	return s
}

func (p *program) warn(format string, args ...any) {
	p.warned = append(p.warned, fmt.Sprintf(format, args...))
}

// bound drops what is not in the bounding set, while CAP_SETPCAP is still there, and keeps capabilities over the
// change of user.
func (p *program) bound(s capSets, last int) {
	all := Capabilities()
	for i := 0; i <= last; i++ {
		if s.bounding&(1<<i) == 0 {
			name := fmt.Sprint("capability ", i)
			if i < len(all) {
				name = all[i]
			}
			p.add("never have "+name, Prctl, Int(unix.PR_CAPBSET_DROP), Int(i), Int(0), Int(0), Int(0))
		}
	}
	p.add("keep capabilities", Prctl, Int(unix.PR_SET_KEEPCAPS), Int(1), Int(0), Int(0), Int(0))
}

// limit sets the other four sets, as the container's user.
func (p *program) limit(s capSets) {
	var head [8]byte
	binary.NativeEndian.PutUint32(head[:], unix.LINUX_CAPABILITY_VERSION_3)
	var sets [24]byte
	for i, v := range []uint64{s.effective, s.permitted, s.inheritable} {
		binary.NativeEndian.PutUint32(sets[4*i:], uint32(v))
		binary.NativeEndian.PutUint32(sets[12+4*i:], uint32(v>>32))
	}
	p.add("set capabilities", Capset, Bytes(head[:]), Bytes(sets[:]))
	p.add("clear ambient capabilities", Prctl, Int(unix.PR_CAP_AMBIENT), Int(unix.PR_CAP_AMBIENT_CLEAR_ALL), Int(0), Int(0), Int(0))
	for i := range 64 {
		if s.ambient&(1<<i) != 0 {
			p.add("raise ambient "+Capabilities()[i], Prctl, Int(unix.PR_CAP_AMBIENT), Int(unix.PR_CAP_AMBIENT_RAISE), Int(i), Int(0), Int(0))
		}
	}
}

package plan

import (
	"encoding/binary"
	"fmt"
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

// capabilitySet turns names into bits. A capability that this kernel does not have cannot be given: it is left out, as
// the runtime specification wants; one that no kernel has is an error.
func capabilitySet(field string, names []string, last int) (set uint64, err error) {
	if len(names) == 0 {
		return 0, nil
	}
	all := Capabilities()
name:
	for _, n := range names {
		for i, c := range all {
			if c == n {
				if i <= last {
					set |= 1 << i
				}
				continue name
			}
		}
		return 0, fmt.Errorf("process.capabilities.%s: no capability %q", field, n)
	}
	return set, nil
}

type capSets struct{ bounding, effective, permitted, inheritable, ambient uint64 }

func capSetsOf(c *specs.LinuxCapabilities, last int) (s capSets, err error) {
	for _, f := range []struct {
		name string
		list []string
		set  *uint64
	}{
		{"bounding", c.Bounding, &s.bounding},
		{"effective", c.Effective, &s.effective},
		{"permitted", c.Permitted, &s.permitted},
		{"inheritable", c.Inheritable, &s.inheritable},
		{"ambient", c.Ambient, &s.ambient},
	} {
		if *f.set, err = capabilitySet(f.name, f.list, last); err != nil {
			return s, err
		}
	}
	// An ambient capability must be permitted and inheritable (capabilities(7)).
	s.ambient &= s.permitted & s.inheritable
	return s, nil
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

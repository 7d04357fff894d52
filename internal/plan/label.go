package plan

import (
	"fmt"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Labels is which security modules of this host take a label for a process.
type Labels struct{ AppArmor, SELinux bool }

// unconfined is the AppArmor profile that is no profile.
const unconfined = "unconfined"

// labels asks the security modules for what the program will be from execve on. It writes to the host's procfs, which no
// container can cover (CVE-2019-16884, CVE-2023-28642, CVE-2025-52881).
func (p *program) labels(proc *specs.Process, l Labels) error {
	if label := proc.ApparmorProfile; label != "" && (label != unconfined || l.AppArmor) {
		p.origin = "process.apparmorProfile"
		if !l.AppArmor {
			return fmt.Errorf("%s: this host has no AppArmor to load %q in", p.origin, clip(label))
		}
		text := "exec " + label
		// Before Linux 5.8 the modules shared one file.
		open := p.openProc("self/attr/apparmor/exec", unix.O_WRONLY)
		open.on(unix.ENOENT, 0)
		open.Skip = 1
		p.openProc("self/attr/exec", unix.O_WRONLY)
		p.add("take AppArmor profile "+label, Write, Result(rFile), Text(text), Int(len(text)))
		p.add("close it", Close, Result(rFile))
	}
	if label := proc.SelinuxLabel; label != "" {
		p.origin = "process.selinuxLabel"
		if !l.SELinux {
			return fmt.Errorf("%s: this host has no SELinux to take %q", p.origin, clip(label))
		}
		p.write("take SELinux label "+label, "/proc/self/attr/exec", label)
	}
	return nil
}

// keyLabel labels the session keyring that is made next, or nothing if label is "".
func (p *program) keyLabel(label string) {
	if label != "" {
		p.origin = "process.selinuxLabel"
		p.write("label the keyring "+label, "/proc/self/attr/keycreate", label)
		p.origin = ""
	}
}

// labelled adds the SELinux context of the container's mounts to a file system's data. The kernel's own file systems
// have labels of their own (mount(8), "context").
func labelled(typ, data, label string) string {
	switch typ {
	case "proc", "sysfs", "mqueue", "cgroup", "cgroup2":
		return data
	}
	if label == "" {
		return data
	}
	return strings.TrimPrefix(data+`,context="`+label+`"`, ",")
}

// checkMountLabel is for the labels that would otherwise become options of their own.
func checkMountLabel(label string, l Labels) error {
	switch {
	case label == "":
	case !l.SELinux:
		return fmt.Errorf("linux.mountLabel: this host has no SELinux to take %q", clip(label))
	case strings.ContainsAny(label, "\"\\\x00"):
		return fmt.Errorf("linux.mountLabel: %q is no label", clip(label))
	}
	return nil
}

package bundle

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
)

// capabilities are all of Linux' (capabilities(7)), in the order of their numbers.
var capabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// defaultCapabilities are what Docker and containerd leave to root in a container.
var defaultCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// maskedPaths are hidden from containers: they show the host, or reach the kernel (Docker's list).
var maskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
	"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
	"/sys/firmware",
}

// readonlyPaths can be read and not written (Docker's list).
var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

func (b *builder) security(spec *specs.Spec) error {
	own := securityOf(b.Container)
	caps, err := b.capabilities(own.Capabilities)
	if err != nil {
		return err
	}
	// Inheritable ones would survive an exec by who is not root (CVE-2022-24769): never any.
	spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	spec.Process.NoNewPrivileges = own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation
	unmasked := own.ProcMount != nil && *own.ProcMount == corev1.UnmaskedProcMount
	if !b.privileged && !unmasked {
		spec.Linux.MaskedPaths = slices.Clone(maskedPaths)
		spec.Linux.ReadonlyPaths = slices.Clone(readonlyPaths)
	}
	if b.privileged {
		spec.Linux.Devices = b.Devices
	}
	spec.Linux.Seccomp, err = b.seccomp(caps)
	return err
}

// capabilities applies add and drop to the default set, in the order of the capabilities' numbers. What the host cannot
// give is left out, unless it was asked for by name.
func (b *builder) capabilities(asked *corev1.Capabilities) ([]string, error) {
	have := map[string]bool{}
	for _, c := range defaultCapabilities {
		have[c] = true
	}
	if b.privileged {
		asked = &corev1.Capabilities{Add: []corev1.Capability{"ALL"}}
	}
	if asked != nil {
		if err := apply(have, asked); err != nil {
			return nil, err
		}
	}
	given := b.Node.Capabilities
	if given == 0 || b.sandbox.User != OfHost {
		given = math.MaxUint64
	}
	list := []string{}
	for n, c := range capabilities {
		switch {
		case !have[c]:
		case given&(1<<n) != 0:
			list = append(list, c)
		case asked != nil && slices.ContainsFunc(asked.Add, func(a corev1.Capability) bool { return nameOf(a) == c }):
			return nil, fmt.Errorf("capabilities.add: this host has no %s to give", c)
		}
	}
	return list, nil
}

// apply adds and drops. ALL counts first, so that drop ALL and add one leaves that one.
func apply(have map[string]bool, asked *corev1.Capabilities) error {
	sets := []struct {
		name  string
		list  []corev1.Capability
		value bool
	}{{"add", asked.Add, true}, {"drop", asked.Drop, false}}
	for _, s := range sets {
		if slices.ContainsFunc(s.list, isAll) {
			for _, c := range capabilities {
				have[c] = s.value
			}
		}
	}
	for _, s := range sets {
		for _, c := range s.list {
			if isAll(c) {
				continue
			}
			name := nameOf(c)
			if !slices.Contains(capabilities, name) {
				return fmt.Errorf("capabilities.%s: there is no capability %q", s.name, c)
			}
			have[name] = s.value
		}
	}
	return nil
}

func isAll(c corev1.Capability) bool { return nameOf(c) == "CAP_ALL" }

// nameOf gives the kernel's name of a capability: Kubernetes' have no CAP_.
func nameOf(c corev1.Capability) string {
	return "CAP_" + strings.TrimPrefix(strings.ToUpper(string(c)), "CAP_")
}

// seccomp gives the profile: the container's over the Pod's. Where neither says one it is RuntimeDefault, as under a
// kubelet with seccompDefault; Unconfined turns it off.
func (b *builder) seccomp(caps []string) (*specs.LinuxSeccomp, error) {
	if b.privileged {
		return nil, nil
	}
	profile := firstOf(securityOf(b.Container).SeccompProfile, podSecurityOf(b.Pod).SeccompProfile)
	if profile == nil {
		profile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	}
	switch profile.Type {
	case corev1.SeccompProfileTypeUnconfined:
		return nil, nil
	case corev1.SeccompProfileTypeRuntimeDefault:
		if b.DefaultSeccomp == nil {
			return nil, fmt.Errorf("seccompProfile: no default profile was given")
		}
		return b.DefaultSeccomp(caps)
	case corev1.SeccompProfileTypeLocalhost:
		// An empty name once meant no filter at all (CVE-2023-2431).
		if profile.LocalhostProfile == nil || *profile.LocalhostProfile == "" {
			return nil, fmt.Errorf("seccompProfile.localhostProfile: a name is needed")
		}
		if b.LocalSeccomp == nil {
			return nil, fmt.Errorf("seccompProfile.localhostProfile: %q is not on this host", *profile.LocalhostProfile)
		}
		found, err := b.LocalSeccomp(*profile.LocalhostProfile)
		if err == nil && found == nil {
			err = fmt.Errorf("seccompProfile.localhostProfile: %q is empty", *profile.LocalhostProfile)
		}
		return found, err
	}
	return nil, fmt.Errorf("seccompProfile.type: %q is not known", profile.Type)
}

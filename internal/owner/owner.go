// Package owner tells which container and Pod a process belongs to, whatever runtime made it, and finds processes by such names.
//
// What decides is the process's cgroup: a runtime puts each container into a cgroup of its own, whose path only root (or, for a
// rootless runtime, the same user) can choose. The runtime's state files then give the names. No daemon is asked.
//
// Words: a runtime made the container; an engine asked the runtime for it (kubelet, of containerd). A monitor is a process of the
// runtime that stands beside the container, as conmon does. A sandbox is a container that only holds a Pod's namespaces.
//
// A container may make cgroups below its own, with any names. So the outermost cgroup that is a container's is believed, and a
// user's cgroups are believed to be that user's. State files are bounded, never followed through links of other owners, and
// believed only where they agree with the kernel. Names come from strangers: print them through Sanitise.
package owner

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The runtimes, as Container.Runtime and as the schemes of Find.
const (
	Tripod     = "tripod" // Pods, and the bundles of tripod-oci
	Docker     = "docker"
	Containerd = "containerd" // ctr, nerdctl, and kubelet's
	CRIO       = "crio"
	Podman     = "podman"
	LXC        = "lxc" // incus and LXD too
	Nspawn     = "nspawn"
	Machined   = "machined" // registered with systemd-machined by somebody else: libvirt's are
	BuildKit   = "buildkit"
	Flatpak    = "flatpak"
	Snap       = "snap"
	Runc       = "runc" // bare, with nobody above it
	Crun       = "crun"
	CRI        = "cri" // a container of a kubelet, of a runtime that cannot be told
	OCI        = "oci" // a cgroup with the name of a container, of a runtime that cannot be told
)

// Kubelet is the engine of a container that belongs to a kubelet's Pod.
const Kubelet = "kubelet"

// Container is a container as its cgroup and its runtime's state tell it. What is not known is "" or 0.
type Container struct {
	Runtime string `json:"runtime,omitempty"`
	Engine  string `json:"engine,omitempty"` // who asked the runtime for it: Kubelet, or containerd's namespace (default, moby)

	Pod          string `json:"pod,omitempty"`
	PodNamespace string `json:"podNamespace,omitempty"`
	PodUID       string `json:"podUID,omitempty"` // podman: the Pod's ID
	Name         string `json:"name,omitempty"`
	ID           string `json:"id,omitempty"`
	Image        string `json:"image,omitempty"`

	Unit    string `json:"unit,omitempty"`    // the systemd unit whose cgroup this is or lies in
	User    string `json:"user,omitempty"`    // the UID whose systemd runs Unit: a rootless runtime's
	Cgroup  string `json:"cgroup,omitempty"`  // the container's own cgroup, or the unit's, as /proc/PID/cgroup has it
	Sandbox bool   `json:"sandbox,omitempty"` // it only holds a Pod's namespaces
	Monitor bool   `json:"monitor,omitempty"` // not of the container, but the process that stands beside it
	Inside  string `json:"inside,omitempty"`  // what the cgroup below the container's calls itself: what the container says, not the host

	Init      int    `json:"init,omitempty"`      // its first process
	InitStart uint64 `json:"initStart,omitempty"` // when that began: field 22 of /proc/PID/stat, clock ticks since boot
}

// Known says whether this is a container, and not just a unit of the host.
func (c Container) Known() bool { return c.Runtime != "" }

// String is how a person would name it: POD/NAME, NAMESPACE/POD/NAME where the namespace is not default, NAME, or the
// beginning of the ID. It is sanitised.
func (c Container) String() string {
	name := c.Name
	if c.Sandbox && name == "" {
		name = "(sandbox)"
	}
	if c.Monitor {
		name = strings.TrimSpace(name + " (monitor)")
	}
	if name == "" {
		name = c.ShortID()
	}
	switch {
	case c.Pod == "" && c.PodUID == "":
	case c.Pod == "":
		name = c.PodUID[:min(8, len(c.PodUID))] + "/" + name // as much of it as tripod needs to find a Pod
	case c.PodNamespace == "" || c.PodNamespace == "default":
		name = c.Pod + "/" + name
	default:
		name = c.PodNamespace + "/" + c.Pod + "/" + name
	}
	if name == "" {
		name = c.Unit
	}
	return Sanitise(name)
}

// ShortID is the ID as docker and podman show it: twelve characters, when it is one of those long ones.
func (c Container) ShortID() string {
	if isHex(c.ID, 64) {
		return c.ID[:12]
	}
	return c.ID
}

// Host says where to look. The zero value is this host, with tripod's usual places. It remembers what it read, so it is for one
// goroutine and one question.
type Host struct {
	FS      string // what stands before the paths of runtimes' state files (/run/containerd …), "" for none
	Proc    string // where the proc file system is mounted, "" for /proc
	RunRoot string // tripod's Pods are in its folder pods, "" for /run/tripod
	OCIRoot string // state of tripod-oci, "" for /run/tripod-oci

	memory memory
}

func (h *Host) proc() string { return orElse(h.Proc, "/proc") }

func (h *Host) runRoot() string { return orElse(h.RunRoot, "/run/tripod") }
func (h *Host) ociRoot() string { return orElse(h.OCIRoot, "/run/tripod-oci") }

// PodNetworks is the folder of the records that tripod keeps of its Pods' networks.
func (h *Host) PodNetworks() string { return h.FS + h.runRoot() + "/network/pods" }

func orElse(word, otherwise string) string {
	if word == "" {
		return otherwise
	}
	return word
}

// Target is a process that cannot be mistaken for another: its PID, when it began, and its number in pidfs.
type Target struct {
	PID       int       `json:"pid"`
	Start     uint64    `json:"start"`           // field 22 of /proc/PID/stat, clock ticks since boot
	Inode     uint64    `json:"inode,omitempty"` // of its pidfd, unique until reboot; 0 before Linux 6.9
	Container Container `json:"container"`
}

// maxSanitised is how many bytes Sanitise returns at most.
const maxSanitised = 1 << 10

// Sanitise returns a name so that it can be shown on a terminal: what is not printable (control characters, escape sequences,
// marks that turn the direction of writing, bytes that are not UTF-8) stands as \x1b or \u202e, and the rest of a very long
// name is cut.
func Sanitise(s string) string {
	if plain(s) && len(s) <= maxSanitised {
		return s
	}
	var b strings.Builder
	for len(s) > 0 && b.Len() < maxSanitised {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\x` + hexByte(s[0]))
		case unicode.IsPrint(r):
			b.WriteString(s[:n])
		case r < 0x100:
			b.WriteString(`\x` + hexByte(byte(r)))
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[n:]
	}
	return b.String()
}

func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func hexByte(b byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[b>>4], digits[b&15]})
}

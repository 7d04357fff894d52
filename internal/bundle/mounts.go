package bundle

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
)

// nofollow is plan.NoFollow: volumes are given free of symbolic links, and opened so.
const nofollow = "x-tripod.nofollow"

// namespaces says which are the container's own (no path), and which are joined.
func (b *builder) namespaces(spec *specs.Spec) error {
	list := []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.CgroupNamespace}}
	for _, n := range []struct {
		kind  specs.LinuxNamespaceType
		owner Owner
		path  string
	}{
		{specs.UTSNamespace, b.sandbox.UTS, b.Namespaces.UTS},
		{specs.IPCNamespace, b.sandbox.IPC, b.Namespaces.IPC},
		{specs.NetworkNamespace, b.sandbox.Net, b.Namespaces.Net},
		{specs.PIDNamespace, b.sandbox.PID, b.Namespaces.PID},
		{specs.UserNamespace, b.sandbox.User, b.Namespaces.User},
	} {
		switch {
		case n.kind == specs.PIDNamespace && b.Namespaces.Target != "":
			n.path = b.Namespaces.Target
		case n.owner == OfHost:
			continue
		case n.owner == OfContainer:
			n.path = ""
		case n.path == "":
			return fmt.Errorf("the Pod's %s namespace was not given", n.kind)
		}
		list = append(list, specs.LinuxNamespace{Type: n.kind, Path: n.path})
	}
	if b.sandbox.User != OfHost {
		if len(b.UIDs) == 0 || len(b.GIDs) == 0 {
			return fmt.Errorf("no ids were given for the user namespace")
		}
		spec.Linux.UIDMappings, spec.Linux.GIDMappings = b.UIDs, b.GIDs
	}
	spec.Linux.Namespaces = list
	return nil
}

// mounts has the image's own first, then the kernel's file systems, the Pod's files and the volumes, those of few path
// elements before those that may lie below them. A volume takes the place of what is otherwise mounted there.
func (b *builder) mounts(spec *specs.Spec) error {
	volumes, err := b.volumeMounts()
	if err != nil {
		return err
	}
	var mounts []specs.Mount
	for _, m := range append(b.kernelMounts(), b.fileMounts()...) {
		if !slices.ContainsFunc(volumes, func(v specs.Mount) bool { return v.Destination == m.Destination }) {
			mounts = append(mounts, m)
		}
	}
	mounts = append(mounts, volumes...)
	slices.SortStableFunc(mounts, func(x, y specs.Mount) int { return depth(x.Destination) - depth(y.Destination) })
	spec.Mounts = append(slices.Clone(b.RootMounts), mounts...)
	return nil
}

func depth(p string) int { return strings.Count(path.Clean(p), "/") }

// kernelMounts are what containerd gives every container. Their order is kept: /proc before /dev before what is in it.
func (b *builder) kernelMounts() []specs.Mount {
	access := "ro"
	if b.privileged {
		access = "rw"
	}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
	}
}

// fileMounts are the Pod's own files.
func (b *builder) fileMounts() []specs.Mount {
	var mounts []specs.Mount
	readonly := "rw"
	if isTrue(securityOf(b.Container).ReadOnlyRootFilesystem) {
		readonly = "ro"
	}
	for _, f := range []struct{ source, destination, access string }{
		{b.Files.Shm, "/dev/shm", "rw"},
		{b.Files.Hosts, "/etc/hosts", readonly},
		{b.Files.Hostname, "/etc/hostname", readonly},
		{b.Files.ResolvConf, "/etc/resolv.conf", readonly},
		{b.Files.TerminationLog, b.Container.TerminationMessagePath, "rw"},
	} {
		if f.source == "" || f.destination == "" {
			continue
		}
		m := bind(f.source, path.Join("/", f.destination), f.access)
		if f.destination == "/dev/shm" {
			m.Options = append(m.Options, "nosuid", "noexec", "nodev")
		}
		mounts = append(mounts, m)
	}
	return mounts
}

func bind(source, destination string, options ...string) specs.Mount {
	return specs.Mount{Destination: destination, Type: "bind", Source: source, Options: append([]string{"rbind", "rprivate"}, options...)}
}

func (b *builder) volumeMounts() ([]specs.Mount, error) {
	var mounts []specs.Mount
	for i, v := range b.Container.VolumeMounts {
		source, ok := b.Volumes[v.Name]
		if v.SubPath != "" {
			source, ok = b.SubPaths[i], b.SubPaths[i] != ""
		}
		if !ok {
			return nil, fmt.Errorf("volumeMounts[%d]: where volume %s lies was not given", i, v.Name)
		}
		destination := path.Join("/", v.MountPath)
		if destination == "/" || slices.Contains(strings.Split(v.MountPath, "/"), "..") {
			return nil, fmt.Errorf("volumeMounts[%d].mountPath: %q is the root or has a .. in it", i, v.MountPath)
		}
		options := []string{"rbind", propagation(v.MountPropagation), nofollow}
		switch {
		case v.ReadOnly && v.RecursiveReadOnly != nil && *v.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled:
			options = append(options, "rro")
		case v.ReadOnly:
			options = append(options, "ro")
		default:
			options = append(options, "rw")
		}
		if b.isMapped(v.Name) {
			options = append(options, "idmap")
		}
		mounts = append(mounts, specs.Mount{Destination: destination, Type: "bind", Source: source, Options: options})
	}
	return mounts, nil
}

// isMapped tells whether the files of a volume belong inside to the same ids as outside of the container's user namespace
// (KEP-127). The emptyDirs of a Pod with one user namespace need no mapping: they are made for its ids.
func (b *builder) isMapped(volume string) bool {
	switch b.sandbox.User {
	case OfHost:
		return false
	case OfContainer:
		return true
	}
	return !slices.ContainsFunc(b.Pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == volume && v.EmptyDir != nil })
}

func propagation(mode *corev1.MountPropagationMode) string {
	switch {
	case mode != nil && *mode == corev1.MountPropagationHostToContainer:
		return "rslave"
	case mode != nil && *mode == corev1.MountPropagationBidirectional:
		return "rshared"
	}
	return "rprivate"
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const specHelp = `Usage: tripod-oci spec [OPTIONS]

Writes a config.json to begin with: a shell in the bundle's directory rootfs. One that is there stays as it is.

Options:
  -b, --bundle DIR  where to (default .)
  -f, --file FILE   another name for config.json
      --rootless    one for a user who is not root

Examples:
  mkdir -p rootfs/bin && cp /bin/busybox rootfs/bin/sh && tripod-oci spec && tripod-oci run shell
  tripod-oci spec --rootless -b /tmp/bundle
`

func spec(_ *globals, args []string) (int, error) {
	dir, name, rootless := ".", "config.json", false
	options := []option{text(&dir, 'b', "bundle"), text(&name, 'f', "file"), flag(&rootless, 0, "rootless")}
	if _, err := words(specHelp, options, args, 0, 0); err != nil {
		return 0, err
	}
	s := example()
	if rootless {
		unprivileged(s, uint32(os.Geteuid()), uint32(os.Getegid()))
	}
	data, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return 0, err
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return 0, fmt.Errorf("cannot write %s: it is there already; remove it first", name)
	}
	if err == nil {
		_, err = f.Write(append(data, '\n'))
		err = errors.Join(err, f.Close())
	}
	return 0, err
}

// example is the spec of a container as runc's spec command writes it.
func example() *specs.Spec {
	caps := []string{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
	noDev := []string{"nosuid", "noexec", "nodev"}
	with := func(more ...string) []string { return append(noDev[:len(noDev):len(noDev)], more...) }
	return &specs.Spec{
		Version:  specs.Version,
		Hostname: "tripod",
		Root:     &specs.Root{Path: "rootfs", Readonly: true},
		Process: &specs.Process{
			Terminal: true,
			Args:     []string{"sh"},
			Env:      []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"},
			Cwd:      "/", NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: with("mode=1777", "size=65536k")},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: with()},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: with("ro")},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: with("relatime", "ro")},
		},
		Linux: &specs.Linux{
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace},
				{Type: specs.NetworkNamespace},
				{Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace},
				{Type: specs.MountNamespace},
				{Type: specs.CgroupNamespace},
			},
			MaskedPaths: []string{
				"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
				"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}

// unprivileged makes a spec one that a user can run who is not root: in a user namespace where that user is root, without
// what takes the host's root. The host's network is shared, since nobody else could connect a new one.
func unprivileged(s *specs.Spec, uid, gid uint32) {
	var kept []specs.LinuxNamespace
	for _, n := range s.Linux.Namespaces {
		if n.Type != specs.NetworkNamespace {
			kept = append(kept, n)
		}
	}
	s.Linux.Namespaces = append(kept, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uid, Size: 1}}
	s.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: gid, Size: 1}}
	s.Linux.Resources = nil
	var mounts []specs.Mount
	for _, m := range s.Mounts {
		switch m.Destination {
		case "/dev/pts": // no group 5 in a namespace of one user
			m.Options = m.Options[:len(m.Options)-1]
		case "/sys": // a sysfs of its own takes a network namespace of its own
			m.Type, m.Source, m.Options = "none", "/sys", []string{"rbind", "nosuid", "noexec", "nodev", "ro"}
		case "/sys/fs/cgroup": // comes with /sys
			continue
		}
		mounts = append(mounts, m)
	}
	s.Mounts = mounts
}

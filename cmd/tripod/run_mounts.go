package main

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// volumes resolves -v, --mount, --tmpfs and --shm-size.
func (p *podMaker) volumes() error {
	for _, word := range p.flags.volume {
		if err := p.volume(word); err != nil {
			return err
		}
	}
	for _, word := range p.flags.mount {
		if err := p.mount(word); err != nil {
			return err
		}
	}
	tmpfs := p.flags.tmpfs
	if size := p.flags.shmSize; size != "" {
		if _, err := parseBytes(size); err != nil {
			return misuse("write 64m or 1g", "cannot use --shm-size %q: %w", size, err)
		}
		tmpfs = append([]string{"/dev/shm:size=" + size}, tmpfs...)
	}
	for _, word := range tmpfs {
		target, options, _ := strings.Cut(word, ":")
		source, err := memory(options)
		if err != nil {
			return misuse("write /CONTAINER[:size=64m]", "cannot use --tmpfs %q: %w", word, err)
		}
		if err := p.add("--tmpfs "+word, source, corev1.VolumeMount{MountPath: target}); err != nil {
			return err
		}
	}
	return nil
}

// volume resolves one -v: /CONTAINER, or /HOST:/CONTAINER[:OPTION,…].
func (p *podMaker) volume(word string) error {
	parts := strings.Split(word, ":")
	if len(parts) == 1 {
		return p.add("-v "+word, corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, corev1.VolumeMount{MountPath: word})
	}
	if len(parts) > 3 || parts[0] == "" {
		return misuse("write /HOST:/CONTAINER[:ro]", "cannot use -v %q: not a host path and a path in the container", word)
	}
	if !strings.HasPrefix(parts[0], "/") && !strings.HasPrefix(parts[0], ".") && !strings.HasPrefix(parts[0], "~") {
		return misuse("volumes have no names here: give a path, ./"+parts[0]+" for one below this folder",
			"cannot use -v %q: %s is not a path", word, parts[0])
	}
	mount := corev1.VolumeMount{MountPath: parts[1]}
	if len(parts) == 3 {
		for option := range strings.SplitSeq(parts[2], ",") {
			if err := mountOption(&mount, option); err != nil {
				return misuse("options are ro, rw, rprivate, rslave and rshared", "cannot use -v %q: %w", word, err)
			}
		}
	}
	source := corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: p.absolute(parts[0])}}
	return p.add("-v "+word, source, mount)
}

// mountOption sets what one of docker's mount options says. z and Z are SELinux labels, which these mounts do without.
func mountOption(m *corev1.VolumeMount, option string) error {
	var propagation corev1.MountPropagationMode
	switch option {
	case "ro", "readonly":
		m.ReadOnly = true
		return nil
	case "rw", "z", "Z", "":
		return nil
	case "private", "rprivate":
		propagation = corev1.MountPropagationNone
	case "slave", "rslave":
		propagation = corev1.MountPropagationHostToContainer
	case "shared", "rshared":
		propagation = corev1.MountPropagationBidirectional
	default:
		return fmt.Errorf("no such option %q", option)
	}
	m.MountPropagation = &propagation
	return nil
}

// mount resolves one --mount: NAME=VALUE words with commas between.
func (p *podMaker) mount(word string) error {
	bad := func(format string, args ...any) error {
		return misuse("write type=bind,source=/HOST,target=/CONTAINER[,readonly]", "cannot use --mount %q: %w", word, fmt.Errorf(format, args...))
	}
	var kind, source, size string
	var mount corev1.VolumeMount
	for field := range strings.SplitSeq(word, ",") {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "type":
			kind = value
		case "source", "src":
			source = value
		case "target", "dst", "destination":
			mount.MountPath = value
		case "readonly", "ro":
			mount.ReadOnly = value == "" || value == "true" || value == "1"
		case "bind-propagation":
			if err := mountOption(&mount, value); err != nil {
				return bad("%w", err)
			}
		case "tmpfs-size":
			size = "size=" + value
		default:
			return bad("no such option %q", name)
		}
	}
	switch kind {
	case "bind":
		if source == "" {
			return bad("no source")
		}
		return p.add("--mount "+word, corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: p.absolute(source)}}, mount)
	case "tmpfs":
		from, err := memory(size)
		if err != nil {
			return bad("%w", err)
		}
		return p.add("--mount "+word, from, mount)
	case "", "volume":
		if source != "" {
			return bad("volumes have no names here; use type=bind and a path")
		}
		return p.add("--mount "+word, corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, mount)
	}
	return bad("no such type %q", kind)
}

// memory is a volume of memory. Of tmpfs's options only the size has a meaning of its own in a Pod.
func memory(options string) (corev1.VolumeSource, error) {
	dir := &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}
	for option := range strings.SplitSeq(options, ",") {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "", "rw":
		case "size":
			n, err := parseBytes(value)
			if err != nil {
				return corev1.VolumeSource{}, fmt.Errorf("size %q: %w", value, err)
			}
			dir.SizeLimit = resource.NewQuantity(n, resource.BinarySI)
		default:
			return corev1.VolumeSource{}, fmt.Errorf("no such option %q", name)
		}
	}
	return corev1.VolumeSource{EmptyDir: dir}, nil
}

// add gives the container a volume of its own.
func (p *podMaker) add(word string, source corev1.VolumeSource, mount corev1.VolumeMount) error {
	if !path.IsAbs(mount.MountPath) {
		return misuse("the path in the container begins with /", "cannot use %s: %q is not an absolute path", word, mount.MountPath)
	}
	mount.MountPath = path.Clean(mount.MountPath)
	if slices.ContainsFunc(p.container.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == mount.MountPath }) {
		return misuse("leave out one of them", "cannot use %s: something is mounted on %s already", word, mount.MountPath)
	}
	mount.Name = fmt.Sprintf("volume-%d", len(p.pod.Spec.Volumes))
	p.pod.Spec.Volumes = append(p.pod.Spec.Volumes, corev1.Volume{Name: mount.Name, VolumeSource: source})
	p.container.VolumeMounts = append(p.container.VolumeMounts, mount)
	return nil
}

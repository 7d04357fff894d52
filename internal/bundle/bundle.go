// Package bundle turns a Pod's container and its image's config into an OCI runtime spec, as kubelet and a CRI runtime
// would together.
//
// Everything here is a function of values: nothing is opened, looked up or asked of the host. What the host must say
// (addresses, an image's passwd, where a volume lies) is in Input. Beside the Spec of a container there are the Life of
// its Pod, the Pod's Sandbox, and the contents of the files that each Pod has: hosts, hostname, resolv.conf.
//
// Words are Kubernetes': a container's command stands for the image's entrypoint, its args for the image's cmd.
package bundle

import (
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
)

// ErrNoCommand says that neither container nor image has a command.
var ErrNoCommand = errors.New("no command: neither the container nor its image has one")

// Input is all that the Spec of one container is made of.
type Input struct {
	Pod        *corev1.Pod       // defaulted and valid
	Container  *corev1.Container // one of the Pod's
	Image      ocispec.Image     // its image's config
	Passwd     []byte            // the image's /etc/passwd, nil if it has none
	Group      []byte            // the image's /etc/group, nil if it has none
	RootMounts []specs.Mount     // what the image brings beside its layers (host:/); made first

	Node Node
	IPs  []string // of the Pod, for status.podIP; the first is its main one

	// Namespaces are those of the Pod, to be joined. Needed is each that the Pod shares (see Sandbox).
	Namespaces Namespaces
	// UIDs and GIDs map the ids of the container's user namespace, the Pod's or one made for it alone.
	UIDs, GIDs []specs.LinuxIDMapping

	Files   Files
	Volumes map[string]string // by volume name: its directory or file on the host, free of symbolic links
	// SubPaths has, by index of the container's volumeMounts, the host path of a mount with a subPath.
	SubPaths map[int]string

	// DefaultSeccomp gives the profile RuntimeDefault for a container of these capabilities.
	DefaultSeccomp func(capabilities []string) (*specs.LinuxSeccomp, error)
	// LocalSeccomp gives a profile of this host by its localhostProfile name.
	LocalSeccomp func(name string) (*specs.LinuxSeccomp, error)

	Devices   []specs.LinuxDevice // of the host: a privileged container has them all
	PidsLimit int64               // most tasks of a container with no AnnotationPids; 0 or less is no limit
}

// Node is what a container may be told, or is measured by, of its host.
type Node struct {
	Name       string
	IPs        []string // for status.hostIP; the first is the main one
	Memory     int64    // bytes in all
	CPUs       int      // in all
	LimitsSwap bool     // swap can be limited: a memory limit is then one without swap, as kubelet's
	// Capabilities has bit n set for each capability n that can be given on; 0 is all. A user namespace has all in any case.
	Capabilities uint64
}

// Namespaces are paths of the Pod's namespaces, /proc/PID/ns/net or a file that holds one open.
type Namespaces struct {
	Net, IPC, UTS string // of the Pod, unless it has the host's
	PID           string // of a Pod that shares it
	Target        string // the PID namespace of another container, to be joined by an ephemeral one
	User          string // of a Pod with hostUsers: false
}

// Files are paths on the host of what each container of the Pod has mounted. One that is "" is not mounted.
type Files struct {
	Hosts, Hostname, ResolvConf string
	Shm                         string // directory of the Pod's /dev/shm
	TerminationLog              string // file that is the container's terminationMessagePath
}

// Spec gives the OCI runtime spec of a container. An error names the field of the container that asks for what cannot be.
func Spec(in Input) (*specs.Spec, error) {
	ground, err := SandboxOf(in.Pod)
	if err != nil {
		return nil, err
	}
	b := &builder{Input: in, sandbox: ground, privileged: isPrivileged(in.Container)}
	spec := &specs.Spec{
		Version:     specs.Version,
		Root:        &specs.Root{Path: "rootfs", Readonly: isTrue(securityOf(in.Container).ReadOnlyRootFilesystem)},
		Annotations: annotations(in.Pod, in.Container),
		Linux:       &specs.Linux{CgroupsPath: CgroupOf(in.Pod) + "/" + in.Container.Name},
	}
	for _, part := range []struct {
		name string
		fill func(*specs.Spec) error
	}{
		{"process", b.process},
		{"securityContext", b.security},
		{"namespaces", b.namespaces},
		{"volumeMounts", b.mounts},
		{"resources", b.resources},
	} {
		if err := part.fill(spec); err != nil {
			return nil, fmt.Errorf("cannot make spec of container %s: %s: %w", in.Container.Name, part.name, err)
		}
	}
	return spec, nil
}

// builder is an Input with what several parts of the Spec need of it.
type builder struct {
	Input
	sandbox    Sandbox
	privileged bool
}

// annotations say whose a container is, with the names that kubelet gives.
func annotations(pod *corev1.Pod, c *corev1.Container) map[string]string {
	return map[string]string{
		"io.kubernetes.container.name": c.Name,
		"io.kubernetes.pod.name":       pod.Name,
		"io.kubernetes.pod.namespace":  pod.Namespace,
		"io.kubernetes.pod.uid":        string(pod.UID),
	}
}

// CgroupOf is the Pod's place below every cgroup hierarchy; its containers' are below it.
func CgroupOf(pod *corev1.Pod) string { return "tripod/" + string(pod.UID) }

func isTrue(b *bool) bool { return b != nil && *b }

func securityOf(c *corev1.Container) corev1.SecurityContext {
	if c.SecurityContext == nil {
		return corev1.SecurityContext{}
	}
	return *c.SecurityContext
}

func podSecurityOf(p *corev1.Pod) corev1.PodSecurityContext {
	if p.Spec.SecurityContext == nil {
		return corev1.PodSecurityContext{}
	}
	return *p.Spec.SecurityContext
}

func isPrivileged(c *corev1.Container) bool { return isTrue(securityOf(c).Privileged) }

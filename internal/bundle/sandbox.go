package bundle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"tripod/internal/manifest"
)

// Owner says whose a namespace is.
type Owner string

// The owners.
const (
	OfPod       Owner = "pod"       // held by the Pod's pause process, shared by its containers
	OfHost      Owner = "host"      // the host's
	OfContainer Owner = "container" // each container's own
)

// Sandbox is what a Pod wants of the ground that its containers stand on.
type Sandbox struct {
	Hostname string // of the Pod's UTS namespace; "" with the host's
	Domain   string // of the Pod in /etc/hosts, NAME.NAMESPACE.svc.cluster.local; "" without a subdomain

	Net, IPC, UTS Owner // OfPod or OfHost
	PID           Owner // OfContainer, OfPod or OfHost
	User          Owner // OfHost, OfPod or OfContainer

	Sysctls   map[string]string     // of the Pod's own namespaces; names as sysctlName has them
	Resources *specs.LinuxResources // of the Pod's cgroup, around those of its containers
}

// clusterDomain is the domain that Kubernetes installers give by default.
const clusterDomain = "cluster.local"

const (
	hostnameMax = 63 // bytes of a host name that kubelet sets
	fqdnMax     = 64 // bytes of a host name that the kernel takes
)

// SandboxOf gives the sandbox of a Pod. An error names the field that asks for what cannot be.
func SandboxOf(pod *corev1.Pod) (Sandbox, error) {
	s := Sandbox{Net: OfPod, IPC: OfPod, UTS: OfPod, PID: OfContainer, User: OfHost}
	if pod.Spec.HostNetwork {
		// The name belongs to the network: kubelet's Pods on the host's network have the host's name.
		s.Net, s.UTS = OfHost, OfHost
	}
	if pod.Spec.HostIPC {
		s.IPC = OfHost
	}
	switch {
	case pod.Spec.HostPID:
		s.PID = OfHost
	case isTrue(pod.Spec.ShareProcessNamespace):
		s.PID = OfPod
	}
	switch word := pod.Annotations[manifest.AnnotationUserNS]; {
	case word == string(OfContainer):
		s.User = OfContainer
	case word != "":
		return s, fmt.Errorf("annotation %s: %q is not \"container\"", manifest.AnnotationUserNS, word)
	case pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers:
		s.User = OfPod
	}
	if s.User != OfHost && (s.Net == OfHost || s.IPC == OfHost || s.PID == OfHost) {
		return s, fmt.Errorf("a user namespace cannot be together with hostNetwork, hostIPC or hostPID")
	}
	var err error
	if s.UTS == OfPod {
		if s.Hostname, s.Domain, err = hostnameOf(pod); err != nil {
			return s, err
		}
	}
	if s.Sysctls, err = s.sysctls(podSecurityOf(pod).Sysctls); err != nil {
		return s, err
	}
	s.Resources = podResources(pod)
	return s, nil
}

// hostnameOf gives the Pod's name among hosts, as kubelet makes it: cut to 63 bytes, and with the domain behind it
// where setHostnameAsFQDN asks for that.
func hostnameOf(pod *corev1.Pod) (name, domain string, err error) {
	name = pod.Name
	if pod.Spec.Hostname != "" {
		name = pod.Spec.Hostname
	}
	override := pod.Spec.HostnameOverride
	if override != nil {
		name = *override
	}
	if len(name) > hostnameMax {
		name = strings.TrimRight(name[:hostnameMax], "-.")
	}
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") != "" || name == "" {
		return "", "", fmt.Errorf("hostname: %q cannot be one", name)
	}
	if override != nil || pod.Spec.Subdomain == "" {
		return name, "", nil
	}
	domain = pod.Spec.Subdomain + "." + pod.Namespace + ".svc." + clusterDomain
	if isTrue(pod.Spec.SetHostnameAsFQDN) {
		if fqdn := name + "." + domain; len(fqdn) > fqdnMax {
			return "", "", fmt.Errorf("setHostnameAsFQDN: %s has %d bytes, a host name has %d at most", fqdn, len(fqdn), fqdnMax)
		}
	}
	return name, domain, nil
}

// KernelHostname is what the Pod's UTS namespace is called.
func (s Sandbox) KernelHostname(pod *corev1.Pod) string {
	if s.Domain != "" && isTrue(pod.Spec.SetHostnameAsFQDN) {
		return s.Hostname + "." + s.Domain
	}
	return s.Hostname
}

// uname is what a container is told that its host is called.
func (s Sandbox) uname(pod *corev1.Pod, n Node) string {
	if s.UTS == OfHost {
		return n.Name
	}
	return s.KernelHostname(pod)
}

// sysctls lets through those of a namespace that is the Pod's own. Any other would change the host
// (CVE-2022-0811, CVE-2022-0532).
func (s Sandbox) sysctls(asked []corev1.Sysctl) (map[string]string, error) {
	if len(asked) == 0 {
		return nil, nil
	}
	out := map[string]string{}
	for i, c := range asked {
		name := sysctlName(c.Name)
		owner, ok := s.ownerOfSysctl(name)
		switch {
		case !ok:
			return nil, fmt.Errorf("securityContext.sysctls[%d]: %s is not of a namespace: it would change the host", i, c.Name)
		case owner == OfHost:
			return nil, fmt.Errorf("securityContext.sysctls[%d]: %s would change the host, whose namespace the Pod uses", i, c.Name)
		case strings.ContainsAny(c.Value, "\n\x00"):
			return nil, fmt.Errorf("securityContext.sysctls[%d]: the value of %s is more than a line", i, c.Name)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("securityContext.sysctls[%d]: %s is there twice", i, c.Name)
		}
		out[name] = c.Value
	}
	return out, nil
}

// sysctlName gives the one form of a sysctl's name: with dots, and with slashes where a part has a dot in it, as
// net/ipv4/conf/eth0.1/rp_filter. In a name whose first separator is a dot, a slash stands for a dot (sysctl.d(5)).
func sysctlName(name string) string {
	swapped := strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, name)
	switch i := strings.IndexAny(name, "./"); {
	case i < 0 || !strings.Contains(name, "/"), name[i] == '/' && strings.Contains(name, "."):
		return name
	}
	return swapped
}

// ownerOfSysctl tells whose the namespace of a sysctl is; the second result is false for those of the whole host.
func (s Sandbox) ownerOfSysctl(name string) (Owner, bool) {
	if !strings.Contains(name, "/") {
		name = strings.ReplaceAll(name, ".", "/")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || strings.Contains(part, "..") {
			return "", false
		}
	}
	switch name {
	case "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall", "kernel/shmmax", "kernel/shmmni", "kernel/shm_rmid_forced":
		return s.IPC, true
	}
	switch {
	case strings.HasPrefix(name, "fs/mqueue/"):
		return s.IPC, true
	case strings.HasPrefix(name, "net/"):
		return s.Net, true
	}
	return "", false
}

// podResources gives the limits of the Pod's cgroup: those of the Pod itself, or the sums of its containers', of which
// a limit only counts where every container has one (kubelet's ResourceConfigForPod).
func podResources(pod *corev1.Pod) *specs.LinuxResources {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	limits := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})
	shares := cpuShares(requests.Cpu().MilliValue())
	r := &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}
	if isLimited(pod, corev1.ResourceCPU) {
		limitCPU(r.CPU, limits.Cpu().MilliValue())
	}
	if isLimited(pod, corev1.ResourceMemory) {
		bytes := limits.Memory().Value()
		r.Memory = &specs.LinuxMemory{Limit: &bytes}
	}
	return r
}

// isLimited tells whether a Pod has a limit of its own, or each of its containers has one.
func isLimited(pod *corev1.Pod, name corev1.ResourceName) bool {
	has := func(list corev1.ResourceList) bool {
		q := list[name]
		return q.Sign() > 0
	}
	if own := pod.Spec.Resources; own != nil && has(own.Limits) {
		return true
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if !has(c.Resources.Limits) {
			return false
		}
	}
	return true
}

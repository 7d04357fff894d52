package bundle

import (
	"fmt"
	"path"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/manifest"
)

// Origin is one thing that a Pod or container has: what it is, and which field or default asked for it.
type Origin struct {
	Part    string `json:"part"`    // namespace, process, environment, mount, capability …
	What    string `json:"what"`    // "net: the Pod's", "/etc/hosts"
	Meaning string `json:"meaning"` // what that is
	From    string `json:"from"`    // "spec.hostNetwork", or "default" with what sets it
}

// origins collects them.
type origins []Origin

func (o *origins) add(part, what, meaning, from string) {
	*o = append(*o, Origin{Part: part, What: what, Meaning: meaning, From: from})
}

// fallback names a default, and the field that would change it.
func fallback(field string) string { return "default; " + field + " changes it" }

// or is the field when it is set, or the default.
func or(set bool, field string) string {
	if set {
		return field
	}
	return fallback(field)
}

// PodOrigins says what a Pod's own things come from: its namespaces, its name, its kernel parameters.
func PodOrigins(pod *corev1.Pod) ([]Origin, error) {
	s, err := SandboxOf(pod)
	if err != nil {
		return nil, err
	}
	var o origins
	spec := pod.Spec
	user, userFrom := "the host's ids: root inside is root outside", or(spec.HostUsers != nil, "spec.hostUsers")
	if s.User != OfHost {
		user = "ids of its own: root inside is nobody outside"
	}
	if pod.Annotations[manifest.AnnotationUserNS] != "" {
		userFrom = "metadata.annotations[" + manifest.AnnotationUserNS + "]"
	}
	utsFrom := or(spec.HostNetwork, "spec.hostNetwork")
	pidFrom := fallback("spec.shareProcessNamespace")
	switch {
	case spec.HostPID:
		pidFrom = "spec.hostPID"
	case spec.ShareProcessNamespace != nil:
		pidFrom = "spec.shareProcessNamespace"
	}
	for _, n := range []struct {
		kind          string
		owner         Owner
		meaning, from string
	}{
		{"uts", s.UTS, "hostname and NIS domain", utsFrom},
		{"ipc", s.IPC, "System V IPC and POSIX message queues", or(spec.HostIPC, "spec.hostIPC")},
		{"net", s.Net, "interfaces, addresses, ports, firewall rules", or(spec.HostNetwork, "spec.hostNetwork")},
		{"pid", s.PID, "which processes are seen", pidFrom},
		{"user", s.User, user, userFrom},
		{"mnt", OfContainer, "the file systems that are seen", "always"},
		{"cgroup", OfContainer, "the cgroup that is seen as the root", "always"},
	} {
		o.add("namespace", n.kind+": "+belongs(n.owner), n.meaning, n.from)
	}
	if s.UTS == OfPod {
		from := fallback("spec.hostname")
		switch {
		case spec.HostnameOverride != nil:
			from = "spec.hostnameOverride"
		case spec.Hostname != "":
			from = "spec.hostname"
		}
		o.add("hostname", s.KernelHostname(pod), "what every container of the Pod is called", from)
	}
	for i, c := range podSecurityOf(pod).Sysctls {
		o.add("sysctl", c.Name+" = "+c.Value, "a parameter of the Pod's own namespaces", fmt.Sprintf("spec.securityContext.sysctls[%d]", i))
	}
	return o, nil
}

func belongs(owner Owner) string {
	switch owner {
	case OfHost:
		return "the host's"
	case OfContainer:
		return "each container's own"
	}
	return "the Pod's"
}

// ContainerOrigins says what the parts of a container's spec come from. The field is the container's, as
// spec.containers[0]. Without the image's config what comes from it is told with the defaults.
func ContainerOrigins(pod *corev1.Pod, c *corev1.Container, field string, image *ocispec.ImageConfig, spec *specs.Spec) []Origin {
	w := where{pod: pod, container: c, field: field, image: image, spec: spec}
	w.process()
	w.environment()
	w.mounts()
	w.security()
	return w.origins
}

// where looks for what asked for the parts of a container.
type where struct {
	origins
	pod       *corev1.Pod
	container *corev1.Container
	field     string
	image     *ocispec.ImageConfig
	spec      *specs.Spec
}

func (w *where) own(name string) string { return w.field + "." + name }

// imageOr is the image when it says something, or the default.
func (w *where) imageOr(says func(*ocispec.ImageConfig) bool, what string) string {
	switch {
	case w.image == nil:
		return "the image " + w.container.Image + ", or " + what
	case says(w.image):
		return "the image " + w.container.Image
	}
	return what
}

func (w *where) process() {
	p, c := w.spec.Process, w.container
	from := w.own("command")
	switch {
	case len(c.Command) > 0 && len(c.Args) > 0:
		from += " and args"
	case len(c.Command) == 0 && len(c.Args) > 0:
		from = "the image's entrypoint and " + w.own("args")
	case len(c.Command) == 0:
		from = "the image " + c.Image + "; " + from + " changes it"
	}
	w.add("process", "program "+quoted(p.Args), "the first process, PID 1 of its namespace", from)

	own, podWide := securityOf(c), podSecurityOf(w.pod)
	user := fmt.Sprintf("user %d, group %d", p.User.UID, p.User.GID)
	if len(p.User.AdditionalGids) > 0 {
		user += fmt.Sprintf(", groups %v", p.User.AdditionalGids)
	}
	switch {
	case own.RunAsUser != nil:
		from = w.own("securityContext.runAsUser")
	case podWide.RunAsUser != nil:
		from = "spec.securityContext.runAsUser"
	case w.pod.Annotations[manifest.AnnotationUser] != "":
		from = "metadata.annotations[" + manifest.AnnotationUser + "]"
	default:
		from = w.imageOr(func(i *ocispec.ImageConfig) bool { return i.User != "" }, fallback(w.own("securityContext.runAsUser")))
	}
	w.add("process", user, "who it is inside", from)

	from = w.own("workingDir")
	if c.WorkingDir == "" {
		from = w.imageOr(func(i *ocispec.ImageConfig) bool { return i.WorkingDir != "" }, fallback(from))
	}
	w.add("process", "directory "+p.Cwd, "where it begins", from)
	if p.Terminal {
		w.add("process", "a terminal", "a pty of its own is its standard input and output", w.own("tty"))
	}
	if p.OOMScoreAdj != nil {
		w.add("process", fmt.Sprintf("oom_score_adj %d", *p.OOMScoreAdj), "how gladly the kernel kills it when the host has no memory; -1000 is never",
			"the QoS class, by "+w.own("resources"))
	}
	if p.NoNewPrivileges {
		w.add("process", "no_new_privs", "no setuid program gives it more rights", w.own("securityContext.allowPrivilegeEscalation"))
	}
}

// quoted are words as a shell would take them.
func quoted(words []string) string {
	out := make([]string, len(words))
	for i, word := range words {
		out[i] = word
		if word == "" || strings.ContainsAny(word, " \t\n'\"\\$`;&|<>*?()#~") {
			out[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}

func (w *where) environment() {
	for _, e := range w.spec.Process.Env {
		name, _, _ := strings.Cut(e, "=")
		from, meaning := "", ""
		i := slices.IndexFunc(w.container.Env, func(v corev1.EnvVar) bool { return v.Name == name })
		inImage := w.image != nil && slices.ContainsFunc(w.image.Env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
		switch {
		case i >= 0:
			from = fmt.Sprintf("%s[%d]", w.own("env"), i)
			if w.container.Env[i].ValueFrom != nil {
				meaning = "told of the Pod by the downward API"
			}
		case inImage:
			from = "the image " + w.container.Image
		case name == "PATH":
			from, meaning = "default", "where programs are looked for"
		case name == "HOSTNAME":
			from, meaning = "default", "the Pod's name"
		case name == "HOME":
			from, meaning = "default", "of the user, by the image's /etc/passwd"
		case name == "TERM":
			from, meaning = w.own("tty"), "what a terminal can show"
		default:
			from = "the image " + w.container.Image
		}
		w.add("environment", e, meaning, from)
	}
}

// kernelMeanings say what the file systems of the kernel are.
var kernelMeanings = []struct{ destination, meaning string }{
	{"/proc", "the processes that it sees, and the kernel's parameters"},
	{"/dev", "the devices that it has, in memory"},
	{"/dev/pts", "its own terminals"},
	{"/dev/mqueue", "POSIX message queues of the ipc namespace"},
	{"/sys", "the kernel's devices; the network's are those of the net namespace"},
	{"/sys/fs/cgroup", "its own cgroup"},
}

func (w *where) mounts() {
	root := "writable, in a layer of its own that goes with the container"
	if w.spec.Root != nil && w.spec.Root.Readonly {
		root = "read-only"
	}
	w.add("mount", "/", "the image "+w.container.Image+", "+root, or(securityOf(w.container).ReadOnlyRootFilesystem != nil, w.own("securityContext.readOnlyRootFilesystem")))
	for _, m := range w.spec.Mounts {
		meaning, from := w.mount(m)
		w.add("mount", m.Destination, meaning, from)
	}
	for _, p := range w.spec.Linux.MaskedPaths {
		w.add("mask", p, "hidden", fallback(w.own("securityContext.procMount")))
	}
	for _, p := range w.spec.Linux.ReadonlyPaths {
		w.add("mask", p, "can be read and not written", fallback(w.own("securityContext.procMount")))
	}
}

func (w *where) mount(m specs.Mount) (meaning, from string) {
	for i, v := range w.container.VolumeMounts {
		if path.Join("/", v.MountPath) == m.Destination {
			return w.volume(v.Name) + access(m), fmt.Sprintf("%s[%d]", w.own("volumeMounts"), i)
		}
	}
	for _, k := range kernelMeanings {
		if k.destination == m.Destination {
			return k.meaning + access(m), "every container has it"
		}
	}
	switch m.Destination {
	case "/dev/shm":
		return "POSIX shared memory, of all containers of the Pod", "every container has it"
	case "/etc/hosts":
		return "names and addresses, of all containers of the Pod", "every container has it; spec.hostAliases adds to it"
	case "/etc/hostname":
		return "the Pod's name", "every container has it"
	case "/etc/resolv.conf":
		return "where names are asked for", "every container has it; spec.dnsPolicy and spec.dnsConfig change it"
	case path.Join("/", w.container.TerminationMessagePath):
		return "what it writes here is its last message", w.own("terminationMessagePath")
	}
	return "the host's " + m.Source + access(m), "the image " + w.container.Image
}

func access(m specs.Mount) string {
	for _, o := range m.Options {
		switch o {
		case "ro":
			return ", read-only"
		case "rro":
			return ", read-only with all below"
		}
	}
	return ""
}

func (w *where) volume(name string) string {
	for _, v := range w.pod.Spec.Volumes {
		switch {
		case v.Name != name:
		case v.HostPath != nil:
			return "volume " + name + ": the host's " + v.HostPath.Path
		case v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumMemory:
			return "volume " + name + ": memory of the Pod, gone with it"
		case v.EmptyDir != nil:
			return "volume " + name + ": an empty directory of the Pod, gone with it"
		}
	}
	return "volume " + name
}

func (w *where) security() {
	own := securityOf(w.container)
	var have []string
	if caps := w.spec.Process.Capabilities; caps != nil {
		have = caps.Bounding
	}
	var asked corev1.Capabilities
	if own.Capabilities != nil {
		asked = *own.Capabilities
	}
	for _, c := range have {
		from := "default; " + w.own("securityContext.capabilities.drop") + " takes it away"
		named := slices.IndexFunc(asked.Add, func(a corev1.Capability) bool { return nameOf(a) == c || isAll(a) })
		switch {
		case isTrue(own.Privileged):
			from = w.own("securityContext.privileged")
		case named >= 0:
			from = fmt.Sprintf("%s[%d]", w.own("securityContext.capabilities.add"), named)
		}
		w.add("capability", c, "", from)
	}
	for i, d := range asked.Drop {
		w.add("capability", "no "+nameOf(d), "", fmt.Sprintf("%s[%d]", w.own("securityContext.capabilities.drop"), i))
	}
	field := w.own("securityContext.seccompProfile")
	set := own.SeccompProfile != nil
	if !set && podSecurityOf(w.pod).SeccompProfile != nil {
		field, set = "spec.securityContext.seccompProfile", true
	}
	switch s := w.spec.Linux.Seccomp; {
	case isTrue(own.Privileged) && s == nil:
		w.add("seccomp", "none", "every call of the kernel can be made", w.own("securityContext.privileged"))
	case s == nil:
		w.add("seccomp", "none", "every call of the kernel can be made", or(set, field))
	default:
		w.add("seccomp", "a profile of "+count(s), "other calls of the kernel fail", or(set, field))
	}
}

func count(s *specs.LinuxSeccomp) string {
	calls := 0
	for _, r := range s.Syscalls {
		if r.Action == specs.ActAllow {
			calls += len(r.Names)
		}
	}
	return fmt.Sprintf("%d allowed calls", calls)
}

// ResourceField is the field of a container from which a limit of its cgroup follows. The origin is a field below
// linux.resources, as cpu.quota.
func ResourceField(pod *corev1.Pod, c *corev1.Container, field, origin string) string {
	resources := field + ".resources."
	has := func(list corev1.ResourceList, name corev1.ResourceName) bool { q := list[name]; return !q.IsZero() }
	switch {
	case origin == "cpu.quota" || origin == "cpu.period":
		return resources + "limits.cpu"
	case origin == "cpu.shares" && has(c.Resources.Requests, corev1.ResourceCPU):
		return resources + "requests.cpu, or limits.cpu where that is left out"
	case origin == "cpu.shares":
		return fallback(resources + "requests.cpu")
	case strings.HasPrefix(origin, "memory."):
		return resources + "limits.memory"
	case strings.HasPrefix(origin, "pids.") && pod.Annotations[manifest.AnnotationPids] != "":
		return "metadata.annotations[" + manifest.AnnotationPids + "]"
	case strings.HasPrefix(origin, "pids."):
		return fallback("metadata.annotations[" + manifest.AnnotationPids + "]")
	case strings.HasPrefix(origin, "hugepageLimits"):
		return resources + "limits"
	case strings.HasPrefix(origin, "devices"):
		return or(isPrivileged(c), field+".securityContext.privileged")
	}
	return "default"
}

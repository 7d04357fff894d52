package lint

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

func isTrue(b *bool) bool  { return b != nil && *b }
func isFalse(b *bool) bool { return b != nil && !*b }

func securityOf(c *container) corev1.SecurityContext {
	if c.SecurityContext == nil {
		return corev1.SecurityContext{}
	}
	return *c.SecurityContext
}

func podSecurityOf(s *subject) corev1.PodSecurityContext {
	if s.Pod.Spec.SecurityContext == nil {
		return corev1.PodSecurityContext{}
	}
	return *s.Pod.Spec.SecurityContext
}

func privileged(s *subject, c *container) {
	if isTrue(securityOf(c).Privileged) {
		s.reportIn(c, "securityContext.privileged", "take it out, and add the one capability or device that is needed", "privileged")
	}
}

func privilegeEscalation(s *subject, c *container) {
	const field = "securityContext.allowPrivilegeEscalation"
	own := securityOf(c)
	if isFalse(own.AllowPrivilegeEscalation) || isTrue(own.Privileged) {
		return
	}
	f := s.reportIn(c, field, "add "+field+": false", "programs may gain privileges")
	if own.AllowPrivilegeEscalation == nil && !addsSysAdmin(own) {
		f.fix(s, c.path+"."+field, "false", "")
	}
}

// addsSysAdmin: Kubernetes refuses allowPrivilegeEscalation: false beside it.
func addsSysAdmin(own corev1.SecurityContext) bool {
	return own.Capabilities != nil && slices.ContainsFunc(own.Capabilities.Add, func(a corev1.Capability) bool { return capName(a) == "SYS_ADMIN" })
}

func capName(c corev1.Capability) string {
	return strings.TrimPrefix(strings.ToUpper(string(c)), "CAP_")
}

// mighty are capabilities that amount to root on the host (capabilities(7)).
var mighty = []string{"ALL", "BPF", "DAC_READ_SEARCH", "MKNOD", "NET_ADMIN", "NET_RAW", "PERFMON", "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO", "SYS_TIME"}

func addedCapabilities(s *subject, c *container) {
	own := securityOf(c).Capabilities
	if own == nil {
		return
	}
	for i, a := range own.Add {
		field := fmt.Sprintf("securityContext.capabilities.add[%d]", i)
		switch name := capName(a); {
		case name == "NET_BIND_SERVICE": // needed by who is not root and listens below 1024; Pod Security's restricted profile has it
		case slices.Contains(mighty, name):
			s.reportIn(c, field, "take it out, or say in the annotation tripod/lint-ignore that it is needed", "adds %s", name).Level = Error
		default:
			s.reportIn(c, field, "take it out if the program works without", "adds %s", name)
		}
	}
}

// The three kinds of seccomp profile, of which one is none.
func seccomp(s *subject, c *container) {
	const field = "securityContext.seccompProfile.type"
	p := securityOf(c).SeccompProfile
	where := c.path + "." + field
	if p == nil {
		p, where = podSecurityOf(s).SeccompProfile, s.field(field)
	}
	switch {
	case isTrue(securityOf(c).Privileged):
	case p == nil:
		s.reportIn(c, field, "add "+field+": RuntimeDefault", "no seccomp profile").fix(s, s.field(field), "RuntimeDefault", "")
	case p.Type == corev1.SeccompProfileTypeUnconfined:
		s.report(where, "write "+field+": RuntimeDefault", "seccomp is off").Container = c.Name
	}
}

func procMount(s *subject, c *container) {
	if m := securityOf(c).ProcMount; m != nil && *m == corev1.UnmaskedProcMount {
		s.reportIn(c, "securityContext.procMount", "take it out", "/proc is not masked")
	}
}

func writableRoot(s *subject, c *container) {
	const field = "securityContext.readOnlyRootFilesystem"
	own := securityOf(c)
	if isTrue(own.ReadOnlyRootFilesystem) {
		return
	}
	f := s.reportIn(c, field, "add "+field+": true, and an emptyDir where the program writes", "the root file system can be written")
	if own.ReadOnlyRootFilesystem == nil {
		f.fix(s, c.path+"."+field, "true", "with an emptyDir where the program writes")
	}
}

// user is who a container runs as: by the manifest, else by the image. known is false when neither says.
func user(s *subject, c *container) (uid int64, word string, known bool) {
	own, pod := securityOf(c), podSecurityOf(s)
	for _, u := range []*int64{own.RunAsUser, pod.RunAsUser} {
		if u != nil {
			return *u, strconv.FormatInt(*u, 10), true
		}
	}
	if c.image == nil {
		return 0, "", false
	}
	name, _, _ := strings.Cut(c.image.Config.User, ":")
	switch n, err := strconv.ParseInt(name, 10, 64); {
	case name == "" || name == "root":
		return 0, "root", true
	case err != nil:
		return math.MaxInt64, name, true // a name that is not root's; the image's passwd has the number
	default:
		return n, name, true
	}
}

func mustNotBeRoot(s *subject, c *container) bool {
	if own := securityOf(c).RunAsNonRoot; own != nil {
		return *own
	}
	return isTrue(podSecurityOf(s).RunAsNonRoot)
}

func rootUser(s *subject, c *container) {
	const field = "securityContext.runAsNonRoot"
	uid, _, known := user(s, c)
	switch {
	case known && uid != 0 || mustNotBeRoot(s, c):
	case securityOf(c).RunAsUser != nil || podSecurityOf(s).RunAsUser != nil:
		s.reportIn(c, "securityContext.runAsUser", "write a user above 0", "runs as root")
	case known:
		s.reportIn(c, "securityContext.runAsUser", "add securityContext.runAsUser: 65532, with files that it may write", "the image runs as root")
	default:
		f := s.reportIn(c, field, "add "+field+": true, and runAsUser if the image names no user", "nothing says that it is not root")
		if securityOf(c).RunAsNonRoot == nil {
			f.fix(s, c.path+"."+field, "true", "with runAsUser if the image names no user")
		}
	}
}

func nonRootImage(s *subject, c *container) {
	uid, word, known := user(s, c)
	switch {
	case !known || !mustNotBeRoot(s, c):
	case uid == 0:
		s.reportIn(c, "securityContext.runAsNonRoot", "add securityContext.runAsUser: 65532", "it must not be root and runs as %s", word)
	case uid == math.MaxInt64:
		s.reportIn(c, "securityContext.runAsNonRoot", "add securityContext.runAsUser with the number of "+word, "the image's user %q is a name, which cannot be known not to be root", word)
	}
}

// lowestUser is above the ids of people and services of a usual host.
const lowestUser = 10000

func lowUserID(s *subject, c *container) {
	if uid, _, known := user(s, c); known && uid > 0 && uid < lowestUser && !isFalse(s.Pod.Spec.HostUsers) {
		s.reportIn(c, "securityContext.runAsUser", "use an id from 10000 on, or hostUsers: false", "runs as user %d", uid)
	}
}

func hostIPC(s *subject)     { shares(s, s.Pod.Spec.HostIPC, "hostIPC") }
func hostPID(s *subject)     { shares(s, s.Pod.Spec.HostPID, "hostPID") }
func hostNetwork(s *subject) { shares(s, s.Pod.Spec.HostNetwork, "hostNetwork") }

func shares(s *subject, does bool, field string) {
	if does {
		s.report(s.field(field), "take it out", "%s: true", field)
	}
}

// sockets are where runtimes listen.
var sockets = []string{"docker.sock", "containerd.sock", "crio.sock", "podman.sock", "cri-dockerd.sock"}

// trees are directories that give who can write them the host.
var trees = []string{"/", "/boot", "/dev", "/etc", "/lib", "/proc", "/run", "/sys", "/usr", "/var", "/var/lib", "/var/run", "/var/lib/kubelet", "/root"}

func dockerSocket(s *subject) {
	for i, v := range s.Pod.Spec.Volumes {
		if v.HostPath != nil && slices.Contains(sockets, path.Base(v.HostPath.Path)) {
			s.report(fmt.Sprintf("%s[%d].hostPath.path", s.field("volumes"), i), "take it out", "volume %s is %s", v.Name, v.HostPath.Path)
		}
	}
}

func hostPath(s *subject) {
	for i, v := range s.Pod.Spec.Volumes {
		if v.HostPath == nil || slices.Contains(sockets, path.Base(v.HostPath.Path)) {
			continue
		}
		field := fmt.Sprintf("%s[%d].hostPath.path", s.field("volumes"), i)
		f := s.report(field, "use an emptyDir or a claim, or mount it readOnly", "volume %s is the host's %s%s", v.Name, v.HostPath.Path, written(s, v.Name))
		if slices.Contains(trees, path.Clean(v.HostPath.Path)) {
			f.Level = Error
		}
	}
}

// written says whether a container can write to a volume.
func written(s *subject, volume string) string {
	for _, c := range s.containers {
		for _, m := range c.VolumeMounts {
			if m.Name == volume && !m.ReadOnly {
				return ", which container " + c.Name + " can write"
			}
		}
	}
	return ""
}

// safeSysctls are those that kubelet allows by default (its documentation "Using sysctls in a Kubernetes Cluster").
var safeSysctls = []string{
	"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
	"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
	"net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
}

func unsafeSysctl(s *subject) {
	for i, c := range podSecurityOf(s).Sysctls {
		if !slices.Contains(safeSysctls, strings.ReplaceAll(c.Name, "/", ".")) {
			s.report(fmt.Sprintf("%s[%d]", s.field("securityContext.sysctls"), i), "take it out, or allow it on the node", "sysctl %s is not among the safe ones", c.Name)
		}
	}
}

func serviceAccountToken(s *subject) {
	const name = "automountServiceAccountToken"
	if s.Pod.Spec.AutomountServiceAccountToken == nil {
		s.report(s.field(name), "add "+name+": false, if the program does not speak to the API", "a token of the cluster is mounted").fix(s, s.field(name), "false", "")
	}
}

func defaultServiceAccount(s *subject) {
	name := s.Pod.Spec.ServiceAccountName
	if (name == "" || name == "default") && !isFalse(s.Pod.Spec.AutomountServiceAccountToken) {
		s.report(s.field("serviceAccountName"), "add serviceAccountName, with an account of its own", "the default service account")
	}
}

func serviceAccountField(s *subject) {
	if field := s.field("serviceAccount"); s.Written(field) != 0 {
		s.report(field, "write serviceAccountName", "serviceAccount")
	}
}

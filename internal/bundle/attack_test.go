package bundle

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/manifest"
)

// The attacks here bear the names of published faults in how a container's spec was made of an image and of what was asked.

// containerd: the variables of one container were seen in another of the same image.
func TestCVE_2021_21334(t *testing.T) {
	_, one := plain()
	_, two := plain()
	one.Image.Config.Env = make([]string, 1, 64) // room that appending could share
	one.Image.Config.Env[0] = "A=image"
	two.Image = one.Image
	for i, in := range []Input{one, two} {
		in.Container.Env = []corev1.EnvVar{{Name: fmt.Sprintf("OWN%d", i), Value: "secret"}, {Name: "A", Value: fmt.Sprint(i)}}
	}
	var specs []string
	for range 2 {
		for _, in := range []Input{one, two} {
			s, err := Spec(in)
			if err != nil {
				t.Fatal(err)
			}
			specs = append(specs, strings.Join(s.Process.Env, " "))
		}
	}
	if strings.Contains(specs[0], "OWN1") || strings.Contains(specs[1], "OWN0") || specs[0] != specs[2] || specs[1] != specs[3] || one.Image.Config.Env[0] != "A=image" {
		t.Errorf("%q", specs)
	}
}

// podman: an entry of the image without a value took the host's.
func TestCVE_2026_57231(t *testing.T) {
	t.Setenv("SECRET", "of the host")
	t.Setenv("A", "of the host")
	_, in := plain()
	in.Image.Config.Env = []string{"SECRET", "A", "PATH", "=", "*"}
	s, err := Spec(in)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"PATH=" + defaultPath, "HOSTNAME=p", "HOME=/root"}, s.Process.Env); diff != "" {
		t.Error(diff)
	}
}

// containerd: a folder of the host was copied into the volume that an image asked for. An image's volumes are no volumes here: they ask
// for nothing.
func TestCVE_2022_23648(t *testing.T) {
	_, in := plain()
	without, err := Spec(in)
	if err != nil {
		t.Fatal(err)
	}
	in.Image.Config.Volumes = map[string]struct{}{"/../../../../canary": {}, "/proc/self/root/canary": {}, "relative": {}, "/": {}, "/etc/passwd": {}, "\n": {}}
	with, err := Spec(in)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(without, with); diff != "" {
		t.Errorf("the image's volumes changed the container:\n%s", diff)
	}
}

// containerd: labels of an image were taken for its own, and one named a program to run.
func TestCVE_2026_53488(t *testing.T) {
	_, in := plain()
	without, err := Spec(in)
	if err != nil {
		t.Fatal(err)
	}
	in.Image.Config.Labels = map[string]string{
		"tripod/userns": "container", "tripod/user": "web", "tripod/pids": "-1", "io.kubernetes.cri.container-type": "sandbox",
		"containerd.io/restart.loguri": "binary:///bin/sh", "org.systemd.property.ExecStart": "'/bin/sh'", "run.oci.handler": "krun",
	}
	with, err := Spec(in)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(without, with); diff != "" {
		t.Errorf("the image's labels changed the container:\n%s", diff)
	}
}

// CRI-O: an annotation took a limit away, or reached systemd (CVE-2024-3154). Only our own annotations mean anything, they are listed,
// and none loosens a limit of memory or CPU.
func TestCVE_2023_6476(t *testing.T) {
	pod, in := plain()
	without, err := Spec(in)
	if err != nil {
		t.Fatal(err)
	}
	pod.Annotations = map[string]string{
		"io.kubernetes.cri-o.UnifiedCgroup.c": "memory.max=max", "cpu-load-balancing.crio.io": "disable", "run.oci.systemd.subgroup": "/",
		"org.systemd.property.ExecStart": "'/bin/sh'", "io.katacontainers.config.hypervisor.path": "/bin/sh",
		"module.wasm.image/variant": "compat", "io.kubernetes.cri-o.userns-mode": "auto",
	}
	with, err := Spec(in)
	if err != nil {
		t.Fatal(err)
	}
	with.Annotations, without.Annotations = nil, nil
	if diff := cmp.Diff(without, with); diff != "" {
		t.Errorf("annotations of others changed the container:\n%s", diff)
	}
}

// CRI-O: HOME with a line break added a user to /etc/passwd. Nothing that comes of a Pod or an image makes a line in a file of ours.
func TestCVE_2022_4318(t *testing.T) {
	const line = "\nevil:x:0:0::/root:/bin/sh\n"
	pod, in := plain()
	in.Image.Config.Env = []string{"HOME=/root" + line}
	in.Image.Config.WorkingDir = "/"
	spec, err := Spec(in)
	if err == nil {
		for _, m := range spec.Mounts {
			if slices.Contains([]string{"/etc/passwd", "/etc/group", "/etc/shadow"}, m.Destination) {
				t.Errorf("%s is made by us", m.Destination)
			}
		}
	}
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "HOME", Value: "/\x00evil"}}
	if _, err := Spec(in); err == nil {
		t.Error("a NUL byte in a variable was taken")
	}
	pod.Spec.Containers[0].Env = nil
	for _, user := range []string{"root" + line, "0:0" + line, "0\x00", ":", "a:b:c"} {
		in.Image.Config.User = user
		if s, err := Spec(in); err == nil && s.Process.User.UID == 0 && user != ":" {
			t.Errorf("user %q is %v", user, s.Process.User)
		}
	}
	// What a manifest says is checked before any file is made of it.
	for _, field := range []string{
		"hostname: %q", "subdomain: %q", "hostAliases: [{ip: %q, hostnames: [a]}]", "hostAliases: [{ip: 192.0.2.7, hostnames: [%q]}]",
		"dnsConfig: {nameservers: [%q]}", "dnsConfig: {searches: [%q]}",
	} {
		text := "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers: [{name: c, image: i}]\n  " + fmt.Sprintf(field, "a"+line) + "\n"
		if _, err := manifest.Read("pod.yaml", strings.NewReader(text)); err == nil {
			t.Errorf("taken: %s", text)
		}
	}
}

// The same of the only part of a resolv.conf that Kubernetes does not check.
func TestResolvConfOptionsAreOneLine(t *testing.T) {
	pod, _ := plain()
	pod.Spec.DNSConfig = &corev1.PodDNSConfig{Options: []corev1.PodDNSConfigOption{{Name: "ndots\nnameserver 192.0.2.7", Value: pointer("1\nsearch evil")}}}
	if text := string(ResolvConf(pod, nil)); strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "options ") {
		t.Errorf("%q", text)
	}
}

// containerd, CRI-O, podman, buildah (CVE-2022-2995, -2989, -2990): without the primary group among the others, a file that denies it
// to a group was open. The matrix of id -G.
func TestCVE_2023_25173(t *testing.T) {
	strict, merge := corev1.SupplementalGroupsPolicyStrict, corev1.SupplementalGroupsPolicyMerge
	for _, policy := range []*corev1.SupplementalGroupsPolicy{nil, &merge, &strict} {
		for _, user := range []string{"", "root", "web", "1000", "web:www", "web:77", "5", "5:6", "bare"} {
			for _, more := range [][]int64{nil, {9}, {9, 33}} {
				for _, group := range []*int64{nil, pointer[int64](0), pointer[int64](42)} {
					for _, fs := range []*int64{nil, pointer[int64](8)} {
						pod, in := plain()
						in.Image.Config.User = user
						pod.Spec.SecurityContext = &corev1.PodSecurityContext{
							RunAsGroup: group, SupplementalGroups: more, SupplementalGroupsPolicy: policy, FSGroup: fs,
						}
						s, err := Spec(in)
						if err != nil {
							t.Fatal(err)
						}
						u := s.Process.User
						want := []uint32{u.GID}
						for _, g := range more {
							want = append(want, uint32(g))
						}
						if fs != nil {
							want = append(want, uint32(*fs))
						}
						for _, g := range want {
							if !slices.Contains(u.AdditionalGids, g) {
								t.Errorf("user %q, group %v, %v, policy %v: %d is not among %v", user, group, more, policy, g, u.AdditionalGids)
							}
						}
						if policy == &strict && slices.Contains(u.AdditionalGids, 33) && u.GID != 33 && !slices.Contains(more, 33) {
							t.Errorf("user %q: a group of the image's with policy Strict: %v", user, u.AdditionalGids)
						}
					}
				}
			}
		}
	}
}

// crun: the user 1 was read as 0:0.
func TestCVE_2026_30892(t *testing.T) {
	for word, want := range map[string]string{
		"0": "0:0", "1": "1:0", "1:2": "1:2", "01": "1:0", "": "0:0",
		":2": "0:2", // nobody's name is root's, as docker has it
		"-1": "error", "1:-2": "error", "4294967295": "error", "4294967296": "error", "1:4294967296": "error", "0x1": "error", "1 ": "error", " 1": "error",
		"nosuch": "error", "nosuch:1": "error", "1:nosuch": "error", "1:2:3": "error", "1,2": "error", "1\n": "error",
	} {
		who, err := resolveUser(word, nil, nil)
		got := fmt.Sprintf("%d:%d", who.uid, who.gid)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q is %s (%v), want %s", word, got, err, want)
		}
	}
}

// containerd: a user beyond 32 bits became root.
func TestCVE_2024_40635(t *testing.T) { largeUser(t, nil) }

// containerd: a number too large to be a user was taken for a name, which the image's passwd says is root.
func TestCVE_2026_46680(t *testing.T) {
	largeUser(t, []byte("99999999999:x:0:0::/:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n2147483648:x:0:0::/:/bin/sh\n-1:x:0:0::/:/bin/sh\n"))
}

func largeUser(t *testing.T, passwd []byte) {
	for _, word := range []string{"2147483648", "4294967295", "4294967296", "4294967296:4294967296", "99999999999", "-1", "2147483648:100", "1:2147483648", "18446744073709551616"} {
		for _, nonRoot := range []bool{true, false} {
			pod, in := plain()
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &nonRoot}
			in.Image.Config.User, in.Passwd = word, passwd
			if s, err := Spec(in); err == nil {
				t.Errorf("%s is user %+v", word, s.Process.User)
			}
		}
	}
}

// containerd, CRI-O: passwd and group with ever more in them. They are bounded when they are read (image.TestCVE_2026_47262); what is
// left is read once, line by line, whatever it is.
func TestCVE_2026_47262(t *testing.T) {
	for name, text := range map[string][]byte{
		"one line":        bytes.Repeat([]byte("a"), 1<<20),
		"colons":          bytes.Repeat([]byte(":"), 1<<20),
		"lines":           bytes.Repeat([]byte("\n"), 1<<20),
		"groups":          bytes.Repeat([]byte("g:x:7:web\n"), 1<<16),
		"members":         append([]byte("g:x:7:"), bytes.Repeat([]byte("web,"), 1<<18)...),
		"NUL":             make([]byte, 1<<20),
		"users that fail": bytes.Repeat([]byte("web:x:-1:none:::\n"), 1<<16),
	} {
		who, err := resolveUser("1000", text, text)
		if err != nil || who.uid != 1000 {
			t.Errorf("%s: %v %v", name, who, err)
		}
		if _, err := resolveUser("web", append([]byte("web:x:5:6::/:\n"), text...), text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// CRI-O: a kernel parameter's value carried others along to the program that set them.
func TestCVE_2022_0811(t *testing.T) {
	const value = "1+kernel.core_pattern=|/bin/sh"
	pod, _ := plain()
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "kernel.shm_rmid_forced", Value: value}}}
	s, err := SandboxOf(pod)
	if err != nil || len(s.Sysctls) != 1 || s.Sysctls["kernel.shm_rmid_forced"] != value { // which the kernel refuses
		t.Errorf("%v, %v", s.Sysctls, err)
	}
	for _, bad := range []corev1.Sysctl{{Name: "kernel.core_pattern", Value: "|/bin/sh"}, {Name: "kernel.msgmax", Value: "1\nkernel.core_pattern=x"}, {Name: "net/../kernel/core_pattern", Value: "x"}} {
		pod.Spec.SecurityContext.Sysctls = []corev1.Sysctl{bad}
		if s, err := SandboxOf(pod); err == nil {
			t.Errorf("%s: %v", bad.Name, s.Sysctls)
		}
	}
}

// CRI-O: parameters of a namespace that is the host's were set for the host.
func TestCVE_2022_0532(t *testing.T) {
	for _, test := range []struct {
		name     string
		net, ipc bool
		fails    bool
	}{
		{"net.ipv4.ip_forward", false, false, false},
		{"net.ipv4.ip_forward", true, false, true},
		{"kernel.msgmax", false, false, false},
		{"kernel.msgmax", false, true, true},
		{"fs.mqueue.msg_max", false, true, true},
	} {
		pod, _ := plain()
		pod.Spec.HostNetwork, pod.Spec.HostIPC = test.net, test.ipc
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: test.name, Value: "1"}}}
		if _, err := SandboxOf(pod); (err != nil) != test.fails {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

// kubelet: an empty name of a seccomp profile meant no profile.
func TestCVE_2023_2431(t *testing.T) {
	empty := ""
	for _, name := range []*string{nil, &empty} {
		pod, in := plain()
		pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: name},
		}
		if s, err := Spec(in); err == nil {
			t.Errorf("taken, with %+v", seccompOf(s))
		}
	}
}

func seccompOf(s *specs.Spec) *specs.LinuxSeccomp { return s.Linux.Seccomp }

// podman: a folder of the crypto policies was mounted where a link of the image led. Nothing is mounted that neither the Pod nor
// Kubernetes asks for.
func TestCVE_2024_9341(t *testing.T) {
	_, in := plain()
	s, err := Spec(in)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/termination-log"}
	for _, m := range s.Mounts {
		if !slices.Contains(want, m.Destination) {
			t.Errorf("mounted at %s", m.Destination)
		}
	}
}

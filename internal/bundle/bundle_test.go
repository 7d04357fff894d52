package bundle

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"tripod/internal/manifest"
	"tripod/internal/plan"
)

func pointer[T any](v T) *T { return &v }

// plain is a Pod of one container that asks for nothing.
func plain() (*corev1.Pod, Input) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i", Command: []string{"true"}}}}}
	pod.Name, pod.Namespace, pod.UID = "p", "default", "UID"
	in := inputOf(pod, ocispec.Image{})
	in.Container = &pod.Spec.Containers[0]
	return pod, in
}

// The table of "Define a Command and Arguments for a Container", and expansion.
func TestCommand(t *testing.T) {
	env := []variable{{"A", "1"}, {"B", "$(A)"}}
	both := ocispec.ImageConfig{Entrypoint: []string{"/ep-1"}, Cmd: []string{"foo", "$(A)"}}
	for name, c := range map[string]struct {
		image         ocispec.ImageConfig
		command, args []string
		want          string
	}{
		"neither":          {both, nil, nil, "/ep-1 foo $(A)"},
		"command":          {both, []string{"/ep-2"}, nil, "/ep-2"},
		"args":             {both, nil, []string{"zoo"}, "/ep-1 zoo"},
		"both":             {both, []string{"/ep-2"}, []string{"zoo"}, "/ep-2 zoo"},
		"only cmd":         {ocispec.ImageConfig{Cmd: []string{"sh"}}, nil, nil, "sh"},
		"cmd and args":     {ocispec.ImageConfig{Cmd: []string{"sh"}}, nil, []string{"ls"}, "ls"},
		"expansion":        {both, []string{"x$(A)y"}, []string{"$$(A)", "$(C)", "$A", "$(B)"}, "x1y $(A) $(C) $A $(A)"},
		"nothing":          {ocispec.ImageConfig{}, nil, nil, "error"},
		"empty entrypoint": {ocispec.ImageConfig{Entrypoint: []string{""}}, nil, nil, "error"},
	} {
		got, err := commandOf(c.command, c.args, c.image, env)
		if c.want == "error" {
			if !errors.Is(err, ErrNoCommand) {
				t.Errorf("%s: %v %v", name, got, err)
			}
			continue
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, c.want)
		}
	}
}

// An image's entries without a name or a value are dropped; those of other images, and of the host, are never seen
// (CVE-2026-57231, CVE-2021-21334).
func TestEnv(t *testing.T) {
	t.Setenv("A", "of the host")
	pod, in := plain()
	in.Image.Config.Env = []string{"PATH", "HOME=", " =x", "A", "=y", "B=1=2", "C=", "B=3"}
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "D", Value: "$(E)"}, {Name: "E", Value: "e"}, {Name: "F", Value: "$(E)"}, {Name: "E", Value: "$(E)!"}}
	want := []string{"PATH=" + defaultPath, "HOSTNAME=p", "HOME=/root", " =x", "B=3", "C=", "D=$(E)", "E=e!", "F=e"}
	for range 2 {
		spec, err := Spec(in)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, spec.Process.Env); diff != "" {
			t.Error(diff)
		}
	}
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "N", Value: "a\x00b"}}
	if _, err := Spec(in); err == nil {
		t.Error("a NUL byte was taken")
	}
}

func TestResolveUser(t *testing.T) {
	for word, want := range map[string]string{
		"":               "0:0 [] /root",
		"root":           "0:0 [] /root",
		"web":            "1000:1005 [33] /home/web",
		"1000":           "1000:1005 [33] /home/web",
		"web:www":        "1000:33 [33] /home/web",
		"web:77":         "1000:77 [33] /home/web",
		"5":              "5:0 [] /",
		"5:6":            "5:6 [] /",
		"bare":           "7:8 [] /",
		"2147483647":     "2147483647:0 [] /",
		"nobody":         `user "nobody" is not in the image's /etc/passwd`,
		"web:none":       `group "none" is not in the image's /etc/group`,
		"web:":           `group "" is not in the image's /etc/group`,
		"web:odd":        "-1 is not an id",
		"big":            "the image's passwd entry of \"big\" has ids",
		"2147483648":     "is not an id",
		"4294967296":     "is not an id",
		"99999999999":    "is not an id",
		"-1":             "is not an id",
		"+1":             "is not an id",
		"5:-1":           "is not an id",
		"5:4294967296":   "is not an id",
		"2147483648:100": "is not an id",
	} {
		who, err := resolveUser(word, []byte(passwd), []byte(group))
		got := fmt.Sprintf("%d:%d %d %s", who.uid, who.gid, who.groups, who.home)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q gives %q, want %q", word, got, want)
		}
	}
}

// The primary group is among the groups, whatever else is there (CVE-2023-25173).
func TestGroups(t *testing.T) {
	strict := corev1.SupplementalGroupsPolicyStrict
	for name, c := range map[string]struct {
		image string
		pod   corev1.PodSecurityContext
		own   corev1.SecurityContext
		want  string
	}{
		"image":       {"web", corev1.PodSecurityContext{}, corev1.SecurityContext{}, "1000:1005 [33 1005]"},
		"pod":         {"web", corev1.PodSecurityContext{RunAsUser: pointer[int64](5), RunAsGroup: pointer[int64](6)}, corev1.SecurityContext{}, "5:6 [6]"},
		"container":   {"web", corev1.PodSecurityContext{RunAsUser: pointer[int64](5)}, corev1.SecurityContext{RunAsUser: pointer[int64](1000)}, "1000:1005 [33 1005]"},
		"more":        {"web", corev1.PodSecurityContext{SupplementalGroups: []int64{9, 33}, FSGroup: pointer[int64](8)}, corev1.SecurityContext{}, "1000:1005 [8 9 33 1005]"},
		"strict":      {"web", corev1.PodSecurityContext{SupplementalGroups: []int64{9}, SupplementalGroupsPolicy: &strict}, corev1.SecurityContext{}, "1000:1005 [9 1005]"},
		"negative":    {"", corev1.PodSecurityContext{SupplementalGroups: []int64{-1}}, corev1.SecurityContext{}, "is not an id"},
		"large":       {"", corev1.PodSecurityContext{}, corev1.SecurityContext{RunAsUser: pointer[int64](1 << 32)}, "runAsUser: 4294967296 is not an id"},
		"large group": {"", corev1.PodSecurityContext{}, corev1.SecurityContext{RunAsGroup: pointer[int64](1 << 31)}, "runAsGroup: 2147483648 is not an id"},
		"non-root":    {"", corev1.PodSecurityContext{RunAsNonRoot: pointer(true)}, corev1.SecurityContext{}, "runs as root"},
		"non-root 0":  {"0:5", corev1.PodSecurityContext{RunAsNonRoot: pointer(true)}, corev1.SecurityContext{}, "runs as user 0"},
		"name":        {"web", corev1.PodSecurityContext{RunAsNonRoot: pointer(true)}, corev1.SecurityContext{}, "is a name"},
		"too large":   {"99999999999", corev1.PodSecurityContext{RunAsNonRoot: pointer(true)}, corev1.SecurityContext{}, "runs as user 99999999999"},
		"asked for 0": {"web", corev1.PodSecurityContext{RunAsNonRoot: pointer(true)}, corev1.SecurityContext{RunAsUser: pointer[int64](0)}, "runAsUser is 0"},
		"non-root ok": {"1000", corev1.PodSecurityContext{RunAsNonRoot: pointer(true)}, corev1.SecurityContext{}, "1000:1005 [33 1005]"},
	} {
		pod, in := plain()
		in.Image.Config.User = c.image
		pod.Spec.SecurityContext, pod.Spec.Containers[0].SecurityContext = &c.pod, &c.own
		got := ""
		if spec, err := Spec(in); err != nil {
			got = err.Error()
		} else {
			u := spec.Process.User
			got = fmt.Sprintf("%d:%d %d", u.UID, u.GID, u.AdditionalGids)
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	pod, in := plain()
	pod.Annotations = map[string]string{manifest.AnnotationUser: "web:www"}
	if spec, err := Spec(in); err != nil || spec.Process.User.UID != 1000 || spec.Process.User.GID != 33 {
		t.Errorf("by annotation: %v %v", spec, err)
	}
}

func TestCapabilities(t *testing.T) {
	for name, c := range map[string]struct {
		add, drop []corev1.Capability
		want      string
	}{
		"default":          {nil, nil, "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP"},
		"drop all":         {nil, []corev1.Capability{"ALL"}, ""},
		"drop all add one": {[]corev1.Capability{"net_admin"}, []corev1.Capability{"all"}, "NET_ADMIN"},
		"add all drop one": {[]corev1.Capability{"ALL"}, []corev1.Capability{"CAP_SYS_ADMIN"}, "most"},
		"with prefix":      {[]corev1.Capability{"CAP_SYS_TIME"}, []corev1.Capability{"ALL"}, "SYS_TIME"},
		"unknown":          {[]corev1.Capability{"NET_AMDIN"}, nil, `capabilities.add: there is no capability "NET_AMDIN"`},
	} {
		pod, in := plain()
		pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: c.add, Drop: c.drop}}
		spec, err := Spec(in)
		if err != nil {
			if !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		caps := spec.Process.Capabilities
		got := strings.ReplaceAll(strings.Join(caps.Bounding, " "), "CAP_", "")
		if c.want == "most" {
			if len(caps.Bounding) != len(capabilities)-1 || slices.Contains(caps.Bounding, "CAP_SYS_ADMIN") {
				t.Errorf("%s: %s", name, got)
			}
		} else if got != c.want {
			t.Errorf("%s: %s", name, got)
		}
		if caps.Inheritable != nil || caps.Ambient != nil {
			t.Errorf("%s: inheritable %v, ambient %v", name, caps.Inheritable, caps.Ambient)
		}
	}
}

// What the host has not got cannot be given, and is not asked of it, unless by name.
func TestCapabilitiesOfHost(t *testing.T) {
	const noResource = 1<<41 - 1 - 1<<24
	for name, c := range map[string]struct {
		context corev1.SecurityContext
		users   *bool
		want    string
	}{
		"default":        {corev1.SecurityContext{}, nil, "14"},
		"privileged":     {corev1.SecurityContext{Privileged: pointer(true)}, nil, "40"},
		"all":            {corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"ALL"}}}, nil, "40"},
		"by name":        {corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_RESOURCE"}}}, nil, "capabilities.add: this host has no CAP_SYS_RESOURCE to give"},
		"user namespace": {corev1.SecurityContext{Privileged: pointer(true)}, pointer(false), "41"},
	} {
		pod, in := plain()
		in.Node.Capabilities = noResource
		pod.Spec.HostUsers, pod.Spec.Containers[0].SecurityContext = c.users, &c.context
		spec, err := Spec(in)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprint(len(spec.Process.Capabilities.Bounding))
		}
		if !strings.HasSuffix(got, c.want) {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestSeccomp(t *testing.T) {
	profile := func(kind corev1.SeccompProfileType, name *string) *corev1.SeccompProfile {
		return &corev1.SeccompProfile{Type: kind, LocalhostProfile: name}
	}
	for name, c := range map[string]struct {
		pod, own   *corev1.SeccompProfile
		privileged bool
		want       string
	}{
		"unset":            {nil, nil, false, "default"},
		"default":          {profile("RuntimeDefault", nil), nil, false, "default"},
		"off":              {profile("Unconfined", nil), nil, false, "none"},
		"on again":         {profile("Unconfined", nil), profile("RuntimeDefault", nil), false, "default"},
		"privileged":       {profile("RuntimeDefault", nil), nil, true, "none"},
		"localhost":        {nil, profile("Localhost", pointer("mine.json")), false, "mine"},
		"localhost empty":  {nil, profile("Localhost", pointer("")), false, "a name is needed"},
		"localhost none":   {nil, profile("Localhost", nil), false, "a name is needed"},
		"localhost absent": {nil, profile("Localhost", pointer("other")), false, "no such profile"},
		"localhost nil":    {nil, profile("Localhost", pointer("nil")), false, "is empty"},
		"unknown":          {profile("Odd", nil), nil, false, "not known"},
	} {
		pod, in := plain()
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{SeccompProfile: c.pod}
		pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{SeccompProfile: c.own, Privileged: &c.privileged}
		in.LocalSeccomp = func(name string) (*specs.LinuxSeccomp, error) {
			switch name {
			case "mine.json":
				return &specs.LinuxSeccomp{DefaultAction: specs.ActTrap}, nil
			case "nil":
				return nil, nil
			}
			return nil, errors.New("no such profile")
		}
		got := ""
		switch spec, err := Spec(in); {
		case err != nil:
			got = err.Error()
		case spec.Linux.Seccomp == nil:
			got = "none"
		case spec.Linux.Seccomp.DefaultAction == specs.ActTrap:
			got = "mine"
		default:
			got = "default"
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// Only what belongs to a namespace of the Pod's own is set (CVE-2022-0811, CVE-2022-0532).
func TestSysctls(t *testing.T) {
	for name, c := range map[string]struct {
		name, value      string
		hostNet, hostIPC bool
		want             string
	}{
		"net":              {"net.ipv4.ip_forward", "1", false, false, "net.ipv4.ip_forward"},
		"slashes":          {"net/ipv4/ip_forward", "1", false, false, "net.ipv4.ip_forward"},
		"dot in a name":    {"net/ipv4/conf/eth0.1/rp_filter", "1", false, false, "net/ipv4/conf/eth0.1/rp_filter"},
		"slash for a dot":  {"net.ipv4.conf.eth0/1.rp_filter", "1", false, false, "net/ipv4/conf/eth0.1/rp_filter"},
		"ipc":              {"kernel.shm_rmid_forced", "1+kernel.core_pattern=|/x", false, false, "kernel.shm_rmid_forced"},
		"host net":         {"net.ipv4.ip_forward", "1", true, false, "would change the host"},
		"host ipc":         {"fs.mqueue.msg_max", "1", false, true, "would change the host"},
		"ipc of host net":  {"fs.mqueue.msg_max", "1", true, false, "fs.mqueue.msg_max"},
		"no namespace":     {"kernel.core_pattern", "|/x", false, false, "is not of a namespace"},
		"vm":               {"vm.swappiness", "0", false, false, "is not of a namespace"},
		"two lines":        {"kernel.msgmax", "1\n2", false, false, "more than a line"},
		"leads out":        {"net/../kernel/core_pattern", "x", false, false, "error"},
		"leads out dotted": {"net.//kernel/core_pattern", "x", false, false, "error"},
		"empty part":       {"net..x", "x", false, false, "error"},
	} {
		pod, _ := plain()
		pod.Spec.HostNetwork, pod.Spec.HostIPC = c.hostNet, c.hostIPC
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: c.name, Value: c.value}}}
		s, err := SandboxOf(pod)
		switch {
		case c.want == "error":
			if err == nil {
				t.Errorf("%s: got %v", name, s.Sysctls)
			}
		case err != nil:
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
		case s.Sysctls[c.want] != c.value:
			t.Errorf("%s: got %v", name, s.Sysctls)
		}
	}
}

func TestHostname(t *testing.T) {
	long := strings.Repeat("a", 62) + "-" + strings.Repeat("b", 100)
	for name, c := range map[string]struct {
		spec corev1.PodSpec
		pod  string
		want string
	}{
		"name":       {corev1.PodSpec{}, "web", "web web"},
		"long":       {corev1.PodSpec{}, long, strings.Repeat("a", 62) + " " + strings.Repeat("a", 62)},
		"own":        {corev1.PodSpec{Hostname: "h"}, "web", "h h"},
		"subdomain":  {corev1.PodSpec{Subdomain: "sub"}, "web", "web web"},
		"fqdn":       {corev1.PodSpec{Subdomain: "sub", SetHostnameAsFQDN: pointer(true)}, "web", "web web.sub.default.svc.cluster.local"},
		"fqdn alone": {corev1.PodSpec{SetHostnameAsFQDN: pointer(true)}, "web", "web web"},
		"fqdn long":  {corev1.PodSpec{Subdomain: strings.Repeat("s", 60), SetHostnameAsFQDN: pointer(true)}, "web", "64 at most"},
		"override":   {corev1.PodSpec{Hostname: "h", Subdomain: "s", HostnameOverride: pointer("o.example")}, "web", "o.example o.example"},
		"newline":    {corev1.PodSpec{Hostname: "a\nb"}, "web", "cannot be one"},
		"host":       {corev1.PodSpec{HostNetwork: true}, "web", " "},
	} {
		pod, _ := plain()
		pod.Name, c.spec.Containers = c.pod, pod.Spec.Containers
		pod.Spec = c.spec
		s, err := SandboxOf(pod)
		got := s.Hostname + " " + s.KernelHostname(pod)
		if err != nil {
			got = err.Error()
		}
		if got != c.want && !(err != nil && strings.Contains(got, c.want)) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestResources(t *testing.T) {
	for name, c := range map[string]struct {
		requests, limits corev1.ResourceList
		want             string
	}{
		"none":       {nil, nil, "shares 2 score 1000"},
		"requests":   {corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("1Gi")}, nil, "shares 512 score 750"},
		"limits":     {nil, corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse("1Gi")}, "shares 2048 quota 200000/100000 memory 1073741824 score -997"},
		"tiny":       {nil, corev1.ResourceList{"cpu": resource.MustParse("1m")}, "shares 2 quota 1000/100000 score 999"},
		"huge":       {corev1.ResourceList{"cpu": resource.MustParse("1000")}, nil, "shares 262144 score 999"},
		"hugepages":  {nil, corev1.ResourceList{"memory": resource.MustParse("4Gi"), "hugepages-2Mi": resource.MustParse("4Mi"), "hugepages-1Gi": resource.MustParse("1Gi")}, "shares 2 memory 4294967296 hugepages [1GB=1073741824 2MB=4194304] score 3"},
		"bad page":   {nil, corev1.ResourceList{"hugepages-x": resource.MustParse("4Mi")}, "not a page size"},
		"small page": {nil, corev1.ResourceList{"hugepages-64Ki": resource.MustParse("64Ki")}, "shares 2 hugepages [64KB=65536] score 1000"},
	} {
		pod, in := plain()
		if c.requests == nil {
			c.requests = c.limits
		}
		pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: c.requests, Limits: c.limits}
		spec, err := Spec(in)
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		r := spec.Linux.Resources
		got := fmt.Sprintf("shares %d", *r.CPU.Shares)
		if r.CPU.Quota != nil {
			got += fmt.Sprintf(" quota %d/%d", *r.CPU.Quota, *r.CPU.Period)
		}
		if r.Memory != nil {
			got += fmt.Sprintf(" memory %d", *r.Memory.Limit)
		}
		var pages []string
		for _, h := range r.HugepageLimits {
			pages = append(pages, fmt.Sprintf("%s=%d", h.Pagesize, h.Limit))
		}
		if pages != nil {
			got += fmt.Sprintf(" hugepages %v", pages)
		}
		if got += fmt.Sprintf(" score %d", *spec.Process.OOMScoreAdj); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestPidsLimit(t *testing.T) {
	for word, want := range map[string]int64{"": 100, "7": 7, "-1": 0, "0": -1, "-2": -1, "x": -1, "9999999999": -1} {
		pod, in := plain()
		in.PidsLimit = 100
		if word != "" {
			pod.Annotations = map[string]string{manifest.AnnotationPids: word}
		}
		spec, err := Spec(in)
		got := int64(-1)
		if err == nil {
			got = 0
			if p := spec.Linux.Resources.Pids; p != nil {
				got = *p.Limit
			}
		}
		if got != want {
			t.Errorf("%q gives %d, want %d", word, got, want)
		}
	}
}

// The plan knows the word that volumes are mounted with.
func TestNoFollow(t *testing.T) {
	if nofollow != plan.NoFollow {
		t.Errorf("%q is not the plan's %q", nofollow, plan.NoFollow)
	}
}

func TestResolvConf(t *testing.T) {
	host := "nameserver 1.1.1.1\nnameserver 1.1.1.1\nsearch a\nsearch b " + strings.Repeat("x", 300) + " b\nnameserver 2.2.2.2\nnameserver 3.3.3.3\nnameserver 4.4.4.4\noptions ndots:1 edns0\noptions ndots:3\ngarbage\n;c\n"
	pod, _ := plain()
	want := "search b\nnameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\noptions edns0 ndots:3\n"
	if got := string(ResolvConf(pod, []byte(host))); got != want {
		t.Errorf("got %q", got)
	}
	many := make([]string, 40)
	for i := range many {
		many[i] = fmt.Sprintf("%s%02d", strings.Repeat("d", 100), i)
	}
	pod.Spec.DNSPolicy, pod.Spec.DNSConfig = corev1.DNSNone, &corev1.PodDNSConfig{Nameservers: []string{"5.5.5.5"}, Searches: many}
	got := string(ResolvConf(pod, []byte(host)))
	search, rest, _ := strings.Cut(got, "\n")
	if len(search) > maxSearchBytes+len("search ") || len(strings.Fields(search)) < 15 || rest != "nameserver 5.5.5.5\n" {
		t.Errorf("got %q", got)
	}
}

// What cannot be is an error that names the container and the part.
func TestMistakes(t *testing.T) {
	for want, change := range map[string]func(*corev1.Pod, *Input){
		"cannot make spec of container c: volumeMounts: volumeMounts[0]: where volume v lies was not given": func(p *corev1.Pod, _ *Input) {
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
		},
		`"/" is the root`: func(p *corev1.Pod, in *Input) {
			in.Volumes["v"] = "/v"
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/"}}
		},
		"has a .. in it": func(p *corev1.Pod, in *Input) {
			in.Volumes["v"] = "/v"
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/a/../b"}}
		},
		"the Pod's network namespace was not given": func(_ *corev1.Pod, in *Input) { in.Namespaces.Net = "" },
		"user namespace cannot be together":         func(p *corev1.Pod, _ *Input) { p.Spec.HostUsers, p.Spec.HostNetwork = pointer(false), true },
		"no default profile was given":              func(_ *corev1.Pod, in *Input) { in.DefaultSeccomp = nil },
		`process: env[0]: "A=B" cannot be a name`:   func(p *corev1.Pod, _ *Input) { p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A=B"}} },
		"env[0] A: valueFrom is not of a field or a resource": func(p *corev1.Pod, _ *Input) {
			p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{}}}
		},
		`annotation tripod/userns: "pod" is not "container"`: func(p *corev1.Pod, _ *Input) { p.Annotations = map[string]string{manifest.AnnotationUserNS: "pod"} },
		"namespaces: no ids were given for the user namespace": func(p *corev1.Pod, in *Input) {
			p.Annotations, in.UIDs = map[string]string{manifest.AnnotationUserNS: "container"}, nil
		},
	} {
		pod, in := plain()
		change(pod, &in)
		if _, err := Spec(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func FuzzResolveUser(f *testing.F) {
	f.Add("web:www", passwd, group)
	f.Add("4294967296", passwd, group)
	f.Add("a", "a:x:::", "b:::a")
	f.Fuzz(func(t *testing.T, word, passwd, group string) {
		who, err := resolveUser(word, []byte(passwd), []byte(group))
		if err != nil {
			return
		}
		name, _, _ := strings.Cut(word, ":")
		if isNumber(name) && fmt.Sprint(who.uid) != strings.TrimLeft(name, "0") && strings.Trim(name, "0") != "" {
			t.Errorf("number %q became %d", name, who.uid)
		}
		if who.uid > 1<<31-1 || who.gid > 1<<31-1 || !strings.HasPrefix(who.home, "/") {
			t.Errorf("%q gives %+v", word, who)
		}
	})
}

func FuzzResolvConf(f *testing.F) {
	f.Add([]byte("nameserver 1.1.1.1\nsearch a b\noptions ndots:5\n"))
	f.Fuzz(func(t *testing.T, host []byte) {
		pod := &corev1.Pod{}
		first := ResolvConf(pod, host)
		if again := ResolvConf(pod, first); string(again) != string(first) {
			t.Errorf("%q is read as %q", first, again)
		}
	})
}

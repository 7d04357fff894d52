package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"tripod/internal/golden"
	"tripod/internal/life"
	"tripod/internal/manifest"
	"tripod/internal/plan"
)

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1005:Web:/home/web:/bin/sh\n99999999999:x:0:0::/:/bin/sh\nbig:x:4294967296:0::/:/bin/sh\nbare:x:7:8:::\n"
	group  = "root:x:0:\nwww:x:33:web,other\nweb:x:1005:\nodd:x:-1:web\n"
)

// Each folder of testdata tells one Pod's story: pod.yaml and image.json are given, everything else is made of them.
func TestStories(t *testing.T) {
	stories, err := filepath.Glob("testdata/*/pod.yaml")
	if err != nil || len(stories) == 0 {
		t.Fatalf("no stories in testdata: %v", err)
	}
	for _, file := range stories {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			for name, got := range tell(t, dir) {
				golden.Check(t, filepath.Join(dir, name), string(got))
			}
		})
	}
}

func tell(t *testing.T, dir string) map[string][]byte {
	pod := readPod(t, filepath.Join(dir, "pod.yaml"))
	data, err := os.ReadFile(filepath.Join(dir, "image.json"))
	if err != nil {
		t.Fatal(err)
	}
	var image ocispec.Image
	if err := json.Unmarshal(data, &image); err != nil {
		t.Fatal(err)
	}
	told := map[string][]byte{}
	s, err := SandboxOf(pod)
	if err != nil {
		t.Fatal(err)
	}
	in := inputOf(pod, image)
	told["sandbox.json"] = asJSON(t, s)
	told["hosts"] = Hosts(pod, s, in.IPs, []byte("127.0.0.1 localhost\n"))
	told["hostname"] = Hostname(pod, s, in.Node)
	told["resolv.conf"] = ResolvConf(pod, []byte("# host\nnameserver 192.0.2.1\nsearch lan\noptions ndots:1 rotate\n"))
	told["life.json"] = asJSON(t, Life(pod, life.OrphanStop, func(c *corev1.Container) Place {
		return Place{
			Bundle: "/run/tripod/containers/" + c.Name, Log: "/logs/" + c.Name, Image: c.Image, ImageID: "sha256:0",
			TerminationLog: in.Files.TerminationLog, StopSignal: image.Config.StopSignal,
		}
	}))
	origins, err := PodOrigins(pod)
	if err != nil {
		t.Fatal(err)
	}
	text := originsText("Pod", origins)
	for field, list := range map[string][]corev1.Container{"initContainers": pod.Spec.InitContainers, "containers": pod.Spec.Containers} {
		for i := range list {
			in.Container = &list[i]
			spec, err := Spec(in)
			if err != nil {
				t.Fatal(err)
			}
			told["spec-"+in.Container.Name+".json"] = asJSON(t, spec)
			at := fmt.Sprintf("spec.%s[%d]", field, i)
			told["origins-"+in.Container.Name+".txt"] = []byte(text + originsText(in.Container.Name, ContainerOrigins(pod, in.Container, at, &image.Config, spec)))
		}
	}
	return told
}

// originsText is what explain prints, a line each.
func originsText(title string, origins []Origin) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n", title)
	for _, o := range origins {
		fmt.Fprintf(&b, "%s | %s | %s | %s\n", o.Part, o.What, o.Meaning, o.From)
	}
	return b.String()
}

// A limit's field is told for each file of the cgroup.
func TestResourceField(t *testing.T) {
	limited := resource.MustParse("1")
	c := &corev1.Container{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: limited}}}
	annotated := &corev1.Pod{}
	annotated.Annotations = map[string]string{manifest.AnnotationPids: "9"}
	for _, x := range []struct {
		pod          *corev1.Pod
		c            *corev1.Container
		origin, want string
	}{
		{&corev1.Pod{}, c, "cpu.quota", "f.resources.limits.cpu"},
		{&corev1.Pod{}, c, "cpu.shares", "f.resources.requests.cpu, or limits.cpu where that is left out"},
		{&corev1.Pod{}, &corev1.Container{}, "cpu.shares", "default; f.resources.requests.cpu changes it"},
		{&corev1.Pod{}, c, "memory.swap", "f.resources.limits.memory"},
		{annotated, c, "pids.limit", "metadata.annotations[tripod/pids-limit]"},
		{&corev1.Pod{}, c, "pids.limit", "default; metadata.annotations[tripod/pids-limit] changes it"},
		{&corev1.Pod{}, c, "hugepageLimits[0]", "f.resources.limits"},
		{&corev1.Pod{}, c, "devices[0]", "default; f.securityContext.privileged changes it"},
		{&corev1.Pod{}, c, "new", "default"},
	} {
		if got := ResourceField(x.pod, x.c, "f", x.origin); got != x.want {
			t.Errorf("%s: %q, want %q", x.origin, got, x.want)
		}
	}
}

// inputOf is what a host would say; its default seccomp profile is a short one.
func inputOf(pod *corev1.Pod, image ocispec.Image) Input {
	const dir = "/run/tripod/pods/UID"
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 524288, Size: 65536}}
	in := Input{
		Pod: pod, Image: image, Passwd: []byte(passwd), Group: []byte(group),
		Node:       Node{Name: "host", IPs: []string{"192.0.2.2"}, Memory: 4 << 30, CPUs: 2, LimitsSwap: true},
		IPs:        []string{"10.88.0.5", "fd00::5"},
		Namespaces: Namespaces{Net: "/proc/7/ns/net", IPC: "/proc/7/ns/ipc", UTS: "/proc/7/ns/uts", PID: "/proc/7/ns/pid", User: "/proc/7/ns/user"},
		UIDs:       ids, GIDs: ids,
		Files: Files{
			Hosts: dir + "/files/hosts", Hostname: dir + "/files/hostname", ResolvConf: dir + "/files/resolv.conf",
			Shm: dir + "/shm", TerminationLog: dir + "/termination-log",
		},
		Volumes:  map[string]string{},
		SubPaths: map[int]string{1: "/var/lib/tripod/volumes/UID/data/html"},
		DefaultSeccomp: func(caps []string) (*specs.LinuxSeccomp, error) {
			p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
			if len(caps) < len(defaultCapabilities) {
				p.DefaultAction = specs.ActKillProcess
			}
			return p, nil
		},
		Devices: []specs.LinuxDevice{{Path: "/dev/kvm", Type: "c", Major: 10, Minor: 232}},
	}
	for _, v := range pod.Spec.Volumes {
		in.Volumes[v.Name] = "/var/lib/tripod/volumes/UID/" + v.Name
	}
	return in
}

// Every spec of the stories is one that the next hop takes, with nothing refused.
func TestStoriesCompile(t *testing.T) {
	files, err := filepath.Glob("testdata/*/spec-*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no specs in testdata: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var spec specs.Spec
		if err := json.Unmarshal(data, &spec); err != nil {
			t.Fatal(err)
		}
		kinds := map[string]plan.Kind{}
		for _, m := range spec.Mounts {
			kinds[m.Source] = plan.Dir
			if strings.HasPrefix(m.Destination, "/etc/") || m.Destination == "/dev/termination-log" {
				kinds[m.Source] = plan.Regular
			}
		}
		in := plan.Input{
			Root:  plan.Rootfs{Lower: []string{"/lower"}, Upper: "/upper", Work: "/work", Mountpoint: "/mnt"},
			Facts: plan.Facts{LastCap: len(capabilities) - 1, Kinds: kinds, Cgroup: plan.Cgroup{Unified: "/sys/fs/cgroup", Path: spec.Linux.CgroupsPath}},
		}
		if _, err := plan.Compile(&spec, in); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func readPod(t *testing.T, file string) *corev1.Pod {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w, err := manifest.Read(file, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	w[0].Pods[0].UID = "UID"
	return w[0].Pods[0]
}

func asJSON(t *testing.T, v any) []byte {
	t.Helper()
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

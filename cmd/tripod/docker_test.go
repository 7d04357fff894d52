package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tripod/internal/engine"
)

// dockerPod is a Pod with one container that runs and one that ended.
func dockerPod(now time.Time) []dockerContainer {
	pod := &corev1.Pod{}
	pod.Name, pod.Namespace, pod.UID = "web", "default", "0f0e0d0c-1111-4222-8333-444455556666"
	pod.CreationTimestamp = metav1.NewTime(now.Add(-3 * time.Hour))
	pod.Annotations = map[string]string{engine.AnnotationPID + "nginx": "42", engine.AnnotationPausePID: "41"}
	pod.Labels = map[string]string{"app": "shop"}
	pod.Spec.Containers = []corev1.Container{{Name: "nginx", Image: "nginx:1.27", Command: []string{"nginx", "-g", "daemon off;\x1b[2J"}}, {Name: "job", Image: "busybox"}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{
		{Name: "nginx", Image: "nginx:1.27", ContainerID: "tripod://a", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now.Add(-5 * time.Minute))}}},
		{Name: "job", Image: "busybox", ContainerID: "tripod://b", RestartCount: 2, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled", FinishedAt: metav1.NewTime(now.Add(-70 * time.Second))}}},
	}
	// What the image says is known of what was made from it.
	made := map[string]*specs.Process{"job": {Args: []string{"sh", "-c", "job"}, Env: []string{"A=b"}, Cwd: "/work"}}
	var all []dockerContainer
	for _, s := range pod.Status.ContainerStatuses {
		all = append(all, dockerOf(pod, s, made[s.Name], now))
	}
	box, _ := dockerSandbox(pod, now)
	return append(all, box)
}

// TestDockerPs prints the table and templates as docker ps does.
func TestDockerPs(t *testing.T) {
	all := dockerPod(time.Now())
	for i := range all {
		all[i].shorten(false)
	}
	for format, want := range map[string]string{
		"": `CONTAINER ID   IMAGE        COMMAND                  CREATED         STATUS                            PORTS     NAMES
` + all[0].ID + `   nginx:1.27   "nginx -g daemon off…"   5 minutes ago   Up 5 minutes                                k8s_nginx_web_default_0f0e0d0c-1111-4222-8333-444455556666_0
` + all[1].ID + `   busybox      "sh -c job"              3 hours ago     Exited (137) About a minute ago             k8s_job_web_default_0f0e0d0c-1111-4222-8333-444455556666_2
` + all[2].ID + `   pause        "/pause"                 3 hours ago     Up 3 hours                                  k8s_POD_web_default_0f0e0d0c-1111-4222-8333-444455556666_0
`,
		"{{.State}} {{upper .Image}}":   "running NGINX:1.27\nexited BUSYBOX\nrunning PAUSE\n",
		`table {{.State}}\t{{.Labels}}`: "STATE     LABELS\nrunning   app=shop\nexited    app=shop\nrunning   app=shop\n",
	} {
		var b bytes.Buffer
		if err := printDockerPs(&b, all, false, format); err != nil {
			t.Fatal(err)
		}
		if b.String() != want {
			t.Errorf("%q: got\n%swant\n%s", format, b.String(), want)
		}
	}
	if err := printDockerPs(&bytes.Buffer{}, all, false, "{{.Nope}}"); err == nil {
		t.Error("a field that is not there")
	}
}

// TestDockerFind names containers in each way, and filters them.
func TestDockerFind(t *testing.T) {
	all := dockerPod(time.Now())
	for word, want := range map[string]string{
		"nginx": "nginx", "web/nginx": "nginx", "default/web/job": "job", all[0].ID: "nginx", all[1].ID[:12]: "job", "POD": "POD",
		"k8s_job_web_default_0f0e0d0c-1111-4222-8333-444455556666_2": "job", "/k8s_nginx_web_default_0f0e0d0c-1111-4222-8333-444455556666_0": "nginx",
		"nosuch": "", "": "",
	} {
		c, err := dockerFind(all, word)
		if got := c.Names; (err != nil) != (want == "") || want != "" && !strings.HasPrefix(got, "k8s_"+want+"_") {
			t.Errorf("%q: %q, %v", word, got, err)
		}
	}
	twice := append(all, dockerPod(time.Now())...)
	if _, err := dockerFind(twice, "nginx"); err == nil || !strings.Contains(err.Error(), "means 2") {
		t.Errorf("two containers of one name: %v", err)
	}
	for words, want := range map[string]int{"": 2, "name=nginx": 1, "name=^/k8s_POD": 1, "status=exited": 1, "ancestor=nginx": 1, "label=app": 2, "label=app=shop": 2, "name=nginx name=POD": 2, "name=nginx status=exited": 0} {
		match, err := dockerFilter(strings.Fields(words))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, c := range all {
			if match(c, false) {
				n++
			}
		}
		if n != want {
			t.Errorf("%q: %d containers, want %d", words, n, want)
		}
	}
	if _, err := dockerFilter([]string{"nosuch=x"}); err == nil {
		t.Error("a filter that docker does not have")
	}
}

// TestDockerInspect reads fields by their names in docker's program and in its JSON.
func TestDockerInspect(t *testing.T) {
	all := dockerPod(time.Now())
	for format, want := range map[string]string{
		"{{.State.Pid}}": "42\n", "{{.Id}}": all[0].ID + "\n", "{{.ID}}": all[0].ID + "\n", "{{json .State.OOMKilled}}": "false\n",
		"{{.HostConfig.NetworkMode}}": "container:" + all[2].ID + "\n", `{{index .Config.Labels "io.kubernetes.pod.name"}}`: "web\n",
	} {
		var b bytes.Buffer
		a := &app{out: &b}
		if err := a.printInspect([]dockerInspect{all[0].full}, format); err != nil || b.String() != want {
			t.Errorf("%s: %q, %v; want %q", format, b.String(), err, want)
		}
	}
	if d := all[1].full; d.Path != "sh" || len(d.Args) != 2 || d.Config.Env[0] != "A=b" || d.Config.WorkingDir != "/work" || len(d.Config.Cmd) != 3 {
		t.Errorf("%+v", d)
	}
	if s := all[1].full.State; s.Status != "exited" || !s.OOMKilled || s.ExitCode != 137 || s.Pid != 0 {
		t.Errorf("%+v", s)
	}
}

// TestEach folds equal answers.
func TestEach(t *testing.T) {
	var out, stderr bytes.Buffer
	err := printEach(&out, &stderr, []eachAnswer{
		{container: "a", out: "one\n"}, {container: "b", out: "one\n"}, {container: "c", out: "one\ntwo\n"}, {container: "d", err: "no\n", code: 3}, {container: "e"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "a, b: one\nc:\none\ntwo\ne:\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	if want := "d: no\nd: exit code 3\n"; stderr.String() != want {
		t.Errorf("%q, want %q", stderr.String(), want)
	}
	var b bounded
	for range 3 {
		_, _ = b.Write(make([]byte, maxAnswer/2))
	}
	if b.text.Len() != maxAnswer || !strings.Contains(b.String(), "and 524288 bytes more") {
		t.Errorf("%d bytes kept, %d not", b.text.Len(), b.over)
	}
}

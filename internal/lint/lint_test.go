package lint

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"tripod/internal/golden"
	"tripod/internal/manifest"
)

// good follows every rule.
const good = `apiVersion: v1
kind: Pod
metadata:
  name: good
  labels: {app: good}
spec:
  serviceAccountName: own
  automountServiceAccountToken: false
  securityContext:
    runAsNonRoot: true
    runAsUser: 20000
    seccompProfile: {type: RuntimeDefault}
  containers:
  - name: web
    image: registry.example/web:1.2
    command: [/web]
    ports:
    - containerPort: 8080
    readinessProbe: {httpGet: {path: /ready, port: 8080}}
    livenessProbe: {httpGet: {path: /alive, port: 8080}}
    resources:
      limits: {cpu: 500m, memory: 64Mi}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
`

func read(t *testing.T, text string) []manifest.Template {
	t.Helper()
	templates, _, err := manifest.ReadTemplates("m.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return templates
}

// images are those of the cases.
func images(ref string) *ocispec.Image {
	config := map[string]ocispec.ImageConfig{
		"root:1":  {Cmd: []string{"/web"}},
		"named:1": {User: "web", Cmd: []string{"/web"}},
		"user:1":  {User: "20000:20000", Cmd: []string{"/web"}},
		"shell:1": {User: "20000", Entrypoint: []string{"/bin/sh", "-c"}, Cmd: []string{"a; b"}},
		"empty:1": {User: "20000"},
	}
	c, ok := config[ref]
	if !ok {
		return nil
	}
	return &ocispec.Image{Config: c}
}

// Each case changes the good Pod and names the rules that it then does not follow.
func TestRules(t *testing.T) {
	if found := Check(read(t, good), images, Options{}); len(found) > 0 {
		t.Fatalf("the good Pod: %+v", found)
	}
	covered := map[string]bool{}
	for _, c := range []struct {
		old, new string
		want     string
	}{
		{"  serviceAccountName: own\n  automountServiceAccountToken: false\n", "", "default-service-account service-account-token"},
		{"  serviceAccountName: own\n", "  serviceAccountName: own\n  hostIPC: true\n", "host-ipc"},
		{"  serviceAccountName: own\n", "  serviceAccountName: own\n  hostPID: true\n", "host-pid"},
		{"  serviceAccountName: own\n", "  serviceAccountName: own\n  hostNetwork: true\n", "host-network"},
		{"  serviceAccountName: own\n", "  serviceAccountName: own\n  terminationGracePeriodSeconds: 0\n", "grace-period"},
		{"  serviceAccountName: own\n", "  serviceAccountName: own\n  volumes: [{name: v, hostPath: {path: /srv}}]\n", "host-path"},
		{"  serviceAccountName: own\n", "  serviceAccountName: own\n  volumes: [{name: v, hostPath: {path: /run/containerd/containerd.sock}}]\n", "docker-socket"},
		{"  serviceAccountName: own\n", "  serviceAccountName: own\n  volumes: [{name: v, emptyDir: {medium: Memory}}]\n", "memory-volume"},
		{"  serviceAccountName: own\n", "  serviceAccountName: own\n  volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]\n", ""},
		{"  labels: {app: good}\n", "", "owner-label"},
		{"    runAsNonRoot: true\n    runAsUser: 20000\n", "", "root-user"},
		{"    runAsNonRoot: true\n    runAsUser: 20000\n", "    runAsNonRoot: true\n", ""},
		{"    runAsNonRoot: true\n    runAsUser: 20000\n", "    runAsUser: 0\n", "root-user"},
		{"    runAsUser: 20000\n", "    runAsUser: 33\n", "low-user-id"},
		{"  serviceAccountName: own\n" + sep + "20000", "  hostUsers: false\n  serviceAccountName: own\n" + sep + "33", ""},
		{"    seccompProfile: {type: RuntimeDefault}\n", "", "seccomp"},
		{"{type: RuntimeDefault}", "{type: Unconfined}", "seccomp"},
		{"    seccompProfile: {type: RuntimeDefault}\n", "    sysctls: [{name: net.core.somaxconn, value: '9'}]\n    seccompProfile: {type: RuntimeDefault}\n", "unsafe-sysctl"},
		{"registry.example/web:1.2", "web", "image-tag"},
		{"registry.example/web:1.2", "registry.example:5000/web", "image-tag"},
		{"registry.example/web:1.2", "web:latest", "image-tag"},
		{"registry.example/web:1.2", "host:/", ""},
		{"registry.example/web:1.2", "web@sha256:" + strings.Repeat("a", 64), ""},
		{"[/web]", "[sh, -c, 'a; b']", "shell-as-pid-1"},
		{"[/web]", "[busybox, sh, -ec, 'while true; do a; done']", "shell-as-pid-1"},
		{"[/web]", "[sh, -c, 'a; exec b']", ""},
		{"[/web]", "[sh, -c, 'trap a TERM; b']", ""},
		{"[/web]", "[sh, -c, 'a b']", ""},
		{"[/web]", "[sh, /run.sh]", ""},
		{"[/web]", "[tini, --, sh, -c, 'a; b']", ""},
		{"[/web]", "[/web, --db-password=x]", "secret-in-args"},
		{"[/web]", "[/web, --password-file=/x, --token=$(TOKEN)]", ""},
		{"    resources:\n      limits: {cpu: 500m, memory: 64Mi}\n", "", "cpu-limit cpu-request memory-limit memory-request"},
		{", memory: 64Mi", "", "memory-limit memory-request"},
		{"    readinessProbe: {httpGet: {path: /ready, port: 8080}}\n", "", "readiness-probe"},
		{"    livenessProbe: {httpGet: {path: /alive, port: 8080}}\n", "", "liveness-probe"},
		{"/alive", "/ready", "same-probes"},
		{"    ports:\n    - containerPort: 8080\n", "    ports: [{containerPort: 8080}, {containerPort: 22}]\n", "privileged-port ssh-port"},
		{"    ports:\n    - containerPort: 8080\n", "    ports: [{containerPort: 8080, hostPort: 80}]\n", "host-port"},
		{"{httpGet: {path: /alive, port: 8080}}", "{tcpSocket: {port: 8081}}", "probe-port"},
		{"{httpGet: {path: /alive, port: 8080}}", "{httpGet: {path: /alive, port: admin}}", "probe-port"},
		{"{httpGet: {path: /alive, port: 8080}}", "{httpGet: {path: /alive, port: 8081, host: 10.0.0.1}}", ""},
		{"{httpGet: {path: /alive, port: 8080}}", "{grpc: {port: 9090}}", "probe-port"},
		{"{httpGet: {path: /alive, port: 8080}}", "{exec: {command: [/alive]}}", ""},
		{"  containers:\n", "  initContainers:\n  - {name: i, image: 'web:1', command: [/i], restartPolicy: Always, ports: [{containerPort: 8080}], resources: {limits: {cpu: 1, memory: 1Mi}}, securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true}, livenessProbe: {exec: {command: [a]}}, readinessProbe: {exec: {command: [b]}}}\n  containers:\n", "port-conflict"},
		{"  serviceAccountName: own\n", "  serviceAccount: own\n", "service-account-field"},
		{"    ports:\n", "    env: [{name: A, value: a}, {name: A, value: b}]\n    ports:\n", "duplicate-env"},
		{"    ports:\n", "    env: [{name: DB_PASSWORD, value: a}]\n    ports:\n", "secret-in-env"},
		{"    ports:\n", "    env: [{name: DB_PASSWORD_FILE, value: /a}, {name: TOKEN, value: $(T)}]\n    ports:\n", ""},
		{"    ports:\n", "    env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: s, key: k}}}]\n    envFrom: [{secretRef: {name: s}}, {configMapRef: {name: c}}]\n    ports:\n", "secret-from-env secret-from-env"},
		{"    ports:\n", "    lifecycle: {preStop: {sleep: {seconds: 29}}}\n    ports:\n", "prestop-sleep"},
		{"      allowPrivilegeEscalation: false\n", "", "privilege-escalation"},
		{"      allowPrivilegeEscalation: false\n", "      privileged: true\n", "privileged"},
		{"      readOnlyRootFilesystem: true\n", "", "writable-root"},
		{"  serviceAccountName: own\n" + sep + "      readOnlyRootFilesystem: true\n", "  serviceAccountName: own\n  hostUsers: false\n" + sep + "      readOnlyRootFilesystem: true\n      procMount: Unmasked\n", "proc-mount"},
		{"      readOnlyRootFilesystem: true\n", "      readOnlyRootFilesystem: true\n      capabilities: {add: [SYS_TIME, CHOWN, NET_BIND_SERVICE]}\n", "added-capabilities added-capabilities"},
		// What only the image says.
		{"    runAsNonRoot: true\n    runAsUser: 20000\n" + sep + "registry.example/web:1.2", "" + sep + "root:1", "root-user"},
		{"    runAsNonRoot: true\n    runAsUser: 20000\n" + sep + "registry.example/web:1.2", "" + sep + "user:1", ""},
		{"    runAsUser: 20000\n" + sep + "registry.example/web:1.2", "" + sep + "root:1", "run-as-non-root"},
		{"    runAsUser: 20000\n" + sep + "registry.example/web:1.2", "" + sep + "named:1", "run-as-non-root"},
		{"    command: [/web]\n" + sep + "registry.example/web:1.2", "" + sep + "shell:1", "shell-as-pid-1"},
		{"    command: [/web]\n" + sep + "registry.example/web:1.2", "" + sep + "empty:1", "command-missing"},
		// What a kind of object asks for.
		{"kind: Pod\n" + sep + "apiVersion: v1", "kind: Job\n" + sep + "apiVersion: batch/v1", "job-ttl"},
		{"kind: Pod\n" + sep + "apiVersion: v1", "kind: Deployment\n" + sep + "apiVersion: apps/v1", "single-replica"},
		{"kind: Pod\n" + sep + "apiVersion: v1" + sep + "spec:\n", "kind: Deployment\n" + sep + "apiVersion: apps/v1" + sep + "spec:\n  object.strategy: {type: Recreate}\n  object.replicas: 2\n", "recreate"},
		{"kind: Pod\n" + sep + "apiVersion: v1" + sep + "spec:\n", "kind: StatefulSet\n" + sep + "apiVersion: apps/v1" + sep + "spec:\n  object.replicas: 2\n", "headless-service"},
		// What the author has decided.
		{"  labels: {app: good}\n" + sep + "[/web]", "  labels: {app: good}\n  annotations: {tripod/lint-ignore: 'shell-as-pid-1, host-pid'}\n" + sep + "[sh, -c, 'a; b']", ""},
	} {
		text := good
		olds, news := strings.Split(c.old, sep), strings.Split(c.new, sep)
		for i := range olds {
			if strings.Count(text, olds[i]) == 0 {
				t.Fatalf("the good Pod has no %q", olds[i])
			}
			text = strings.Replace(text, olds[i], news[i], 1)
		}
		text = asKind(text)
		var got []string
		for _, f := range Check(read(t, text), images, Options{}) {
			got = append(got, f.Rule)
			covered[f.Rule] = true
			if f.Message == "" || f.Advice == "" || f.Reason == "" || f.Line == 0 || f.Field == "" {
				t.Errorf("unfinished: %+v", f)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(strings.Fields(c.want), got, cmp.Transformer("nil", func(s []string) string { return strings.Join(s, " ") })); diff != "" {
			t.Errorf("with %q instead of %q (-want +got):\n%s", c.new, c.old, diff)
		}
	}
	for _, r := range rules {
		if !covered[r.ID] {
			t.Errorf("no case for rule %s", r.ID)
		}
	}
}

// sep stands between several changes of one case.
const sep = "\x00"

// asKind puts the Pod into the template of an object; fields that begin with "object." are that object's.
func asKind(text string) string {
	kind := ""
	for _, k := range []string{"Job", "Deployment", "StatefulSet"} {
		if strings.Contains(text, "kind: "+k) {
			kind = k
		}
	}
	if kind == "" {
		return text
	}
	head, spec, _ := strings.Cut(text, "spec:\n")
	out := head + "spec:\n"
	if kind != "Job" {
		out += "  selector: {matchLabels: {app: good}}\n"
	} else {
		spec = "  restartPolicy: Never\n" + spec
	}
	inner := "  template:\n    metadata: {labels: {app: good}}\n    spec:\n"
	for line := range strings.Lines(spec) {
		if field, ok := strings.CutPrefix(line, "  object."); ok {
			out += "  " + field
			continue
		}
		inner += "    " + line
	}
	return out + inner
}

func TestRulesAreSorted(t *testing.T) {
	if !slices.IsSortedFunc(rules, func(a, b Rule) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("the rules are not sorted by ID")
	}
	for _, r := range rules {
		if (r.template == nil) == (r.container == nil) {
			t.Errorf("%s looks at a template or at containers, one of them", r.ID)
		}
	}
}

func TestOptions(t *testing.T) {
	text := strings.Replace(good, "[/web]", "[sh, -c, 'a; b']", 1)
	for _, c := range []struct {
		o    Options
		want int
	}{
		{Options{}, 1},
		{Options{Only: []string{"host-pid"}}, 0},
		{Options{Only: []string{"shell-as-pid-1"}}, 1},
		{Options{Ignore: []string{"shell-as-pid-1"}}, 0},
	} {
		if got := len(Check(read(t, text), nil, c.o)); got != c.want {
			t.Errorf("%+v: %d findings, want %d", c.o, got, c.want)
		}
	}
	if got := (Options{Ignore: []string{"nosuch"}}).Unknown(); got != "nosuch" {
		t.Errorf("unknown rule: %q", got)
	}
}

// A patched manifest is a manifest, has lost the findings that were patched, and keeps its comments.
func TestFix(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no manifests", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		findings := Check(read(t, string(data)), nil, Options{})
		var changes []manifest.Change
		fixed := map[string]bool{}
		for _, f := range findings {
			changes = append(changes, f.Changes()...)
			if len(f.Changes()) > 0 {
				fixed[f.Rule] = true
			}
		}
		patched, left := manifest.Patch(data, changes)
		golden.Check(t, strings.TrimSuffix(file, ".yaml")+".patched", string(patched))
		for _, f := range Check(read(t, string(patched)), nil, Options{}) {
			if fixed[f.Rule] && len(left) == 0 {
				t.Errorf("%s: %s is still found after the patch", file, f.Rule)
			}
		}
	}
}

// The page docs/lint.md has a row for each rule.
func TestDocument(t *testing.T) {
	page, err := os.ReadFile("../../docs/lint.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if !strings.Contains(string(page), "\n| "+r.ID+" | "+string(r.Level)+" | "+r.Reason+" |") {
			t.Errorf("docs/lint.md has no row for %s as it is", r.ID)
		}
	}
}

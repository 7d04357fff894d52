package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"tripod/internal/golden"
)

// Each testdata/NAME.yaml has what is read from it in NAME.golden: the Pods
// and notes, or the mistakes.
func TestReadGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := story(t, filepath.Base(file), data)
			golden.Check(t, strings.TrimSuffix(file, ".yaml")+".golden", string(got))
		})
	}
}

func story(t *testing.T, name string, data []byte) []byte {
	workloads, err := Read(name, bytes.NewReader(data))
	if err != nil {
		return []byte(err.Error() + "\n")
	}
	out, err := yaml.Marshal(workloads)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What is made of a manifest is itself a manifest, and means the same.
func TestPodsAreManifests(t *testing.T) {
	data, err := os.ReadFile("testdata/multi-containers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	first, err := Read("first", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(first[0].Pods[0])
	if err != nil {
		t.Fatal(err)
	}
	second, err := Read("second", bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if diff := cmp.Diff(first[0].Pods, second[0].Pods); diff != "" {
		t.Error(diff)
	}
}

const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - name: c\n    image: i\n"

func TestMistakes(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"empty":            {"", "m: no object in the manifest"},
		"only comments":    {"# nothing\n---\n", "m: no object in the manifest"},
		"not UTF-8":        {"a: b\nc: \xff\n", "m:2: not UTF-8 text"},
		"a scalar":         {"hello\n", `m:1: want fields (a map), got "hello"`},
		"a list":           {"- a\n", "m:1: want fields (a map), got a list"},
		"tab":              {"apiVersion: v1\nkind: Pod\nmetadata:\n\tname: x\n", "m:4: not valid YAML: found character that cannot start any token (YAML is indented with spaces, not with tabs)"},
		"unknown field":    {pod + "    imagePullPolice: Always\n", `m:8: spec.containers[0].imagePullPolice: unknown field (did you mean "imagePullPolicy"?)`},
		"misplaced":        {pod + "  image: x\n", `m:8: spec.image: unknown field ("image" belongs in containers[])`},
		"duplicate key":    {pod + "    image: j\n", "m:8: spec.containers[0].image: written twice; the first is in line 7"},
		"number as string": {pod + "    env: [{name: A, value: 80}]\n", `m:8: spec.containers[0].env[0].value: want a string, got the number 80 (write it in quotes: "80")`},
		"yes is a boolean": {pod + "    env: [{name: A, value: yes}]\n", `m:8: spec.containers[0].env[0].value: want a string, got the boolean yes (write it in quotes: "yes")`},
		"quantity":         {pod + "    resources: {limits: {memory: 128MB}}\n", `m:8: spec.containers[0].resources.limits[memory]: "128MB" is not a quantity (write "128M")`},
		"validation":       {pod + "    ports: [{containerPort: 99999}]\n", "m:8: spec.containers[0].ports[0].containerPort: invalid value: 99999: must be between 1 and 65535, inclusive"},
		"no image":         {strings.Replace(pod, "    image: i\n", "", 1), "m:6: spec.containers[0].image: required value"},
		"probe":            {pod + "    livenessProbe: {exec: {command: [x]}}\n", "m:8: spec.containers[0].livenessProbe: valid Kubernetes, but tripod does not implement it yet"},
		"no kind":          {"apiVersion: v1\n", "m:1: kind: required value (one of Pod, Deployment, ReplicaSet, StatefulSet, DaemonSet, Job)"},
		"kind misspelt":    {"apiVersion: v1\nkind: Pood\n", `m:2: kind: unknown kind "Pood" (did you mean "Pod"?)`},
		"other kind":       {"apiVersion: v1\nkind: Service\n", "m:2: kind: Service: valid Kubernetes, but tripod does not implement it yet (understood are Pod, Deployment, ReplicaSet, StatefulSet, DaemonSet, Job and List)"},
		"wrong group":      {strings.Replace(pod, "v1", "apps/v1", 1), `m:2: apiVersion: kind Pod is not in "apps/v1" (write apiVersion: v1)`},
		"no apiVersion":    {strings.Replace(pod, "apiVersion: v1\n", "", 1), "m:1: apiVersion: required value (write apiVersion: v1)"},
		"name with slash":  {strings.Replace(pod, "web", "a/b", 1), `m:3: metadata.name: invalid value: "a/b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`},
		"indentation":      {"a: b\n c: d\n", "m:2: not valid YAML: mapping values are not allowed in this context (check the indentation of this line and the one before)"},
		"quote":            {"a: \"b\n", "m:2: not valid YAML: found unexpected end of stream (a quote is not closed)"},
		"anchor":           {"a: *b\n", "not valid YAML: unknown anchor 'b' referenced (an alias *name needs an anchor &name before it; quote a word that begins with a star)"},
		"alias loop":       {"apiVersion: v1\nkind: Pod\nmetadata: {name: w}\nspec: &s\n  securityContext: *s\n", "m:5: spec.securityContext: alias *s contains itself"},
		"null by alias":    {"apiVersion: v1\nkind: Pod\nmetadata: &n\nspec:\n  containers: [*n]\n", "m:5: spec.containers[0]: null in a list (remove the empty item)"},
		"merge loop":       {"apiVersion: v1\nkind: Pod\nmetadata: &m\n  name: w\n  labels:\n    <<: *m\n", "m:3: metadata.labels: merged maps contain themselves or are too many"},
		"twice":            {pod + "---\n" + pod, "m:9: metadata.name: pod default/web is there already, from pod web in m:1"},
		"host port twice":  {pod + "    ports: [{containerPort: 80, hostPort: 80}]\n---\n" + strings.Replace(pod, "web", "w2", 1) + "    ports: [{containerPort: 81, hostPort: 80, hostIP: 127.0.0.1}]\n", "m:10: pod default/w2 wants host port 80/TCP, which pod default/web has"},
		"sidecar":          {pod + "  initContainers:\n  - name: s\n    image: i\n    restartPolicy: Always\n", "m:11: spec.initContainers[0].restartPolicy: Always (a sidecar): valid Kubernetes, but tripod does not implement it yet"},
		"userns":           {strings.Replace(pod, "{name: web}", "{name: web, annotations: {tripod/userns: pod}}", 1), `m:3: metadata.annotations[tripod/userns]: unknown value "pod" (write "container", or use hostUsers: false for one of the whole Pod)`},
		"unknown of ours":  {strings.Replace(pod, "{name: web}", "{name: web, annotations: {tripod/usr: x}}", 1), `m:3: metadata.annotations[tripod/usr]: unknown annotation of tripod (known are tripod/lint-ignore, tripod/network, tripod/pids-limit, tripod/max-restarts, tripod/user, tripod/userns)`},
		"image":            {strings.Replace(pod, "image: i", "image: My App", 1), `m:7: spec.containers[0].image: "My App" is no image's name: invalid reference format: repository name (library/My App) must be lowercase`},
		"restarts":         {strings.Replace(pod, "{name: web}", "{name: web, annotations: {tripod/max-restarts: few}}", 1), `m:3: metadata.annotations[tripod/max-restarts]: unknown value "few" (a number of restarts)`},
		"always restarts":  {strings.Replace(pod, "{name: web}", "{name: web, annotations: {tripod/max-restarts: '3'}}", 1), `m:3: metadata.annotations[tripod/max-restarts]: 3 restarts at most contradict restartPolicy: Always (write restartPolicy: OnFailure)`},
		"slip in a map":    {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  replicas:1\n", `m:5: spec: want fields (a map), got "replicas:1" (write "replicas: 1")`},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := Read("m", strings.NewReader(c.in))
			if err == nil {
				t.Fatalf("read %d workloads", len(w))
			}
			if first, _, _ := strings.Cut(err.Error(), "\n"); first != c.want && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got\n%s\nwant\n%s", err, c.want)
			}
			var e *Error
			if !errors.As(err, &e) || e.File != "m" {
				t.Errorf("no *Error in %v", err)
			}
		})
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	in := strings.Replace(pod, "kind: Pod", "kind: Pod\nstatus:1", 1)
	in = strings.Replace(in, "    image: i\n", "    imag: i\n    tty: 3\n    ports: [{containerPort: 0}]\n", 1)
	_, err := Read("m", strings.NewReader(in))
	var all Errors
	if !errors.As(err, &all) {
		t.Fatal(err)
	}
	if len(all) != 5 {
		t.Errorf("%d mistakes, want 5:\n%v", len(all), err)
	}
}

// A large input ends after MaxBytes were read, whatever its length.
func TestSize(t *testing.T) {
	r := &endless{}
	_, err := Read("big", r)
	if err == nil || err.Error() != "big: manifest is larger than 4 MiB" {
		t.Error(err)
	}
	if r.read > MaxBytes+1<<20 {
		t.Errorf("%d bytes were read", r.read)
	}
}

type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '#'
	}
	e.read += len(p)
	return len(p), nil
}

func TestUnreadable(t *testing.T) {
	_, err := Read("m", io.MultiReader(strings.NewReader("a: "), broken{}))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Nested aliases grow by powers; they end in an error after a bounded number
// of steps.
func TestBillionLaughs(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Pod\nmetadata:\n  name: lol\n  ownerReferences:\n  - &a0 {apiVersion: v1, kind: x, name: y, uid: z}\n")
	b.WriteString("spec:\n  containers: &c\n  - &x\n    name: c\n    image: i\n    args: &l0 [" + strings.Repeat("lol,", 9000) + "]\n")
	for range 2000 {
		b.WriteString("  - *x\n")
	}
	_, err := Read("m", strings.NewReader(b.String()))
	if err == nil || !strings.Contains(err.Error(), "more than 500000 values") {
		t.Errorf("%.300s", err)
	}
}

// Inputs that are cheap to write and were dear to read, somewhere, once.
func TestHostileShapes(t *testing.T) {
	const size = 1 << 20
	for name, unit := range map[string]string{
		"flow lists": "[", "flow maps": "{a: ", "lists": "- ", "keys": "? ", "anchors": "&a ", "aliases": "*a ", "tags": "!t ", "quotes": "\"",
		"documents": "---\n", "comments": "#\n", "colons": ":", "pairs": "a: b\n", "block scalar": "a: |\n b\n", "slips": "kind:Pod\n",
		"bad tags": "!!binary x\n", "merge": "<<: {a: b}\n", "tabs": "\t", "percent": "%",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Read("m", strings.NewReader(strings.Repeat(unit, size/len(unit)))); err == nil {
				t.Error("was taken")
			} else if len(err.Error()) > 1<<20 {
				t.Errorf("message of %d bytes", len(err.Error()))
			}
		})
	}
}

// Many mistakes of one kind stay readable, and cheap.
func TestManyMistakes(t *testing.T) {
	var b strings.Builder
	b.WriteString(pod)
	for i := range 50_000 {
		fmt.Fprintf(&b, "  x%d: y\n", i)
	}
	_, err := Read("m", strings.NewReader(b.String()))
	if err == nil || strings.Count(err.Error(), "\n") != maxTold || !strings.HasSuffix(err.Error(), "m: and 900 more mistakes") {
		t.Errorf("%.300s", err)
	}
	_, err = Read("m", strings.NewReader(strings.Repeat(pod+"---\n", MaxPods+1)))
	if err == nil || !strings.Contains(err.Error(), "m: 1025 Pods; a manifest may ask for 1024") {
		t.Errorf("%.300s", err)
	}
	d := "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: d}\nspec:\n  replicas: 2000000000\n  selector: {matchLabels: {a: b}}\n  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}\n"
	_, err = Read("m", strings.NewReader(d))
	if err == nil || err.Error() != "m:5: spec.replicas: 2000000000 Pods; a manifest may ask for 1024" {
		t.Errorf("%.300s", err)
	}
}

func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("a: &a [*a]\n<<: *a\n"))
	f.Add([]byte("{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{\"kind\":\"Pod\"}]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		workloads, err := Read("fuzz", bytes.NewReader(data))
		if err == nil && len(workloads) == 0 {
			t.Error("neither a workload nor an error")
		}
		if err != nil && workloads != nil {
			t.Error("workloads beside an error")
		}
		var all Errors
		if errors.As(err, &all) {
			for _, e := range all {
				if strings.ContainsAny(e.Error(), "\n\r\x00") || e.Line < 0 {
					t.Errorf("mistake is not one clean line: %q", e.Error())
				}
			}
		}
	})
}

// kubelet (also CVE-2025-1767): a gitRepo volume ran git's hooks as root. There is none: it is refused by its name.
func TestCVE_2024_10220(t *testing.T) {
	const text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers: [{name: c, image: i}]\n  volumes:\n  - {name: v, gitRepo: {repository: 'file:///evil', directory: .}}\n"
	if _, err := Read("pod.yaml", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "pod.yaml:7") || !strings.Contains(err.Error(), "gitRepo") {
		t.Errorf("%v", err)
	}
}

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/tools/clientcmd"

	"tripod/internal/pki"
)

var someClient = pki.Client{Server: "https://127.0.0.1:7443", CA: []byte("ca"), Cert: []byte("cert"), Key: []byte("key")}

const foreign = `# mine
apiVersion: v1
kind: Config
preferences: {}
clusters:
  # the office
  - name: office
    cluster: {server: https://office:6443, insecure-skip-tls-verify: true}
contexts:
  - name: office
    context: {cluster: office, user: me, namespace: shop}
current-context: office
users:
  - name: me
    user:
      exec: {apiVersion: client.authentication.k8s.io/v1, command: login, unheard-of: true}
extensions-of-tomorrow: [a, b]
`

// TestMergeKubeconfig reads what was merged as kubectl does, and looks for every line of others.
func TestMergeKubeconfig(t *testing.T) {
	for name, before := range map[string]string{
		"nothing": "", "comment": "# nothing yet\n", "empty lists": "apiVersion: v1\nkind: Config\nclusters: []\nusers: null\ncontexts: []\n",
		"others": foreign, "json": `{"apiVersion":"v1","kind":"Config","clusters":[{"name":"a","cluster":{"server":"https://a"}}]}`,
		"ours of before": foreign + "# end\n",
	} {
		t.Run(name, func(t *testing.T) {
			m, err := mergeKubeconfig([]byte(before), someClient, true)
			if err != nil {
				t.Fatal(err)
			}
			config, err := clientcmd.Load(m.text)
			if err != nil {
				t.Fatalf("kubectl cannot read it: %v\n%s", err, m.text)
			}
			if c := config.Contexts["tripod"]; c == nil || config.CurrentContext != "tripod" || config.Clusters[c.Cluster].Server != someClient.Server ||
				string(config.AuthInfos[c.AuthInfo].ClientKeyData) != "key" || string(config.Clusters[c.Cluster].CertificateAuthorityData) != "ca" {
				t.Errorf("context tripod is %v in\n%s", c, m.text)
			}
			was, err := clientcmd.Load([]byte(before))
			if err != nil {
				t.Fatal(err)
			}
			for name := range was.Clusters {
				if config.Clusters[name] == nil || config.Clusters[name].Server != was.Clusters[name].Server {
					t.Errorf("cluster %s is lost in\n%s", name, m.text)
				}
			}
			if strings.HasPrefix(before, "# mine") {
				for _, comment := range []string{"# mine", "# the office"} {
					if !bytes.Contains(m.text, []byte(comment)) {
						t.Errorf("comment %q is lost in\n%s", comment, m.text)
					}
				}
				if diff := cmp.Diff(others(t, []byte(before)), others(t, m.text)); diff != "" {
					t.Errorf("what is not ours is not as it was:\n%s", diff)
				}
				if m.current != "office" {
					t.Errorf("current context before: %q", m.current)
				}
			}
			again, err := mergeKubeconfig(m.text, someClient, true)
			if err != nil || !bytes.Equal(again.text, m.text) || !again.again {
				t.Errorf("a second time: %v, %v\n%s", again.again, err, again.text)
			}
			if kept, err := mergeKubeconfig([]byte(before), someClient, false); err != nil || bytes.Contains(kept.text, []byte("current-context: tripod")) {
				t.Errorf("the current context is to stay: %v\n%s", err, kept.text)
			}
		})
	}
	for name, before := range map[string]string{
		"no YAML": "a: [", "a list": "- a\n", "two documents": "a: 1\n---\nb: 2\n", "another kind": "kind: Pod\n", "no list": "clusters: {a: b}\n",
	} {
		if m, err := mergeKubeconfig([]byte(before), someClient, true); err == nil {
			t.Errorf("%s was merged: %s", name, m.text)
		}
	}
}

// others is all that a kubeconfig says, but for what is named as we are and for which context is the current one.
func others(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var all map[string]any
	if err := yaml.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	delete(all, "current-context")
	for _, list := range []string{"clusters", "users", "contexts"} {
		entries, _ := all[list].([]any)
		all[list] = slices.DeleteFunc(entries, func(e any) bool { return e.(map[string]any)["name"] == contextName })
	}
	return all
}

func TestWriteKubeconfig(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "config"), filepath.Join(dir, "link")
	if err := os.WriteFile(path, []byte(foreign), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("config", link); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	a := &app{out: &said}
	for range 2 {
		if err := a.writeKubeconfig(link, someClient, true); err != nil {
			t.Fatal(err)
		}
	}
	if backup, err := os.ReadFile(path + ".before-tripod"); err != nil || string(backup) != foreign {
		t.Errorf("backup: %v\n%s", err, backup)
	}
	if target, err := os.Readlink(link); err != nil || target != "config" {
		t.Errorf("the link is %q, %v", target, err)
	}
	if !strings.Contains(said.String(), "use-context office") || !strings.Contains(said.String(), "already") {
		t.Errorf("said:\n%s", &said)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.lock")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := os.WriteFile(path+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.writeKubeconfig(path, pki.Client{Server: "https://else"}, true); err == nil {
		t.Error("wrote while kubectl holds the lock")
	}
}

func TestKubeconfigPath(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	home := func() (string, error) { return "/home/me", nil }
	for variable, want := range map[string]string{
		"":                                "/home/me/.kube/config",
		"/no/such":                        "/no/such",
		"/no/such:" + there + ":/nothing": there,
		"/no/such:/nor/this":              "/nor/this",
	} {
		if got, err := kubeconfigPath(variable, home); err != nil || got != want {
			t.Errorf("KUBECONFIG=%s: %s, %v; want %s", variable, got, err, want)
		}
	}
	if _, err := kubeconfigPath("", func() (string, error) { return "", errors.New("none") }); err == nil {
		t.Error("without a home there is no file")
	}
}

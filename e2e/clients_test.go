package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// buildClients makes, once a run, what speaks to the API beside tripod: the folder with kubectl and informer, and with Debian's
// kubectl as kubectl-1.20, which make has brought (it is not installed: another kubectl may be).
var buildClients = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs(".cache/clients")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-tags", "grpcnotrace", "-o", dir+"/", "./kubectl", "./informer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build clients: %w: %s", err, out)
	}
	old := filepath.Join(dir, "kubectl-1.20")
	if err := os.Remove(old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return dir, os.Symlink("../kubernetes-client/usr/bin/kubectl", old)
})

// clients makes them the first of their names in the script's PATH, and gives kubectl the kubeconfig of the script's daemon.
func clients(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: clients")
	}
	dir, err := buildClients()
	ts.Check(err)
	ts.Setenv("PATH", dir+":"+ts.Getenv("PATH"))
	ts.Setenv("KUBECONFIG", filepath.Join(ts.Getenv("WORK"), "kubeconfig"))
}

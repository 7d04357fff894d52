package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"tripod/internal/pki"
	"tripod/internal/record"
)

func newKubeconfig(a *app) *cobra.Command {
	var write, keepCurrent bool
	var server, file string
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Let plain kubectl speak to tripodd",
		Long: `Print a kubeconfig for the tripodd of this host, or add it to kubectl's own with --write: a cluster,
a user and a context, all named tripod. kubectl cannot dial a unix socket, so tripodd must listen
on a loopback port: tripodd --listen 127.0.0.1:7443.

--write changes $KUBECONFIG, or ~/.kube/config. All else that stands there stays, and the file as it
was is kept beside it as FILE.before-tripod. Whoever can read what is written may do everything.`,
		Example: "  tripod kubeconfig --write && kubectl get pods\n  tripod kubeconfig > admin.conf && kubectl --kubeconfig admin.conf get nodes",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			client, err := pki.ReadClient(filepath.Join(a.root, "pki"))
			if err != nil {
				return &usageError{err: err, hint: "start tripodd with --listen 127.0.0.1:7443: it makes them"}
			}
			if server != "" {
				client.Server = server
			}
			if client.Server == "" {
				return misuse("start tripodd with --listen 127.0.0.1:7443", "cannot write kubeconfig: tripodd never listened on a port")
			}
			if !write {
				merged, err := mergeKubeconfig(nil, client, true)
				if err != nil {
					return err
				}
				_, err = a.out.Write(merged.text)
				return err
			}
			if file == "" {
				if file, err = kubeconfigPath(os.Getenv("KUBECONFIG"), os.UserHomeDir); err != nil {
					return err
				}
			}
			return a.writeKubeconfig(file, client, !keepCurrent)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&write, "write", false, "add it to kubectl's configuration")
	f.StringVar(&file, "file", "", "the file that --write changes (default as kubectl does)")
	f.BoolVar(&keepCurrent, "keep-current", false, "do not make it the current context")
	f.StringVar(&server, "server", "", "the URL of tripodd (default where it listened last)")
	return cmd
}

// kubeconfigPath is the file that kubectl would write a new context to: the first of $KUBECONFIG that is there, else its last.
func kubeconfigPath(variable string, home func() (string, error)) (string, error) {
	var last string
	for _, path := range filepath.SplitList(variable) {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		last = path
	}
	if last != "" {
		return last, nil
	}
	dir, err := home()
	if err != nil {
		return "", fmt.Errorf("cannot find kubeconfig: %w", err)
	}
	return filepath.Join(dir, ".kube", "config"), nil
}

// writeKubeconfig adds tripod to a file, under the lock that kubectl takes for it.
func (a *app) writeKubeconfig(path string, client pki.Client, current bool) error {
	path = real(path) // a link to it stays one
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("cannot write kubeconfig %s: %w", path, err)
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return misuse("wait for it, or remove "+path+".lock when none runs", "cannot write kubeconfig %s: a kubectl is changing it", path)
	}
	if err != nil {
		return fmt.Errorf("cannot write kubeconfig %s: %w", path, err)
	}
	defer os.Remove(lock.Name())
	defer lock.Close()
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot read kubeconfig %s: %w", path, err)
	}
	merged, err := mergeKubeconfig(before, client, current)
	if err != nil {
		return fmt.Errorf("cannot change kubeconfig %s: %w", path, err)
	}
	if bytes.Equal(merged.text, before) {
		fmt.Fprintf(a.out, "%s has context %s already\n", path, contextName)
		return nil
	}
	if before != nil && !merged.again {
		if err := record.PutBytes(path+".before-tripod", before); err != nil {
			return err
		}
	}
	if err := replace(path, merged.text); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s has context %s now, for %s\n", path, contextName, client.Server)
	if before != nil && !merged.again {
		fmt.Fprintf(a.out, "as it was: %s.before-tripod\n", path)
	}
	if was := merged.current; current && was != "" && was != contextName {
		fmt.Fprintf(a.out, "kubectl used context %s before; back with: kubectl config use-context %s\n", was, was)
	}
	return nil
}

// replace writes a file whole, and leaves it to whom it belonged.
func replace(path string, text []byte) error {
	st, serr := os.Stat(path)
	if err := record.PutBytes(path, text); err != nil {
		return err
	}
	if serr != nil {
		return nil
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() {
		return nil
	}
	if err := os.Lchown(path, int(owner.Uid), int(owner.Gid)); err != nil {
		return fmt.Errorf("cannot give %s back to its owner: %s", path, strings.TrimSpace(err.Error()))
	}
	return nil
}

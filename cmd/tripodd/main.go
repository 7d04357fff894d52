// Command tripodd serves Kubernetes' API for this host, runs Kubernetes' controllers, and is the one node: plain kubectl works
// against it. It listens on a unix socket, and for those who cannot dial one (kubectl) on a loopback port with client
// certificates. It may be killed at any moment: Pods run on, and the next start finds them.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
)

// version is set by the linker (-X main.version=…).
var version = "dev"

// defaultManifests is the folder whose manifests are kept without being asked for.
const defaultManifests = "/etc/tripod/manifests"

// options are the words of the command line.
type options struct {
	root, runRoot   string
	socket, listen  string
	manifests       []string
	name            string // of the node
	logLevel, logAs string
	hostImages      bool
}

func main() {
	debug.SetGCPercent(collectAt)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := newRoot().ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "tripodd: %v\n", err)
		os.Exit(1)
	}
}

func newRoot() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "tripodd",
		Short: "Serve Kubernetes' API for this host",
		Long: `tripodd serves Kubernetes' API for this host, with Kubernetes' own controllers, and runs the Pods
that it is given. tripod apply, get, logs and the like speak to it over its socket; plain kubectl
does over a loopback port (--listen) with the kubeconfig that tripod kubeconfig writes.

It may be stopped and started anew at any moment: Pods run on. Manifests in /etc/tripod/manifests
(and --manifests DIR) are kept as they stand there.`,
		Example: `  tripodd
  tripodd --listen 127.0.0.1:7443 && tripod kubeconfig --write
  tripodd --manifests /etc/kubernetes/manifests --log-format json`,
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.complete(); err != nil {
				return err
			}
			log, err := o.log()
			if err != nil {
				return err
			}
			return run(cmd.Context(), o, log)
		},
	}
	cmd.SetVersionTemplate("tripodd {{.Version}}\n")
	f := cmd.Flags()
	f.StringVar(&o.root, "root", env("TRIPOD_ROOT", "/var/lib/tripod"), "where objects, images, volumes and logs are kept (TRIPOD_ROOT)")
	f.StringVar(&o.runRoot, "run-root", env("TRIPOD_RUN_ROOT", "/run/tripod"), "where running Pods are kept (TRIPOD_RUN_ROOT)")
	f.StringVar(&o.socket, "socket", os.Getenv("TRIPOD_SOCKET"), "the unix socket (TRIPOD_SOCKET; default tripod.sock below --run-root)")
	f.StringVar(&o.listen, "listen", "", "serve TLS too, on this loopback address, to clients with a certificate: 127.0.0.1:7443")
	f.StringArrayVar(&o.manifests, "manifests", nil, "keep the manifests of this folder too")
	f.StringVar(&o.name, "node-name", "", "the name of the node (default the host's)")
	f.StringVar(&o.logLevel, "log-level", "info", "what is said on stderr: debug, info, warn or error")
	f.StringVar(&o.logAs, "log-format", "text", "text or json")
	f.BoolVar(&o.hostImages, "allow-host-images", false, "let Pods name images by paths of this host: host:/, dir:, oci: and archives")
	cmd.AddCommand(newMan())
	return cmd
}

// complete settles what was left open and checks the rest.
func (o *options) complete() error {
	paths := []*string{&o.root, &o.runRoot}
	if o.socket == "" {
		o.socket = filepath.Join(o.runRoot, "tripod.sock")
	}
	paths = append(paths, &o.socket)
	for i := range o.manifests {
		paths = append(paths, &o.manifests[i])
	}
	for _, p := range paths {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return fmt.Errorf("cannot use path %s: %w", *p, err)
		}
		*p = abs
	}
	// A daemon of its own folders does not take the host's manifests.
	if o.root == "/var/lib/tripod" {
		o.manifests = append([]string{defaultManifests}, o.manifests...)
	}
	if o.name == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("cannot name the node: %w", err)
		}
		o.name = strings.ToLower(name)
	}
	if bad := validation.IsDNS1123Subdomain(o.name); len(bad) > 0 {
		return fmt.Errorf("cannot name the node %q: %s", o.name, bad[0])
	}
	return nil
}

// log is where messages go, as --log-level and --log-format say.
func (o *options) log() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return nil, fmt.Errorf("cannot use --log-level %q: use debug, info, warn or error", o.logLevel)
	}
	how := &slog.HandlerOptions{Level: level}
	switch o.logAs {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, how)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, how)), nil
	}
	return nil, fmt.Errorf("cannot use --log-format %q: use text or json", o.logAs)
}

// env is the value of a variable of the environment, or what holds without it.
func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

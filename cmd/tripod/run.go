package main

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/engine"
	"tripod/internal/sandbox"
)

func newRun(a *app) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:        "run [flags] IMAGE [COMMAND] [ARG...] | run -f FILE",
		Short:      "Run a container, or the Pods of a manifest",
		SuggestFor: []string{"create", "start", "restart"},
		Long: `Run a command in a new container of an image, as docker run does, or the Pods of a
Kubernetes manifest: Pod, Deployment, ReplicaSet, StatefulSet, DaemonSet or Job. No daemon is needed.

In the foreground Ctrl-C stops what was run, a second one kills it; the Pods of a manifest are
removed at the end. With -d they go on without this command.

An image is a name in a registry (docker.io by default), or host:/ (this host's own programs),
oci:DIR, oci-archive:FILE, docker-archive:FILE or dir:DIR.

The exit code is the command's own; 125 says that tripod itself failed, 126 that the command
cannot be executed, 127 that it is not there, 128+N that signal N ended it.`,
		Example: `  tripod run -it --rm busybox
  tripod run -d --name web -p 8080:80 nginx
  tripod run --rm -m 64m --cpus 0.5 -v /srv:/data:ro busybox ls /data
  tripod run --rm host:/ uname -a
  tripod run -f pod.yaml
  tripod run -d -f deployment.yaml
  cat pod.yaml | tripod run -f -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if word := cmd.Flags().Lookup("entrypoint"); word.Changed {
				f.entrypoint = &f.entrypointWord
			}
			return a.run(cmd, f, args)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err: err, hint: dockerHint(err)} })
	// docker run has -h for the host name.
	cmd.Flags().Bool("help", false, "help for run")
	f.bind(cmd.Flags())
	f.fetch.bind(cmd)
	f.fetch.bindRegistry(cmd)
	return cmd
}

func (a *app) run(cmd *cobra.Command, f runFlags, args []string) error {
	pods, err := a.wanted(cmd, f, args)
	if err != nil {
		return err
	}
	slog.Debug("input is read", "pods", len(pods))
	if err := sandbox.Privileged(); err != nil {
		return err
	}
	e, err := a.engine()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	swept := make(chan error, 1)
	go func() { swept <- e.Sweep(ctx) }()
	images, err := a.ensure(ctx, e, pods, f.fetch)
	if err := <-swept; err != nil {
		a.complain(err)
	}
	if err != nil {
		return interrupted(ctx, err)
	}
	slog.Debug("images are here", "images", len(images))
	r := &runner{app: a, engine: e, flags: f, images: images}
	switch {
	case f.detach:
		return interrupted(ctx, r.detached(ctx, pods))
	case len(f.file) > 0:
		return r.group(ctx, stop, pods)
	}
	return r.one(ctx, stop, pods[0])
}

// wanted are the Pods that the command line asks for. Nothing is done yet.
func (a *app) wanted(cmd *cobra.Command, f runFlags, args []string) ([]*corev1.Pod, error) {
	if len(f.file) > 0 {
		if len(args) > 0 {
			return nil, misuse("leave out one of them", "cannot run an image and a manifest at once: %s and -f %s", args[0], f.file[0])
		}
		if err := onlyWithImage(cmd); err != nil {
			return nil, err
		}
		return a.manifests(cmd.Context(), f.file)
	}
	if len(args) == 0 {
		return nil, misuse("tripod run IMAGE, or tripod run -f FILE", "there is no image and no manifest to run")
	}
	s := surroundings{environ: os.Environ(), files: map[string]string{}, suffix: suffix(), freePort: a.freePort()}
	var err error
	if s.dir, err = os.Getwd(); err != nil {
		return nil, fmt.Errorf("cannot find the working folder: %w", err)
	}
	for _, name := range f.envFile {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("cannot read variables: %w", err)
		}
		s.files[name] = string(text)
	}
	pod, err := podOf(f, args[0], args[1:], s)
	if err != nil {
		return nil, err
	}
	pod, err = checked(pod)
	return []*corev1.Pod{pod}, err
}

// withManifest are the flags of run that mean something for Pods of a manifest.
const withManifest = " file detach quiet root run-root log-level authfile cert-dir tls-verify platform "

// onlyWithImage refuses flags that speak of an image's container beside a manifest, which says all that itself.
func onlyWithImage(cmd *cobra.Command) error {
	var wrong error
	cmd.Flags().Visit(func(flag *flagOf) {
		if !strings.Contains(withManifest, " "+flag.Name+" ") && wrong == nil {
			wrong = misuse("write it into the manifest", "cannot use --%s with a manifest", flag.Name)
		}
	})
	return wrong
}

// suffix ends a made-up name, as a ReplicaSet's Pods have one.
func suffix() string {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:])[:5])
}

// interrupted says nothing but the exit code of an end by Ctrl-C.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return &exitError{code: 128 + int(unix.SIGINT), err: fmt.Errorf("interrupted")}
	}
	return err
}

// runner runs Pods whose images are here.
type runner struct {
	*app
	engine *engine.Engine
	flags  runFlags
	images engine.Images
}

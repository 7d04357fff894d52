package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/manifest"
)

type flagOf = pflag.Flag

// manifests reads what -f names: files, folders, URLs, or - for stdin. All mistakes of all of them are told at once.
func (a *app) manifests(ctx context.Context, names []string) ([]*corev1.Pod, error) {
	var workloads []manifest.Workload
	var errs []error
	for _, name := range names {
		files, err := a.files(name)
		errs = append(errs, err)
		for _, file := range files {
			found, err := a.manifest(ctx, file)
			workloads = append(workloads, found...)
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := manifest.Unique(workloads); err != nil {
		return nil, err
	}
	var pods []*corev1.Pod
	for _, w := range workloads {
		for _, note := range w.Notes {
			_ = a.say("note: %s", note)
		}
		pods = append(pods, w.Pods...)
	}
	return pods, nil
}

// files are the files that a name stands for: those of a folder that are manifests by their names, or itself.
func (a *app) files(name string) ([]string, error) {
	if name == "-" || isURL(name) {
		return []string{name}, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read manifest: %w", err)
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read manifests: %w", err)
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) {
			files = append(files, filepath.Join(name, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("cannot read manifests: no .yaml, .yml or .json file in %s", name)
	}
	return files, nil
}

func isURL(name string) bool {
	return strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://")
}

// fetchTime bounds how long a manifest may take to come from a URL.
const fetchTime = 15 * time.Second

func (a *app) manifest(ctx context.Context, name string) ([]manifest.Workload, error) {
	body, title, err := a.openManifest(ctx, name)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return manifest.Read(title, body)
}

// openManifest opens a file, a URL or, for -, the standard input. The title is what messages call it: a URL without its password.
// The context is for URLs, until the end of reading.
func (a *app) openManifest(ctx context.Context, name string) (body io.ReadCloser, title string, err error) {
	switch {
	case name == "-":
		return io.NopCloser(a.in), "stdin", nil
	case isURL(name):
		return openURL(ctx, name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, "", fmt.Errorf("cannot read manifest: %w", err)
	}
	return f, name, nil
}

func openURL(ctx context.Context, name string) (io.ReadCloser, string, error) {
	u, err := url.Parse(name)
	if err != nil {
		return nil, "", misuse("give http://HOST/PATH or https://HOST/PATH", "cannot read manifest: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTime, fmt.Errorf("no whole manifest came within %v", fetchTime))
	body, err := fetch(ctx, u.String())
	if err != nil {
		cancel()
		return nil, "", fmt.Errorf("cannot read manifest %s: %w", u.Redacted(), err)
	}
	return timed{body, ctx, cancel}, u.Redacted(), nil
}

func fetch(ctx context.Context, from string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if context.Cause(ctx) != nil {
		return nil, context.Cause(ctx)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) { // it says the URL again
		err = wrapped.Err
	}
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("the server answered %s", response.Status)
	}
	return response.Body, nil
}

// timed is a body that must have come before its context ends. A read after that tells why.
type timed struct {
	io.ReadCloser
	ctx    context.Context
	cancel func()
}

func (t timed) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if cause := context.Cause(t.ctx); err != nil && cause != nil {
		err = cause
	}
	return n, err
}

func (t timed) Close() error {
	t.cancel()
	return t.ReadCloser.Close()
}

// checked passes a Pod that was made of docker's words through all that a manifest goes through: Kubernetes' defaults and
// checks, and ours.
func checked(pod *corev1.Pod) (*corev1.Pod, error) {
	text, err := json.Marshal(pod)
	if err != nil {
		return nil, fmt.Errorf("cannot describe the Pod: %w", err)
	}
	workloads, err := manifest.Read("the command line", bytes.NewReader(text))
	var wrong manifest.Errors
	if errors.As(err, &wrong) {
		for _, e := range wrong {
			e.Line = 0 // nobody wrote lines
		}
	}
	if err != nil {
		return nil, err
	}
	return workloads[0].Pods[0], nil
}

package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"golang.org/x/sys/unix"
)

// pluginExec runs CNI plugins for libcni: each in a process group of its own, for a bounded time and with bounded output.
// The plugin is born on the calling thread, and so into its network namespace.
type pluginExec struct {
	version.PluginDecoder
	verb    string
	timeout time.Duration
}

const (
	maxPluginOutput = 1 << 20
	maxPluginError  = 16 << 10
)

// clipped keeps what fits and lets the rest pass. The first byte that does not fit is told to full, where there is one.
type clipped struct {
	kept  bytes.Buffer // not embedded: io.Copy would take its ReadFrom and never ask Write
	limit int
	over  bool
	full  func()
}

func (c *clipped) Write(p []byte) (int, error) {
	fits := min(len(p), c.limit-c.kept.Len())
	if fits < len(p) && !c.over {
		c.over = true
		if c.full != nil {
			c.full()
		}
	}
	_, _ = c.kept.Write(p[:fits]) // a Buffer's Write gives no error
	return len(p), nil
}

func (e *pluginExec) FindInPath(plugin string, paths []string) (string, error) {
	if !plainName(plugin) { // CVE-2021-20206, also for a record that somebody has changed
		return "", fmt.Errorf("%w: plugin type %q is not the plain name of a plugin", ErrBadRequest, plugin)
	}
	return invoke.FindInPath(plugin, paths)
}

// pluginFailure is an error of ours about a plugin; libcni wraps it in words that say the same again.
type pluginFailure struct{ error }

func (p pluginFailure) Unwrap() error { return errors.Unwrap(p.error) }

func pluginError(format string, args ...any) error {
	return pluginFailure{fmt.Errorf(format, args...)}
}

// inner is the error that says most.
func inner(err error) error {
	var failure pluginFailure
	if errors.As(err, &failure) {
		return failure
	}
	return errors.New(oneLine(err.Error()))
}

func (e *pluginExec) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	out, complaint := &clipped{limit: maxPluginOutput, full: cancel}, &clipped{limit: maxPluginError}
	var err error
	for range 5 {
		cmd := exec.CommandContext(limited, path)
		cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environ, bytes.NewReader(stdin), out, complaint
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		// A plugin may have children of its own (ipam), and they hold the pipes.
		cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
		cmd.WaitDelay = time.Second
		if err = cmd.Run(); !errors.Is(err, unix.ETXTBSY) {
			break
		}
		time.Sleep(100 * time.Millisecond) // it is being installed
	}
	name := filepath.Base(path)
	switch {
	case out.over:
		return nil, pluginError("plugin %s answered %s with more than %d bytes", name, e.verb, maxPluginOutput)
	case err == nil:
		return out.kept.Bytes(), nil
	case ctx.Err() != nil:
		return nil, pluginError("%s of plugin %s was ended: %w", e.verb, name, ctx.Err())
	case limited.Err() != nil:
		return nil, pluginError("plugin %s did not answer %s in %v and was killed", name, e.verb, e.timeout)
	}
	var said types.Error
	if json.Unmarshal(out.kept.Bytes(), &said) == nil && said.Msg != "" {
		if said.Details != "" {
			said.Msg += ": " + said.Details
		}
		return nil, pluginError("plugin %s answered %s with error %d: %s", name, e.verb, said.Code, oneLine(said.Msg))
	}
	if text := oneLine(complaint.kept.String()); text != "" {
		return nil, pluginError("plugin %s failed on %s: %w: %s", name, e.verb, err, text)
	}
	return nil, pluginError("plugin %s failed on %s: %w", name, e.verb, err)
}

// oneLine is a foreign text made fit for an error: one line, printable, not long.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > 1000 {
		text = strings.ToValidUTF8(text[:1000], "") + " ..."
	}
	return text
}

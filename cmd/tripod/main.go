// Command tripod runs containers and Pods on one Linux host, from docker's words or from Kubernetes manifests.
// Each verb is one file: it translates words, asks internal/engine and internal/sandbox, and prints.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"tripod/internal/registry"
)

// exitTool is what docker and podman answer when the tool itself failed, not the command in the container.
const exitTool = 125

// app is what every verb is given: where tripod keeps its things, and whom it talks to.
type app struct {
	args          []string // behind the name of the program
	root, runRoot string
	logLevel      string
	in            *os.File
	out, err      io.Writer
}

// exitError ends the command with a code of its own. Without an error nothing more is said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// hinted is an error that knows what to do about it.
type hinted interface {
	error
	Hint() string
}

// quickGC is how much garbage, in percent of what lives, a command may make before it is collected: most commands end
// before that is worth the time.
const quickGC = 800

func main() {
	debug.SetGCPercent(quickGC)
	a := &app{args: os.Args[1:], in: os.Stdin, out: os.Stdout, err: os.Stderr}
	root := newRoot(a)
	if filepath.Base(os.Args[0]) == "docker" {
		root = newDocker(a)
	}
	os.Exit(a.execute(root, a.args))
}

// main runs one command line of tripod and returns the exit code.
func (a *app) main(args []string) int {
	a.args = args
	return a.execute(newRoot(a), args)
}

// execute runs one command line, of tripod or of another name that it has.
func (a *app) execute(root *cobra.Command, args []string) int {
	root.SetArgs(args)
	run := root.ExecuteContextC
	if cmd, words, err := root.Find(args); err == nil && handsOver(cmd.Name(), words) {
		run = func(context.Context) (*cobra.Command, error) { return cmd, a.becomeAPI(cmd, words) }
	}
	cmd, err := run(context.Background())
	if err == nil {
		return 0
	}
	code := 1
	if runsCommand(cmd) {
		code = exitTool
	}
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
		if exit.err == nil {
			return code
		}
	}
	a.complain(err)
	return code
}

// runsCommand reports whether the verb's exit code is that of a command in a container,
// so that a failure of our own must be told apart from it.
func runsCommand(cmd *cobra.Command) bool {
	switch cmd.Name() {
	case "run", "exec", "enter", "attach":
		return true
	}
	return false
}

// complain prints an error as "tripod: …", one line each, and its hint below.
func (a *app) complain(err error) {
	for _, e := range split(err) {
		fmt.Fprintf(a.err, "tripod: %v\n", e)
		var h hinted
		if errors.As(e, &h) && h.Hint() != "" {
			fmt.Fprintf(a.err, "hint: %s\n", h.Hint())
		}
	}
}

// split returns the errors that errors.Join put together, or the error itself.
func split(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, split(e)...)
	}
	return all
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:     "tripod",
		Version: version,
		Short:   "Run containers and Pods on this host",
		Long: `tripod runs containers and Pods on one Linux host: images, namespaces, cgroups and
networks, from docker's words (tripod run IMAGE) or from Kubernetes manifests
(tripod run -f FILE). That needs no daemon. apply, get and kubectl's other verbs speak to
tripodd, which is Kubernetes' API and controllers on this host and is started when it is needed.`,
		Example: `  tripod run -it --rm busybox
  tripod run -f pod.yaml
  tripod ps
  tripod exec -it web -c nginx -- sh`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.prepare() },
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	flags := root.PersistentFlags()
	flags.StringVar(&a.root, "root", env("TRIPOD_ROOT", "/var/lib/tripod"), "where images, volumes and logs are kept (TRIPOD_ROOT)")
	flags.StringVar(&a.runRoot, "run-root", env("TRIPOD_RUN_ROOT", "/run/tripod"), "where running Pods are kept (TRIPOD_RUN_ROOT)")
	flags.StringVar(&a.logLevel, "log-level", "warn", "what is said on stderr: debug, info, warn or error")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{err: err, hint: "see " + cmd.CommandPath() + " --help"}
	})
	root.AddCommand(verbs(a)...)
	return root
}

// usageError is a mistake in the words of the command line.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }
func (e *usageError) Hint() string  { return e.hint }

// misuse is a usageError with a hint.
func misuse(hint, format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...), hint: hint}
}

// prepare checks the global flags and starts the log.
func (a *app) prepare() error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return misuse("use debug, info, warn or error", "cannot use --log-level %q: no such level", a.logLevel)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level})))
	registry.RouteLog()
	for _, dir := range []*string{&a.root, &a.runRoot} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return fmt.Errorf("cannot use folder %s: %w", *dir, err)
		}
		*dir = abs
	}
	return nil
}

// env is the value of a variable of the environment, or what holds without it.
func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tripod/internal/keeper"
	"tripod/internal/owner"
	"tripod/internal/sandbox"
)

// execFlags are the words of exec.
type execFlags struct {
	namespace, container string
	stdin, tty           bool
	user, cwd            string
	env                  []string
	privileged, each     bool
}

func newExec(a *app) *cobra.Command {
	var f execFlags
	cmd := &cobra.Command{
		Use:   "exec POD [-c CONTAINER] -- COMMAND [ARG...]",
		Short: "Run a command in a container",
		Long: `Run a command in a running container. The exit code is the command's; 126 says that it
cannot be executed, 127 that it is not there, 125 that tripod itself failed.

With --each it is run in every running container of the Pod at once; equal answers are printed
once, behind the names of their containers, and the exit code is the highest.`,
		Example: `  tripod exec web -- ls /
  tripod exec -it web -c nginx -- bash
  tripod exec --user www-data --cwd /tmp --env A=b web -- env
  tripod exec --each web -- cat /etc/resolv.conf`,
		Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return a.completePods(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			args, err := a.behindPod(cmd, args)
			if err != nil {
				return err
			}
			if len(args) < 2 {
				return misuse("write it after --: tripod exec "+args[0]+" -- COMMAND", "cannot run a command in Pod %s: no command", args[0])
			}
			if strings.Contains(args[0], "://") {
				hint := "tripod enter " + args[0] + " -- " + strings.Join(args[1:], " ")
				return misuse(hint, "cannot run a command in %s: exec is for Pods of tripod, enter for all containers", owner.Sanitise(args[0]))
			}
			if f.each {
				return a.execEach(cmd.Context(), args[0], args[1:], f)
			}
			return a.exec(cmd, args[0], args[1:], f)
		},
	}
	a.namespaceFlag(cmd, &f.namespace)
	flags := cmd.Flags()
	flags.SetInterspersed(a.completing())
	flags.StringVarP(&f.container, "container", "c", "", "in this container")
	flags.BoolVarP(&f.stdin, "stdin", "i", false, "pass stdin on")
	flags.BoolVarP(&f.tty, "tty", "t", false, "give it a terminal")
	flags.StringVarP(&f.user, "user", "u", "", "as this user: UID[:GID] or NAME[:GROUP]")
	flags.StringVarP(&f.cwd, "cwd", "w", "", "in this folder")
	flags.StringVar(&f.cwd, "workdir", "", "in this folder")
	_ = flags.MarkHidden("workdir")
	flags.StringArrayVarP(&f.env, "env", "e", nil, "with a variable: NAME=VALUE, or NAME to pass ours on")
	flags.BoolVar(&f.privileged, "privileged", false, "with all capabilities and no seccomp filter")
	flags.BoolVar(&f.each, "each", false, "in every running container of the Pod")
	_ = cmd.RegisterFlagCompletionFunc("container", a.completeContainers)
	return cmd
}

// behindPod reads the flags between the Pod and the command. What follows the command's first word is the command's own,
// as for docker exec, with -- before it or without.
func (a *app) behindPod(cmd *cobra.Command, args []string) ([]string, error) {
	flags := cmd.Flags()
	if flags.ArgsLenAtDash() == 0 { // exec -- POD COMMAND
		return args, nil
	}
	if err := flags.Parse(args[1:]); err != nil {
		return nil, cmd.FlagErrorFunc()(cmd, err)
	}
	if help, err := flags.GetBool("help"); err == nil && help {
		return nil, pflag.ErrHelp
	}
	return append(args[:1:1], flags.Args()...), a.prepare()
}

// completing reports whether a shell asks for what a word could be; then flags are looked for everywhere.
func (a *app) completing() bool {
	return len(a.args) > 0 && strings.HasPrefix(a.args[0], cobra.ShellCompRequestCmd)
}

func (a *app) exec(cmd *cobra.Command, word string, args []string, f execFlags) error {
	box, err := a.host().Find(f.namespace, word)
	if err != nil {
		return err
	}
	c, err := a.container(box, f.container)
	if err != nil {
		return err
	}
	r := keeper.ExecRequest{
		Container: c.Name, Args: args, Env: passOn(f.env, os.Environ()), Cwd: f.cwd,
		Privileged: f.privileged, TTY: f.tty, Kill: true,
	}
	if f.user != "" {
		if r.User, err = box.User(c.Name, f.user); err != nil {
			return err
		}
	}
	client, err := box.Keeper()
	if err != nil {
		return fmt.Errorf("cannot run a command in Pod %s: %w", box, err)
	}
	t, err := a.terminal(f.stdin, f.tty, nil)
	if err != nil {
		return err
	}
	defer t.restore()
	r.Streams, r.Size = t.streams, t.size
	exit, err := client.Exec(cmd.Context(), r)
	t.restore()
	if err != nil {
		return execError(box, c.Name, args[0], err)
	}
	return exitCode(exit.Code)
}

// exitCode passes a command's exit code on.
func exitCode(code int) error {
	if code == 0 {
		return nil
	}
	return &exitError{code: code}
}

// execError says why a command did not start, with the exit code that a shell would have.
func execError(box *sandbox.Sandbox, container, program string, err error) error {
	err = fmt.Errorf("cannot run %s in container %s of Pod %s: %w", program, container, box, err)
	var refused *keeper.RefusedError
	if !errors.As(err, &refused) || refused.Code == 0 {
		return err
	}
	if refused.Code == 127 {
		err = &usageError{err, missingHint(box, container, program)}
	}
	return &exitError{refused.Code, err}
}

// missingHint says what to do about a command that is not there: a shell that is there, for a shell that is not; tools that come
// along, where there is none.
func missingHint(box *sandbox.Sandbox, container, program string) string {
	in := box.Pod.Name + " -c " + container
	for _, shell := range []string{"sh", "ash", "dash", "bash"} {
		switch {
		case shell == program || !box.Has(container, "/bin/"+shell):
		case strings.HasSuffix(program, "sh"):
			return "the image has no " + program + "; try " + shell
		default:
			return "see what is there: tripod exec " + in + " -- ls /bin"
		}
	}
	return "the image has no shell; bring tools along: tripod enter " + in + " --tools -- " + program
}

// passOn fills in our values of variables that are given by name alone; those that we do not have are left out.
func passOn(words, environ []string) []string {
	var env []string
	for _, word := range words {
		if strings.Contains(word, "=") {
			env = append(env, word)
			continue
		}
		for _, e := range environ {
			if strings.HasPrefix(e, word+"=") {
				env = append(env, e)
			}
		}
	}
	return env
}

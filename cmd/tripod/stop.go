package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tripod/internal/life"
	"tripod/internal/sandbox"
)

// someFlags say which Pods a verb is for.
type someFlags struct {
	namespace string
	all       bool
	selector  string
}

func (a *app) someFlags(cmd *cobra.Command, f *someFlags) {
	a.namespaceFlag(cmd, &f.namespace)
	cmd.Flags().BoolVarP(&f.all, "all", "a", false, "all Pods of the namespace")
	cmd.Flags().StringVarP(&f.selector, "selector", "l", "", "Pods with these labels: a=b,c!=d,e,!f")
	cmd.ValidArgsFunction = a.completePods
}

// some are the Pods that the words mean. Nothing is done to any of them if one is not there.
func (a *app) some(f someFlags, words []string) ([]*sandbox.Sandbox, error) {
	if len(words) == 0 && !f.all && f.selector == "" {
		return nil, misuse("name a Pod, or use --all or -l", "no Pod is named")
	}
	if len(words) > 0 && (f.all || f.selector != "") {
		return nil, misuse("leave out one of them", "cannot use --all or -l with the name of a Pod")
	}
	match, err := parseSelector(f.selector)
	if err != nil {
		return nil, err
	}
	boxes, err := a.boxes(a.host(), f.namespace, false, words)
	if err != nil {
		return nil, err
	}
	var chosen []*sandbox.Sandbox
	for _, box := range boxes {
		if match.matches(box.Pod) {
			chosen = append(chosen, box)
		}
	}
	return chosen, nil
}

func newStop(a *app) *cobra.Command {
	var f someFlags
	var grace int64
	cmd := &cobra.Command{
		Use:   "stop POD...",
		Short: "Stop Pods",
		Long:  "Send each container its stop signal, then SIGKILL when the grace period is over. A stopped Pod keeps its logs until it is removed.",
		Example: `  tripod stop web
  tripod stop --grace-period 2 web shop/db
  tripod stop --all`,
		RunE: func(cmd *cobra.Command, args []string) error {
			boxes, err := a.some(f, args)
			if err != nil {
				return err
			}
			return all(boxes, func(box *sandbox.Sandbox) error {
				if err := box.Stop(cmd.Context(), time.Duration(grace)*time.Second); err != nil {
					return err
				}
				return a.print("pod/%s stopped\n", box.Pod.Name)
			})
		},
	}
	a.someFlags(cmd, &f)
	cmd.Flags().Int64VarP(&grace, "grace-period", "t", -1, "seconds from the stop signal to SIGKILL (the Pod's own)")
	cmd.Flags().Int64Var(&grace, "time", -1, "as --grace-period")
	_ = cmd.Flags().MarkHidden("time")
	return cmd
}

func newKill(a *app) *cobra.Command {
	var f someFlags
	var word, container string
	cmd := &cobra.Command{
		Use:   "kill POD...",
		Short: "Send a signal to containers",
		Long:  "Send a signal to the first process of each running container, or of one with -c. The restart policy holds.",
		Example: `  tripod kill web
  tripod kill -s HUP web -c nginx`,
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := life.Signal(word)
			if err != nil {
				return misuse("use a name such as HUP, or a number", "cannot send signal %q: %w", word, err)
			}
			boxes, err := a.some(f, args)
			if err != nil {
				return err
			}
			return all(boxes, func(box *sandbox.Sandbox) error {
				if err := box.Signal(cmd.Context(), container, number); err != nil {
					return err
				}
				return a.print("pod/%s signalled\n", box.Pod.Name)
			})
		},
	}
	a.someFlags(cmd, &f)
	cmd.Flags().StringVarP(&word, "signal", "s", "KILL", "the signal")
	cmd.Flags().StringVarP(&container, "container", "c", "", "to this container only")
	_ = cmd.RegisterFlagCompletionFunc("container", a.completeContainers)
	return cmd
}

func newRm(a *app) *cobra.Command {
	var f someFlags
	var force, ignore bool
	cmd := &cobra.Command{
		Use:     "rm POD...",
		Aliases: []string{"remove"},
		Short:   "Remove Pods with their logs and volumes",
		Example: `  tripod rm web
  tripod rm -f web db
  tripod rm -f --all`,
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := a.engine()
			if err != nil {
				return err
			}
			if err := e.Sweep(cmd.Context()); err != nil {
				a.complain(err)
			}
			boxes, err := a.some(f, args)
			if err != nil {
				if ignore && isNotFound(err) {
					return nil
				}
				return err
			}
			return all(boxes, func(box *sandbox.Sandbox) error {
				if err := e.Remove(cmd.Context(), box, force); err != nil {
					return err
				}
				return a.print("pod/%s removed\n", box.Pod.Name)
			})
		},
	}
	a.someFlags(cmd, &f)
	cmd.Flags().BoolVarP(&force, "force", "f", false, "kill what runs")
	cmd.Flags().BoolVarP(&ignore, "ignore", "i", false, "a Pod that is not there is no error")
	return cmd
}

// print writes output, one call a whole piece.
func (a *app) print(format string, args ...any) error {
	_, err := fmt.Fprintf(a.out, format, args...)
	return err
}

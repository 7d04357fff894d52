package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/engine"
)

// explainFlags are the words of explain.
type explainFlags struct {
	namespace, container string
	file                 []string
	at                   string
	script               bool
}

func newExplain(a *app) *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain POD | -f FILE | IMAGE [COMMAND]",
		Short: "Show what a Pod is made of, down to the system calls",
		Long: `Show a Pod, or what a manifest or image would become, at one of its hops:

  pod    the Kubernetes object, with all defaults
  life   what happens to its containers, and when
  spec   the OCI runtime specification of each container
  plan   every system call that makes each container, in order, with the field that asks for it

Nothing is made. Images that are not here are not pulled. --script prints the plan as shell lines
that a person can type.`,
		Example: `  tripod explain web
  tripod explain web -c nginx --at spec
  tripod explain -f pod.yaml --at life
  tripod explain host:/ echo hello
  tripod explain busybox --script`,
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.explain(cmd, f, args)
		},
	}
	a.namespaceFlag(cmd, &f.namespace)
	flags := cmd.Flags()
	flags.SetInterspersed(true)
	flags.StringVarP(&f.container, "container", "c", "", "this container only")
	flags.StringArrayVarP(&f.file, "file", "f", nil, "the Pods of this manifest")
	flags.StringVar(&f.at, "at", "plan", "pod, life, spec or plan")
	flags.BoolVar(&f.script, "script", false, "print the plan as shell lines")
	_ = cmd.RegisterFlagCompletionFunc("at", cobra.FixedCompletions([]string{"pod", "life", "spec", "plan"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) explain(cmd *cobra.Command, f explainFlags, args []string) error {
	switch f.at {
	case "pod", "life", "spec", "plan":
	default:
		return misuse("use pod, life, spec or plan", "cannot explain at %q: no such hop", f.at)
	}
	e, err := a.engine()
	if err != nil {
		return err
	}
	all, err := a.explained(cmd, e, f, args)
	if err != nil {
		return err
	}
	for _, x := range all {
		if err := a.printExplained(x, f); err != nil {
			return err
		}
	}
	return nil
}

// explained are the Pods that the words mean: a Pod that is here wins over an image of its name.
func (a *app) explained(cmd *cobra.Command, e *engine.Engine, f explainFlags, args []string) ([]*engine.Explained, error) {
	var pods []*corev1.Pod
	switch {
	case len(f.file) > 0 && len(args) > 0:
		return nil, misuse("leave out one of them", "cannot explain a manifest and %s at once", args[0])
	case len(f.file) > 0:
		var err error
		if pods, err = a.manifests(cmd.Context(), f.file); err != nil {
			return nil, err
		}
	case len(args) == 0:
		return nil, misuse("name a Pod or an image, or use -f", "there is nothing to explain")
	default:
		if len(args) == 1 {
			box, err := e.Host.Find(f.namespace, args[0])
			if err == nil {
				x, err := e.Explain(cmd.Context(), box)
				return []*engine.Explained{x}, err
			}
			if !isNotFound(err) {
				return nil, err
			}
		}
		pod, err := podOf(runFlags{namespace: f.namespace, pull: "never"}, args[0], args[1:], surroundings{suffix: "xxxxx"})
		if err != nil {
			return nil, err
		}
		if pod, err = checked(pod); err != nil {
			return nil, err
		}
		pods = []*corev1.Pod{pod}
	}
	var all []*engine.Explained
	var errs []error
	for _, pod := range pods {
		x, err := e.Imagine(cmd.Context(), pod)
		all, errs = append(all, x), append(errs, err)
	}
	return all, errors.Join(errs...)
}

func (a *app) printExplained(x *engine.Explained, f explainFlags) error {
	switch f.at {
	case "pod":
		return output("yaml").object(a.out, x.Pod)
	case "life":
		return output("json").object(a.out, x.Life)
	}
	found := false
	for _, c := range x.Containers {
		if f.container != "" && f.container != c.Name {
			continue
		}
		found = true
		var err error
		switch {
		case f.at == "spec":
			err = output("json").object(a.out, c.Spec)
		case f.script:
			err = a.print("# container %s of Pod %s\n%s", c.Name, x.Pod.Name, c.Plan.Script())
		default:
			err = a.print("# container %s of Pod %s\n%s\n", c.Name, x.Pod.Name, c.Plan)
		}
		if err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("cannot explain container %s: Pod %s has none of this name", f.container, x.Pod.Name)
	}
	return nil
}

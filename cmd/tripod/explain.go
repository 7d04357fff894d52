package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/bundle"
	"tripod/internal/engine"
	"tripod/internal/owner"
	"tripod/internal/sandbox"
)

// explainFlags are the words of explain.
type explainFlags struct {
	namespace, container string
	file                 []string
	at                   string
	script               bool
	parts                []string
	out                  output
}

// explainParts are the words of --part.
var explainParts = []string{"namespace", "hostname", "sysctl", "address", "firewall", "cgroup", "process", "environment", "mount", "mask", "capability", "seccomp"}

func newExplain(a *app) *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain POD | -f FILE | IMAGE [COMMAND]",
		Short: "Show what a Pod is made of, down to the system calls",
		Long: `Show what a Pod is made of, or what a manifest or image would become: each namespace, mount,
variable, capability, cgroup file, address and firewall rule, what it is, and which field or
default asked for it. With --at, show it at one of its hops:

  parts  all of that, which is the default
  pod    the Kubernetes object, with all defaults
  life   what happens to its containers, and when
  spec   the OCI runtime specification of each container
  plan   every system call that makes each container, in order, with the field that asks for it

Nothing is made. Images that are not here are not pulled. --script prints the plan as shell lines
that a person can type.`,
		Example: `  tripod explain web
  tripod explain web -c nginx --part mount,capability
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
	flags.StringVar(&f.at, "at", "", "parts, pod, life, spec or plan")
	flags.StringSliceVar(&f.parts, "part", nil, "only these of the parts: "+strings.Join(explainParts, ", "))
	bindOutput(cmd, &f.out, dataOutputs...)
	flags.BoolVar(&f.script, "script", false, "print the plan as shell lines")
	_ = cmd.RegisterFlagCompletionFunc("at", cobra.FixedCompletions(explainHops, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("part", cobra.FixedCompletions(explainParts, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// explainHops are the words of --at.
var explainHops = []string{"parts", "pod", "life", "spec", "plan"}

// check settles what the words mean together.
func (f *explainFlags) check() error {
	switch {
	case f.at == "" && f.script:
		f.at = "plan"
	case f.at == "":
		f.at = "parts"
	}
	if !slices.Contains(explainHops, f.at) {
		return misuse("use parts, pod, life, spec or plan", "cannot explain at %q: no such hop", f.at)
	}
	if f.script && f.at != "plan" {
		return misuse("leave out --at", "cannot print %s as a script: only the plan", f.at)
	}
	if f.at != "parts" && (f.out != "" || len(f.parts) > 0) {
		return misuse("leave out --at", "cannot use -o and --part with --at %s", f.at)
	}
	for _, p := range f.parts {
		if !slices.Contains(explainParts, p) {
			return misuse("use "+strings.Join(explainParts, ", "), "cannot explain part %q: no such part", p)
		}
	}
	return f.out.check(dataOutputs)
}

func (a *app) explain(cmd *cobra.Command, f explainFlags, args []string) error {
	if err := f.check(); err != nil {
		return err
	}
	e, err := a.engine()
	if err != nil {
		return err
	}
	all, box, err := a.explained(cmd, e, f, args)
	if err != nil {
		return err
	}
	for _, x := range all {
		if f.at == "parts" {
			o, err := e.Origins(cmd.Context(), x, box)
			if err != nil {
				return err
			}
			if err := a.printOrigins(o, f); err != nil {
				return err
			}
			continue
		}
		if err := a.printExplained(x, f); err != nil {
			return err
		}
	}
	return nil
}

// explained are the Pods that the words mean: a Pod that is here wins over an image of its name.
func (a *app) explained(cmd *cobra.Command, e *engine.Engine, f explainFlags, args []string) ([]*engine.Explained, *sandbox.Sandbox, error) {
	var pods []*corev1.Pod
	switch {
	case len(f.file) > 0 && len(args) > 0:
		return nil, nil, misuse("leave out one of them", "cannot explain a manifest and %s at once", args[0])
	case len(f.file) > 0:
		var err error
		if pods, err = a.manifests(cmd.Context(), f.file); err != nil {
			return nil, nil, err
		}
	case len(args) == 0:
		return nil, nil, misuse("name a Pod or an image, or use -f", "there is nothing to explain")
	default:
		if len(args) == 1 {
			box, err := e.Host.Find(f.namespace, args[0])
			if err == nil {
				x, err := e.Explain(cmd.Context(), box)
				return []*engine.Explained{x}, box, err
			}
			if !isNotFound(err) {
				return nil, nil, err
			}
		}
		pod, err := podOf(runFlags{namespace: f.namespace, pull: "never"}, args[0], args[1:], surroundings{suffix: "xxxxx"})
		if err != nil {
			return nil, nil, err
		}
		if pod, err = checked(pod); err != nil {
			return nil, nil, err
		}
		pods = []*corev1.Pod{pod}
	}
	var all []*engine.Explained
	var errs []error
	for _, pod := range pods {
		x, err := e.Imagine(cmd.Context(), pod)
		all, errs = append(all, x), append(errs, err)
	}
	return all, nil, errors.Join(errs...)
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

// printOrigins prints what a Pod and its containers have, a table for each.
func (a *app) printOrigins(o *engine.Origins, f explainFlags) error {
	chosen := func(things []bundle.Origin) []bundle.Origin {
		return slices.DeleteFunc(things, func(t bundle.Origin) bool { return len(f.parts) > 0 && !slices.Contains(f.parts, t.Part) })
	}
	if o.Things = chosen(o.Things); f.container != "" {
		o.Things = nil
	}
	for i := range o.Containers {
		o.Containers[i].Things = chosen(o.Containers[i].Things)
	}
	if f.container != "" {
		o.Containers = slices.DeleteFunc(o.Containers, func(c engine.ContainerOrigins) bool { return c.Name != f.container })
		if len(o.Containers) == 0 {
			return fmt.Errorf("cannot explain container %s: Pod %s has none of this name", f.container, o.Pod)
		}
	}
	if f.out != "" {
		return f.out.object(a.out, o)
	}
	if len(o.Things) > 0 {
		if err := a.printThings("Pod "+o.Pod, o.Things); err != nil {
			return err
		}
	}
	for _, c := range o.Containers {
		title := "container " + c.Name
		if c.Init {
			title = "init " + title
		}
		if err := a.printThings(title, c.Things); err != nil {
			return err
		}
	}
	return nil
}

// printThings prints a list: each thing, and below it what it is and what asked for it. What is said of several things
// one after another is said once.
func (a *app) printThings(title string, things []bundle.Origin) error {
	if err := a.print("# %s\n", title); err != nil {
		return err
	}
	for len(things) > 0 {
		o := things[0]
		var names []string
		for len(things) > 0 && things[0].Part == o.Part && things[0].Meaning == o.Meaning && things[0].From == o.From {
			names = append(names, owner.Sanitise(things[0].What))
			things = things[1:]
		}
		note := "<- " + o.From
		if o.Meaning != "" {
			note = owner.Sanitise(o.Meaning) + " " + note
		}
		lines := wrap(names, explainWidth)
		for i, line := range append(lines, "  "+note) {
			part := ""
			if i == 0 {
				part = o.Part
			}
			if err := a.print("%-12s %s\n", part, line); err != nil {
				return err
			}
		}
	}
	return a.print("\n")
}

// explainWidth is how long a line of several things becomes, in bytes.
const explainWidth = 88

// wrap puts words into lines.
func wrap(words []string, width int) []string {
	var lines []string
	for _, word := range words {
		if n := len(lines) - 1; n >= 0 && len(lines[n])+1+len(word) <= width {
			lines[n] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
)

func newPs(a *app) *cobra.Command {
	var (
		namespace                  string
		all, quiet, bare, byMember bool
		processes                  bool
		o                          output
		selector                   string
	)
	cmd := &cobra.Command{
		Use:        "ps [POD...]",
		Aliases:    []string{"list"},
		SuggestFor: []string{"port"},
		Short:      "List Pods",
		Long: `List Pods, those that have ended too, one a line; with --containers one container a line.

With --host, list the processes of the named containers, or of all on this host, whatever runtime
made them: with their PIDs and users on the host and in the container. -A --host lists the host's
own processes too.`,
		Example: `  tripod ps
  tripod ps -A -o wide
  tripod ps --containers
  tripod ps --host web
  tripod ps -l app=web -o jsonpath='{.items[*].status.podIP}'`,
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(tableOutputs); err != nil {
				return err
			}
			if processes {
				if quiet {
					o = "name"
				}
				return a.psHost(args, all, bare, o)
			}
			match, err := parseSelector(selector)
			if err != nil {
				return err
			}
			pods, err := a.pods(cmd.Context(), namespace, all, args)
			if err != nil {
				return err
			}
			pods = match.choose(pods)
			switch {
			case quiet, o == "name":
				return printNames(a.out, pods, quiet)
			case o != "" && o != "wide":
				if len(args) == 1 && len(pods) == 1 {
					return o.object(a.out, pods[0])
				}
				return o.object(a.out, listOf(pods))
			case len(pods) == 0:
				return a.say("No Pods found%s.", where(namespace, all))
			}
			t := podTable(pods, all, o == "wide", time.Now())
			if byMember {
				t = containerTable(pods, all, o == "wide", time.Now())
			}
			return t.print(a.out, !bare)
		},
	}
	a.namespaceFlag(cmd, &namespace)
	f := cmd.Flags()
	f.BoolVarP(&all, "all-namespaces", "A", false, "Pods of every namespace")
	f.BoolVarP(&quiet, "quiet", "q", false, "UIDs only")
	f.BoolVar(&bare, "no-headers", false, "no header line")
	f.BoolVar(&byMember, "containers", false, "one container a line")
	f.BoolVar(&processes, "host", false, "processes of containers of any runtime, as the host sees them")
	f.StringVarP(&selector, "selector", "l", "", "Pods with these labels: a=b,c!=d,e,!f")
	bindOutput(cmd, &o, tableOutputs...)
	return cmd
}

// pods are the named Pods, or all of a namespace, or of all, with their status of now.
func (a *app) pods(ctx context.Context, namespace string, all bool, words []string) ([]*corev1.Pod, error) {
	e, err := a.engine()
	if err != nil {
		return nil, err
	}
	if err := e.Sweep(ctx); err != nil {
		a.complain(err)
	}
	boxes, err := a.boxes(e.Host, namespace, all, words)
	if err != nil {
		return nil, err
	}
	var pods []*corev1.Pod
	for _, box := range boxes {
		pod, err := e.Look(ctx, box)
		if err != nil {
			return nil, err
		}
		pods = append(pods, pod)
	}
	return pods, nil
}

package main

import (
	"github.com/spf13/cobra"
)

func newInspect(a *app) *cobra.Command {
	var namespace string
	o := output("")
	cmd := &cobra.Command{
		Use:   "inspect POD...",
		Short: "Print all that is known of Pods",
		Long:  "Print Pods as Kubernetes objects, with their status: processes, addresses, exits.",
		Example: `  tripod inspect web
  tripod inspect web -o yaml
  tripod inspect web -o jsonpath='{.status.podIP}'`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(objectOutputs); err != nil {
				return err
			}
			pods, err := a.pods(cmd.Context(), namespace, false, args)
			if err != nil {
				return err
			}
			switch {
			case o == "name":
				return printNames(a.out, pods, false)
			case len(pods) == 1:
				return o.object(a.out, pods[0])
			}
			return o.object(a.out, listOf(pods))
		},
	}
	a.namespaceFlag(cmd, &namespace)
	bindOutput(cmd, &o, objectOutputs...)
	return cmd
}

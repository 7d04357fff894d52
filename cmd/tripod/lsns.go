package main

import (
	"github.com/spf13/cobra"

	"tripod/internal/lsns"
)

func newLsns(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "lsns [OPTION...] [NAMESPACE | POD[/CONTAINER]]",
		Short: "List the namespaces of the host and whose they are",
		Long: `List the namespaces of the host: lsns(8) of util-linux, option by option, which knows the
Pods and containers of any runtime and says what holds a namespace that has no process.
tripod lsns --help has all options and columns.`,
		Example: `  tripod lsns
  tripod lsns --pods -t net
  tripod lsns web
  tripod lsns -o +POD,HOLDER,IP -Q 'NPROCS == 0'`,
		DisableFlagParsing: true,
		RunE:               a.becomeOCI,
		ValidArgsFunction: func(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			return lsns.Complete(args, word), cobra.ShellCompDirectiveNoFileComp
		},
	}
}

package main

import (
	"github.com/spf13/cobra"
)

// newSettle is what a keeper runs when its Pod has ended: the Pod's addresses and host ports are free again then, though
// its records and logs stay.
func newSettle(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "settle UID",
		Short:  "Give back the network of a Pod that has ended",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.host().Settle(cmd.Context(), args[0])
		},
	}
}

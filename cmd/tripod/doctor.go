package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tripod/internal/engine"
)

func newDoctor(a *app) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check this host, and look for what was left behind",
		Long: `Check what Pods need of this host (privileges, kernel, cgroups, overlay, network) and look for
what is left of Pods that are gone. Nothing is changed. The exit code is 1 when something is wrong.`,
		Example: "  tripod doctor\n  tripod doctor -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check([]string{"json", "yaml", "jsonpath=TEMPLATE"}); err != nil {
				return err
			}
			e := &engine.Engine{Host: a.host()} // no store: opening one makes folders
			findings := e.Examine(cmd.Context())
			wrong := 0
			for _, f := range findings {
				if !f.Good {
					wrong++
				}
			}
			if o != "" {
				if err := o.object(a.out, listOf(findings)); err != nil {
					return err
				}
			} else {
				for _, f := range findings {
					word := "ok   "
					if !f.Good {
						word = "WRONG"
					}
					fmt.Fprintf(a.out, "%s  %-10s  %s\n", word, f.Area, f.Text)
					if f.Hint != "" {
						fmt.Fprintf(a.out, "       %-10s  hint: %s\n", "", f.Hint)
					}
				}
			}
			if wrong > 0 {
				return &exitError{code: 1}
			}
			return nil
		},
	}
	bindOutput(cmd, &o, "json", "yaml", "jsonpath=TEMPLATE")
	return cmd
}

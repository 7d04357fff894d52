package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func newNsenter(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "nsenter [OPTION...] [POD[/CONTAINER]] [COMMAND [ARG...]]",
		Short: "Run a program in namespaces of another process",
		Long: `Run a program in namespaces of another process: nsenter(1) of util-linux, option by option,
which takes names beside PIDs: POD[/CONTAINER], docker://NAME, cri://ID, podman://NAME,
unit://NAME.service, ip://ADDRESS. tripod nsenter --help has all options.`,
		Example: `  tripod nsenter web/nginx
  tripod nsenter -t 4711 -n ip addr
  tripod nsenter --explain -n docker://db ss -ltn`,
		DisableFlagParsing: true,
		RunE:               a.becomeOCI,
	}
}

// becomeOCI executes tripod-oci, which is the command of this name too.
func (a *app) becomeOCI(cmd *cobra.Command, args []string) error {
	return a.become("tripod-oci", cmd, args, cmd.Name())
}

// become executes another program of ours in the place of this one. Its words are front and those behind the command's
// name; the words before that are ours, and the program is told of them by the environment.
func (a *app) become(name string, cmd *cobra.Command, args []string, front ...string) error {
	before := max(0, slices.Index(a.args, cmd.Name()))
	if err := cmd.Root().PersistentFlags().Parse(args[:before]); err != nil {
		return err
	}
	if err := a.prepare(); err != nil {
		return err
	}
	for name, value := range map[string]string{"TRIPOD_ROOT": a.root, "TRIPOD_RUN_ROOT": a.runRoot} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	program := beside(name)
	err := unix.Exec(program, append(front, args[before:]...), os.Environ())
	return fmt.Errorf("cannot run %s: %w", program, err)
}

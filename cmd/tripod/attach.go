package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"tripod/internal/keeper"
)

func newAttach(a *app) *cobra.Command {
	var namespace, container, keys string
	var noStdin bool
	cmd := &cobra.Command{
		Use:   "attach POD [-c CONTAINER]",
		Short: "Connect to what a container reads and writes",
		Long: `Connect this terminal to the input and output of a container's own process. The detach
keys leave it running; the exit code is the process' own.`,
		Example: `  tripod attach web
  tripod attach web -c nginx --no-stdin`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			sequence, err := detachKeys(keys)
			if err != nil {
				return err
			}
			box, err := a.host().Find(namespace, args[0])
			if err != nil {
				return err
			}
			c, err := a.container(box, container)
			if err != nil {
				return err
			}
			client, err := box.Keeper()
			if err != nil {
				return fmt.Errorf("cannot attach: %w", err)
			}
			t, err := a.terminal(c.Stdin && !noStdin, c.TTY, sequence)
			if err != nil {
				return err
			}
			defer t.restore()
			exit, err := attach(cmd.Context(), client, c.Name, t, nil)
			t.restore()
			if errors.Is(err, errDetached) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("cannot attach to container %s of Pod %s: %w", c.Name, box, err)
			}
			return exitCode(exit.Code)
		},
	}
	a.namespaceFlag(cmd, &namespace)
	cmd.Flags().StringVarP(&container, "container", "c", "", "of this container")
	cmd.Flags().StringVar(&keys, "detach-keys", defaultDetachKeys, "keys that leave it running")
	cmd.Flags().BoolVar(&noStdin, "no-stdin", false, "do not pass stdin on")
	_ = cmd.RegisterFlagCompletionFunc("container", a.completeContainers)
	return cmd
}

// attach connects a container to our streams until it ends, or the detach keys are typed, which is exit code 0.
func attach(ctx context.Context, client *keeper.Client, container string, t *terminal, attached func()) (keeper.Exit, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.left, cancel)()
	exit, err := client.Attach(ctx, keeper.AttachRequest{Container: container, Attached: attached, Streams: t.streams})
	if t.left.Err() != nil {
		return keeper.Exit{}, errDetached
	}
	return exit, err
}

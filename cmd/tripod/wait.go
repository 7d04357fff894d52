package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tripod/internal/engine"
	"tripod/internal/sandbox"
)

func newWait(a *app) *cobra.Command {
	var f someFlags
	var until string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait POD...",
		Short: "Wait until Pods have ended, or are ready",
		Long: `Wait until Pods have ended and print the exit code of each, or, with --for, until a
condition holds. The exit code is 0 when it holds for all, 1 when that can never be or the time is over.`,
		Example: `  tripod wait job
  tripod wait --for ready --timeout 30s web
  tripod wait --for delete web`,
		RunE: func(cmd *cobra.Command, args []string) error {
			goal, err := parseGoal(until)
			if err != nil {
				return err
			}
			e, err := a.engine()
			if err != nil {
				return err
			}
			boxes, err := a.some(f, args)
			if goal == engine.Deleted && isNotFound(err) {
				return nil
			}
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			return all(boxes, func(box *sandbox.Sandbox) error { return a.wait(ctx, e, box, goal) })
		},
	}
	a.someFlags(cmd, &f)
	cmd.Flags().StringVar(&until, "for", "ended", "ended, ready, running or delete")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up after this time; 0 is never")
	return cmd
}

func (a *app) wait(ctx context.Context, e *engine.Engine, box *sandbox.Sandbox, goal engine.Goal) error {
	pod, err := e.Wait(ctx, box, goal)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("cannot wait for Pod %s any longer: the time is over", box)
	}
	if err != nil {
		return err
	}
	switch goal {
	case engine.Ended:
		return a.print("%d\n", podExitCode(pod))
	case engine.Deleted:
		return a.print("pod/%s removed\n", box.Pod.Name)
	}
	return a.print("pod/%s condition met\n", box.Pod.Name)
}

func parseGoal(word string) (engine.Goal, error) {
	switch strings.ToLower(strings.TrimPrefix(word, "condition=")) {
	case "ended", "exit", "podcompleted":
		return engine.Ended, nil
	case "ready":
		return engine.Ready, nil
	case "running":
		return engine.Running, nil
	case "delete", "removed":
		return engine.Deleted, nil
	}
	return 0, misuse("use ended, ready, running or delete", "cannot wait for %q: no such condition", word)
}

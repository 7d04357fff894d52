package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"tripod/internal/engine"
	"tripod/internal/life"
	"tripod/internal/owner"
	"tripod/internal/sandbox"
)

func newWhy(a *app) *cobra.Command {
	var namespace string
	var o output
	var tail int
	cmd := &cobra.Command{
		Use:   "why POD",
		Short: "Say why a Pod is as it is",
		Long: `Say why a Pod is as it is: the state of each container, how it last ended and what it had used
then, whom the kernel killed for want of memory, the limit that was hit and the field that sets
it, and the last lines it wrote.`,
		Example: `  tripod why web
  tripod why web --tail 50
  tripod why web -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(dataOutputs); err != nil {
				return err
			}
			e, err := a.engine()
			if err != nil {
				return err
			}
			box, err := e.Host.Find(namespace, args[0])
			if err != nil {
				return err
			}
			w, err := e.Why(cmd.Context(), box)
			if err != nil {
				return err
			}
			if o != "" {
				return o.object(a.out, w)
			}
			return a.printWhy(cmd.Context(), box, w, tail, time.Now())
		},
	}
	a.namespaceFlag(cmd, &namespace)
	bindOutput(cmd, &o, dataOutputs...)
	cmd.Flags().IntVar(&tail, "tail", 5, "so many of the last lines of each container's log")
	return cmd
}

func (a *app) printWhy(ctx context.Context, box *sandbox.Sandbox, w *engine.Why, tail int, now time.Time) error {
	if err := a.print("Pod %s is %s.\n", box, w.Phase); err != nil {
		return err
	}
	for _, c := range w.Containers {
		if err := a.print("\n%s\n", headline(c, now)); err != nil {
			return err
		}
		var lines []string
		if e := c.Ending; e != nil {
			lines = append(lines, ending(e, now))
			lines = appendUsed(lines, "it had used", e.Usage)
		}
		lines = appendUsed(lines, "it has used", c.Usage)
		lines = append(lines, c.Causes...)
		for _, advice := range c.Advice {
			lines = append(lines, "→ "+advice)
		}
		for _, line := range lines {
			if err := a.print("  %s\n", owner.Sanitise(line)); err != nil {
				return err
			}
		}
		if err := a.printEnd(ctx, box, c, tail); err != nil {
			return err
		}
	}
	return nil
}

// headline is a container's state in one line.
func headline(c engine.WhyContainer, now time.Time) string {
	var b strings.Builder
	if c.Init {
		b.WriteString("init ")
	}
	fmt.Fprintf(&b, "container %s: %s", c.Name, c.State)
	if c.Reason != "" {
		fmt.Fprintf(&b, " (%s)", c.Reason)
	}
	if !c.Since.IsZero() {
		fmt.Fprintf(&b, " for %s", duration.HumanDuration(now.Sub(c.Since)))
	}
	switch c.Restarts {
	case 0:
	case 1:
		b.WriteString(", restarted once")
	default:
		fmt.Fprintf(&b, ", restarted %d times", c.Restarts)
	}
	return b.String()
}

// ending is how an attempt ended, in one line.
func ending(e *engine.Ending, now time.Time) string {
	how := fmt.Sprintf("exit code %d", e.ExitCode)
	if e.Signal != "" {
		how += ", " + e.Signal
	}
	if e.Reason != "" {
		how += ", " + e.Reason
	}
	text := fmt.Sprintf("last end: %s, %s ago", how, duration.HumanDuration(now.Sub(e.At)))
	if e.Ran > 0 {
		text += ", after " + e.Ran.Round(time.Millisecond).String()
	}
	return text
}

// appendUsed adds what a container used, in one line, where that is known.
func appendUsed(lines []string, verb string, u *life.Usage) []string {
	if u == nil || u.MemoryPeak == 0 && u.CPUNanos == 0 {
		return lines
	}
	text := verb + " up to " + units.BytesSize(float64(u.MemoryPeak)) + " of memory"
	if u.MemoryLimit > 0 {
		text += " (limit " + units.BytesSize(float64(u.MemoryLimit)) + ")"
	}
	return append(lines, text+", and "+time.Duration(u.CPUNanos).Round(time.Millisecond).String()+" of CPU time")
}

// printEnd prints the end of the log that tells the most.
func (a *app) printEnd(ctx context.Context, box *sandbox.Sandbox, c engine.WhyContainer, tail int) error {
	if c.LogAttempt < 0 || tail <= 0 {
		return nil
	}
	first := true
	err := sandbox.ReadLog(ctx, box.Host.Log(box.Pod, c.Name, c.LogAttempt), sandbox.LogOptions{Tail: tail}, func(line sandbox.Line) error {
		if first {
			first = false
			if err := a.print("  its last lines:\n"); err != nil {
				return err
			}
		}
		return a.print("  | %s\n", owner.Sanitise(string(line.Text)))
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

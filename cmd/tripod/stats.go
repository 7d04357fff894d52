package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tripod/internal/engine"
)

func newStats(a *app) *cobra.Command {
	var namespace string
	var all, once bool
	var every time.Duration
	var o output
	cmd := &cobra.Command{
		Use:   "stats [POD...]",
		Short: "Show what containers use",
		Long:  "Show CPU, memory, input and output, and tasks of running containers, again and again until Ctrl-C, or once with --no-stream.",
		Example: `  tripod stats
  tripod stats web --no-stream
  tripod stats -A -o json`,
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			words := []string{"json", "yaml", "jsonpath=TEMPLATE"}
			if err := o.check(words); err != nil {
				return err
			}
			e, err := a.engine()
			if err != nil {
				return err
			}
			take := func() ([]engine.Usage, error) {
				boxes, err := a.boxes(e.Host, namespace, all, args)
				if err != nil {
					return nil, err
				}
				return e.Stats(boxes)
			}
			return a.stats(cmd.Context(), take, o, once || o != "" || !isTerminal(a.out), every)
		},
	}
	a.namespaceFlag(cmd, &namespace)
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "Pods of every namespace")
	cmd.Flags().BoolVar(&once, "no-stream", false, "print once and end")
	cmd.Flags().DurationVar(&every, "interval", time.Second, "time between two looks")
	bindOutput(cmd, &o, "json", "yaml", "jsonpath=TEMPLATE")
	return cmd
}

// stats shows usage. A share of a CPU is known from two looks alone, so the first is followed by another at once.
func (a *app) stats(ctx context.Context, take func() ([]engine.Usage, error), o output, once bool, every time.Duration) error {
	if every <= 0 {
		return misuse("give a time such as 1s", "cannot use --interval %s", every)
	}
	before, err := take()
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
		now, err := take()
		if err != nil {
			return err
		}
		rates := engine.Rates(before, now)
		if o != "" {
			return o.object(a.out, listOf(rates))
		}
		if !once {
			fmt.Fprint(a.out, "\x1b[H\x1b[J") // to the top, and clear below
		}
		if err := usageTable(rates).print(a.out, true); err != nil || once {
			return err
		}
		before = now
	}
}

func usageTable(all []engine.Usage) table {
	t := table{header: []string{"POD", "CONTAINER", "CPU", "MEMORY", "LIMIT", "MEM%", "READ", "WRITTEN", "TASKS"}}
	for _, u := range all {
		limit, share := "-", "-"
		if u.MemoryLimit > 0 {
			limit, share = byteWord(u.MemoryLimit), fmt.Sprintf("%.1f%%", 100*float64(u.Memory)/float64(u.MemoryLimit))
		}
		tasks := fmt.Sprint(u.Tasks)
		if u.TasksLimit > 0 {
			tasks += fmt.Sprintf("/%d", u.TasksLimit)
		}
		t.rows = append(t.rows, []string{
			u.Pod, u.Container, fmt.Sprintf("%.1f%%", 100*u.CPU), byteWord(u.Memory), limit, share, byteWord(u.Read), byteWord(u.Written), tasks,
		})
	}
	return t
}

// byteWord is a number of bytes as people read it: 1.5MiB.
func byteWord(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f%ciB", value, units[unit])
}

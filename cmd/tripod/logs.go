package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/sandbox"
)

// logFlags are kubectl's words for logs.
type logFlags struct {
	namespace, container         string
	follow, previous, timestamps bool
	all, prefix                  bool
	since, sinceTime, tail       string
}

func newLogs(a *app) *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:   "logs POD [-c CONTAINER]",
		Short: "Print what containers wrote",
		Example: `  tripod logs web
  tripod logs -f web -c nginx
  tripod logs web --all-containers --tail 20
  tripod logs web --previous
  tripod logs web --since 10m --timestamps`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				if f.container != "" {
					return misuse("leave out one of them", "cannot choose a container: -c %s and %s", f.container, args[1])
				}
				f.container = args[1]
			}
			box, err := a.host().Find(f.namespace, args[0])
			if err != nil {
				return err
			}
			return a.logs(cmd.Context(), box, f)
		},
	}
	a.namespaceFlag(cmd, &f.namespace)
	flags := cmd.Flags()
	flags.StringVarP(&f.container, "container", "c", "", "of this container")
	flags.BoolVar(&f.all, "all-containers", false, "of all containers of the Pod")
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on with what is written")
	flags.BoolVarP(&f.previous, "previous", "p", false, "of the run before the last restart")
	flags.BoolVarP(&f.timestamps, "timestamps", "t", false, "with the time of each line")
	flags.BoolVar(&f.prefix, "prefix", false, "with the name of the Pod and container before each line")
	flags.StringVar(&f.since, "since", "", "what is younger than this: 5s, 2m, 3h, or a time (RFC 3339)")
	flags.StringVar(&f.sinceTime, "since-time", "", "what is younger than this time (RFC 3339)")
	flags.StringVar(&f.tail, "tail", "all", "so many of the last lines")
	_ = cmd.RegisterFlagCompletionFunc("container", a.completeContainers)
	return cmd
}

// options reads the words into what ReadLog takes.
func (f logFlags) options(now time.Time) (sandbox.LogOptions, error) {
	var o sandbox.LogOptions
	if f.since != "" && f.sinceTime != "" {
		return o, misuse("leave out one of them", "cannot use --since with --since-time")
	}
	if at, err := time.Parse(time.RFC3339Nano, f.since); err == nil { // as docker's --since may be
		o.Since = at
	} else if f.since != "" {
		ago, err := time.ParseDuration(f.since)
		if err != nil || ago <= 0 {
			return o, misuse("write 5s, 2m or 3h, or 2026-01-02T15:04:05Z", "cannot use --since %q: not a time span", f.since)
		}
		o.Since = now.Add(-ago)
	}
	if f.sinceTime != "" {
		at, err := time.Parse(time.RFC3339Nano, f.sinceTime)
		if err != nil {
			return o, misuse("write it as 2026-01-02T15:04:05Z", "cannot use --since-time %q: not a time", f.sinceTime)
		}
		o.Since = at
	}
	if f.tail != "all" && f.tail != "" && f.tail != "-1" {
		n, err := strconv.ParseUint(f.tail, 10, 31)
		if err != nil {
			return o, misuse("write a number of lines, or all", "cannot use --tail %q: not a number of lines", f.tail)
		}
		if o.Tail = int(n); n == 0 {
			o.Tail = -1
		}
	}
	return o, nil
}

// logs prints the log of one container, or of all.
func (a *app) logs(ctx context.Context, box *sandbox.Sandbox, f logFlags) error {
	o, err := f.options(time.Now())
	if err != nil {
		return err
	}
	containers, err := a.chosen(box, f)
	if err != nil {
		return err
	}
	out := newLogWriter(a.out)
	read := func(c corev1.Container) error {
		attempt := box.Attempt(c.Name)
		if f.previous {
			attempt--
		}
		if attempt < 0 {
			return fmt.Errorf("cannot read log of container %s in Pod %s: it has not been restarted", c.Name, box)
		}
		own := o
		if f.follow {
			own.Follow = func() bool { return box.Over(c.Name, attempt) }
		}
		style := lineStyle{timestamps: f.timestamps}
		if f.prefix {
			style.prefix = fmt.Sprintf("[pod/%s/%s] ", box.Pod.Name, c.Name)
		}
		err := sandbox.ReadLog(ctx, box.Host.Log(box.Pod, c.Name, attempt), own, out.lines(style))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot read log of container %s in Pod %s: it has not been started", c.Name, box)
		}
		return err
	}
	if !f.follow || len(containers) == 1 {
		for _, c := range containers {
			if err := read(c); err != nil {
				return err
			}
		}
		return nil
	}
	return all(containers, read)
}

// chosen are the containers that the words mean.
func (a *app) chosen(box *sandbox.Sandbox, f logFlags) ([]corev1.Container, error) {
	if f.all {
		if f.container != "" {
			return nil, misuse("leave out one of them", "cannot use -c with --all-containers")
		}
		return append(append([]corev1.Container{}, box.Pod.Spec.InitContainers...), box.Pod.Spec.Containers...), nil
	}
	c, err := a.container(box, f.container)
	return []corev1.Container{c}, err
}

// all does something with each at once and returns every error.
func all[T any](items []T, do func(T) error) error {
	errs := make(chan error, len(items))
	for _, item := range items {
		go func() { errs <- do(item) }()
	}
	var failed []error
	for range items {
		failed = append(failed, <-errs)
	}
	return errors.Join(failed...)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/engine"
	"tripod/internal/keeper"
	"tripod/internal/life"
	"tripod/internal/sandbox"
)

// maxPrepared is how many Pods are made at once.
const maxPrepared = 8

// prepare makes all Pods up to the moment before their containers begin. When one fails, all are removed again.
func (r *runner) prepare(ctx context.Context, pods []*corev1.Pod, o engine.Options) ([]*engine.Prepared, error) {
	made := make([]*engine.Prepared, len(pods))
	slots := make(chan struct{}, maxPrepared)
	err := all(numbers(len(pods)), func(i int) (err error) {
		slots <- struct{}{}
		defer func() { <-slots }()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		made[i], err = r.engine.Prepare(ctx, pods[i], r.images, o)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, r.remove(made))
	}
	for _, p := range made {
		for _, note := range p.Notes {
			_ = r.say("note: %s", note)
		}
	}
	return made, nil
}

func numbers(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// remove takes Pods away, whatever they do.
func (r *runner) remove(pods []*engine.Prepared) error {
	return all(pods, func(p *engine.Prepared) error {
		if p == nil {
			return nil
		}
		defer p.Release()
		return r.engine.Remove(context.Background(), p.Sandbox, true)
	})
}

// detached runs Pods and leaves them to their keepers when every container has begun.
func (r *runner) detached(ctx context.Context, pods []*corev1.Pod) error {
	made, err := r.prepare(ctx, pods, engine.Options{OnOrphan: life.OrphanKeep, Remove: r.flags.remove})
	if err != nil {
		return err
	}
	err = all(made, func(p *engine.Prepared) error { return r.engine.Begin(ctx, p) })
	if err != nil {
		return errors.Join(startError(err), r.remove(made))
	}
	for _, p := range made {
		if err := p.Handover(); err != nil {
			return err
		}
		if err := r.print("pod/%s\n", p.Pod.Name); err != nil {
			return err
		}
	}
	return nil
}

// startError gives an error of a container that could not begin the exit code that a shell would have.
func startError(err error) error {
	var failed *engine.StartError
	if errors.As(err, &failed) {
		return &exitError{failed.Code, err}
	}
	return err
}

// group runs the Pods of manifests in the foreground: their logs come to our output until all have ended or we are
// interrupted, and then they are removed.
func (r *runner) group(ctx context.Context, release func(), pods []*corev1.Pod) error {
	made, err := r.prepare(ctx, pods, engine.Options{OnOrphan: life.OrphanStop, Remove: true})
	if err != nil {
		return interrupted(ctx, err)
	}
	told := signals()
	defer signal.Stop(told)
	if ctx.Err() != nil {
		return interrupted(ctx, errors.Join(ctx.Err(), r.remove(made)))
	}
	release() // from here on a signal does not end the context, it stops what runs
	code, err := r.rule(made, told, true)
	err = errors.Join(err, r.remove(made))
	if err != nil {
		return err
	}
	return exitCode(code)
}

// signals begins to collect what we are told, so that nothing of it ends us before the Pods are stopped.
func signals() chan os.Signal {
	told := make(chan os.Signal, 8)
	signal.Notify(told, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	return told
}

// ends reports whether a signal asks us to stop.
func ends(n os.Signal) bool { return n == unix.SIGINT || n == unix.SIGTERM || n == unix.SIGHUP }

// rule begins Pods whose owner we are, shows their logs, stops them when we are told to, and returns when all have ended.
// The code is the first failed container's, or that of the signal that ended us.
func (r *runner) rule(made []*engine.Prepared, told <-chan os.Signal, prefixed bool) (code int, err error) {
	var logs sync.WaitGroup
	show := newLogWriter(r.out)
	styles := r.styles(made, prefixed)
	done := make(chan error, 1)
	go func() {
		done <- all(made, func(p *engine.Prepared) error { return r.attend(p, show, styles, &logs) })
	}()
	stopped := 0
	for {
		select {
		case n := <-told:
			if !ends(n) {
				continue
			}
			stopped++
			code = 128 + int(n.(unix.Signal))
			r.stop(made, stopped)
		case err := <-done:
			logs.Wait()
			if err == nil && code == 0 {
				code = r.codeOf(made)
			}
			return code, err
		}
	}
}

// attend begins one Pod and returns when it has ended.
func (r *runner) attend(p *engine.Prepared, show *logWriter, styles map[string]lineStyle, logs *sync.WaitGroup) error {
	client, err := p.Keeper()
	if err != nil {
		return err
	}
	owner, err := client.Own()
	if err != nil {
		return fmt.Errorf("cannot own Pod %s: %w", p, err)
	}
	defer owner.Release()
	if err := p.Begin(context.Background()); err != nil {
		return err
	}
	for _, c := range p.Life.Containers {
		lines := show.lines(styles[p.String()+"/"+c.Name])
		logs.Go(func() {
			if err := followAll(p.Sandbox, c.Name, lines); err != nil {
				r.complain(err)
			}
		})
	}
	failed := map[string]bool{}
	err = client.Watch(context.Background(), func(s *keeper.Status) error {
		for _, c := range s.Containers {
			if c.State == life.Exited && c.Message != "" && !failed[c.Name] && c.StartedAt.IsZero() {
				failed[c.Name] = true
				r.complain(&engine.StartError{Pod: p.String(), Container: c.Name, Message: c.Message})
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, keeper.ErrNoKeeper) {
		return fmt.Errorf("cannot watch Pod %s: %w", p, err)
	}
	return nil
}

// newLog is how often a container that has no log yet is looked at.
const newLog = 50 * time.Millisecond

// followAll gives each the lines of all runs of a container, until its Pod has ended.
func followAll(box *sandbox.Sandbox, container string, each func(sandbox.Line) error) error {
	for attempt := 0; ; {
		ended, newest := box.Ended(), box.Attempt(container)
		over := func() bool { return box.Over(container, attempt) }
		err := sandbox.ReadLog(context.Background(), box.Host.Log(box.Pod, container, attempt), sandbox.LogOptions{Follow: over}, each)
		switch {
		case err == nil:
			attempt++
		case !errors.Is(err, fs.ErrNotExist):
			return err
		case newest > attempt:
			attempt++ // it never wrote, or its log was removed already
		case ended:
			return nil
		default:
			time.Sleep(newLog)
		}
	}
}

// stop stops Pods in the grace that each has; the second time at once.
func (r *runner) stop(made []*engine.Prepared, times int) {
	grace := time.Duration(-1)
	if times > 1 {
		grace = 0
	} else if isTerminal(r.err) {
		_ = r.say("\nstopping; Ctrl-C again kills")
	}
	for _, p := range made {
		go func() {
			if err := p.Stop(context.Background(), grace); err != nil {
				r.complain(err)
			}
		}()
	}
}

// codeOf is the exit code of the first container that failed.
func (r *runner) codeOf(made []*engine.Prepared) int {
	for _, p := range made {
		pod, err := r.engine.Look(context.Background(), p.Sandbox)
		if err != nil {
			return exitTool
		}
		if code := podExitCode(pod); code != 0 {
			return code
		}
	}
	return 0
}

// styles gives each container a colour and, when there are several, its name before each line.
func (r *runner) styles(made []*engine.Prepared, prefixed bool) map[string]lineStyle {
	styles := map[string]lineStyle{}
	coloured := colours(r.out)
	width, n := 0, 0
	names := map[string]string{}
	for _, p := range made {
		for _, c := range p.Life.Containers {
			name := c.Name
			if len(made) > 1 {
				name = p.Pod.Name + "/" + c.Name
			}
			names[p.String()+"/"+c.Name] = name
			width = max(width, len(name))
		}
	}
	for _, p := range made {
		for _, c := range p.Life.Containers {
			key := p.String() + "/" + c.Name
			style := lineStyle{}
			if prefixed {
				style.prefix = fmt.Sprintf("%-*s | ", width, names[key])
				if coloured {
					style.colour = palette[n%len(palette)]
				}
			}
			styles[key] = style
			n++
		}
	}
	return styles
}

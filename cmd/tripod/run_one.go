package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/engine"
	"tripod/internal/keeper"
	"tripod/internal/life"
)

// errDetached says that the detach keys were typed.
var errDetached = errors.New("detached")

// one runs a container in the foreground as docker run does: its input and output are ours, its exit code is ours.
func (r *runner) one(ctx context.Context, release func(), pod *corev1.Pod) error {
	keys, err := detachKeys(r.flags.detachKeys)
	if err != nil {
		return err
	}
	o := engine.Options{OnOrphan: life.OrphanStop, Remove: r.flags.remove}
	made, err := r.prepare(ctx, []*corev1.Pod{pod}, o)
	if err != nil {
		return interrupted(ctx, err)
	}
	told := signals()
	defer signal.Stop(told)
	if ctx.Err() != nil {
		return interrupted(ctx, errors.Join(ctx.Err(), r.remove(made)))
	}
	release() // from here on a signal does not end the context, it stops what runs
	p := made[0]
	var code int
	if pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
		code, err = r.attached(p, told, keys)
	} else {
		code, err = r.rule(made, told, false)
	}
	if errors.Is(err, errDetached) {
		p.Release()
		return nil
	}
	// What could not begin is nothing to keep.
	if r.flags.remove || err != nil {
		err = errors.Join(err, r.remove(made))
	}
	p.Release()
	if err != nil {
		return startError(err)
	}
	return exitCode(code)
}

// attached begins a Pod of one container with our streams, and returns its exit code.
func (r *runner) attached(p *engine.Prepared, told <-chan os.Signal, keys []byte) (int, error) {
	c := p.Life.Containers[len(p.Life.Containers)-1]
	client, err := p.Keeper()
	if err != nil {
		return 0, err
	}
	owner, err := client.Own()
	if err != nil {
		return 0, fmt.Errorf("cannot own Pod %s: %w", p, err)
	}
	defer owner.Release()
	t, err := r.terminal(c.Stdin, c.TTY, keys)
	if err != nil {
		return 0, err
	}
	defer t.restore()
	passed := make(chan keeper.Signal, 8)
	t.streams.Signals = passed
	go r.obey(p, told, passed)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var failed error
	exit, err := attach(ctx, client, c.Name, t, func() {
		if failed = p.Begin(ctx); failed != nil {
			cancel() // nothing will ever come
		}
	})
	t.restore()
	if failed != nil {
		return 0, failed
	}
	if errors.Is(err, errDetached) {
		return 0, err
	}
	var refused *keeper.RefusedError
	if errors.As(err, &refused) {
		return 0, &engine.StartError{Pod: p.String(), Container: c.Name, Code: max(refused.Code, exitTool), Message: refused.Text}
	}
	if err != nil {
		return 0, fmt.Errorf("cannot attach to Pod %s: %w", p, err)
	}
	if failed := r.engine.Failed(p); failed != nil {
		return 0, failed
	}
	return exit.Code, r.settled(p)
}

// settled returns when a Pod that was attached to has ended as a whole.
func (r *runner) settled(p *engine.Prepared) error {
	_, err := r.engine.Wait(context.Background(), p.Sandbox, engine.Ended)
	return err
}

// obey stops the Pod at the first signal that ends programs, kills it at the second, and passes other signals on.
func (r *runner) obey(p *engine.Prepared, told <-chan os.Signal, passed chan<- keeper.Signal) {
	stopped := 0
	for n := range told {
		if ends(n) {
			stopped++
			r.stop([]*engine.Prepared{p}, stopped)
		} else {
			passed <- keeper.Signal(n.(unix.Signal))
		}
	}
}

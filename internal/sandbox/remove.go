package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"tripod/internal/keeper"
	"tripod/internal/life"
	"tripod/internal/network"
	"tripod/internal/record"
	"tripod/internal/volume"
)

// Stop stops the Pod: each container has its stop signal, then SIGKILL after grace; a negative grace is the Pod's own.
// It returns when nothing runs any more. A Pod that runs nothing is no error.
func (s *Sandbox) Stop(ctx context.Context, grace time.Duration) error {
	client, err := keeper.Dial(s.Dir())
	if err == nil {
		err = client.Stop(ctx, grace)
	}
	if err != nil && !errors.Is(err, keeper.ErrNoKeeper) {
		return fmt.Errorf("cannot stop Pod %s: %w", s, err)
	}
	return nil
}

// RunningError says that a Pod must be stopped before.
type RunningError struct{ Pod string }

func (e *RunningError) Error() string {
	return fmt.Sprintf("cannot remove Pod %s: it is running", e.Pod)
}

// Hint says how to go on.
func (e *RunningError) Hint() string { return "stop it first, or use -f" }

// Remove takes away everything of a Pod: what runs (with force), network, volumes, root file systems, logs and records.
// Its parts are taken away as often as Remove is called, so that a Remove that was killed is finished by the next.
// release gives the image of a container back.
func (s *Sandbox) Remove(ctx context.Context, force bool, release func(owner string) error) error {
	if !force {
		if state, err := s.ask(ctx); err == nil && !state.Finished {
			return &RunningError{s.String()}
		}
	}
	if err := s.bury(ctx); err != nil {
		return fmt.Errorf("cannot remove Pod %s: %w", s, err)
	}
	errs := []error{network.Detach(ctx, s.Host.network(), string(s.Pod.UID))}
	errs = append(errs, volume.Remove(s.Host.Root, s.Host.RunRoot, string(s.Pod.UID)))
	for _, c := range slices.Concat(s.Pod.Spec.InitContainers, s.Pod.Spec.Containers, Guests(s.Pod)) {
		errs = append(errs, release(s.Owner(c.Name)))
	}
	errs = append(errs, os.RemoveAll(s.Host.Writable(s.Pod.UID)), os.RemoveAll(s.Host.Logs(s.Pod)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot remove Pod %s: %w", s, err)
	}
	// The record goes first of all that is left: a folder without it is none of a Pod any more.
	if err := os.Remove(s.file(podFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove Pod %s: %w", s, err)
	}
	if err := os.RemoveAll(s.Dir()); err != nil {
		return fmt.Errorf("cannot remove Pod %s: %w", s, err)
	}
	return nil
}

// Owner is the name by which a container leases its image.
func (s *Sandbox) Owner(container string) string { return string(s.Pod.UID) + "_" + container }

// bury ends everything that runs in the Pod, at once, and its keeper.
func (s *Sandbox) bury(ctx context.Context) error {
	client, err := keeper.Dial(s.Dir())
	if err == nil {
		if s.begun() {
			err = client.Stop(ctx, 0)
		} else {
			err = client.Quit(ctx)
		}
	}
	if err != nil && !errors.Is(err, keeper.ErrNoKeeper) {
		return err
	}
	return s.inter(ctx)
}

// leaveTime bounds how long a keeper that has told its end takes to leave.
const leaveTime = 10 * time.Second

// inter cleans up after a keeper that is dead or about to leave.
func (s *Sandbox) inter(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	for {
		_, err := keeper.Bury(s.Host.RunRoot, string(s.Pod.UID))
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist):
			return nil
		case errors.Is(err, unix.ENOSPC):
			return nil // all is gone but the record of it, for which the disk has no room; the next to look buries again
		case !errors.Is(err, keeper.ErrAlive):
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Millisecond):
		}
	}
}

// Release gives the Pod's engine lock back: whoever wants may rule the Pod now.
func (s *Sandbox) Release() error { return s.engine.Release() }

// Handover releases a Pod that goes on without its maker, and has whoever watches the Pods (Changes) look: a daemon takes
// it over.
func (s *Sandbox) Handover() error {
	err := s.Release()
	now := time.Now()
	return errors.Join(err, os.Chtimes(s.Host.Pods(), now, now))
}

// Own takes the Pod's engine lock. An error that errors.Is record.ErrLocked says that another engine rules it.
func (s *Sandbox) Own() (err error) {
	s.engine, err = record.Try(s.file(engineLockFile))
	return err
}

// Start gives the Pod's keeper what is to happen to the containers; it begins at once.
func (s *Sandbox) Start(ctx context.Context, l life.Life) error {
	client, err := keeper.Dial(s.Dir())
	if err == nil {
		err = client.Apply(ctx, l)
	}
	if err != nil {
		return fmt.Errorf("cannot start Pod %s: %w", s, err)
	}
	return nil
}

// Sweep finishes what killed commands began to take away and removes what they began to make. It touches a Pod only when
// both its keeper and its engine are gone. A Pod whose keeper died is told to lost, with its engine lock held.
func (h Host) Sweep(ctx context.Context, release func(owner string) error, lost func(*Sandbox) error) error {
	entries, err := os.ReadDir(h.Pods())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot sweep: %w", err)
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, h.sweep(ctx, types.UID(e.Name()), release, lost))
	}
	return errors.Join(errs...)
}

func (h Host) sweep(ctx context.Context, uid types.UID, release func(owner string) error, lost func(*Sandbox) error) error {
	s, err := h.Open(uid)
	if err != nil {
		return h.sweepFolder(uid)
	}
	// The engine lock comes first: who holds it may be starting the Pod's keeper just now.
	if s.Own() != nil {
		return nil
	}
	defer s.Release()
	if s.begun() && keeper.Alive(s.Dir()) {
		return nil
	}
	state, err := s.Observe(ctx)
	if err != nil || state.Alive && state.Begun {
		return nil // what cannot be read is left to a person
	}
	switch {
	case !state.Begun, s.ephemeral():
		return s.Remove(ctx, true, release)
	case !state.Finished:
		return lost(s)
	}
	return nil // ended, and kept for its logs
}

// sweepFolder removes a folder that is no Pod. Its maker, if it lives, holds pods.lock.
func (h Host) sweepFolder(uid types.UID) error {
	lock, err := record.Acquire(filepath.Join(h.RunRoot, "pods.lock"))
	if err != nil {
		return err
	}
	defer lock.Release()
	if _, err := h.Open(uid); err == nil {
		return nil
	}
	s := &Sandbox{Host: h, Pod: &corev1.Pod{}}
	s.Pod.UID = uid
	if err := s.Own(); err != nil {
		return nil
	}
	defer s.Release()
	if err := os.RemoveAll(s.Dir()); err != nil {
		return fmt.Errorf("cannot sweep: %w", err)
	}
	return nil
}

// AnnotationRemove marks a Pod that is to be gone when it has ended: the next command removes one that its own could not.
const AnnotationRemove = "tripod/remove-when-ended"

func (s *Sandbox) ephemeral() bool { return s.Pod.Annotations[AnnotationRemove] == "true" }

// Revive puts a new keeper in the place of one that died. The containers of the dead one are killed and recorded as
// 137, ContainerStatusUnknown; the Life goes on from there.
func (s *Sandbox) Revive(ctx context.Context) error {
	if _, err := keeper.Bury(s.Host.RunRoot, string(s.Pod.UID)); err != nil {
		return fmt.Errorf("cannot bring Pod %s back: %w", s, err)
	}
	l, err := keeper.ReadLife(s.Dir())
	if err != nil {
		return fmt.Errorf("cannot bring Pod %s back: %w", s, err)
	}
	if err := s.Raise(); err != nil {
		return err
	}
	if err := s.Connect(ctx); err != nil {
		return errors.Join(fmt.Errorf("cannot bring Pod %s back: %w", s, err), s.bury(ctx))
	}
	return s.Start(ctx, *l)
}

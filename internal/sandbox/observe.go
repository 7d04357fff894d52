package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"tripod/internal/keeper"
	"tripod/internal/life"
)

// State is what is known of a Pod.
type State struct {
	keeper.Status
	Life  life.Life
	Alive bool // its keeper answers
	Begun bool // a Life was applied
}

// Observe says what is known of the Pod now: its keeper says it, or, when that has left, its records.
func (s *Sandbox) Observe(ctx context.Context) (State, error) {
	state, err := s.ask(ctx)
	if errors.Is(err, keeper.ErrNoKeeper) {
		var recorded *keeper.Status
		recorded, err = keeper.Read(s.Dir())
		if err == nil {
			state.Status = *recorded
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return State{}, fmt.Errorf("cannot look at Pod %s: %w", s, err)
	}
	l, err := keeper.ReadLife(s.Dir())
	switch {
	case err == nil:
		state.Life, state.Begun = *l, true
	case !errors.Is(err, fs.ErrNotExist):
		return State{}, fmt.Errorf("cannot look at Pod %s: %w", s, err)
	}
	return state, nil
}

// ask asks the keeper.
func (s *Sandbox) ask(ctx context.Context) (State, error) {
	client, err := keeper.Dial(s.Dir())
	if err != nil {
		return State{}, err
	}
	status, err := client.Status(ctx)
	if err != nil {
		return State{}, err
	}
	return State{Status: *status, Alive: true}, nil
}

// begun reports whether a Life was applied.
func (s *Sandbox) begun() bool {
	_, err := keeper.ReadLife(s.Dir())
	return !errors.Is(err, fs.ErrNotExist)
}

// Keeper is the Pod's keeper, for exec, attach, signals and watching. A Pod that has ended has none.
func (s *Sandbox) Keeper() (*keeper.Client, error) {
	client, err := keeper.Dial(s.Dir())
	if errors.Is(err, keeper.ErrNoKeeper) {
		return nil, &EndedError{}
	}
	return client, err
}

// EndedError says that a Pod runs no more.
type EndedError struct{}

func (*EndedError) Error() string { return "the Pod is not running" }

// Unwrap makes it keeper.ErrNoKeeper.
func (*EndedError) Unwrap() error { return keeper.ErrNoKeeper }

// Attempt is the number of a container's newest run that has begun, for its log.
func (s *Sandbox) Attempt(container string) int {
	status, err := keeper.Read(s.Dir())
	if err != nil {
		return 0
	}
	if r := status.Container(container); r != nil {
		return r.Attempt
	}
	return 0
}

// Over reports whether an attempt at a container has ended, so that nothing more comes to its log.
func (s *Sandbox) Over(container string, attempt int) bool {
	status, err := keeper.Read(s.Dir())
	if err != nil {
		return true // the Pod is gone
	}
	if status.Finished {
		return true
	}
	r := status.Container(container)
	return r != nil && (r.Attempt > attempt || r.Attempt == attempt && r.State == life.Exited)
}

// Ended reports whether the Pod runs nothing and will not, or is gone.
func (s *Sandbox) Ended() bool {
	status, err := keeper.Read(s.Dir())
	return err != nil || status.Finished
}

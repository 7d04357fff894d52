package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"tripod/internal/keeper"
	"tripod/internal/life"
)

// StartError says that a container could not begin.
type StartError struct {
	Pod, Container string
	Code           int // what a shell would exit with: 126, 127, or 125 when it could not even be made
	Message        string
}

func (e *StartError) Error() string {
	return fmt.Sprintf("cannot start container %s in Pod %s: %s", e.Container, e.Pod, e.Message)
}

// Begin starts the Pod's containers and returns when each has begun, or a StartError when one cannot. A container that
// has begun and ended again has begun.
func (e *Engine) Begin(ctx context.Context, p *Prepared) error {
	client, err := p.Keeper()
	if err != nil {
		return err
	}
	if err := client.Apply(ctx, p.Life); err != nil {
		return fmt.Errorf("cannot start Pod %s: %w", p, err)
	}
	err = client.Watch(ctx, func(s *keeper.Status) error {
		if failed := notStarted(p, s); failed != nil {
			return failed
		}
		if begun(s) {
			return errReached
		}
		return nil
	})
	if errors.Is(err, errReached) {
		slog.Debug("containers have begun", "pod", p.String())
		return nil
	}
	if err == nil || errors.Is(err, keeper.ErrNoKeeper) {
		return e.Failed(p) // ended already: well, or because it could not begin
	}
	return err
}

// Failed returns a StartError when a container of the Pod could not begin.
func (e *Engine) Failed(p *Prepared) error {
	status, err := keeper.Read(p.Dir())
	if err != nil {
		return err
	}
	if failed := notStarted(p, status); failed != nil {
		return failed
	}
	return nil
}

func notStarted(p *Prepared, s *keeper.Status) *StartError {
	for _, r := range s.Containers {
		if r.State == life.Exited && r.StartedAt.IsZero() && (r.Reason == life.ReasonStartError || r.Reason == life.ReasonCannotRun) {
			return &StartError{Pod: p.String(), Container: r.Name, Code: r.ExitCode, Message: r.Message}
		}
	}
	return nil
}

// begun says whether every container has begun.
func begun(s *keeper.Status) bool {
	for _, r := range s.Containers {
		if r.Attempt == 0 && r.State != life.Running && r.State != life.Exited {
			return false
		}
	}
	return len(s.Containers) > 0
}

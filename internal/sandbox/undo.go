package sandbox

import "errors"

// undo is a stack of what has been made, so that a failure can unmake it, last first.
type undo struct{ steps []func() error }

func (u *undo) add(step func() error) { u.steps = append(u.steps, step) }

// all unmakes everything and returns what could not be.
func (u *undo) all() error {
	var errs []error
	for i := len(u.steps) - 1; i >= 0; i-- {
		errs = append(errs, u.steps[i]())
	}
	u.steps = nil
	return errors.Join(errs...)
}

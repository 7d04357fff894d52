package plan

import "fmt"

// Verify says what makes p unfit to be spent: a step that uses a register before it is saved or a descriptor that is
// not there, a skip out of the plan, an execve that is not last. given are the names of the descriptors that the
// parent hands in beside Opens. A Plan made by this package always passes; it is checked before every birth, because
// the child has nobody to ask.
func (p *Plan) Verify(given ...string) error {
	files := map[string]bool{}
	for _, name := range given {
		files[name] = true
	}
	for _, o := range p.Opens {
		if o.Idmap != "" && !files[o.Idmap] {
			return fmt.Errorf("plan: %s is mapped by %s, which is not open yet", o.Name, o.Idmap)
		}
		files[o.Name] = true
	}
	if p.IntoCgroup != "" && !files[p.IntoCgroup] {
		return fmt.Errorf("plan: cgroup %s is not open", p.IntoCgroup)
	}
	if p.Birthplace != "" && !files[p.Birthplace] {
		return fmt.Errorf("plan: PID namespace %s is not open", p.Birthplace)
	}
	if len(p.Steps) == 0 {
		return fmt.Errorf("plan: no steps")
	}
	var saved [Registers]bool
	for i, s := range p.Steps {
		if err := s.verify(i, len(p.Steps), files, &saved); err != nil {
			return fmt.Errorf("plan: step %d, %s: %w", i, s.Name, err)
		}
	}
	last := p.Steps[len(p.Steps)-1]
	if (last.Call != Execve && last.Call != Execveat) || len(last.On) > 0 || last.Any {
		return fmt.Errorf("plan: last step %s does not end in execve", last.Name)
	}
	return nil
}

func (s *Step) verify(at, steps int, files map[string]bool, saved *[Registers]bool) error {
	if s.Call == 0 || s.Call >= callEnd {
		return fmt.Errorf("no such call")
	}
	if len(s.Args) > 6 || len(s.On) > 2 {
		return fmt.Errorf("%d arguments and %d branches", len(s.Args), len(s.On))
	}
	far := int(s.Skip)
	for _, b := range s.On {
		far = max(far, int(b.Skip))
	}
	if far > 0 && at+1+far >= steps {
		return fmt.Errorf("skips %d steps, out of the plan", far)
	}
	for _, a := range s.Args {
		switch a.Kind {
		case ResultArg:
			if a.N == 0 || a.N >= Registers || !saved[a.N] {
				return fmt.Errorf("uses register %d, which nothing saved", a.N)
			}
		case FileArg, BelowArg, AboveArg:
			if !files[a.S] {
				return fmt.Errorf("uses descriptor %q, which is not open", a.S)
			}
		}
	}
	if s.Save >= Registers {
		return fmt.Errorf("saves to register %d", s.Save)
	}
	saved[s.Save] = true
	return nil
}

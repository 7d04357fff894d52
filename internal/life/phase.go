package life

// Phase is the Pod's phase as kubelet computes it (pkg/kubelet getPhase). Finished is whether Next has said Finish and
// all of it was done: a Pod that was stopped is over, whatever its restart policy.
func Phase(l Life, records []Record, finished bool) string {
	var running, waiting, stopped, succeeded int
	for i := range l.Containers {
		c, r := &l.Containers[i], recordOf(records, l.Containers[i].Name)
		p := previous(&r)
		if c.Ephemeral {
			continue
		}
		if c.Init {
			if c.Sidecar() {
				if r.State != Running && p == nil && !finished {
					return PhasePending
				}
				continue
			}
			switch {
			case r.State == Exited && r.ExitCode == 0:
			case r.State == Exited && policy(&l, c) == Never, finished:
				return PhaseFailed
			default:
				return PhasePending
			}
			continue
		}
		switch {
		case r.State == Running:
			running++
		case p == nil:
			waiting++
		default:
			stopped++
			if p.ExitCode == 0 {
				succeeded++
			}
		}
	}
	switch {
	case finished && waiting+running == 0 && stopped == succeeded:
		return PhaseSucceeded
	case finished:
		return PhaseFailed
	case waiting > 0:
		return PhasePending
	case running > 0 || ends(&l, records) < stopped:
		return PhaseRunning
	case stopped == succeeded:
		return PhaseSucceeded
	}
	return PhaseFailed
}

// ends counts the main containers that have exited and will not begin again.
func ends(l *Life, records []Record) int {
	n := 0
	for i := range l.Containers {
		c, r := &l.Containers[i], recordOf(records, l.Containers[i].Name)
		if c.main() && r.State == Exited && !again(l, c, &r) {
			n++
		}
	}
	return n
}

// Reset returns the records as they are when the Pod's sandbox had to be made anew: the init containers run again, and
// the main containers that their policy lets begin again. All must be Waiting or Exited. Under the policy Never a Pod
// that had begun stays as it is, and ends.
func Reset(l Life, records []Record) []Record {
	out := make([]Record, 0, len(records))
	for _, r := range records {
		for i := range l.Containers {
			c := &l.Containers[i]
			if c.Name == r.Name && l.RestartPolicy != Never && (c.Init || again(&l, c, &r)) && r.State == Exited {
				last := r
				last.Last = nil
				r = Record{Name: r.Name, Crashes: r.Crashes, Attempt: r.Attempt, Last: &last}
			}
		}
		out = append(out, r)
	}
	return out
}

func recordOf(records []Record, name string) Record {
	for i := range records {
		if records[i].Name == name {
			return records[i]
		}
	}
	return Record{Name: name}
}

package life

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrInvalid is what every error of Check is.
var ErrInvalid = errors.New("invalid life")

// maxContainers bounds what a Life may ask for; a Pod object of the largest size an API server takes has fewer.
const maxContainers = 1000

// Check says what is wrong with a Life, nil if nothing is. A Life that passes can be applied with no further look.
func (l *Life) Check() error {
	switch {
	case l.Version < 1 || l.Version > Version:
		return invalid("version %d is not one of 1 to %d", l.Version, Version)
	case !oneOf(l.RestartPolicy, "", Always, OnFailure, Never):
		return invalid("restartPolicy %q is not Always, OnFailure or Never", l.RestartPolicy)
	case !oneOf(l.OnOrphan, "", OrphanStop, OrphanKeep):
		return invalid("onOrphan %q is not stop or keep", l.OnOrphan)
	case l.MaxRestarts != nil && *l.MaxRestarts < 0:
		return invalid("maxRestarts is negative")
	case l.Grace < 0 || l.Backoff.Base < 0 || l.Backoff.Max < 0 || l.Backoff.Reset < 0:
		return invalid("a duration is negative")
	case len(l.Containers) == 0 || len(l.Containers) > maxContainers:
		return invalid("%d containers, want 1 to %d", len(l.Containers), maxContainers)
	}
	main := false
	seen := make(map[string]bool, len(l.Containers))
	for i := range l.Containers {
		c := &l.Containers[i]
		if err := c.check(); err != nil {
			return invalid("containers[%d]: %v", i, err)
		}
		if seen[c.Name] {
			return invalid("containers[%d]: name %q is there twice", i, c.Name)
		}
		seen[c.Name] = true
		if c.Init && main {
			return invalid("containers[%d]: init container %q comes after a main one", i, c.Name)
		}
		if c.Init && c.Ephemeral {
			return invalid("containers[%d]: %q is both init and ephemeral", i, c.Name)
		}
		main = main || !c.Init
	}
	return nil
}

func (c *Container) check() error {
	switch {
	case c.Name == "" || len(c.Name) > 253 || c.Name[0] == '.' || strings.ContainsAny(c.Name, "/\x00\n"):
		return fmt.Errorf("%q cannot be a name", c.Name)
	case !oneOf(c.RestartPolicy, "", Always, OnFailure, Never):
		return fmt.Errorf("restartPolicy %q is not Always, OnFailure or Never", c.RestartPolicy)
	case !strings.HasPrefix(c.Bundle, "/"):
		return fmt.Errorf("bundle %q is not an absolute path", c.Bundle)
	case c.Log != "" && !strings.HasPrefix(c.Log, "/"):
		return fmt.Errorf("log %q is not an absolute path", c.Log)
	case c.TerminationLog != "" && !strings.HasPrefix(c.TerminationLog, "/"):
		return fmt.Errorf("terminationLog %q is not an absolute path", c.TerminationLog)
	case c.LogMaxBytes < 0 || c.LogMaxFiles < 0:
		return errors.New("a limit of the log is negative")
	}
	_, err := Signal(c.StopSignal)
	return err
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

func oneOf(s string, set ...string) bool {
	for _, x := range set {
		if s == x {
			return true
		}
	}
	return false
}

// signals are Linux' names (signal(7)) in the order of their numbers, from 1; they are the same on amd64 and arm64.
const signals = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU " +
	"URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"

// Real-time signals, as programs under a C library see them: the library keeps 32 and 33.
const (
	rtMin = 34
	rtMax = 64
)

// Signal is the number of the signal called name: "SIGTERM", "TERM", "15", "RTMIN+1"; "" is SIGTERM. Names count in any
// case.
func Signal(name string) (int, error) {
	if name == "" {
		return 15, nil
	}
	if n, err := strconv.Atoi(name); err == nil {
		if n < 1 || n > rtMax {
			return 0, fmt.Errorf("signal %q is not between 1 and %d", name, rtMax)
		}
		return n, nil
	}
	s := strings.TrimPrefix(strings.ToUpper(name), "SIG")
	for i, known := range strings.Fields(signals) {
		if s == known {
			return i + 1, nil
		}
	}
	if n, ok := realtime(s); ok {
		return n, nil
	}
	return 0, fmt.Errorf("signal %q is not known", name)
}

func realtime(s string) (int, bool) {
	switch {
	case s == "RTMIN":
		return rtMin, true
	case s == "RTMAX":
		return rtMax, true
	case strings.HasPrefix(s, "RTMIN+"):
		n, err := strconv.ParseUint(s[6:], 10, 8)
		return rtMin + int(n), err == nil && n <= rtMax-rtMin
	case strings.HasPrefix(s, "RTMAX-"):
		n, err := strconv.ParseUint(s[6:], 10, 8)
		return rtMax - int(n), err == nil && n <= rtMax-rtMin
	}
	return 0, false
}

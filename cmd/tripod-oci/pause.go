package main

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/container"
)

const pauseHelp = `Usage: tripod-oci pause ID

Stops all processes of a running container until resume.

Example:
  tripod-oci pause web
`

func pause(g *globals, args []string) (int, error) {
	return g.freeze("pause", pauseHelp, args, true)
}

const resumeHelp = `Usage: tripod-oci resume ID

Lets the processes of a paused container go on.

Example:
  tripod-oci resume web
`

func resume(g *globals, args []string) (int, error) {
	return g.freeze("resume", resumeHelp, args, false)
}

func (g *globals) freeze(verb, help string, args []string, frozen bool) (int, error) {
	operands, err := words(help, nil, args, 1, 1)
	if err != nil {
		return 0, err
	}
	c, r, d, err := g.change(operands[0])
	if err != nil {
		return 0, err
	}
	defer d.Unlock()
	status := d.Status(&r)
	switch {
	case c.Group == nil:
		return 0, fmt.Errorf("cannot %s container %s: it has no cgroup of its own", verb, d.ID)
	case frozen && status != specs.StateRunning && status != specs.StateCreated, !frozen && status != container.StatePaused:
		return 0, wrongState(verb, d.ID, status)
	}
	return 0, c.Group.Freeze(frozen)
}

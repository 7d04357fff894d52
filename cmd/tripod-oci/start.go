package main

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const startHelp = `Usage: tripod-oci start ID

Lets a created container run its program, and returns when it runs.

Example:
  tripod-oci start web
`

func start(g *globals, args []string) (int, error) {
	operands, err := words(startHelp, nil, args, 1, 1)
	if err != nil {
		return 0, err
	}
	c, r, d, err := g.change(operands[0])
	if err != nil {
		return 0, err
	}
	defer d.Unlock()
	if status := d.Status(&r); status != specs.StateCreated {
		return 0, wrongState("start", d.ID, status)
	}
	if err := c.Start(); err != nil {
		return 0, fmt.Errorf("cannot start container %s: %w", d.ID, err)
	}
	g.debug("container %s runs", d.ID)
	return 0, nil
}

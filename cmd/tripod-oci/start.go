package main

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/container"
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
	d, err := g.lock(operands[0])
	if err != nil {
		return 0, err
	}
	defer d.Unlock()
	r, err := d.Record()
	if err != nil {
		return 0, err
	}
	if status := d.Status(&r); status != specs.StateCreated {
		return 0, wrongState("start", d.ID, status)
	}
	var host container.Host
	if r.Hooks || r.Systemd {
		// Else nothing of it is asked for: what the process needs, it has.
		if host, err = container.Look(); err != nil {
			return 0, err
		}
	}
	c, err := d.Load(&r, host)
	if err != nil {
		return 0, err
	}
	c.Warn = g.warn
	if err := c.Start(); err != nil {
		return 0, fmt.Errorf("cannot start container %s: %w", d.ID, err)
	}
	g.debug("container %s runs", d.ID)
	return 0, nil
}

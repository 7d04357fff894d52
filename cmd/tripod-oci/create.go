package main

import (
	"errors"
	"fmt"

	"tripod/internal/container"
)

const createHelp = `Usage: tripod-oci create [OPTIONS] ID

Makes a container of a bundle. Its first process waits in it until start.

Options:
` + birthHelp + `
Examples:
  tripod-oci create --bundle /srv/web web && tripod-oci start web
  tripod-oci create -b /srv/web --pid-file /run/web.pid web
`

// create makes a container and leaves it before its program.
func create(g *globals, args []string) (_ int, err error) {
	var o birthOptions
	operands, err := words(createHelp, o.options(), args, 1, 1)
	if err != nil {
		return 0, err
	}
	id := operands[0]
	b, err := o.read(true)
	if err != nil {
		return 0, err
	}
	cfg, err := g.configuration(&o, b, id)
	if err != nil {
		return 0, err
	}
	d, err := container.Claim(g.root, id)
	if err != nil {
		return 0, err
	}
	c, err := d.Create(cfg, b.config)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("cannot create container %s: %w", id, err), d.Remove())
	}
	if err = sendConsole(o.console, c.Console); err == nil {
		err = writePID(o.pidFile, c.Pid)
	}
	if err == nil {
		err = c.Leave()
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("cannot create container %s: %w", id, err), c.Delete(), d.Remove())
	}
	g.debug("container %s is created, its first process is %d", id, c.Pid)
	return 0, nil
}

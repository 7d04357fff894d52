package main

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/container"
)

// find reads what is kept of a container.
func (g *globals) find(id string) (*container.Dir, container.Record, error) {
	d, err := container.OpenDir(g.root, id)
	if err != nil {
		return nil, container.Record{}, err
	}
	r, err := d.Record()
	return d, r, err
}

// load finds a container and what is needed to work on it.
func (g *globals) load(id string) (*container.Container, container.Record, *container.Dir, error) {
	d, r, err := g.find(id)
	if err != nil {
		return nil, r, nil, err
	}
	host, err := container.Look()
	if err != nil {
		return nil, r, nil, err
	}
	c, err := d.Load(&r, host)
	if err != nil {
		return nil, r, nil, err
	}
	c.Warn = g.warn
	return c, r, d, nil
}

// lock finds a container and keeps other commands that change it out until d is unlocked.
func (g *globals) lock(id string) (*container.Dir, error) {
	d, err := container.OpenDir(g.root, id)
	if err == nil {
		err = d.Lock()
	}
	return d, err
}

// change is load of a container that is locked.
func (g *globals) change(id string) (*container.Container, container.Record, *container.Dir, error) {
	d, err := g.lock(id)
	if err != nil {
		return nil, container.Record{}, nil, err
	}
	c, r, _, err := g.load(id)
	if err != nil {
		d.Unlock()
		return nil, r, nil, err
	}
	return c, r, d, nil
}

// wrongState is the error of a command that a container's state does not allow. Callers of runc look for "not running".
func wrongState(verb, id string, status specs.ContainerState) error {
	if status == specs.StateStopped {
		return fmt.Errorf("cannot %s container %s: container not running", verb, id)
	}
	return fmt.Errorf("cannot %s container %s: it is %s", verb, id, status)
}

package main

import (
	"errors"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/container"
)

const deleteHelp = `Usage: tripod-oci delete [OPTIONS] ID

Removes a stopped container: its cgroup, its state, and what hooks do at the end.

Options:
  -f, --force  whatever it is doing, and whatever is left of it; one that there is not is no error

Examples:
  tripod-oci delete web
  tripod-oci delete --force web
`

func remove(g *globals, args []string) (int, error) {
	var force bool
	operands, err := words(deleteHelp, []option{flag(&force, 'f', "force")}, args, 1, 1)
	if err != nil {
		return 0, err
	}
	d, err := g.lock(operands[0])
	if err != nil {
		if force && errors.Is(err, container.ErrNotExist) {
			return 0, nil
		}
		return 0, err
	}
	defer d.Unlock()
	if !force {
		r, err := d.Record()
		if err != nil {
			return 0, err
		}
		if r.Pid == 0 {
			return 0, fmt.Errorf("cannot delete container %s: %w; delete -f removes what is there", d.ID, container.ErrUnfinished)
		}
		if status := d.Status(&r); status != specs.StateStopped {
			return 0, fmt.Errorf("cannot delete container %s that is not stopped: %s; kill it first, or use delete -f", d.ID, status)
		}
	}
	host, err := container.Look()
	if err != nil {
		return 0, err
	}
	return 0, d.Delete(host, func(spec *specs.Spec) (string, bool) {
		path, err := g.cgroupPath(spec, d.ID)
		return path, err == nil && g.cgroups == "systemd"
	}, g.warn)
}

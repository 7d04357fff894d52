package main

import (
	"fmt"

	"tripod/internal/container"
)

const explainHelp = `Usage: tripod-oci explain [OPTIONS] [ID]

Print every system call that makes the container of a bundle, in order, with the field of config.json that asks for it.
Nothing is made.

      --script              print a shell script instead, which makes an equivalent container when it is run as root
  -b, --bundle DIR          directory of config.json and root file system (default .)
  -f, --config FILE         another name for config.json

Examples:
  tripod-oci explain --bundle /srv/web
  tripod-oci explain --script -b /srv/web >web.sh && sh web.sh
`

// explain prints what create and start of a bundle would do.
func explain(g *globals, args []string) (int, error) {
	o := birthOptions{bundle: ".", config: "config.json"}
	var script bool
	options := []option{text(&o.bundle, 'b', "bundle"), text(&o.config, 'f', "config"), flag(&script, 0, "script")}
	operands, err := words(explainHelp, options, args, 0, 1)
	if err != nil {
		return 0, err
	}
	id := "container"
	if len(operands) > 0 {
		id = operands[0]
	}
	if err := container.CheckID(id); err != nil {
		return 0, err
	}
	b, err := o.read(false)
	if err != nil {
		return 0, err
	}
	cfg, err := g.configuration(&o, b, id)
	if err != nil {
		return 0, err
	}
	p, err := container.Explain(cfg, nil)
	if err != nil {
		return 0, fmt.Errorf("cannot explain container %s: %w", id, err)
	}
	if script {
		fmt.Print(p.Script())
		return 0, nil
	}
	fmt.Print(p)
	return 0, nil
}
